"""XEP-0402: bookmarks are one list, whether a client reads them as items, as private XML or as one item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from jabberd.api import IQ, Account, E, Element, Keyed, Module, StanzaError, on
from jabberd.modules.pep import AccountVenue, Pep
from jabberd.pubsub.events import event, items_element
from jabberd.pubsub.names import EVENT, NODE_CONFIG
from jabberd.pubsub.names import NS as PUBSUB
from jabberd.pubsub.options import MAX, Options, submitted
from jabberd.pubsub.venue import Published, Removed
from jabberd.xmpp.element import parse, serialize
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.rsm import PageWanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NS: Final = "urn:xmpp:bookmarks:1"
OLD: Final = "storage:bookmarks"
_STORAGE: Final = f"{{{OLD}}}storage"
_CONFERENCE: Final = f"{{{OLD}}}conference"
_EXTENSIONS: Final = f"{{{NS}}}extensions"
_OPTIONS: Final = {
    "persist_items": "true",
    "max_items": MAX,
    "send_last_published_item": "never",
    "access_model": "whitelist",
}
_TRUE: Final = ("1", "true")


class Bookmarks(Module, xep=402, version="1.2.0"):
    """Shows the items of the node ``urn:xmpp:bookmarks:1`` as XEP-0048 had them, and takes them so (§6.3).

    They are kept once, as items; bookmarks of web pages, which these cannot hold, are kept beside them.
    """

    requires = ("pep", "private")
    account_features = (f"{NS}#compat", f"{NS}#compat-pep")
    private_names = (_STORAGE,)

    pages = Keyed("bookmarks", of=str)  #: what is no room, as it stood in ``<storage/>``

    async def start(self) -> None:
        """Find the nodes."""
        self._pep = cast("Pep", self.domain.module("pep"))
        self._replacing: set[str] = set()  # accounts whose clients are told when all is done

    # -- private XML (XEP-0049) ---------------------------------------------------------------------

    async def private(self, account: Account, name: str) -> Element:  # it is the only one
        """See `jabberd.modules.private.KeepsPrivate`."""
        return await self.storage(account)

    async def set_private(self, account: Account, element: Element) -> None:
        """See `jabberd.modules.private.KeepsPrivate`."""
        await self.replace(account, element)

    # -- one item (XEP-0048 §3) ---------------------------------------------------------------------

    #: The node that this module answers for; see `jabberd.modules.pep.AnswersNode`.
    answered_node = OLD

    async def answer_node(self, request: IQ, asked: Element) -> Element | None:
        """What is asked of the node ``storage:bookmarks``; it is its owner's alone."""
        account = request.account
        assert account is not None
        if request.sender.bare != account.jid:
            raise StanzaError("item-not-found" if account.trusts(request.sender) else "service-unavailable")
        if request.type == "get" and asked.tag == f"{{{PUBSUB}}}items":
            item = E(PUBSUB, "item", {"id": "current"}, await self.storage(account))
            return E(PUBSUB, "pubsub", None, E(PUBSUB, "items", {"node": OLD}, item))
        storage = asked.find(f"{{{PUBSUB}}}item/{_STORAGE}")
        if asked.tag != f"{{{PUBSUB}}}publish" or storage is None:
            raise StanzaError("not-allowed", f"these bookmarks are kept in {NS}")
        await self.replace(account, storage)
        item = E(PUBSUB, "item", {"id": "current"})
        return E(PUBSUB, "pubsub", None, E(PUBSUB, "publish", {"node": OLD}, item))

    @on(Published)
    @on(Removed)
    async def tell(self, event_: Published | Removed) -> None:
        """An item came or went."""
        venue = event_.venue
        if event_.node == NS and isinstance(venue, AccountVenue) and venue.jid not in self._replacing:
            await self._tell(venue)

    async def _tell(self, venue: AccountVenue) -> None:
        """Tell the account's clients that listen to the old node."""
        listening = [who for who in venue.audience(OLD) if venue.owns(who)]
        if listening:
            item = E(EVENT, "item", {"id": "current"}, await self.storage(venue.account))
            message = event(venue, Options(), items_element(OLD, item, namespace=EVENT))
            for who in listening:
                self.domain.route(message.with_attrs(to=who))

    # -- both ---------------------------------------------------------------------------------------

    async def storage(self, account: Account) -> Element:
        """All bookmarks, as XEP-0048 has them."""
        pages = await self.pages.get(account.jid)
        others = [*parse(pages.encode(), "")] if pages else []
        rooms = [_old(jid, each) for jid, each in (await self._rooms(account)).items()]
        return E(OLD, "storage", None, *rooms, *others)

    async def _rooms(self, account: Account) -> dict[str, Element]:
        """By address, the payloads of the items."""
        if NS not in self._pep.nodes.of(account):
            return {}
        venue, found, after = self._pep.venue(account), dict[str, Element](), ""
        while True:
            items, page = await self._pep.pubsub.items.retrieve(
                venue, NS, account.jid, page=PageWanted(after=after)
            )
            found |= {each.get("id", ""): each[0] for each in items if len(each)}
            if not items or page.below + len(items) >= page.count:
                return found
            after = items[-1].get("id", "")

    async def replace(self, account: Account, storage: Element) -> None:
        """Make these the bookmarks: publish what is new or changed, retract what is missing (§6.3.2).

        :raises StanzaError: ``resource-constraint``: there are more than there may be items; or as
            `Pep.publish`, and then some of them may be kept.
        """
        known = await self._rooms(account)
        wanted = _new(storage, known)
        if len(wanted) > self._pep.config.items:
            raise StanzaError("resource-constraint", f"there are at most {self._pep.config.items} rooms")
        others = [each for each in storage if each.tag != _CONFERENCE]
        text = serialize(E(OLD, "storage", None, *others), "").decode() if others else ""
        if not account.exists:
            raise StanzaError("service-unavailable")  # it was deleted meanwhile
        await self.pages.change(account.jid, {"": text or None})
        gone = known.keys() - wanted.keys()
        new = {
            jid: payload
            for jid, payload in wanted.items()
            if jid not in known or _told(known[jid]) != _told(payload)
        }
        await self._configure(account)
        self._replacing.add(account.jid)
        try:
            await self._change(account, gone, new)
        finally:
            self._replacing.discard(account.jid)
            if gone or new:
                await self._tell(self._pep.venue(account))

    async def _configure(self, account: Account) -> None:
        """Let the node be private and hold all, whatever a client has made of it (§6.2)."""
        node = self._pep.nodes.of(account).get(NS)
        options = None if node is None else self._pep.options(node)
        if options is not None and (options.access_model, options.max_items) != ("whitelist", MAX):
            wanted = submitted(_OPTIONS, NODE_CONFIG)
            await self._pep.pubsub.nodes.configure(self._pep.venue(account), NS, account.jid, wanted)

    async def _change(self, account: Account, gone: Iterable[str], new: Mapping[str, Element]) -> None:
        for jid in gone:
            venue = self._pep.venue(account)
            await self._pep.pubsub.items.retract(venue, NS, account.jid, jid, notify=True)
        for jid, payload in new.items():
            options = {} if NS in self._pep.nodes.of(account) else _OPTIONS
            await self._pep.publish(account, NS, jid, payload, **options)


def _told(room: Element) -> tuple[object, ...]:
    """What a bookmark says, however it is written."""
    autojoin = room.get("autojoin") in _TRUE
    return room.get("name"), autojoin, {each.tag: serialize(each) for each in room}


def _old(jid: str, new: Element) -> Element:
    """A room as XEP-0048 has it."""
    attrs = {"jid": jid, "name": new.get("name"), "autojoin": new.get("autojoin")}
    texts = ((name, new.findtext(f"{{{NS}}}{name}")) for name in ("nick", "password"))
    extensions = new.find(_EXTENSIONS)
    return E(
        OLD,
        "conference",
        attrs,
        *(E(OLD, name, None, text) for name, text in texts if text),
        *([extensions] if extensions is not None else []),
    )


def _new(storage: Element, known: Mapping[str, Element]) -> dict[str, Element]:
    """The rooms of a ``<storage/>`` as XEP-0402 has them; one without an address is passed over.

    What a client that does not know better leaves out, ``<extensions/>``, is as it was.
    """
    rooms: dict[str, Element] = {}
    for each in storage.iterfind(_CONFERENCE):
        try:
            jid = str(JID.parse(each.get("jid", "")).bare)
        except InvalidJID:
            continue
        texts = ((name, each.findtext(f"{{{OLD}}}{name}")) for name in ("nick", "password"))
        rooms[jid] = E(
            NS,
            "conference",
            {"name": each.get("name"), "autojoin": "true" if each.get("autojoin") in _TRUE else None},
            *(E(NS, name, None, text) for name, text in texts if text),
            *_extensions(each, known.get(jid)),
        )
    return rooms


def _extensions(given: Element, known: Element | None) -> Iterable[Element]:
    for each in (given, known):
        found = None if each is None else each.find(_EXTENSIONS)
        if found is not None:
            return [found]
    return []
