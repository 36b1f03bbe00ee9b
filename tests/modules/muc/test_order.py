"""Whatever people do at once, and however long it takes: each sees exactly those who are there."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from twisted.internet.task import Clock

from jabberd.api import JID
from jabberd.modules.muc import Rooms, doorway
from jabberd.testing.client import condition
from tests.modules.muc.play import MUC, ROOM, ROOMS, codes, create, heard_by, join, nick, say, send, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxml.etree import _Element

    from jabberd.modules.muc.room import Room
    from jabberd.testing import Network
    from jabberd.testing.client import Client, Hearer

ABROAD = [f"{name}@verona.lit/street" for name in ("mercutio", "benvolio", "tybalt", "paris")]
NICKS = "abcdef"


class Witness:
    """What somebody knows of who is in the room.

    :ivar seen: the nicknames, or None outside.
    """

    def __init__(self, who: Hearer) -> None:
        self.who = who
        self.seen: set[str] | None = None

    def look(self) -> None:
        """Take what was heard: each is seen before they are heard or leave."""
        for each in heard_by(self.who):
            if condition(each) or not each.get("from", "").startswith(ROOM):
                continue
            if str(each.tag).endswith("presence"):
                self._sees(each, nick(each), codes(each))
            elif each.findtext("{*}body") and each.find("{urn:xmpp:delay}delay") is None:
                assert self.seen is not None
                assert nick(each) in self.seen

    def _sees(self, each: _Element, name: str, told: list[str]) -> None:
        if each.get("type") != "unavailable":
            self.seen = {*(self.seen or ()), name}
        elif "303" in told:
            assert self.seen is not None
            self.seen = self.seen - {name} | {*texts(each, "u:x/u:item/@nick")}
        elif "110" in told:
            self.seen = None
        else:
            assert self.seen is not None
            assert name in self.seen
            self.seen.remove(name)


class Stage:
    """A room, its owner, and people of another server, which is sometimes gone."""

    def __init__(self, network: Network, owner: Client, random: Random) -> None:
        rooms = network.server("montague.lit").hosts[ROOMS].manager.module("muc")
        assert isinstance(rooms, Rooms)
        self._rooms, self._network, self._random = rooms, network, random
        self._clock = rooms.service.doorway._clock = Clock()
        self._owner = owner
        self._strangers = {JID.parse(jid): network.stranger(jid) for jid in ABROAD}
        self.witnesses: dict[JID, Witness] = {jid: Witness(each) for jid, each in self._strangers.items()}
        self.witnesses[owner.jid] = Witness(owner)

    @property
    def room(self) -> Room:
        return self._rooms.service.rooms.resident[JID.parse(ROOM)]

    def turn(self) -> bool:
        """Have the next turn of the reactor, if somebody waits for it."""
        for call in self._clock.getDelayedCalls():
            call.cancel()
            self._rooms.service.doorway._turned()
            return True
        return False

    def look(self) -> None:
        for each in self.witnesses.values():
            each.look()

    def act(self) -> None:
        """Let somebody do something."""
        who, name = self._random.choice([*self._strangers.values()]), self._random.choice(NICKS)
        deeds: list[Callable[[], object]] = [
            lambda: join(who, name),
            lambda: send(who, f"<presence xmlns='jabber:client' to='{ROOM}/{name}'/>"),
            lambda: send(who, f"<presence xmlns='jabber:client' to='{ROOM}/x' type='unavailable'/>"),
            lambda: say(who, name),
            lambda: say(self._owner, name),
            self._kick,
            self._vanish,
        ]
        deed = self._random.choices(deeds, (6, 2, 2, 4, 2, 1, 1))[0]
        here = who.jid.bare in self._network._strangers
        if here or deed == self._vanish or self._random.random() < 0.5:  # it may say something and be gone
            deed()
        else:  # it is back, and may be in the room if nobody has noticed
            self._network._strangers[who.jid.bare] = who
            if who.jid not in self.room.visits:
                self.witnesses[who.jid].seen = None
        if self._random.random() < 0.3:
            self.turn()

    def _kick(self) -> None:
        names = self._random.sample(NICKS, 2)
        for each in names:
            query = f"<query xmlns='{MUC}#admin'><item nick='{each}' role='none'/></query>"
            self._owner.send(f"<iq type='set' id='{self._random.random()}' to='{ROOM}'>{query}</iq>")

    def _vanish(self) -> None:
        self.look()
        for each in self._random.sample([*self._strangers], 2):
            self._network._strangers.pop(each.bare, None)


@pytest.mark.parametrize("seed", range(6))
def test_everybody_sees_exactly_those_who_are_there(
    network: Network, romeo: Client, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorway, "_A_TURN", (3, 500)[seed % 2])
    create(romeo, "Romeo")
    stage = Stage(network, romeo, Random(seed))
    stage.witnesses[romeo.jid].seen = {"Romeo"}
    for _ in range(120):
        stage.act()
        stage.look()
    while stage.turn():
        stage.look()
    stage.look()
    names = {each.nick for each in stage.room.occupants.values()}
    reached = [each for each in stage.witnesses if each == romeo.jid or each.bare in network._strangers]
    seen = {jid: stage.witnesses[jid].seen for jid in reached}
    assert seen == {jid: names if jid in stage.room.visits else None for jid in reached}
    assert not stage.room.coming
