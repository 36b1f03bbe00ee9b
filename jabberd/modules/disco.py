"""XEP-0030: who somebody is, what they can do, and what belongs to them."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from jabberd.api import (
    ACCOUNT,
    ANYONE,
    DOMAIN,
    IQ,
    SUBSCRIBER,
    DomainName,
    E,
    Element,
    Module,
    Settings,
    StanzaError,
    answers,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jabberd.api import JID

INFO: Final = "http://jabber.org/protocol/disco#info"
ITEMS: Final = "http://jabber.org/protocol/disco#items"


@runtime_checkable
class Nodes(Protocol):
    """A module that describes nodes of the domain, where `Disco` does not know them."""

    def node_info(self, node: str, asker: JID) -> Iterable[Element] | None:
        """Identities and features of a node (§3.2); None: it is not this module's.

        :raises StanzaError: that is not for the asker.
        """

    def node_items(self, node: str, asker: JID) -> Iterable[Element] | None:
        """What belongs to a node (§4.2); None as above."""


class Disco(Module, xep=30, version="2.5.0"):
    """Describes the domain to anyone, and an account to those who may see its presence (§8).

    To all others an account answers ``service-unavailable``, also where §8 would have an empty list
    of items: that is what RFC 6121 §8.5.1 demands of accounts that do not exist, and the two must
    look alike.
    """

    features = (INFO, ITEMS)
    account_features = (INFO, ITEMS)

    class Config(Settings):
        """How the domain describes itself.

        :ivar name: what it is called.
        :ivar items: the services that belong to it, each with its name:
            ``items = {"rooms.montague.lit" = "Rooms"}``.
        """

        name: str = "jabberd"
        items: dict[DomainName, str] = field(default_factory=dict)

    config: Config

    @answers.get(INFO, "query", to=DOMAIN, by=ANYONE)
    def domain_info(self, request: IQ) -> Element:
        """An instant messaging server with the features of all its modules (§3.1), or a module's node."""
        if node := request.payload.get("node"):
            return _node(INFO, node, (each.node_info(node, request.sender) for each in self._nodes()))
        identity = {"category": "server", "type": "im", "name": self.config.name or None}
        return _info(request, identity, {f for module in self.domain.modules for f in module.features})

    @answers.get(ITEMS, "query", to=DOMAIN, by=ANYONE)
    def domain_items(self, request: IQ) -> Element:
        """Its services (§4.1), or what belongs to a module's node."""
        if node := request.payload.get("node"):
            return _node(ITEMS, node, (each.node_items(node, request.sender) for each in self._nodes()))
        return _items(request, self.config.items.items())

    @answers.get(INFO, "query", to=ACCOUNT, by=SUBSCRIBER)
    def account_info(self, request: IQ) -> Element:
        """A registered or anonymous account with the features of all modules (§3.1)."""
        assert request.account is not None
        identity = {"category": "account", "type": "anonymous" if request.account.anonymous else "registered"}
        return _info(
            request, identity, {f for module in self.domain.modules for f in module.account_features}
        )

    @answers.get(ITEMS, "query", to=ACCOUNT, by=SUBSCRIBER)
    def account_items(self, request: IQ) -> Element:
        """Its available resources (§4.1)."""
        assert request.account is not None
        sessions = request.account.sessions.values()
        return _items(request, [(session.jid, None) for session in sessions if session.presence is not None])

    def _nodes(self) -> Iterable[Nodes]:
        return (module for module in self.domain.modules if isinstance(module, Nodes))


def _node(namespace: str, node: str, found: Iterable[Iterable[Element] | None]) -> Element:
    """The answer of whoever knows the node.

    :raises StanzaError: ``item-not-found``: nobody does.
    """
    for about in found:
        if about is not None:
            return E(namespace, "query", {"node": node}, *about)
    raise StanzaError("item-not-found")


def _info(request: IQ, identity: Mapping[str, str | None], features: Iterable[str]) -> Element:
    about = [E(INFO, "feature", {"var": feature}) for feature in sorted(features)]
    return _described(request, INFO, E(INFO, "identity", identity), *about)


def _items(request: IQ, items: Iterable[tuple[str, str | None]]) -> Element:
    return _described(request, ITEMS, *(E(ITEMS, "item", {"jid": jid, "name": name}) for jid, name in items))


def _described(request: IQ, namespace: str, *about: Element) -> Element:
    """The answer, which mirrors an empty node (§3.2); no other node is the entity itself.

    :raises StanzaError: ``item-not-found``.
    """
    node = request.payload.get("node")
    if node:
        raise StanzaError("item-not-found")
    return E(namespace, "query", {"node": node}, *about)
