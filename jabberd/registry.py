"""The frozen look-up tables of one domain: who answers, filters, listens.

Built once from the declarations of all its modules; never edited.  Loading or unloading a module
builds a new registry and swaps it in between two turns of the reactor.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from jabberd.api import Module
from jabberd.api.declarations import (
    LOGIN,
    AnswerDeclared,
    BoundDeclared,
    By,
    DivertsDeclared,
    FilterDeclared,
    InlineDeclared,
    ListenerDeclared,
    NewcomerDeclared,
    NonzaDeclared,
    PageDeclared,
    ServesDeclared,
    Target,
    ToldDeclared,
    UndeliveredDeclared,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from twisted.internet.defer import Deferred

    from jabberd.api import IQ, Account, Answer, Apart, Stage
    from jabberd.api.declarations import Declared
    from jabberd.xmpp.element import Element
    from jabberd.xmpp.stanza import Stanza

T = TypeVar("T")


class LoadError(Exception):
    """A module cannot serve its domain.

    :ivar module: its name.
    :ivar said: ``what is wrong; what to do``.
    """

    def __init__(self, module: str, said: str) -> None:
        super().__init__(f"module {module}: {said}")
        self.module = module
        self.said = said


@dataclass(frozen=True, slots=True)
class BoundAnswer:
    """Who answers a question, and who may ask it."""

    method: Callable[[IQ], Answer | Apart | Awaitable[Answer]]
    by: By


class Filters:
    """The filters of one stage for one kind of stanza.

    Those that named no children see every stanza; the others only those that carry one of theirs.
    """

    __slots__ = ("_all", "_always", "_children")

    def __init__(self, declared: Iterable[tuple[FilterDeclared, Callable[..., Stanza | None]]]) -> None:
        self._all = [(frozenset(declaration.children), method) for declaration, method in declared]
        self._always = [method for children, method in self._all if not children]
        self._children = frozenset[str]().union(*(children for children, _ in self._all))

    def __iter__(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Of each the name, as ``module.method``, and the children without which it is not concerned."""
        for children, method in self._all:
            module: Any = method.__self__  # type: ignore[attr-defined]  # it is bound
            yield f"{module.name}.{method.__name__}", children

    def run(self, stanza: Stanza, whose: Any, recipients: list[Any] | None = None) -> Stanza | None:
        """Let all that are concerned see the stanza, in order; None when one of them dropped it.

        :param whose: the session or the account, as the stage has it.
        :param recipients: in the stage COPY.
        """
        methods = self._always if self._children.isdisjoint(stanza.children) else self.concerned(stanza)
        for method in methods:
            passed = method(stanza, whose) if recipients is None else method(stanza, whose, recipients)
            if passed is None:
                return None
            stanza = passed
        return stanza

    def concerned(self, stanza: Stanza) -> list[Callable[..., Stanza | None]]:
        """Those that see it."""
        children = stanza.children
        if self._children.isdisjoint(children):
            return self._always
        return [each for names, each in self._all if not names or not names.isdisjoint(children)]


class Registry:
    """What the modules of one domain declared, bound to their instances."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        """Bind; modules come in the order in which they were started.

        :raises LoadError: two modules answer the same question, or two take undelivered messages.
        """
        self.modules = {module.name: module for module in modules}
        self.undelivered: Callable[[Stanza, Account], Deferred[None] | None] | None = None
        self.serves: Callable[[Stanza], Awaitable[None] | None] | None = None
        self.diverts: list[Callable[[Stanza, Account | None], Callable[[IQ], Any] | None]] = []
        self.told: dict[str, Callable[[Stanza], Awaitable[None] | None]] = {}
        self.nonzas: dict[str, Callable[..., Deferred[None] | None]] = {}
        self.unbound: dict[str, Callable[..., Any]] = {}
        self.refused: set[str] = set()  # of those, what is also answered before the login
        self.newcomers: dict[tuple[str, str], Callable[..., Any]] = {}
        self.login: dict[str, Callable[..., Any]] = {}
        self.binding: dict[str, Callable[..., Any]] = {}
        self.bound: list[Callable[..., Any]] = []
        self.pages: dict[str, Callable[[Any], Any]] = {}
        kinds = [(type(module), module) for module in self.modules.values()]
        self.mechanisms = [each.mechanism for kind, each in kinds if kind.mechanism is not Module.mechanism]
        self._offering = [each for kind, each in kinds if kind.stream_features]
        self._answers: dict[tuple[str, str, Target], BoundAnswer] = {}
        self._owner: dict[str, str] = {}
        self._having: dict[Callable[..., Any], Sequence[Any]] = {}
        self._listeners: dict[type, list[Callable[[Any], Awaitable[None] | None]]] = defaultdict(list)
        self._found: dict[tuple[Stage, str], list[Any]] = defaultdict(list)
        for module in self.modules.values():
            for attribute, declared in module.declarations:
                self._bind(module, declared, getattr(module, attribute))
        self.listeners = {event: tuple(methods) for event, methods in self._listeners.items()}
        #: By stage and name of stanzas; where there are none is nothing, so that nobody pays.
        self.filters = {key: Filters(pairs) for key, pairs in self._found.items()}

    def _bind(self, module: Module, declared: Declared, method: Any) -> None:
        if isinstance(declared, AnswerDeclared | NewcomerDeclared):
            self._bind_answer(module, declared, method)
        elif isinstance(declared, FilterDeclared):
            for name in declared.names:
                self._found[declared.stage, name].append((declared, method))
        elif isinstance(declared, ListenerDeclared):
            self._listeners[declared.event].append(method)
        elif isinstance(declared, NonzaDeclared):
            self._bind_nonza(module, declared, method)
        elif isinstance(declared, InlineDeclared):
            self._claim(f"{declared.name} {declared.at.value}", module)
            (self.login if declared.at is LOGIN else self.binding)[declared.name] = method
        elif isinstance(declared, BoundDeclared):
            self.bound.append(method)
        elif isinstance(declared, PageDeclared):
            self._claim(f"the pages at /{declared.path}", module)
            self.pages[declared.path] = method
        else:
            self._bind_sole(module, declared, method)

    def _bind_sole(self, module: Module, declared: Declared, method: Any) -> None:
        if isinstance(declared, ServesDeclared):
            self._claim("all stanzas of its domain", module)
            self.serves = method
        elif isinstance(declared, DivertsDeclared):
            self.diverts.append(method)
        elif isinstance(declared, ToldDeclared):
            self._claim(f"messages to the domain with {declared.payload}", module)
            self.told[declared.payload] = method
        elif isinstance(declared, UndeliveredDeclared):
            self._claim("undelivered messages", module)
            self.undelivered = method

    def having(self, kind: Callable[..., T]) -> Sequence[T]:
        """See `jabberd.api.Domain`; found out once."""
        found = self._having.get(kind)
        if found is None:
            found = [each for each in self.modules.values() if isinstance(each, cast("type[Any]", kind))]
            self._having[kind] = found
        return found

    def answer(self, type: str, payload: str, to: Target) -> BoundAnswer | None:
        """Who answers an iq of that type with that child, asked of a domain or of an account."""
        return self._answers.get((type, payload, to))

    @property
    def stream_features(self) -> tuple[Element, ...]:
        """What a stream advertises after login."""
        return (*[feature for module in self._offering for feature in module.stream_features],)

    def _bind_answer(
        self, module: Module, declared: AnswerDeclared | NewcomerDeclared, method: Callable[[Any], Any]
    ) -> None:
        if isinstance(declared, NewcomerDeclared):
            self._claim(f"iq {declared.type} {declared.payload} before login", module)
            self.newcomers[declared.type, declared.payload] = method
            return
        key = (declared.type, declared.payload, declared.to)
        self._claim(f"iq {declared.type} {declared.payload} for {declared.to.value}s", module)
        self._answers[key] = BoundAnswer(method, declared.by)

    def _bind_nonza(self, module: Module, declared: NonzaDeclared, method: Callable[..., Any]) -> None:
        self._claim(f"{declared.name} {'after' if declared.bound else 'before'} binding", module)
        (self.nonzas if declared.bound else self.unbound)[declared.name] = method
        if declared.newcomers:
            self.refused.add(declared.name)

    def _claim(self, what: str, module: Module) -> None:
        if what in self._owner:
            raise LoadError(
                module.name, f"takes {what}, and so does {self._owner[what]}; switch one of them off"
            )
        self._owner[what] = module.name
