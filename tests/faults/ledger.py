"""Every message that was sent, and all that is known of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple


class Copy(NamedTuple):
    """A message as it arrived.

    :ivar receiver: the full JID.
    :ivar stream: which of its streams it came on.
    :ivar session: which of its sessions; several streams, where it resumed.
    :ivar delayed: it had waited for the receiver (XEP-0203).
    """

    receiver: str
    stream: int
    session: int
    delayed: bool


@dataclass
class Message:
    """What became of one message.

    :ivar sender: the full JID; ``to``: the bare one.
    :ivar number: the sender's, increasing.
    :ivar resent: how often its sender said it again, not having seen it acknowledged.
    :ivar refusal: the condition with which it came back.
    :ivar kills: how often the servers of both had been killed when it was sent.
    :ivar survivor: one of them was killed before it, or its last copy, arrived.
    """

    id: str
    sender: str
    to: str
    number: int
    resent: int = 0
    acknowledged: bool = False
    kills: int = 0
    survivor: bool = False
    refusal: str = ""
    stored: bool = False
    copies: list[Copy] = field(default_factory=list)

    @property
    def is_remote(self) -> bool:
        """Whether it had to go to another server."""
        return not self.sender.partition("/")[0].endswith(self.to.partition("@")[2])

    @property
    def has_a_home(self) -> bool:
        """Whether somebody has it, or its sender knows that nobody has."""
        return bool(self.copies or self.stored or self.refusal)

    @property
    def waited_twice(self) -> int:
        """Copies that had waited, beyond the first on one stream."""
        waited = [(copy.receiver, copy.stream) for copy in self.copies if copy.delayed]
        return len(waited) - len(set(waited))

    def repeated(self) -> tuple[int, int]:
        """Copies beyond the first for each receiver: all, and those without a reason.

        A reason is that they came in several sessions (the first had not acknowledged it when it ended), or
        that the sender said it again, or, between two servers, that one was killed which had not acknowledged
        it, or had not heard that it was: it is sent again then, though it may have arrived (XEP-0198 §4).
        That connections break is none: they resume, those of clients and those between servers.
        """
        receivers = Counter(copy.receiver for copy in self.copies)
        sessions = Counter((copy.receiver, copy.session) for copy in self.copies)
        explained = self.survivor and (self.is_remote or self.resent > 0)
        return (
            sum(count - 1 for count in receivers.values()),
            0 if explained else sum(max(0, count - 1 - self.resent) for count in sessions.values()),
        )


class Ledger:
    """The messages of one run.

    :ivar rosters: of each user, the names of contacts, as the server had them in the end.
    :ivar names: for each owner and contact the roster name that was last acknowledged, or those that it may
        be now because an edit has no answer.
    """

    def __init__(self) -> None:
        self.messages: dict[str, Message] = {}
        self.names: dict[tuple[str, str], set[str]] = defaultdict(lambda: {""})
        self.rosters: dict[str, dict[str, str]] = {}
        self._kills: Counter[str] = Counter()  # of each domain's server
        self._order: dict[tuple[str, str, int], list[Message]] = defaultdict(list)
        self.arrivals = 0

    def sent(self, sender: str, to: str, number: int) -> str:
        """A new message; gives its id."""
        id = f"{sender}-{number}"
        message = self.messages[id] = Message(id, sender, to, number)
        message.kills = self._kills_of(message)
        return id

    def killed(self, domain: str) -> None:
        """That domain's server was killed."""
        self._kills[domain] += 1

    def _kills_of(self, message: Message) -> int:
        domains = {jid.partition("/")[0].partition("@")[2] for jid in (message.sender, message.to)}
        return sum(self._kills[domain] for domain in domains)

    def acknowledged(self, id: str) -> None:
        """The sender's server has taken it."""
        if id in self.messages:
            self.messages[id].acknowledged = True

    def resent(self, id: str) -> None:
        """The sender says it again."""
        if id in self.messages:
            self.messages[id].resent += 1

    def arrived(self, id: str, copy: Copy) -> None:
        """A receiver has it."""
        self.arrivals += 1
        message = self.messages[id]
        message.copies.append(copy)
        message.survivor = message.kills != self._kills_of(message)
        self._order[copy.receiver, message.sender, copy.stream].append(message)

    def refused(self, id: str, condition: str) -> None:
        """It came back."""
        if id in self.messages:
            message = self.messages[id]
            message.refusal = condition
            message.survivor = message.kills != self._kills_of(message)

    def stored(self, id: str) -> None:
        """It is in a database after all was over."""
        self.messages[id].stored = True

    # -- what a run has shown -------------------------------------------------------------------------

    def lost(self, *, remote: bool) -> list[Message]:
        """What was acknowledged and has no home."""
        return [
            each
            for each in self.messages.values()
            if each.acknowledged and not each.has_a_home and each.is_remote == remote
        ]

    def disordered(self, *, delayed: bool) -> list[tuple[Message, Message]]:
        """Neighbours on one stream, of one sender, in the wrong order.

        What was said again does not count.

        :param delayed: between what had waited and what came directly; otherwise within each kind.
        """
        wrong: list[tuple[Message, Message]] = []
        for (receiver, _, stream), messages in self._order.items():
            once = [m for m in messages if not m.resent and len(m.copies) == 1]
            if delayed:
                wrong += _descents(once)
                continue
            for kind in (False, True):
                came = (receiver, stream, kind)
                wrong += _descents(
                    [m for m in once if came in ((c.receiver, c.stream, c.delayed) for c in m.copies)]
                )
        return wrong

    def forgotten(self) -> list[tuple[str, str]]:
        """Owners and contacts where the roster has a name that it cannot have."""
        return [
            (owner, contact)
            for (owner, contact), names in self.names.items()
            if self.rosters[owner].get(contact, "") not in names
        ]

    def contradicted(self) -> list[Message]:
        """What arrived and came back, though it was said once and no server was killed."""
        return [
            each
            for each in self.messages.values()
            if each.refusal and each.copies and not (each.resent or each.survivor)
        ]

    def unexplained(self) -> list[Message]:
        """What arrived twice on one stream though its sender said it once."""
        return [each for each in self.messages.values() if each.repeated()[1]]

    def figures(self) -> dict[str, int]:
        """How many of each kind."""
        every = self.messages.values()
        return {
            "sent": len(every),
            "acknowledged": sum(each.acknowledged for each in every),
            "received": sum(bool(each.copies) for each in every),
            "stored": sum(each.stored for each in every),
            "bounced": sum(bool(each.refusal) for each in every),
            "bounced and received": sum(bool(each.refusal and each.copies) for each in every),
            "bounced and received unexplained": len(self.contradicted()),
            "resent": sum(each.resent for each in every),
            "duplicates": sum(each.repeated()[0] for each in every),
            "duplicates of what waited": sum(each.waited_twice for each in every),
            "duplicates here that nobody said again": sum(
                each.waited_twice for each in every if not (each.is_remote or each.resent)
            ),
            "duplicates unexplained": len(self.unexplained()),
            "not acknowledged": sum(not each.acknowledged for each in every),
            "not acknowledged, no home": sum(not (each.acknowledged or each.has_a_home) for each in every),
            "names": len(self.names),
            "names forgotten": len(self.forgotten()),
            "lost here": len(self.lost(remote=False)),
            "lost between servers": len(self.lost(remote=True)),
            "disordered": len(self.disordered(delayed=False)),
            "overtook what had waited": len(self.disordered(delayed=True)),
        }


def _descents(messages: list[Message]) -> list[tuple[Message, Message]]:
    return [(one, other) for one, other in pairwise(messages) if one.number > other.number]
