"""XEP-0045: rooms in which many talk, at a domain of their own.

What is where: `room` is the state of one room, `store` keeps rooms and brings them into memory; `entering`,
`presence`, `messages` and `relay` are what occupants do; `admin`, `affiliations` and `owner` what those do
who run a room, by the tables in `privileges`; `options` is the configuration form; `invitations`,
`registration`, `approval` are the ways in; `discovery` and `reading` answer those who look at a room from
outside; `history` is what newcomers get, `doorway` has turns where many come and go at once.

**The seam for other modules.**  A module of the same domain, a `seam.Extension` with ``requires = ("muc",)``,
takes part by implementing one or more of the protocols in `seam`, which are looked for when modules have
started or stopped:

- `seam.AnswersRooms`: questions to a room, by type and child;
- `seam.DescribesRooms`: features and fields of a room's disco#info;
- `seam.RoomNodes`: nodes of a room;
- `seam.RoomFields`: fields of the configuration form, kept in `options.Options.extra`;
- `seam.MarksOccupants`: children of an occupant's presence, and what nobody else may send;
- `seam.Hears`: a filter on what is said to all; it may refuse;
- `seam.Admits`: another way in, for those who are no members or do not know the password;
- `seam.FollowsAffiliations`: what newcomers and occupants are told of who belongs to a room.

It listens to the events of `events` with ``@on``.  To act it has ``self.domain.module("muc")`` with
`Rooms.service`, `Rooms.room` (bring a room into memory) and what the parts above offer:
`messages.announce`, `messages.declare`, `messages.reflect`, `history.History.replace`,
`affiliations.affiliate` and `Room.keep` (while `Room.changing` is held), `admin.set_role`, `owner.destroy`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from jabberd.api import (
    JID,
    AccountDeleted,
    Archive,
    DomainName,
    Duration,
    Element,
    Keyed,
    Module,
    Ordered,
    Settings,
    Stanza,
    StanzaError,
    on,
    serves,
)
from jabberd.archive.retention import Retention, trim
from jabberd.archive.uids import Uids
from jabberd.modules.muc.affiliations import Order, affiliate
from jabberd.modules.muc.dispatch import Dispatch
from jabberd.modules.muc.doorway import Doorway
from jabberd.modules.muc.listing import rooms_page
from jabberd.modules.muc.moved import Moved, Redirects
from jabberd.modules.muc.names import FEATURES
from jabberd.modules.muc.options import Options
from jabberd.modules.muc.presence import UNAVAILABLE, News, remove
from jabberd.modules.muc.privileges import Affiliation
from jabberd.modules.muc.relay import Relay
from jabberd.modules.muc.room import Belonging, Record, Room
from jabberd.modules.muc.seam import Seam
from jabberd.modules.muc.service import Limits, Service
from jabberd.modules.muc.store import AFFILIATIONS, RECORDS
from jabberd.modules.muc.store import Rooms as Store
from jabberd.modules.muc.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Container, Iterable

    from twisted.python.failure import Failure

    from jabberd.xmpp.rsm import PageWanted

_SWEEP: Final = 6 * 3600.0  # seconds between two looks at what is too old
_DAY: Final = 86400


class Rooms(Verbs, Module, xep=45, version="1.35.1"):
    """Serves a domain with rooms; its admins own every one of them."""

    noun = "rooms"
    requires = ("disco",)
    identities = (("conference", "text"),)
    features = (*FEATURES, "muc_rooms")
    replaceable = False  # it knows who is in which room
    counted = ("rooms", "rooms_each", "occupants", "affiliations")

    class Config(Settings):
        """Who may make rooms, how many, and how much they hold.

        :ivar creators: the domains whose people may make rooms; none: the domain that this one is below of.
        :ivar rooms: how many there may be; ``rooms_each``: of one creator.
        :ivar occupants: sessions in one room.
        :ivar affiliations: of one room.
        :ivar history: messages that a newcomer gets, at most.
        :ivar persistent: whether new rooms stay when nobody is in them, unless their owners say otherwise.
        :ivar whois: who sees the addresses of those who are in a new room, unless its owners say otherwise.
        :ivar age: how long what was said stays in a room's archive.
        :ivar messages: the most that stay of one room.
        :ivar page: the most that answer one question to an archive, and rooms in one list.
        :ivar logs: where the log of a room is published, with ``{room}`` for its name; nothing here does it.
        """

        creators: tuple[DomainName, ...] = ()
        rooms: Annotated[int, Meta(ge=1)] = 10_000
        rooms_each: Annotated[int, Meta(ge=1)] = 50
        occupants: Annotated[int, Meta(ge=1)] = 1_000
        affiliations: Annotated[int, Meta(ge=1)] = 2_000
        history: Annotated[int, Meta(ge=0, le=500)] = 50
        persistent: bool = False
        whois: Literal["anyone", "moderators"] = "moderators"
        age: Duration = 365.0 * _DAY
        messages: Annotated[int, Meta(ge=1)] = 100_000
        page: Annotated[int, Meta(ge=1, le=1000)] = 250
        logs: str = ""

    config: Config

    records = Keyed(RECORDS, of=Record)
    belongings = Keyed(AFFILIATIONS, of=Belonging)
    messages = Archive("muc-archive")
    moved = Ordered("muc-moved", of=Moved)

    async def start(self) -> None:
        """Count the rooms, and look after what is too old."""
        self.service = self._made()
        self.service.rooms = Store(self.service, self.domain.storage, self.records, self.belongings)
        self.service.redirects = Redirects(self.service, self.moved)
        self.relay = Relay(self.domain.clock)
        self._dispatch = Dispatch(self.service, self.relay)
        await self.service.rooms.start()
        self._sweeping = False
        self._sweep = LoopingCall(self._look_after)
        self._sweep.clock = self.domain.clock
        self._sweep.start(_SWEEP, now=False)

    async def ready(self) -> None:
        """See who else takes part."""
        self.see_others()

    def see_others(self) -> None:
        """See it again: modules have come or gone."""
        self.service.seam = Seam(self.domain.modules)

    async def stop(self) -> None:
        """Tell everybody that the service stops (§11.2)."""
        self._sweep.stop()
        self.relay.end()
        self.service.doorway.close()
        for room in list(self.service.rooms.resident.values()):
            for occupant in list(room.occupants.values()):
                remove(room, occupant, News(UNAVAILABLE, codes=(332,)))

    def _made(self) -> Service:
        config = self.config
        limits = Limits(
            rooms=config.rooms,
            rooms_each=config.rooms_each,
            occupants=config.occupants,
            affiliations=config.affiliations,
            history=config.history,
            page=config.page,
        )
        usual = Options(
            persistent=config.persistent, whois=config.whois, history=min(Options.history, config.history)
        )
        return Service(
            jid=self.domain.jid,
            limits=limits,
            met=self.met,
            usual=usual,
            archive=self.messages,
            uids=Uids(self.domain.key("archive ids")),
            route=self.domain.route,
            spread=self.domain.spread,
            fire=self.domain.fire,
            now=self.now,
            admins=self._admins,
            may_create=self._may_create,
            not_archived=self._not_archived,
            logs=config.logs,
            doorway=Doorway(self.domain.clock),
        )

    def _admins(self) -> Container[str]:
        return self.domain.operators.domain

    def _may_create(self, who: JID) -> bool:
        creators = self.config.creators or (self.domain.jid.partition(".")[2],)
        return who.domainpart in creators or who.bare in self._admins()

    def _not_archived(self, why: Failure) -> None:
        """Everybody has heard it all the same."""
        self.log.failure("a message cannot be archived", why)

    # -- stanzas ------------------------------------------------------------------------------------

    @serves
    def take(self, stanza: Stanza) -> Awaitable[Any] | None:
        """What is for a room, or for somebody in it."""
        return self._dispatch.take(stanza)

    @asynccontextmanager
    async def room(self, jid: JID) -> AsyncIterator[Room | None]:
        """A room, in memory for as long as it is used here; None: there is none of that bare JID."""
        async with self._dispatch.using(jid) as room:
            yield room

    @on(AccountDeleted)
    async def forget(self, event: AccountDeleted) -> None:
        """Whoever gets that name now belongs to no room; one without an owner is left to the admins."""
        order = Order(event.jid, Affiliation.none, deleted=True)
        for resident in self.service.rooms.resident.values():
            resident.wanted.pop(event.jid, None)
        for name in await self.belongings.having(self.domain.jid, event.jid):
            async with self.room(JID.parse(name)) as room:
                if room is not None:
                    await self._obey(room, order)

    async def _obey(self, room: Room, order: Order) -> None:
        with suppress(StanzaError):  # it was destroyed meanwhile
            async with room.changing():
                told = await affiliate(room, [order], Affiliation.owner, self.service.jid, "")
            told()

    # -- jabberd.modules.disco.Pages ----------------------------------------------------------------

    async def domain_page(self, asker: JID, page: PageWanted | None) -> Iterable[Element]:
        """The public rooms (§6.3)."""
        return await rooms_page(self.service, page)

    # -- archives -----------------------------------------------------------------------------------

    def _look_after(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            Deferred.fromCoroutine(self._trim_all()).addErrback(
                lambda why: self.log.failure("old messages cannot be removed", why)
            )

    async def _trim_all(self) -> None:
        retention = Retention(self.config.age, self.config.messages)
        try:
            async for jid, _ in self.service.rooms.stored():
                await trim(self.messages, jid, retention, self.now())
                room = self.service.rooms.resident.get(jid)
                if room is not None:
                    room.history.forget(self.now() - timedelta(seconds=retention.age))
        finally:
            self._sweeping = False
