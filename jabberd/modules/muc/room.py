"""A room: what is kept of it, and who is in it."""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import DeferredLock

from jabberd.api import JID, StanzaError
from jabberd.modules.muc.history import History
from jabberd.modules.muc.occupant import Occupant, Visit, fold
from jabberd.modules.muc.options import Options  # noqa: TC001  # the storage reads the types
from jabberd.modules.muc.privileges import Affiliation, Role, default_role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from jabberd.modules.muc.doorway import Behind
    from jabberd.modules.muc.service import Service

__all__ = ["Belonging", "Record", "Room"]

_INVITED: Final = 500
_WHISPERED: Final = 100
_VOICES: Final = 500
_LARGEST_KEPT: Final = 64 << 10  # characters of `Record.kept`: each change writes all of it


@dataclass(frozen=True)
class Record:
    """What is kept of a room beside who belongs to it.

    :ivar creator: a bare JID.
    :ivar secret: what makes occupant ids of addresses (XEP-0421 §4.1), in hexadecimal digits.
    :ivar kept: what other modules keep of it, under names of their own: for as little as a room's memory and
        the list of rooms can bear.
    :ivar subject: the ``<subject/>`` elements as they were said; empty: none was ever said.
    :ivar subject_by: the nickname that said them, ``subject_id``: its occupant id, and ``subject_at``: when,
        in seconds since 1970.
    """

    creator: str
    secret: str
    options: Options
    subject: str = ""
    subject_by: str = ""
    subject_id: str = ""
    subject_at: float = 0
    kept: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Belonging:
    """How an account, or everybody at a domain, belongs to a room.

    :ivar affiliation: the name of an `Affiliation`.
    :ivar nick: a reserved nickname.
    :ivar reason: what was said of it.
    """

    affiliation: str
    nick: str = ""
    reason: str = ""


class Room:
    """A room that somebody is in, or that is just asked something; others are in the storage alone.

    :ivar belongings: by bare JID or domain.
    :ivar occupants: by folded nickname (`fold`).
    :ivar visits: who is behind each full JID.
    :ivar coming: what those have said since who wait to enter, or for another nickname, by full JID.
    :ivar locked: it has no configuration yet (§10.1), and is not stored.
    :ivar gone: it was destroyed.
    :ivar users: how many requests work on it just now.
    :ivar invited: the last invitations: whom, and by whom, as bare JIDs.
    :ivar whispered: the last private messages: to which full JID, the hash of its id, by which occupant JID.
    :ivar voices: roles of those who have left that were not the usual ones, by bare JID (§5.1).
    :ivar wanted: nicknames that somebody asked to register and nobody has approved, by bare JID (§9.9).
    """

    __slots__ = (
        "_changing",
        "belongings",
        "coming",
        "gone",
        "history",
        "invited",
        "jid",
        "locked",
        "occupants",
        "record",
        "service",
        "users",
        "visits",
        "voices",
        "wanted",
        "whispered",
    )

    def __init__(
        self,
        service: Service,
        jid: JID,
        record: Record,
        belongings: Mapping[str, Belonging],
        *,
        locked: bool = False,
    ) -> None:
        self.service = service
        self.jid = jid
        self.record = record
        self.belongings = dict(belongings)
        self.locked = locked
        self.gone = False
        self.users = 0
        self.occupants: dict[str, Occupant] = {}
        self.visits: dict[JID, Occupant] = {}
        self.coming: dict[JID, Behind] = {}
        self.history = History(jid, service.limits.history)
        self.wanted: dict[JID, str] = {}
        self.voices: dict[str, Role] = {}
        self.invited: deque[tuple[JID, JID]] = deque(maxlen=_INVITED)
        self.whispered: deque[tuple[JID, int, JID]] = deque(maxlen=_WHISPERED)
        self._changing = DeferredLock()

    @property
    def options(self) -> Options:
        """How it is configured."""
        return self.record.options

    # -- who belongs to it --------------------------------------------------------------------------

    def affiliation(self, account: JID) -> Affiliation:
        """Of a bare JID, which counts before its domain (§9.2); admins of the service own all rooms."""
        if account in self.service.admins():
            return Affiliation.owner
        found = self.belongings.get(account) or self.belongings.get(account.domainpart)
        return Affiliation.none if found is None else Affiliation[found.affiliation]

    def affiliated(self, affiliation: Affiliation) -> list[tuple[JID, Belonging]]:
        """Everybody with that affiliation, in alphabetical order."""
        name = affiliation.name
        return [
            (JID.parse(jid), each)
            for jid, each in sorted(self.belongings.items())
            if each.affiliation == name
        ]

    def reserved_by(self, nick: str) -> JID | None:
        """Whose nickname that is."""
        wanted = fold(nick)
        found = (jid for jid, each in self.belongings.items() if each.nick and fold(each.nick) == wanted)
        return next(map(JID.parse, found), None)

    def default_role(self, affiliation: Affiliation) -> Role:
        """With which role somebody enters; none: that one may not."""
        options = self.options
        return default_role(affiliation, moderated=options.moderated, members_only=options.members_only)

    def may_enter(self, account: JID) -> bool:
        """Whether the account may enter, where it knows the password if there is one."""
        return self.default_role(self.affiliation(account)) is not Role.none

    def may_read(self, account: JID) -> bool:
        """Whether the account may read what was said (XEP-0313 §7.1.2): who may enter without a password."""
        affiliation = self.affiliation(account)
        if affiliation is Affiliation.outcast:
            return False
        if self.options.logged or affiliation >= Affiliation.member or self.is_in(account):
            return True
        return self.options.is_open

    # -- who is in it -------------------------------------------------------------------------------

    def occupant(self, nick: str) -> Occupant | None:
        """Who has that nickname."""
        return self.occupants.get(fold(nick))

    def of(self, account: JID) -> Iterator[Occupant]:
        """The occupants that are sessions of that account."""
        return (each for each in self.occupants.values() if each.account == account)

    def is_in(self, account: JID) -> bool:
        """Whether a session of the account is an occupant."""
        return next(self.of(account), None) is not None

    def speaker(self, sender: JID) -> Occupant:
        """The occupant that a full JID is.

        :raises StanzaError: ``not-acceptable``: it is none (§7.4).
        """
        occupant = self.visits.get(sender)
        if occupant is None:
            raise StanzaError("not-acceptable", "you are not in the room", type="cancel")
        return occupant

    def occupant_id(self, account: JID) -> str:
        """The same for each visit of an account, and nothing that tells who it is (XEP-0421 §4.1)."""
        return hmac.new(bytes.fromhex(self.record.secret), account.encode(), hashlib.sha256).hexdigest()

    def uid(self, id: int) -> str:
        """What others know a message of its archive by (see `jabberd.archive.uids`)."""
        return self.service.uids.text(self.jid, id)

    def add(self, nick_jid: JID, visit: Visit, role: Role) -> Occupant:
        """Let a session in, as a new occupant or as one more session of one."""
        key = fold(nick_jid.resourcepart)
        occupant = self.occupants.get(key)
        if occupant is None:
            account = visit.jid.bare
            occupant = self.occupants[key] = Occupant(nick_jid, account, role, self.occupant_id(account))
        occupant.visits[visit.jid] = visit
        self.visits[visit.jid] = occupant
        return occupant

    def drop(self, occupant: Occupant, visit: Visit) -> None:
        """Let a session out, and the occupant with its last one."""
        occupant.visits.pop(visit.jid, None)
        self.visits.pop(visit.jid, None)
        if not occupant.visits and self.occupants.get(fold(occupant.nick)) is occupant:
            del self.occupants[fold(occupant.nick)]

    def sees_addresses(self, occupant: Occupant) -> bool:
        """Whether an occupant is told the addresses of the others (§7.2.3, §7.2.4)."""
        return occupant.role is Role.moderator or self.options.whois == "anyone"

    def is_visible(self, occupant: Occupant) -> bool:
        """Whether the others are told of an occupant."""
        return occupant.role.name in self.options.broadcast

    # -- who has a voice ----------------------------------------------------------------------------

    def voice_of(self, account: JID, default: Role) -> Role:
        """With which role somebody enters: who was given voice, or lost it, is as before (§5.1).

        Whose voice was taken has none with another session either.
        """
        if default is Role.moderator:
            return default
        here = [each.role for each in self.of(account)]
        return min(default, *here) if here else self.voices.get(account, default)

    def remember_voice(self, occupant: Occupant) -> None:
        """Somebody leaves by itself; who was made a moderator for a visit has a voice afterwards."""
        role, usual = (
            min(occupant.role, Role.participant),
            self.default_role(self.affiliation(occupant.account)),
        )
        self.voices.pop(occupant.account, None)
        if role not in (usual, Role.none) and usual is not Role.moderator:
            self.voices[occupant.account] = role
            if len(self.voices) > _VOICES:
                del self.voices[next(iter(self.voices))]

    # -- what is stored -----------------------------------------------------------------------------

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Change something that is stored: one after the other, and nothing once the room is destroyed.

        :raises StanzaError: ``item-not-found``: it was destroyed meanwhile.
        """
        async with self._changing:
            if self.gone:
                raise StanzaError("item-not-found")
            yield

    async def store(self, **changes: Any) -> None:
        """Change the record; it has changed when that is durable."""
        new = replace(self.record, **changes)
        if not self.locked:
            await self.service.rooms.records.put(self.jid, "", new)
        self.record = new

    async def keep(self, changes: Mapping[str, tuple[str, ...]]) -> None:
        """Change `Record.kept`; what is empty is removed.  `changing` is held.

        :raises StanzaError: ``resource-constraint``: that is too much for one room.
        """
        kept = {name: values for name, values in {**self.record.kept, **changes}.items() if values}
        if _size(kept) > max(_LARGEST_KEPT, _size(self.record.kept)):
            raise StanzaError("resource-constraint", "there is too much of this in the room")
        await self.store(kept=kept)

    async def store_belongings(
        self, changes: Mapping[str, Belonging | None], options: Options | None = None
    ) -> None:
        """Have a change durable of who belongs to it, all or nothing; `belong` makes it then.

        :param options: stored with it, if they are others; whoever calls makes that change, too.  A room that
            is locked is stored with them, and locked no more.
        """
        rooms = self.service.rooms
        if self.locked:
            if options is not None:
                await rooms.create(self, options, changes)
        elif options is None:
            await rooms.belongings.change(self.jid, changes)
        else:
            await rooms.save(self, changes, replace(self.record, options=options))

    def belong(self, changes: Mapping[str, Belonging | None]) -> None:
        """Change who belongs to it; it is stored already."""
        for jid, belonging in changes.items():
            self.voices.pop(jid, None)
            if belonging is None:
                self.belongings.pop(jid, None)
            else:
                self.belongings[jid] = belonging


def _size(kept: Mapping[str, tuple[str, ...]]) -> int:
    return sum(len(name) + sum(map(len, values)) for name, values in kept.items())
