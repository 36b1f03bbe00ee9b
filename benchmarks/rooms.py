"""Rooms full of people who talk, come, go, change their names and are kicked, on one process.

    python benchmarks/rooms.py [--for 300] [--rooms 50] [--occupants 100] [--every 2] [--churn 5]

There are two sessions for each occupant of one room, over TLS, and each is in many rooms.  In each room
somebody says something every so many seconds, and every so many somebody comes, goes, is renamed or is
kicked.  A ledger (`ledger`) has what everybody heard; the run fails if anything was lost, doubled or
reordered.  What is measured: the server's CPU and memory, the time from saying something to each hearing of
it, and what entering costs as the rooms fill up.  Where there are two cores, the server has one and the
people another.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import selectors
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import load
import servers
from crowd import SHARES, percentile, show
from ledger import Heard, Ledger, stanzas

MUC = "http://jabber.org/protocol/muc"
SERVICE = f"rooms.{load.DOMAIN}"
STEPS = 4  # of filling the rooms, each with a figure
QUIET = 5.0  # seconds without a stanza: everything has arrived; a server that is busy is silent for a while


@dataclass
class Session:
    """One client.

    :ivar inside: its nickname in each room that it is in.
    """

    number: int
    connection: load.Connection
    rest: bytes = b""
    names: int = 0
    inside: dict[str, str] = field(default_factory=dict)

    def nick(self) -> str:
        """A nickname that nobody ever had."""
        self.names += 1
        return f"{self.number}-{self.names}"


class House:
    """All rooms and everybody in them."""

    def __init__(self, server: servers.Server, args: argparse.Namespace) -> None:
        self.server, self.args = server, args
        self.ledger = Ledger()
        self.took: list[float] = []
        self.changes: dict[str, int] = dict.fromkeys(("joins", "leaves", "renames", "kicks"), 0)
        self._random = random.Random(args.seed)
        self._selector = selectors.DefaultSelector()
        self._idle = time.monotonic()
        tls = load.context()
        self.sessions = [self._login(n, tls) for n in range(sessions(args))]
        self.members = {
            f"room{room}": [self.sessions[(room * 7 + n) % len(self.sessions)] for n in range(args.occupants)]
            for room in range(args.rooms)
        }
        self.ledger.clerks = {room: people[0].number for room, people in self.members.items()}

    def _login(self, number: int, tls: object) -> Session:
        if number % 100 == 99:
            show(f"{number + 1} sessions")
        connection = load.login(self.server.port, f"user{number}", tls)  # type: ignore[arg-type]  # an SSLContext
        connection.sock.setblocking(False)
        session = Session(number, connection)
        self._selector.register(connection.sock, selectors.EVENT_READ, session)
        return session

    # -- what they do -----------------------------------------------------------------------------

    def fill(self) -> list[tuple[int, float]]:
        """Let everybody in; after each step how many were in a room, and the CPU for each one let in."""
        costs = []
        for room, (clerk, *_) in self.members.items():
            self._join(clerk, room)
            self._settle(clerk, room)
        self.drain()
        for step in range(STEPS):
            first, last = (self.args.occupants * at // STEPS for at in (step, step + 1))
            before = self.server.cpu_seconds()
            for place in range(max(1, first), last):
                for room, people in self.members.items():
                    self._join(people[place], room)
                self._read(0.0)
            self.drain()
            used = self.server.cpu_seconds() - before
            costs.append((last, used / ((last - first) * self.args.rooms)))
            show(f"{last} in each room")
        return costs

    def _join(self, who: Session, room: str) -> None:
        who.inside[room] = who.nick()
        asked = f"<x xmlns='{MUC}'><history maxstanzas='0'/></x>"
        say(who, f"<presence to='{room}@{SERVICE}/{who.inside[room]}'>{asked}</presence>")

    def _settle(self, clerk: Session, room: str) -> None:
        form = "<x xmlns='jabber:x:data' type='submit'/>"
        say(
            clerk,
            f"<iq type='set' id='o' to='{room}@{SERVICE}'><query xmlns='{MUC}#owner'>{form}</query></iq>",
        )

    def talk(self, seconds: float) -> None:
        """Let them talk and move for so long; then wait until all has arrived."""
        rooms = list(self.members)
        began = shown = time.monotonic()
        due = [
            (began + self._random.uniform(0, every), every, act, room)
            for every, act in ((self.args.every, self._speak), (self.args.churn, self._move))
            for room in rooms
        ]
        due.sort(key=lambda each: each[0])
        while (now := time.monotonic()) < began + seconds:
            while due[0][0] <= now:
                at, every, act, room = due.pop(0)
                act(room)
                due.append((at + every, every, act, room))
                due.sort(key=lambda each: each[0])
            self._read(max(0.0, due[0][0] - now))
            if now > shown + 1:
                shown = now
                show(f"{now - began:.0f} of {seconds:.0f} s, {self.ledger.copies} copies")
        self.drain()

    def _speak(self, room: str) -> None:
        who = self._random.choice([each for each in self.members[room] if room in each.inside])
        number = self.ledger.said[room, who.number]
        self.ledger.said[room, who.number] += 1
        id = f"t{time.monotonic_ns()}.{who.number}.{number}"
        say(
            who,
            f"<message to='{room}@{SERVICE}' type='groupchat' id='{id}'><body>{load.BODY}</body></message>",
        )

    def _move(self, room: str) -> None:
        clerk, *others = self.members[room]
        absent = [each for each in others if room not in each.inside]
        if absent and self._random.random() < 0.5:  # so that the room stays full
            self.changes["joins"] += 1
            self._join(self._random.choice(absent), room)
            return
        who = self._random.choice([each for each in others if room in each.inside])
        what = self._random.choice(("leaves", "renames", "kicks"))
        self.changes[what] += 1
        nick = who.inside[room]
        if what == "renames":
            who.inside[room] = who.nick()
            say(who, f"<presence to='{room}@{SERVICE}/{who.inside[room]}'/>")
        elif what == "leaves":
            del who.inside[room]
            say(who, f"<presence to='{room}@{SERVICE}/{nick}' type='unavailable'/>")
        else:  # it may be another name's by now: what comes through other streams has no order
            kick = f"<item nick='{nick}' role='none'/>"
            say(
                clerk,
                f"<iq type='set' id='k' to='{room}@{SERVICE}'><query xmlns='{MUC}#admin'>{kick}</query></iq>",
            )

    # -- what they hear -----------------------------------------------------------------------------

    def _read(self, wait: float) -> None:
        for key, _ in self._selector.select(wait):
            self._idle = time.monotonic()
            session: Session = key.data
            found, session.rest = stanzas(session.rest + session.connection.received())
            for each in found:
                self._heard(session, each)

    def _heard(self, session: Session, stanza: Heard) -> None:
        if stanza.id.startswith("t") and stanza.type == "groupchat":
            self.took.append((time.monotonic_ns() - int(stanza.id[1:].partition(".")[0])) / 1e9)
        if stanza.kind == "iq" and b"<ping " in stanza.raw:
            say(session, f"<iq type='result' to='{load.DOMAIN}' id='{stanza.id}'/>")
        if stanza.kind == "presence" and "307" in stanza.codes and "110" in stanza.codes:
            session.inside.pop(stanza.room, None)
        if stanza.type == "error" and stanza.kind != "message" and stanza.id != "k":  # see _move
            self.ledger.faults.append(stanza.raw.decode())
        if stanza.room in self.members:
            self.ledger.heard(session.number, stanza)

    def drain(self) -> None:
        """Read until nothing comes any more."""
        self._idle = time.monotonic()
        while time.monotonic() < self._idle + QUIET:
            self._read(0.2)

    def leave(self) -> None:
        self._selector.close()
        load.close([each.connection for each in self.sessions])


def sessions(args: argparse.Namespace) -> int:
    return int(args.occupants * (2 if args.rooms > 1 else 1))


def say(who: Session, xml: str) -> None:
    """What a client says; it waits where the server does not read."""
    who.connection.sock.settimeout(load.PATIENCE)
    who.connection.say(xml)
    who.connection.sock.setblocking(False)


# --- what came of it -----------------------------------------------------------------------------


def measure(server: servers.Server, args: argparse.Namespace) -> tuple[str, list[str]]:
    """The figures, and what went wrong."""
    empty = server.rss()
    house = House(server, args)
    idle = server.rss()
    costs = house.fill()
    full, cpu, presences = server.rss(), server.cpu_seconds(), house.ledger.presences
    house.talk(args.seconds)
    cpu = server.cpu_seconds() - cpu
    presences = house.ledger.presences - presences
    last = server.rss()
    faults = house.ledger.check()
    house.leave()
    said, copies = sum(house.ledger.said.values()), house.ledger.copies
    stays = sum(len(each.stays) for each in house.ledger.occupancies.values())
    changes = ", ".join(f"{count} {what}" for what, count in house.changes.items())
    rows = [
        ("rooms", f"{args.rooms} x {args.occupants} occupants, {len(house.sessions)} sessions, TLS 1.3"),
        ("churn", f"{changes} in {args.seconds:.0f} s; {stays} stays"),
        ("messages", f"{said} said, {len(house.ledger.refused)} refused to who was out, {copies} copies"),
        ("faults", str(len(faults))),
        ("presences", f"{presences} because of churn"),
        ("CPU", f"{cpu / args.seconds:.1%} of one core, {cpu / (copies + presences) * 1e6:.1f} us a stanza"),
        *((f"latency, p{100 * each:g}", f"{percentile(house.took, each) * 1000:.1f} ms") for each in SHARES),
        *((f"entering, up to {count}", f"{cost * 1000:.2f} ms each") for count, cost in costs),
        ("memory", " MiB, ".join(f"{each / 2**20:.1f}" for each in (empty, idle, full, last)) + " MiB"),
        ("", "(empty, with all sessions, with all rooms full, at the end)"),
    ]  # fmt: skip
    return "".join(f"{name:24} {value}\n" for name, value in rows), faults


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--for", dest="seconds", type=float, default=300)
    parser.add_argument("--rooms", type=int, default=50)
    parser.add_argument("--occupants", type=int, default=100)
    parser.add_argument("--every", type=float, default=2, help="seconds between two messages in a room")
    parser.add_argument("--churn", type=float, default=5, help="seconds between two changes in a room")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.occupants < STEPS or args.rooms < 1 or min(args.every, args.churn) <= 0:
        parser.error(f"{STEPS} occupants or more in a room, and a pause between what they do")
    return args


def main() -> None:
    args = arguments()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[1:] or cpus)
    with tempfile.TemporaryDirectory(prefix="jabberd-rooms-") as folder:
        cpu = cpus[0] if len(cpus) > 1 else None
        server = servers.Jabberd(Path(folder) / "jabberd", servers.free_port(), cpu)
        server.accounts([f"user{n}" for n in range(sessions(args))])
        server.start()
        try:
            text, faults = measure(server, args)
        finally:
            server.stop()
    show("")
    print(text, end="")
    if args.output is not None:
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / "rooms.txt").write_text(text)
    if faults:
        sys.exit("\n".join(faults[:20]))


if __name__ == "__main__":
    main()
