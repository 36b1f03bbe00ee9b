"""XEP-0355: namespaces whose questions a component answers in the place of the server (admin mode)."""

from __future__ import annotations

import secrets
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Final, cast

from twisted.internet.defer import Deferred

from jabberd.api import (
    IQ,
    JID,
    Account,
    Apart,
    ComponentConnected,
    DomainName,
    Duration,
    E,
    Mistake,
    Module,
    Settings,
    Stanza,
    StanzaError,
    Turns,
    checked,
    diverts,
    on,
)
from jabberd.modules.delegation.wrapping import NS, unwrapped, wrapped
from jabberd.modules.disco import INFO, ITEMS, Disco
from jabberd.xmpp.element import split

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from jabberd.api import Answer, Element

_BARE: Final = f"{NS}:bare:"
#: What stands for questions about accounts that nobody here can answer (§7.2).
_BEYOND: Final = {INFO: f"{_BARE}disco#info:*", ITEMS: f"{_BARE}disco#items:*"}
_MOST: Final = 50  #: questions of one account or server that wait for an answer
_QUERY: Final = f"{{{INFO}}}query"


def _delegable(namespaces: dict[str, Delegated]) -> dict[str, Delegated]:
    for each in namespaces:
        if each.startswith(NS) and each not in _BEYOND.values():
            raise Mistake(f"has {each}, which cannot be delegated (XEP-0355 §8); take it away")
    return namespaces


class Delegated(Settings):
    """Who answers what is asked in a namespace.

    :ivar entity: the domain of a component.
    :ivar attributes: only what has all these attributes is for it; the rest is answered here.
    """

    entity: DomainName
    attributes: tuple[str, ...] = ()


class Delegation(Module, xep=355, version="0.5"):
    """Has components answer what the domain and its accounts are asked in some namespaces.

    A component that does not answer, or not as it should, is as good as none: whoever asked is told
    ``service-unavailable``.
    """

    requires = ("disco",)
    features = (NS,)

    class Config(Settings):
        """What is delegated to whom.

        :ivar namespaces: by namespace, to whom.
        :ivar timeout: how long an answer may take.
        """

        namespaces: Annotated[dict[str, Delegated], checked(_delegable)] = field(default_factory=dict)
        timeout: Duration = 30.0

    config: Config

    async def start(self) -> None:
        """Nobody has told yet what they can do."""
        self._nested: dict[tuple[str, bool], list[Element]] = {}
        self._turns = Turns(self.domain.jid, _MOST)

    async def ready(self) -> None:
        """Components that are there already learn what is theirs."""
        for entity in self._entities(self.config):
            self._welcome(entity)

    async def stop(self) -> None:
        """Components that stay learn that nothing is theirs any more."""
        for entity in self._entities(self.config):
            self._advertise(entity, ())

    def reconfigured(self, before: Settings) -> None:
        """Components to whom something else is delegated learn it."""
        old = cast("Delegation.Config", before)
        for entity in dict.fromkeys((*self._entities(old), *self._entities(self.config))):
            if _of(old, entity) != _of(self.config, entity):
                self._welcome(entity)
        self._nested = {key: told for key, told in self._nested.items() if key[0] in self.config.namespaces}
        self._disco.changed()

    @on(ComponentConnected)
    def connected(self, event: ComponentConnected) -> None:
        """It learns what is delegated to it (§4.2), and is asked what it can do (§7.2)."""
        if event.jid in self._entities(self.config):
            self._welcome(event.jid)

    @staticmethod
    def _entities(config: Config) -> list[JID]:
        return list(dict.fromkeys(each.entity for each in config.namespaces.values()))

    @property
    def _disco(self) -> Disco:
        return cast("Disco", self.domain.module("disco"))

    def _welcome(self, entity: JID) -> None:
        if not self.domain.connected(entity):
            return
        delegated = _of(self.config, entity)
        self._advertise(entity, delegated.items())
        for namespace in delegated:
            if namespace not in _BEYOND.values():
                for bare in (False, True):
                    learning = Deferred.fromCoroutine(self._learn(entity, namespace, bare=bare))
                    learning.addErrback(lambda why: self.log.failure("what a component can do", why))

    def _advertise(self, entity: JID, delegated: Iterable[tuple[str, Delegated]]) -> None:
        """What is delegated to it now: all of it, or nothing any more."""
        if not self.domain.connected(entity):
            return
        each = (
            E(
                NS,
                "delegated",
                {"namespace": namespace},
                *(E(NS, "attribute", {"name": a}) for a in to.attributes),
            )
            for namespace, to in delegated
        )
        told, id = E(NS, "delegation", None, *each), secrets.token_hex(8)
        self.domain.route(Stanza.of("message", told, sender=self.domain.jid, to=entity, id=id))

    # -- questions ----------------------------------------------------------------------------------

    @diverts
    def divert(self, stanza: Stanza, account: Account | None) -> Callable[[IQ], Apart] | None:
        """Those of a delegated namespace, but for what the component itself asks (§4.3.1)."""
        to = self.config.namespaces.get(split(stanza.children[0])[0])
        if to is None or stanza.sender is None or stanza.sender.domainpart == to.entity:
            return None
        if to.attributes and any(stanza.element()[0].get(each) is None for each in to.attributes):
            return None
        return lambda request: Apart(self._delegated(request.stanza, to.entity))

    async def _delegated(self, asked: Stanza, entity: JID) -> Answer:
        """Have a component answer it (§4.3).

        :raises StanzaError: ``service-unavailable``, whatever went wrong; ``resource-constraint``: whoever
            asks has asked too much already.
        """
        assert asked.sender is not None  # it was looked at
        if not self.domain.connected(entity):
            raise StanzaError("service-unavailable")
        with self._turns.turn(asked.sender):
            return await self._answered(asked, entity)

    async def _answered(self, asked: Stanza, entity: JID) -> Answer:
        try:
            question = wrapped(asked, sender=self.domain.jid, to=entity)
            answer = await self.domain.ask(question, self.config.timeout)
            return unwrapped(answer, asked)
        except StanzaError as error:
            self.log.info("{entity} refuses: {condition}", entity=entity, condition=error.condition)
        except ValueError as error:
            self.log.warn("{entity} does not answer as it should: {error}", entity=entity, error=str(error))
        raise StanzaError("service-unavailable")

    # -- what is told of the domain and its accounts ------------------------------------------------

    @property
    def delegated(self) -> Collection[str]:
        """See `jabberd.modules.disco.Delegates`."""
        return self.config.namespaces.keys() - _BEYOND.values()

    def nested(self, *, account: bool) -> Iterable[Element]:
        """See `jabberd.modules.disco.Delegates`."""
        return [each for (_, bare), told in self._nested.items() if bare is account for each in told]

    def beyond(self, request: IQ) -> Awaitable[Answer] | None:
        """See `jabberd.modules.disco.Delegates`."""
        to = self.config.namespaces.get(_BEYOND[split(request.payload.tag)[0]])
        if to is None or request.sender.domainpart == to.entity:
            return None
        return self._delegated(request.stanza, to.entity)

    async def _learn(self, entity: JID, namespace: str, *, bare: bool) -> None:
        """Ask a component what is to be told of what it can do (§7.2)."""
        node = f"{_BARE if bare else f'{NS}::'}{namespace}"
        query = E(INFO, "query", {"node": node})
        asked = Stanza.of("iq", query, sender=self.domain.jid, to=entity, type="get")
        try:
            info = (await self.domain.ask(asked, self.config.timeout)).child(_QUERY)
        except StanzaError:
            info = None
        self._nested[namespace, bare] = [] if info is None else list(info)
        self._disco.changed()


def _of(config: Delegation.Config, entity: JID) -> dict[str, Delegated]:
    return {namespace: to for namespace, to in config.namespaces.items() if to.entity == entity}
