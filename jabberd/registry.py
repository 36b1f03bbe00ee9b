"""The frozen look-up tables of one domain: who answers, filters, listens.

Built once from the declarations of all its modules; never edited.  Loading or unloading a module
builds a new registry and swaps it in between two turns of the reactor.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jabberd.api import (
    Account,
    Answer,
    AnswerDeclared,
    By,
    FilterDeclared,
    ListenerDeclared,
    Stage,
    Target,
    UndeliveredDeclared,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from twisted.internet.defer import Deferred

    from jabberd.api import IQ, Module
    from jabberd.xmpp.element import Element
    from jabberd.xmpp.stanza import Stanza


class Conflict(Exception):  # noqa: N818  # that is what it is
    """Two modules claim the same thing."""


@dataclass(frozen=True, slots=True)
class BoundAnswer:
    """Who answers a question, and who may ask it."""

    method: Callable[[IQ], Answer | Awaitable[Answer]]
    by: By


class Filters:
    """The filters of one stage for one kind of stanza.

    Those that named no children see every stanza; the others only those that carry one of theirs.
    """

    __slots__ = ("_always", "_by_child")

    def __init__(self, declared: Iterable[tuple[FilterDeclared, Callable[..., Stanza | None]]]) -> None:
        self._always: tuple[Callable[..., Stanza | None], ...] = ()
        self._by_child: dict[str, tuple[Callable[..., Stanza | None], ...]] = {}
        for declaration, method in declared:
            if not declaration.children:
                self._always += (method,)
            for child in declaration.children:
                self._by_child[child] = (*self._by_child.get(child, ()), method)

    def __bool__(self) -> bool:
        return bool(self._always or self._by_child)

    def run(self, stanza: Stanza, *context: Any) -> Stanza | None:
        """Let all that are concerned see the stanza; None when one of them dropped it."""
        for method in self._concerned(stanza):
            passed = method(stanza, *context)
            if passed is None:
                return None
            stanza = passed
        return stanza

    def _concerned(self, stanza: Stanza) -> Iterable[Callable[..., Stanza | None]]:
        if not self._by_child:
            return self._always
        found = dict.fromkeys(self._always)
        for child in stanza.children:
            found.update(dict.fromkeys(self._by_child.get(child, ())))
        return found


class Registry:
    """What the modules of one domain declared, bound to their instances."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        """Bind; modules come in the order in which they were started.

        :raises Conflict: two modules answer the same question, or two take undelivered messages.
        """
        self.modules = {module.name: module for module in modules}
        self.undelivered: Callable[[Stanza, Account], Deferred[None] | None] | None = None
        self._answers: dict[tuple[str, str, Target], BoundAnswer] = {}
        self._owner: dict[object, str] = {}
        listeners: dict[type, list[Callable[[Any], Awaitable[None] | None]]] = defaultdict(list)
        found: dict[tuple[Stage, str], list[Any]] = defaultdict(list)
        for module in self.modules.values():
            for attribute, declared in module.declarations:
                method = getattr(module, attribute)
                if isinstance(declared, AnswerDeclared):
                    self._bind_answer(module, declared, method)
                elif isinstance(declared, FilterDeclared):
                    for name in declared.names:
                        found[declared.stage, name].append((declared, method))
                elif isinstance(declared, ListenerDeclared):
                    listeners[declared.event].append(method)
                elif isinstance(declared, UndeliveredDeclared):
                    self._claim("undelivered messages", module)
                    self.undelivered = method
        self.listeners = {event: tuple(methods) for event, methods in listeners.items()}
        self._filters = {key: Filters(pairs) for key, pairs in found.items()}

    def filters(self, stage: Stage, name: str) -> Filters | None:
        """The filters for stanzas of that name; None when there are none, so that nobody pays."""
        return self._filters.get((stage, name))

    def answer(self, type: str, payload: str, to: Target) -> BoundAnswer | None:
        """Who answers an iq of that type with that child, asked of a domain or of an account."""
        return self._answers.get((type, payload, to))

    @property
    def features(self) -> tuple[str, ...]:
        """What disco#info of the domain lists, sorted."""
        return tuple(sorted({f for module in self.modules.values() for f in module.features}))

    @property
    def account_features(self) -> tuple[str, ...]:
        """What disco#info of an account lists, sorted."""
        return tuple(sorted({f for module in self.modules.values() for f in module.account_features}))

    @property
    def stream_features(self) -> tuple[Element, ...]:
        """What a stream advertises after login."""
        return tuple(f for module in self.modules.values() for f in module.stream_features)

    def _bind_answer(self, module: Module, declared: AnswerDeclared, method: Callable[[IQ], Any]) -> None:
        key = (declared.type, declared.payload, declared.to)
        self._claim(key, module)
        self._answers[key] = BoundAnswer(method, declared.by)

    def _claim(self, what: object, module: Module) -> None:
        if what in self._owner:
            raise Conflict(f"modules {self._owner[what]} and {module.name} both take {what}")
        self._owner[what] = module.name
