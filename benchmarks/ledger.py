"""What occupants of rooms heard, kept so that a lost, doubled or reordered message shows.

One occupant of each room, its clerk, never leaves.  A room does one thing after the other, so that what the
clerk hears between somebody's entering and leaving is exactly what that one has to hear, in that order.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

_STANZA = re.compile(rb"<(message|presence|iq)\b(?:[^>]*/>|.*?</\1>)", re.DOTALL)
_HEAD = re.compile(rb"<(\w+)([^>]*)>")
_ATTRIBUTE = re.compile(rb"\b(id|from|type)=['\"]([^'\"]*)['\"]")
_CODE = re.compile(rb"<status code=['\"](\d+)")
_RENAMED = re.compile(rb"<item [^>]*\bnick=['\"]([^'\"]+)")

Room = str
Said = tuple[int, int]  # who, and which of what that one has said there
Stay = list[Said]


@dataclass(slots=True)
class Heard:
    """A stanza, as far as it matters here.

    :ivar room: the localpart that it is from, and ``nick``.
    """

    kind: str
    type: str
    id: str
    room: Room
    nick: str
    codes: frozenset[str] = frozenset()
    renamed: str = ""
    raw: bytes = b""


def stanzas(data: bytes) -> tuple[list[Heard], bytes]:
    """The stanzas in what came, and what may be the beginning of the next one."""
    found, end = [], 0
    for match in _STANZA.finditer(data):
        found.append(_read(match[0]))
        end = match.end()
    return found, data[end:]


def _read(raw: bytes) -> Heard:
    head = _HEAD.match(raw)
    assert head is not None
    attrs = {name.decode(): value.decode() for name, value in _ATTRIBUTE.findall(head[2])}
    bare, _, nick = attrs.get("from", "").partition("/")
    kind = head[1].decode()
    heard = Heard(kind, attrs.get("type", ""), attrs.get("id", ""), bare.partition("@")[0], nick, raw=raw)
    if kind == "presence":
        heard.codes = frozenset(code.decode() for code in _CODE.findall(raw))
        renamed = _RENAMED.search(raw)
        heard.renamed = renamed[1].decode() if renamed else ""
    return heard


@dataclass(slots=True)
class Occupancy:
    """One session's visits to one room.

    :ivar stays: what it heard in each, the one that lasts last.
    :ivar nicks: who is there, as it knows.
    """

    stays: list[Stay] = field(default_factory=list)
    inside: bool = False
    nicks: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Book:
    """What a room's clerk heard.

    :ivar order: everything that was said.
    :ivar stays: by session, from where to where in it each of its visits was.
    """

    order: Stay = field(default_factory=list)
    stays: dict[int, list[list[int]]] = field(default_factory=lambda: defaultdict(list))


class Ledger:
    """All of it.

    :ivar said: by room and session, how often that one has said something.
    :ivar refused: what a room did not take, since whoever said it was out already.
    """

    def __init__(self) -> None:
        self.said: dict[tuple[Room, int], int] = defaultdict(int)
        self.refused: set[tuple[Room, Said]] = set()
        self.occupancies: dict[tuple[Room, int], Occupancy] = defaultdict(Occupancy)
        self.books: dict[Room, Book] = defaultdict(Book)
        self.clerks: dict[Room, int] = {}
        self.copies = 0  # of messages, and presences
        self.presences = 0
        self.faults: list[str] = []

    def heard(self, who: int, stanza: Heard) -> None:
        """A session has heard something of a room."""
        if stanza.kind == "presence" and stanza.type in ("", "unavailable"):
            self._presence(who, stanza)
        elif stanza.kind == "message" and stanza.id.startswith("t"):
            self._message(who, stanza)

    def _message(self, who: int, stanza: Heard) -> None:
        _, speaker, number = stanza.id[1:].split(".")
        said = int(speaker), int(number)
        if stanza.type == "error":
            self.refused.add((stanza.room, said))
            return
        self.copies += 1
        occupancy = self.occupancies[stanza.room, who]
        if not occupancy.inside:
            self.faults.append(f"{who} heard {said} of {stanza.room} from outside")
            return
        occupancy.stays[-1].append(said)
        if self.clerks[stanza.room] == who:
            self.books[stanza.room].order.append(said)

    def _presence(self, who: int, stanza: Heard) -> None:
        self.presences += 1
        occupancy = self.occupancies[stanza.room, who]
        gone = stanza.type == "unavailable"
        if gone:
            occupancy.nicks.discard(stanza.nick)
        else:
            occupancy.nicks.add(stanza.nick)
        renamed = "303" in stanza.codes
        if "110" in stanza.codes and not renamed:
            self._moved(occupancy, gone=gone)
        if self.clerks[stanza.room] == who and not renamed:
            self._written(self.books[stanza.room], int(stanza.nick.partition("-")[0]), gone=gone)

    def _moved(self, occupancy: Occupancy, *, gone: bool) -> None:
        if gone:
            occupancy.inside = False
            occupancy.nicks.clear()
        elif not occupancy.inside:
            occupancy.inside = True
            occupancy.stays.append([])

    def _written(self, book: Book, whom: int, *, gone: bool) -> None:
        stays = book.stays[whom]
        if gone:
            stays[-1].append(len(book.order))
        elif not stays or len(stays[-1]) == 2:
            stays.append([len(book.order)])

    # -- what came of it --------------------------------------------------------------------------

    def check(self) -> list[str]:
        """Everything that is not as it has to be."""
        faults = list(self.faults)
        for room, book in self.books.items():
            faults += self._all_said(room, book)
        for (room, who), occupancy in self.occupancies.items():
            faults += self._all_heard(room, who, occupancy)
        return faults

    def _all_said(self, room: Room, book: Book) -> list[str]:
        """What was taken was reflected once, and of each speaker in the order in which it was said."""
        spoken: dict[int, list[int]] = defaultdict(list)
        for who, number in book.order:
            spoken[who].append(number)
        return [
            f"{room}: of {who}'s {count} were heard {spoken[who]}"
            for (where, who), count in self.said.items()
            if where == room
            and spoken[who] != [n for n in range(count) if (room, (who, n)) not in self.refused]
        ]

    def _all_heard(self, room: Room, who: int, occupancy: Occupancy) -> list[str]:
        """Each visit heard what its room said meanwhile, and ends with the same people as the clerk's."""
        book = self.books[room]
        meant = [
            book.order[slice(*(stay if len(stay) == 2 else (stay[0], None)))] for stay in book.stays[who]
        ]
        faults = [
            f"{room}: {who} heard {len(got)} of {len(wanted)} in visit {number}, or in another order"
            for number, (wanted, got) in enumerate(zip(meant, occupancy.stays, strict=False))
            if wanted != got
        ]
        if len(meant) != len(occupancy.stays):
            faults.append(f"{room}: {who} was there {len(occupancy.stays)} times, seen {len(meant)} times")
        if occupancy.inside and occupancy.nicks != self.occupancies[room, self.clerks[room]].nicks:
            faults.append(f"{room}: {who} sees others than the clerk")
        return faults
