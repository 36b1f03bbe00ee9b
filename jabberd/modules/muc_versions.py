"""XEP-0463: who belongs to a room, told to those who come back as what has changed meanwhile.

A version is a digest of the lists that somebody may see, with the room's secret in it: it is the same after
a restart, and nobody can ask for one that the room never told.  What has changed between two versions is
in memory, for the last changes of a room; where it is not, the whole lists are told (§4.2.1).
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from jabberd.api import JID, E, Sealed, Stanza, StanzaError, on
from jabberd.modules.muc.admin import may_list
from jabberd.modules.muc.events import RoomDestroyed
from jabberd.modules.muc.names import JOIN, USER, X_USER
from jabberd.modules.muc.privileges import Affiliation
from jabberd.modules.muc.seam import Extension
from jabberd.xmpp.element import escape_attribute, serialize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from jabberd.modules.muc.occupant import Occupant
    from jabberd.modules.muc.room import Room
    from jabberd.modules.muc.seam import Change
    from jabberd.xmpp.forms import Field

NS: Final = "urn:xmpp:muc:affiliations:1"
_LISTS: Final = (Affiliation.outcast, Affiliation.member, Affiliation.admin, Affiliation.owner)
_STEPS: Final = 200  # changes of one room that are remembered
_ROOMS: Final = 1_000  # of which they are
_TOGETHER: Final = 200  # items in one message

Lists = frozenset[Affiliation]
Sums = dict[Affiliation, int]  # by list: the digests of all who are in it, added


class _Step(NamedTuple):
    """A change, and the lists before it."""

    change: Change
    before: Sums


@dataclass(slots=True)
class _Known:
    """What is known of a room's lists.

    :ivar sums: as they are now, and ``steps``: how they came to be so.
    """

    sums: Sums
    steps: deque[_Step]


class Versions(Extension, xep=463, version="0.2.0"):
    """Tells newcomers what has changed since they were here, and everybody what leads to which version."""

    requires = ("muc",)

    async def start(self) -> None:
        """Nothing is known yet."""
        self._rooms: dict[JID, _Known] = {}

    def room_features(self, room: Room) -> Iterable[str]:
        """§4."""
        return (NS,)

    def room_info(self, room: Room, asker: JID) -> Iterable[Field]:
        """Nothing."""
        return ()

    @on(RoomDestroyed)
    def forget(self, event: RoomDestroyed) -> None:
        """A room is gone."""
        self._rooms.pop(event.jid, None)

    def _known(self, room: Room) -> _Known:
        known = self._rooms.pop(room.jid, None)
        if known is None:
            sums = dict.fromkeys(_LISTS, 0)
            for jid, each in room.belongings.items():
                sums[Affiliation[each.affiliation]] += _digest(room, jid)
            known = _Known(sums, deque(maxlen=_STEPS))
        self._rooms[room.jid] = known  # at the end: the least used goes
        while len(self._rooms) > _ROOMS:
            del self._rooms[next(iter(self._rooms))]
        return known

    # -- those who enter ----------------------------------------------------------------------------

    def greet(self, room: Room, newcomer: Occupant, join: Stanza) -> None:
        """§5.2.1, and §5.2.3: that one may not know."""
        x = join.child(JOIN)
        asked = None if x is None else x.find(f"{{{NS}}}mav")
        if asked is None or join.sender is None:
            return
        seen = _seen(room, join.sender)
        if not seen:
            refused = Stanza.of("message", sender=join.sender, to=room.jid, type="groupchat", id=join.id)
            room.service.route(refused.error(StanzaError("forbidden"), by=room.jid))
            return
        known, since = self._known(room), asked.get("since", "")
        if since == _version(room, known.sums, seen):
            return
        changed = self._since(room, known, since, seen)
        items = _all(room, seen) if changed is None else changed
        until = _version(room, known.sums, seen)
        for message in _messages(items, since if changed is not None else "", until):
            room.service.route(Stanza.of("message", message, sender=room.jid, to=join.sender))

    def _since(self, room: Room, known: _Known, since: str, seen: Lists) -> dict[JID, Affiliation] | None:
        """Who stands elsewhere than in that version, and where now; None: that version is not known."""
        steps = list(known.steps)
        at = next((n for n, each in enumerate(steps) if _version(room, each.before, seen) == since), None)
        if at is None:
            return None
        first: dict[JID, Affiliation] = {}
        last: dict[JID, Affiliation] = {}
        for change, _ in steps[at:]:
            first.setdefault(change.jid, _shown(change.before, seen))
            last[change.jid] = _shown(change.after, seen)
        return {jid: after for jid, after in last.items() if after is not first[jid]}

    # -- those who are in ---------------------------------------------------------------------------

    def standing(self, room: Room, occupant: Occupant) -> bytes:
        """The version that holds (§5.2.1)."""
        seen = _seen(room, occupant.main.jid)
        return _mav("", _version(room, self._known(room).sums, seen)) if seen else b""

    def changed(self, room: Room, changes: Iterable[Change]) -> Mapping[JID, Callable[[Occupant], bytes]]:
        """From which version a change leads to which (§5.2.2)."""
        changes = list(changes)
        if room.jid not in self._rooms:
            self._before(room, changes)
        known = self._known(room)
        found: dict[JID, Callable[[Occupant], bytes]] = {}
        for each in changes:
            before = known.sums
            known.sums = after = dict(before)
            digest = _digest(room, each.jid)
            if each.before is not Affiliation.none:
                after[each.before] -= digest
            if each.after is not Affiliation.none:
                after[each.after] += digest
            known.steps.append(_Step(each, before))
            found[each.jid] = _telling(room, before, after)
        return found

    def _before(self, room: Room, changes: Iterable[Change]) -> None:
        """Know the lists as they were: the room has the new ones already."""
        sums = self._known(room).sums
        for each in changes:
            digest = _digest(room, each.jid)
            if each.after is not Affiliation.none:
                sums[each.after] -= digest
            if each.before is not Affiliation.none:
                sums[each.before] += digest


def _telling(room: Room, before: Sums, after: Sums) -> Callable[[Occupant], bytes]:
    def tell(occupant: Occupant) -> bytes:
        seen = _seen(room, occupant.main.jid) if occupant.visits else frozenset()
        if not seen:
            return b""
        since, until = (_version(room, each, seen) for each in (before, after))
        return b"" if since == until else _mav(since, until)

    return tell


def _seen(room: Room, jid: JID) -> Lists:
    """The lists that somebody may see; the rules are those of the lists themselves (§5.2.3)."""
    return frozenset(each for each in _LISTS if may_list(room, jid, each))


def _shown(affiliation: Affiliation, seen: Lists) -> Affiliation:
    return affiliation if affiliation in seen else Affiliation.none


def _digest(room: Room, jid: str) -> int:
    secret = bytes.fromhex(room.record.secret)
    return int.from_bytes(hmac.digest(secret, b"mav " + jid.encode(), "sha256"))


def _version(room: Room, sums: Sums, seen: Lists) -> str:
    text = " ".join(f"{each}:{sums[each]}" for each in _LISTS if each in seen)
    return hmac.new(bytes.fromhex(room.record.secret), text.encode(), hashlib.sha256).hexdigest()[:32]


def _mav(since: str, until: str) -> bytes:
    return serialize(E(NS, "mav", {"since": since or None, "until": until}), USER)


def _all(room: Room, seen: Lists) -> dict[JID, Affiliation]:
    return {jid: each for each in reversed(_LISTS) if each in seen for jid, _ in room.affiliated(each)}


def _messages(items: Mapping[JID, Affiliation], since: str, until: str) -> Iterable[Sealed]:
    """The ``<x/>`` of each message: one leads to the version from which the next goes on (§5.2.1)."""
    left, number = iter(items.items()), 0
    some = list(islice(left, _TOGETHER))
    while True:
        following = list(islice(left, _TOGETHER))
        to = f"{until}.{number}" if following else until  # nobody is ever in the middle
        inside = "".join(
            f"<item jid='{escape_attribute(jid)}' affiliation='{each.name}'/>" for jid, each in some
        )
        x = f"<x xmlns='{USER}'>".encode() + _mav(since, to) + inside.encode() + b"</x>"
        yield Sealed(X_USER, x)
        if not following:
            return
        some, since, number = following, to, number + 1
