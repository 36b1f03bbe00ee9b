"""The operator's verbs: one table for every face that offers them.

A verb is a method that was declared with `jabberd.api.operator`; its annotations say what it takes.
Every face hands over words, as they stand on a command line, and gets data back that JSON can show.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from time import monotonic
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, Literal, get_args, get_origin, get_type_hints

from twisted.logger import Logger

from jabberd.api import Refused, Secret
from jabberd.api.declarations import VerbDeclared
from jabberd.measure import Histogram
from jabberd.xmpp.jid import JID, InvalidJID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

log = Logger()

_DOMAIN: Final = "DOMAIN"  # no parameter of a verb is called so
_REQUIRED: Final = inspect.Parameter.empty  # in place of a default
_NO_TEXT: Final = re.compile("[\0\ud800-\udfff]")  # nor can it be stored, or be part of a path
_LARGEST: Final = 1 << 53  # as JSON's numbers

__all__ = ["Admin", "SecretNeededError", "UsageError", "Verb"]


class UsageError(Exception):
    """The words make no verb; the text says what is wrong and how it would be right."""


class SecretNeededError(Exception):
    """The verb takes a secret, which must not be among the words; the argument is its name."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing that operators can do.

    :ivar group: the noun before it, such as ``accounts``; empty for a verb that needs none.
    :ivar parameters: what it takes, by name: the type and the default (or `inspect.Parameter.empty`).
        A domain's verb that takes no JID has ``DOMAIN`` ahead of them, to say which one is meant.
    """

    group: str
    name: str
    help: str
    method: Callable[..., Any]
    parameters: Mapping[str, tuple[type, Any]]

    @property
    def full_name(self) -> str:
        """With its noun: ``accounts create``."""
        return f"{self.group} {self.name}".lstrip()

    @property
    def usage(self) -> str:
        """How to say it: ``accounts create JID``."""
        words = [self.full_name]
        for name, (type, default) in self.parameters.items():
            if type is not Secret:
                words.append(name.upper() if default is _REQUIRED else f"[{name.upper()}]")
        return " ".join(words)


class Admin:
    """All verbs of this server.

    :param groups: for each noun the objects whose verbs it has; each is asked for with the domain that
        it serves, or an empty text for the whole server.
    :param lacking: why there may be no verb of a noun, such as ``while no server answers``; said of one
        that is missed.
    :ivar seconds: that each verb took.
    """

    def __init__(
        self,
        groups: Callable[[], Iterable[tuple[str, str, object]]],
        lacking: Callable[[str], str] = lambda _noun: "",
    ) -> None:
        self._groups = groups
        self._lacking = lacking
        self.seconds = Histogram()

    def verbs(self) -> dict[tuple[str, str], dict[str, Verb]]:
        """By noun and name: the verb of each domain (under an empty text: of the whole server)."""
        found: dict[tuple[str, str], dict[str, Verb]] = {}
        for group, domain, owner in self._groups():
            for verb in _declared(group, owner, of_domain=bool(domain)):
                found.setdefault((group, verb.name), {})[domain] = verb
        return found

    async def run(self, words: list[str], secrets: Mapping[str, str]) -> Any:
        """Do what the words say.

        :param secrets: by name, such as ``password``.
        :returns: data that JSON can show; for ``help`` a list of all verbs.
        :raises UsageError: they say nothing that can be done.
        :raises SecretNeededError: one that is needed is not among the ``secrets``.
        :raises Refused: it cannot be done; the text says why.
        """
        for word in words:
            if _NO_TEXT.search(word):
                raise UsageError(f"{word!r} is not text")
        verbs = self.verbs()
        if not words or words == ["help"]:
            return [{"verb": _any(each).usage, "help": _any(each).help} for each in verbs.values()]
        named, left = verbs.get((words[0], "".join(words[1:2]))), words[2:]
        if named is None:
            named, left = verbs.get(("", words[0])), words[1:]
        if named is None:
            raise UsageError(_not_known(words, verbs, self._lacking(words[0])))
        verb = _any(named)
        read = _read(verb, left)
        return await self._done(_meant(named, read), {**read, **_secrets(verb, secrets)})

    async def call(self, group: str, name: str, arguments: Mapping[str, object]) -> Any:
        """Do what a program says: like `run`, with arguments by name, texts among them read as words are.

        :raises KeyError: there is no such verb, or it takes no such argument; all else as `run` does.
        """
        named = self.verbs()[group, name]
        verb = _any(named)
        read: dict[str, Any] = {
            key: _value(key, verb.parameters[key][0], value, verb) if isinstance(value, str) else value
            for key, value in arguments.items()
        }
        return await self._done(_meant(named, read), {**read, **_secrets(verb, read)})

    async def _done(self, verb: Verb, arguments: dict[str, Any]) -> Any:
        arguments.pop(_DOMAIN, None)
        log.info("operator: {verb} {arguments!r}", verb=verb.full_name, arguments=arguments)
        began = monotonic()
        try:
            answer = verb.method(**arguments)
            return await answer if inspect.isawaitable(answer) else answer
        finally:
            self.seconds.observe(monotonic() - began)


def _declared(group: str, owner: object, *, of_domain: bool) -> Iterable[Verb]:
    for name in dir(type(owner)):
        for declared in getattr(getattr(type(owner), name, None), "declared", ()):
            if isinstance(declared, VerbDeclared):
                method = getattr(owner, name)
                parameters = _parameters(method)
                if of_domain and (JID, _REQUIRED) not in parameters.values():
                    parameters = {_DOMAIN: (JID, _REQUIRED), **parameters}
                yield Verb(group, name.replace("_", "-"), declared.help, method, parameters)


def _parameters(method: Callable[..., Any]) -> dict[str, tuple[type, Any]]:
    hints = get_type_hints(method)
    return {
        name: (_plain(hints[name]), parameter.default)
        for name, parameter in inspect.signature(method).parameters.items()
    }


def _plain(hint: Any) -> Any:
    """The type of what may be left out: a JID where the hint is ``JID | None``."""
    if isinstance(hint, UnionType):
        return next(each for each in get_args(hint) if each is not NoneType)
    return hint


def _any(of_domains: Mapping[str, Verb]) -> Verb:
    return next(iter(of_domains.values()))


def _meant(named: Mapping[str, Verb], arguments: Mapping[str, Any]) -> Verb:
    """The verb of the domain that the first JID among the arguments is at, or of the whole server."""
    if "" in named:
        return named[""]
    domain = next(value for value in arguments.values() if isinstance(value, JID)).domainpart
    if domain not in named:
        raise Refused(f"{domain} is not hosted here; hosted are {', '.join(sorted(named))}")
    return named[domain]


def _read(verb: Verb, words: list[str]) -> dict[str, Any]:
    """The arguments that the words give, in the order of the parameters."""
    left = list(words)
    arguments: dict[str, Any] = {}
    for name, (type, default) in verb.parameters.items():
        if type is Secret:
            continue
        if left:
            arguments[name] = _value(name, type, left.pop(0), verb)
        elif default is _REQUIRED:
            raise UsageError(f"{name.upper()} is missing; usage: {verb.usage}")
    if left:
        raise UsageError(f"{left[0]!r} is one word too many; usage: {verb.usage}")
    return arguments


def _secrets(verb: Verb, given: Mapping[str, str]) -> dict[str, Secret]:
    names = [name for name, (type, _) in verb.parameters.items() if type is Secret]
    for name in names:
        if name not in given:
            raise SecretNeededError(name)
    return {name: Secret(given[name]) for name in names}


def _value(name: str, type: type, word: str, verb: Verb) -> Any:
    if get_origin(type) is Literal:
        if word not in get_args(type):
            raise UsageError(f"{name.upper()} {word!r} is none of {', '.join(get_args(type))}")
        return word
    try:
        value = JID.parse(word) if type is JID else type(word)
    except InvalidJID as why:
        raise UsageError(f"{name.upper()} {word!r} is not an address: {why}") from None
    except ValueError:
        raise UsageError(f"{name.upper()} {word!r} is not a number; usage: {verb.usage}") from None
    if isinstance(value, int) and abs(value) >= _LARGEST:
        raise UsageError(f"{name.upper()} is too large")
    return value


def _not_known(words: list[str], verbs: Mapping[tuple[str, str], object], lacking: str) -> str:
    """Say which verbs come near: all of a noun that stands alone, all there are for what nobody knows."""
    import difflib  # noqa: PLC0415 - only where there is a mistake

    known = [f"{group} {name}".lstrip() for group, name in verbs]
    said = " ".join(words[:2])
    of_noun = [each for each in known if each.startswith(f"{words[0]} ")]
    near = of_noun if len(words) == 1 and of_noun else difflib.get_close_matches(said, known, n=3) or of_noun
    return f"{said!r} is not a verb{lacking and f' {lacking}'}; there are: {', '.join(near or known)}"
