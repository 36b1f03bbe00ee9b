"""XEP-0433: people find public rooms by words, sorted and page by page."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from jabberd.api import ANYONE, DOMAIN, IQ, JID, E, Element, StanzaError, answers, on
from jabberd.modules.muc.events import RoomConfigured, RoomDestroyed
from jabberd.modules.muc.seam import Extension
from jabberd.xmpp.forms import Field, Form, X
from jabberd.xmpp.jid import InvalidJID
from jabberd.xmpp.rsm import SET, PageWanted, told, wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jabberd.modules.muc.options import Options
    from jabberd.xmpp.forms import Submission

_BASE: Final = "urn:xmpp:channel-search:0"
NS: Final = f"{_BASE}:search"
PARAMS: Final = f"{_BASE}:search-params"
ERRORS: Final = f"{_BASE}:error"
BY_USERS: Final = f"{{{_BASE}:order}}nusers"
BY_ADDRESS: Final = f"{{{_BASE}:order}}address"
_ROOMS: Final = "xep-0045"
_IN: Final = {"sinname": "name", "sindescription": "description", "sinaddress": "address"}
_LONGEST: Final = 200  # characters of what is searched for
_DIGITS: Final = 9  # of a number of users
_KEYS: Final = {BY_USERS: "Number of online users", BY_ADDRESS: "Address"}
_TYPES: Final = {_ROOMS: "XEP-0045 Multi User Chats"}

_FIELDS: Final = (
    Field("q", "text-single", "Search for"),
    Field("all", "boolean", "Return all entries (ignore search terms)"),
    Field("sinname", "boolean", "Search in name", ("true",)),
    Field("sindescription", "boolean", "Search in description", ("true",)),
    Field("sinaddress", "boolean", "Search in address", ("true",)),
    Field("min_users", "text-single", "Minimum number of users", ("0",)),
    Field("types", "list-multi", "Service types", (_ROOMS,), options=_TYPES),
    Field("key", "list-single", "Sort results by", (BY_USERS,), options=_KEYS),
)
_FORM: Final = Form(PARAMS, _FIELDS)
_LABELS: Final = {each.var: each.label for each in _FIELDS}
#: A sort key that is none has an error of its own, and a type that is not here is just not found.
_OPEN: Final = {"types": "text-multi", "key": "text-single"}
_READ: Final = Form(
    PARAMS,
    tuple(replace(f, type=_OPEN.get(f.var, f.type), options={}) for f in _FIELDS),  # type: ignore[arg-type]
)


@dataclass(frozen=True, slots=True)
class Channel:
    """A public room, as it can be found.

    :ivar is_open: everybody who is not banned may enter.
    :ivar anonymous: addresses are for moderators alone.
    """

    jid: JID
    name: str
    description: str
    lang: str
    is_open: bool
    anonymous: bool

    @classmethod
    def of(cls, jid: JID, options: Options) -> Channel:
        """From a room's configuration."""
        name = options.name or jid.localpart
        anonymous = options.whois != "anyone"
        return cls(jid, name, options.description, options.lang, options.is_open, anonymous)

    def has(self, terms: Sequence[str], where: Sequence[str]) -> bool:
        """Whether each of the words is in one of these places."""
        texts = {"name": self.name, "description": self.description, "address": self.jid}
        searched = [texts[each].casefold() for each in where]
        return all(any(term in text for text in searched) for term in terms)

    def item(self, users: int) -> Element:
        """What is told of it (§6.2)."""
        mode = "muc_semianonymous" if self.anonymous else f"{{{_BASE}:anonymity}}none"
        rows = {
            "name": self.name,
            "description": self.description,
            "language": self.lang,
            "nusers": str(users),
            "service-type": _ROOMS,
            "is-open": "true" if self.is_open else "",
            "anonymity-mode": mode,
        }
        inside = (E(NS, name, None, text) for name, text in rows.items() if text)
        return E(NS, "item", {"address": self.jid}, *inside)


class RoomSearch(Extension, xep=433, version="0.1.0"):
    """Answers searches among the public rooms.

    What can be found is read when somebody searches for the first time, and kept up to date from then on.
    """

    requires = ("muc",)
    features = (NS,)

    async def start(self) -> None:
        """Nothing is read yet."""
        self._known: dict[JID, Channel] | None = None
        self._changes = 0

    # -- what can be found --------------------------------------------------------------------------

    @on(RoomConfigured)
    def configured(self, event: RoomConfigured) -> None:
        """A room is another one, or new."""
        self._changes += 1
        if self._known is not None:
            if event.room.options.public:
                self._known[event.room.jid] = Channel.of(event.room.jid, event.room.options)
            else:
                self._known.pop(event.room.jid, None)

    @on(RoomDestroyed)
    def destroyed(self, event: RoomDestroyed) -> None:
        """A room is gone."""
        self._changes += 1
        if self._known is not None:
            self._known.pop(event.jid, None)

    async def _channels(self) -> dict[JID, Channel]:
        if self._known is not None:
            return self._known
        before = self._changes
        rooms = self.rooms.service.rooms.stored()
        found = {jid: Channel.of(jid, each.options) async for jid, each in rooms if each.options.public}
        if self._changes == before:  # else the next search reads anew
            self._known = found
        return found

    # -- searching ----------------------------------------------------------------------------------

    @answers.get(NS, "search", to=DOMAIN, by=ANYONE)
    async def search(self, request: IQ) -> Element:
        """The form, or what was found with it (§4.2).

        :raises StanzaError: see `_Search.read`; ``item-not-found``: a page beyond no entry.
        """
        submitted = request.payload.find(X)
        if submitted is None:
            return E(NS, "search", None, _FORM.element())
        asked = _Search.read(_READ.read(submitted))
        paging = request.payload.find(SET)
        page = PageWanted() if paging is None else wanted(paging)
        channels = await self._channels()
        found = sorted(
            _Place(-users if asked.by_users else 0, jid)
            for jid, channel in channels.items()
            if (users := self._users(jid)) >= asked.users and asked.fits(channel)
        )
        low, high = _cut(found, page, self.rooms.service.limits.page, by_users=asked.by_users)
        shown = found[low:high]
        ends = [each.token(by_users=asked.by_users) for each in (shown[:1] + shown[-1:])]
        first, last = ends or ("", "")
        items = (channels[each.jid].item(self._users(each.jid)) for each in shown)
        return E(NS, "result", None, *items, told(first, last, low, len(found)))

    def _users(self, jid: JID) -> int:
        room = self.rooms.service.rooms.resident.get(jid)
        return 0 if room is None else len(room.occupants)


class _Place(NamedTuple):
    """Where a room stands among what was found.

    :ivar fewer: the number of users, below zero; 0 where that does not count.
    """

    fewer: int
    jid: JID

    def token(self, *, by_users: bool) -> str:
        """What names the place in a page's ends; it says where it is even when the room is there no more."""
        return f"{-self.fewer} {self.jid}" if by_users else self.jid

    @classmethod
    def read(cls, token: str, *, by_users: bool) -> _Place:
        """The place that a token names.

        :raises StanzaError: ``item-not-found``: it names none (XEP-0059 §2.2).
        """
        users, _, address = token.partition(" ") if by_users else ("0", "", token)
        try:
            return cls(-int(users[:_DIGITS]), JID.parse(address))
        except (ValueError, InvalidJID):
            raise StanzaError("item-not-found") from None


def _cut(found: Sequence[_Place], page: PageWanted, most: int, *, by_users: bool) -> tuple[int, int]:
    """Where a page begins and ends among what was found."""
    low, high = 0, len(found)
    if page.after:
        low = bisect_right(found, _Place.read(page.after, by_users=by_users))
    if page.before:
        high = max(low, bisect_left(found, _Place.read(page.before, by_users=by_users)))
    most = most if page.most is None else min(page.most, most)
    return (max(low, high - most), high) if page.last else (low, min(high, low + most))


@dataclass(frozen=True, slots=True)
class _Search:
    """What is searched for.

    :ivar terms: words that must all be there, ``where``: in which of `Channel`'s texts.
    :ivar users: the least number of them.
    :ivar rooms: whether rooms are among the types that are asked for; there are no others here.
    """

    terms: tuple[str, ...]
    where: tuple[str, ...]
    users: int
    by_users: bool
    rooms: bool

    @classmethod
    def read(cls, given: Submission) -> _Search:
        """From the form.

        :raises StanzaError: with the conditions of §4.2.2.2 to §4.2.2.7; what conflicts is named by its
            labels (§4.2.2.6).
        """
        key, users = given.text("key"), given.text("min_users") or "0"
        if key not in _KEYS:
            raise StanzaError(
                "feature-not-implemented",
                f"sort by {' or '.join(_KEYS)}",
                type="modify",
                application=(ERRORS, "invalid-sort-key"),
            )
        if not (users.isascii() and users.isdecimal()) or len(users) > _DIGITS:
            raise StanzaError("not-acceptable", "min_users is a number")
        where = tuple(place for var, place in _IN.items() if given.flag(var))
        types = [each for each in given.texts("types") if each]
        return cls(_terms(given), where, int(users), key == BY_USERS, not types or _ROOMS in types)

    def fits(self, channel: Channel) -> bool:
        """Whether a room is found."""
        return self.rooms and channel.has(self.terms, self.where)


def _terms(given: Submission) -> tuple[str, ...]:
    """The words; none: all are wanted."""
    text = given.text("q")
    terms = tuple(text.casefold().split())
    if given.flag("all"):
        if terms:
            raise _bad("conflicting-fields", f'either "{_LABELS["all"]}" or "{_LABELS["q"]}"', "modify")
        return ()
    if not given.texts("q"):
        raise _bad("no-search-conditions", "fill in q, or all", "cancel")
    if not terms or len(text) > _LONGEST:
        raise _bad("invalid-search-terms", f"search for words, of {_LONGEST} characters together", "modify")
    return terms


def _bad(condition: str, text: str, type: str) -> StanzaError:
    return StanzaError("bad-request", text, type=type, application=(ERRORS, condition))
