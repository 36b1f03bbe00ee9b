"""``admin`` at the prompt: an attribute for each noun of the verb table, and on it one for each verb.

Nothing is listed here: what there is follows from `jabberd.admin.Admin.verbs` at the moment it is asked.
"""

from __future__ import annotations

import difflib
import inspect
from functools import partial
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.internet.defer import Deferred

from jabberd.admin import SecretNeededError
from jabberd.api import Secret
from jabberd.table import render

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from jabberd.admin import Admin, Verb

__all__ = ["Answer", "Listing", "Nouns", "Sentence", "UnknownWordError", "nouns"]

#: Asks the operator for a secret, without showing it: its name, and what it is for.
Ask: TypeAlias = "Callable[[str, str], Awaitable[str]]"


class UnknownWordError(AttributeError):
    """There is no such noun or verb; the text names those that come near."""


class Answer:
    """What a verb answered: it is the plain data, but the prompt shows it as a table."""


class _Rows(Answer, list[Any]):
    pass


class _Fields(Answer, dict[str, Any]):
    pass


class _Text(Answer, str):
    __slots__ = ()


def _answer(data: object) -> object:
    kinds: dict[type, Callable[[Any], Answer]] = {list: _Rows, dict: _Fields, str: _Text}
    kind = kinds.get(type(data))
    return kind(data) if kind else data


class Listing:
    """Something whose representation is the table of what it offers.

    All its names but those between underscores belong to nouns and verbs.
    """

    def __table__(self) -> list[dict[str, str]]:
        """What there is to call, and what it does."""
        raise NotImplementedError

    def __secretive__(self) -> set[str]:
        """The names of the verbs in it that take a secret."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return render(self.__table__())


class Nouns(Listing):
    """Names with something behind each: ``admin`` itself, and every noun in it.

    :param path: how it is reached: ``admin.accounts``.
    :param things: finds what is behind the names at this moment.
    """

    def __init__(self, path: str, things: Callable[[], Mapping[str, Listing]]) -> None:
        self._path = path
        self._things = things

    def __dir__(self) -> list[str]:
        return sorted(self._things())

    def __getattr__(self, name: str) -> Listing:
        things = self._things()
        if name not in things:
            near = difflib.get_close_matches(name, things, n=3) or sorted(things)
            raise UnknownWordError(f"there is no {self._path}.{name}; there are: {', '.join(near)}")
        return things[name]

    def __table__(self) -> list[dict[str, str]]:
        return [row for _, thing in sorted(self._things().items()) for row in thing.__table__()]

    def __secretive__(self) -> set[str]:
        return {name for thing in self._things().values() for name in thing.__secretive__()}


def nouns(admin: Admin, ask: Ask) -> Nouns:
    """``admin`` at the prompt: its nouns, as in ``admin.accounts``, and the verbs that need none."""

    def things() -> dict[str, Listing]:
        groups: dict[str, dict[str, Listing]] = {}
        for (group, _), of_domains in admin.verbs().items():  # which domain is meant will show in a call
            sentence = Sentence(admin, ask, next(iter(of_domains.values())))
            groups.setdefault(_attribute(group), {})[sentence.__name__] = sentence
        alone = groups.pop("", {})
        return {**{name: Nouns(f"admin.{name}", partial(dict, own)) for name, own in groups.items()}, **alone}

    return Nouns("admin", things)


class Sentence(Listing):
    """``admin.accounts.create``: a verb, to be called.

    A call returns a Deferred of the verb's answer.  Secrets that are not among the arguments are asked for.

    :ivar __signature__: what it takes; the secrets may be left out.
    """

    def __init__(self, admin: Admin, ask: Ask, verb: Verb) -> None:
        self._admin = admin
        self._ask = ask
        self._verb = verb
        self.__name__ = _attribute(verb.name)
        self.__doc__ = f"{verb.help}\n\n{inspect.getdoc(verb.method) or ''}".strip()
        self.__signature__ = Signature(
            [
                Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=None if type is Secret else default)
                for name, (type, default) in verb.parameters.items()
            ]
        )

    @property
    def secrets(self) -> list[str]:
        """The names of the parameters that are secret."""
        return [name for name, (type, _) in self._verb.parameters.items() if type is Secret]

    @property
    def usage(self) -> str:
        """How to call it: ``admin.accounts.create(jid, password)``."""
        takes = ", ".join(
            name if default is Parameter.empty else f"{name}={default!r}"
            for name, (_, default) in self._verb.parameters.items()
        )
        noun = f"{_attribute(self._verb.group)}." if self._verb.group else ""
        return f"admin.{noun}{self.__name__}({takes})"

    def __table__(self) -> list[dict[str, str]]:
        return [{"verb": self.usage, "help": self._verb.help}]

    def __secretive__(self) -> set[str]:
        return {self.__name__} if self.secrets else set()

    def __call__(self, *args: object, **kwargs: object) -> Deferred[Any]:
        bound = self.__signature__.bind(*args, **kwargs)
        return Deferred.fromCoroutine(self._say(bound.arguments))

    async def _say(self, arguments: Mapping[str, object]) -> object:
        said = {name: value for name, value in arguments.items() if value is not None}
        while True:
            try:
                return _answer(await self._admin.call(self._verb.group, self._verb.name, said))
            except SecretNeededError as missing:
                said[str(missing)] = await self._ask(str(missing), str(next(iter(said.values()), self.usage)))


def _attribute(word: str) -> str:
    return word.replace("-", "_")
