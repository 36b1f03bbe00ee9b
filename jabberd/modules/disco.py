"""XEP-0030: who somebody is, what they can do, and what belongs to them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import field
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, runtime_checkable

from jabberd.api import (
    ACCOUNT,
    ANYONE,
    DOMAIN,
    HIDDEN,
    IQ,
    SUBSCRIBER,
    Apart,
    DomainName,
    E,
    Element,
    Module,
    Settings,
    StanzaError,
    answers,
)
from jabberd.xmpp.forms import NS as DATA
from jabberd.xmpp.rsm import NS as RSM
from jabberd.xmpp.rsm import SET, wanted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from jabberd.api import JID, Account, Answer
    from jabberd.xmpp.rsm import PageWanted

T = TypeVar("T")

INFO: Final = "http://jabber.org/protocol/disco#info"
ITEMS: Final = "http://jabber.org/protocol/disco#items"
_AT_ONCE: Final = 1_000  # entries of a store that are read to find a page


_IDENTITY: Final = f"{{{INFO}}}identity"
_FEATURE: Final = f"{{{INFO}}}feature"

#: What is told of a node; None: nothing.
Told = Iterable[Element] | None


@runtime_checkable
class Nodes(Protocol):
    """A module that describes nodes of the domain, where `Disco` does not know them."""

    def node_info(self, node: str, asker: JID) -> Told | Awaitable[Told]:
        """Identities and features of a node (§3.2); None: it is not this module's.

        :raises StanzaError: that is not for the asker.
        """

    def node_items(self, node: str, asker: JID) -> Told | Awaitable[Told]:
        """What belongs to a node, or to the domain itself if that is empty (§4.2); None as above."""


@runtime_checkable
class Pages(Protocol):
    """A module of whose things at the domain there may be too many for one list (§5.2, XEP-0059)."""

    def domain_page(self, asker: JID, page: PageWanted | None) -> Awaitable[Iterable[Element]]:
        """Those of a page, and a ``<set/>`` unless that is all; None: nobody asked for a page."""


@runtime_checkable
class AccountNodes(Protocol):
    """A module that describes nodes of accounts."""

    def account_node(self, account: Account, node: str, asker: JID) -> Awaitable[Iterable[Element] | None]:
        """Identities and features of a node (§3.2); None: it is not this module's.

        :raises StanzaError: that is not for the asker.
        """

    def account_items(self, account: Account, node: str, asker: JID) -> Awaitable[Iterable[Element] | None]:
        """What belongs to a node, or to the account itself if that is empty (§4.2); None as above."""


@runtime_checkable
class Extends(Protocol):
    """A module that tells more of the domain in a form (XEP-0128)."""

    def extensions(self) -> Iterable[Element]:
        """The forms; what several modules tell under one FORM_TYPE becomes one form (XEP-0128 §2)."""


@runtime_checkable
class Delegates(Protocol):
    """A module that has others describe something in the place of those here (XEP-0355 §7.2)."""

    @property
    def delegated(self) -> Collection[str]:
        """The namespaces of which what modules have here is not told."""

    def nested(self, *, account: bool) -> Iterable[Element]:
        """Identities, features and forms to tell instead, of the domain or of an account."""

    def beyond(self, request: IQ) -> Awaitable[Answer] | None:
        """Answer what is asked of an account's node that nobody here knows; None: nobody else does.

        So with what belongs to an account itself.
        """


class Disco(Module, xep=30, version="2.5.0"):
    """Describes the domain to anyone, and an account to those who may see its presence (§8).

    To all others an account answers as one that does not exist: ``service-unavailable``, and an empty list
    of items.
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

    #: How often what is told of the domain has changed by itself.
    changes = 0

    def changed(self) -> None:
        """Others tell something else of the domain now: what was made from it is out of date."""
        self.changes += 1

    @answers.get(INFO, "query", to=DOMAIN, by=ANYONE)
    async def domain_info(self, request: IQ) -> Element:
        """What the domain is (§3.1), or a module's node."""
        if node := request.payload.get("node"):
            return _node(
                INFO, node, [await _now(each.node_info(node, request.sender)) for each in self._nodes()]
            )
        return _described(request, INFO, *self.about_domain())

    def about_domain(self) -> list[Element]:
        """What it is, with the features of all its modules, and what they tell in forms."""
        name, gone = self.config.name or None, self._gone()
        own = [module for module in self.domain.modules if not _within(module.features, gone)]
        server = [("server", "im")] if self.domain.has_accounts else []
        identities = [*server, *(each for module in own for each in module.identities)]
        shown = frozenset[object](own)
        extending = (each for each in self.domain.having(Extends) if each in shown)
        forms = _merged(form for each in extending for form in each.extensions())
        features = (feature for module in self.domain.modules for feature in module.features)
        nested = [each for module in self._delegates() for each in module.nested(account=False)]
        return [
            *(E(INFO, "identity", {"category": c, "type": t, "name": name}) for c, t in identities),
            *_features(features, gone, nested),
            *forms,
        ]

    @answers.get(ITEMS, "query", to=DOMAIN, by=ANYONE)
    async def domain_items(self, request: IQ) -> Element:
        """Its services (§4.1) and what modules have of it, or what belongs to a module's node."""
        node = request.payload.get("node", "")
        found = [await _now(each.node_items(node, request.sender)) for each in self._nodes()]
        if node:
            return _node(ITEMS, node, found)
        services = dict.fromkeys(self.domain.services) | self.config.items
        more = [item for items in found for item in items or ()]
        paging = request.payload.find(SET)
        page = None if paging is None else wanted(paging)
        for each in self.domain.having(Pages):
            more += await each.domain_page(request.sender, page)
        return _described(request, ITEMS, *(_item(jid, name) for jid, name in services.items()), *more)

    @answers.get(INFO, "query", to=ACCOUNT, by=SUBSCRIBER)
    def account_info(self, request: IQ) -> Awaitable[Answer] | Apart:
        """A registered or anonymous account with the features of all modules (§3.1), or a module's node."""
        return self._perhaps_apart(self._account_info(request))

    async def _account_info(self, request: IQ) -> Answer:
        account, gone = request.account, self._gone()
        assert account is not None
        if node := request.payload.get("node"):
            found = [await each.account_node(account, node, request.sender) for each in self._account_nodes()]
            elsewhere = await self._beyond(request, found)
            return _node(INFO, node, found) if elsewhere is None else elsewhere
        own = [module for module in self.domain.modules if not _within(module.account_features, gone)]
        identities = [
            ("account", "anonymous" if account.anonymous else "registered"),
            *(each for module in own for each in module.account_identities),
        ]
        features = (feature for module in self.domain.modules for feature in module.account_features)
        nested = [each for module in self._delegates() for each in module.nested(account=True)]
        return _described(
            request,
            INFO,
            *(E(INFO, "identity", {"category": c, "type": t}) for c, t in identities),
            *_features(features, gone, nested),
        )

    @answers.get(ITEMS, "query", to=ACCOUNT, by=SUBSCRIBER)
    def account_items(self, request: IQ) -> Awaitable[Answer] | Apart:
        """Its available resources (§4.1) and what modules have of it, or what belongs to a module's node."""
        return self._perhaps_apart(self._account_items(request))

    async def _account_items(self, request: IQ) -> Answer:
        account, node = request.account, request.payload.get("node", "")
        assert account is not None
        found = [await each.account_items(account, node, request.sender) for each in self._account_nodes()]
        elsewhere = await self._beyond(request, found if node else [])
        if elsewhere is not None:
            return elsewhere
        if node:
            return _node(ITEMS, node, found)
        sessions = [each.jid for each in account.sessions.values() if each.presence is not None]
        more = [item for items in found for item in items or ()]
        return _described(request, ITEMS, *(_item(jid) for jid in sessions), *more)

    @answers.get(ITEMS, "query", to=HIDDEN)
    def no_items(self, request: IQ) -> Element:
        """Nothing, of an account that does not exist or does not tell, with a node or without (§8)."""
        return _described(request, ITEMS)

    # -- what others tell in our place --------------------------------------------------------------

    def _delegates(self) -> Sequence[Delegates]:
        return self.domain.having(Delegates)

    def _gone(self) -> frozenset[str]:
        return frozenset(each for module in self._delegates() for each in module.delegated)

    def _perhaps_apart(self, told: Awaitable[Answer]) -> Awaitable[Answer] | Apart:
        """Where others may be asked first, nobody waits for them."""
        return Apart(told) if self._delegates() else told

    async def _beyond(self, request: IQ, found: Iterable[object]) -> Answer:
        """What others answer who know more, if nobody here knows; None: nobody does."""
        if any(each is not None for each in found):
            return None
        for module in self._delegates():
            answer = module.beyond(request)
            if answer is not None:
                return await answer
        return None

    def _nodes(self) -> Iterable[Nodes]:
        return self.domain.having(Nodes)

    def _account_nodes(self) -> Iterable[AccountNodes]:
        return self.domain.having(AccountNodes)


async def page_of(
    read: Callable[..., Awaitable[Mapping[str, T]]], fits: Callable[[T], bool], page: PageWanted, most: int
) -> tuple[list[tuple[str, T]], bool]:
    """A page of what a store holds, as far as it fits, and whether there is more of that behind it.

    :param read: reads neighbours as `jabberd.stores.Keyed.some` does: no more than is shown, but where much
        does not fit more and more at a time.
    :param most: entries on a page, if no fewer are wanted.
    """
    most = most if page.most is None else min(page.most, most)
    after, before, found = page.after, page.before, list[tuple[str, T]]()
    limit = most + 1
    while len(found) <= most:
        some = await read(after=after, before=before, limit=limit, last=page.last)
        keys = [*some]
        found += [(key, some[key]) for key in (reversed(keys) if page.last else keys) if fits(some[key])]
        if len(keys) < limit:
            break
        limit = max(limit, min(2 * limit, _AT_ONCE))
        after, before = (after, keys[0]) if page.last else (keys[-1], before)
    rows = found[:most]
    return (rows[::-1] if page.last else rows), len(found) > most


def page_ends(keys: Sequence[str]) -> Element:
    """The ``<set/>`` that goes with a page whose place in the list nobody has counted (XEP-0059 §2.1)."""
    ends = zip(("first", "last"), (keys[0], keys[-1]), strict=True) if keys else ()
    return E(RSM, "set", None, *(E(RSM, name, None, key) for name, key in ends))


def _merged(forms: Iterable[Element]) -> list[Element]:
    """The forms, those of the same FORM_TYPE as one, and of its fields those of the same name as one."""
    found: dict[str, Element] = {}
    for form in forms:
        first, *fields = form
        kind = first.findtext(f"{{{DATA}}}value") or ""
        whole = found.setdefault(kind, form)
        if whole is not form:
            known = {each.get("var"): each for each in whole}
            for each in fields:
                same = known.get(each.get("var"))
                whole.append(each) if same is None else same.extend(each.findall(f"{{{DATA}}}value"))
    return [*found.values()]


def _node(namespace: str, node: str, found: Iterable[Iterable[Element] | None]) -> Element:
    """The answer of whoever knows the node.

    :raises StanzaError: ``item-not-found``: nobody does.
    """
    for about in found:
        if about is not None:
            return E(namespace, "query", {"node": node}, *about)
    raise StanzaError("item-not-found")


async def _now(told: Told | Awaitable[Told]) -> Told:
    return await told if inspect.isawaitable(told) else told


def _within(features: Iterable[str], namespaces: frozenset[str]) -> list[str]:
    """Those that belong to one of the namespaces: its name, or that and what is behind a ``#``."""
    return [each for each in features if each in namespaces or each.partition("#")[0] in namespaces]


def _features(
    features: Iterable[str], gone: frozenset[str] = frozenset(), nested: Iterable[Element] = ()
) -> Iterable[Element]:
    """Those of ours that are not gone, and what is told in their place; each feature once."""
    own = {*features}
    own.difference_update(_within(own, gone))
    theirs = list(nested)
    own.update(each.get("var", "") for each in theirs if each.tag == _FEATURE)
    yield from {tuple(sorted(each.items())): each for each in theirs if each.tag == _IDENTITY}.values()
    yield from (E(INFO, "feature", {"var": feature}) for feature in sorted(own))
    yield from (each for each in theirs if each.tag not in (_FEATURE, _IDENTITY))


def _item(jid: str, name: str | None = None) -> Element:
    return E(ITEMS, "item", {"jid": jid, "name": name})


def _described(request: IQ, namespace: str, *about: Element) -> Element:
    """The answer, which mirrors an empty node (§3.2)."""
    return E(namespace, "query", {"node": request.payload.get("node")}, *about)
