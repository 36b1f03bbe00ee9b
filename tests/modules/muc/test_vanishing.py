"""What a room tells somebody may be what ends their connection: at that moment they are gone, and told of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.modules.muc import Rooms
from jabberd.streams.c2s import C2SStream
from jabberd.testing import Network
from jabberd.xmpp.jid import JID
from tests.modules.muc.play import MUC, ROOM, ROOMS, create, enter, join

if TYPE_CHECKING:
    from jabberd.modules.muc.room import Room
    from jabberd.testing.client import Client
    from jabberd.xmpp.stanza import Stanza

ROMEO, JULIET, NURSE = "romeo@montague.lit", "juliet@montague.lit", "nurse@montague.lit"
ENTERS = f"<presence to='{ROOM}/Nurse'><x xmlns='{MUC}'/></presence>"
ADMIN = f"<iq type='set' id='a' to='{ROOM}'><query xmlns='{MUC}#admin'>{{}}</query></iq>"
OWNER = f"<iq type='set' id='o' to='{ROOM}'><query xmlns='{MUC}#owner'>{{}}</query></iq>"
CLOSED = "<field var='muc#roomconfig_membersonly'><value>1</value></field>"
#: Who does what: an owner, or somebody who is in the room or enters it.
DEEDS = {
    "enters": (NURSE, ENTERS),
    "enters again": (JULIET, f"<presence to='{ROOM}/Juliet'><x xmlns='{MUC}'/></presence>"),
    "has another name": (JULIET, f"<presence to='{ROOM}/Rose'/>"),
    "gives a role": (ROMEO, ADMIN.format("<item nick='Juliet' role='moderator'/>")),
    "kicks": (ROMEO, ADMIN.format("<item nick='Juliet' role='none'/>")),
    "bans": (ROMEO, ADMIN.format(f"<item jid='{JULIET}' affiliation='outcast'/>")),
    "makes members": (
        ROMEO,
        ADMIN.format("".join(f"<item jid='{jid}' affiliation='member'/>" for jid in (JULIET, NURSE))),
    ),
    "closes the room": (ROMEO, OWNER.format(f"<x xmlns='jabber:x:data' type='submit'>{CLOSED}</x>")),
    "destroys the room": (ROMEO, OWNER.format("<destroy/>")),
}


def vanish(monkeypatch: pytest.MonkeyPatch, bare: str, number: int) -> list[Stanza]:
    """End somebody's connection just when it is sent the stanza of that number, counted from 1."""
    sent: list[Stanza] = []
    really = C2SStream.send  # where all roads end

    def send(stream: C2SStream, stanza: Stanza) -> None:
        session, sender = stream.session, stanza.sender
        if session is None or session.jid.bare != bare or sender is None or sender.domainpart != ROOMS:
            really(stream, stanza)
            return
        sent.append(stanza)
        if len(sent) == number:
            stream.close()
        really(stream, stanza)

    monkeypatch.setattr(C2SStream, "send", send)
    return sent


def check(room: Room | None) -> None:
    """Whoever is in the room is there, once."""
    if room is not None and not room.gone:
        behind = {jid: each for each in room.occupants.values() for jid in each.visits}
        assert behind == room.visits
        assert all(each.visits for each in room.occupants.values())


@pytest.mark.parametrize("gone", [ROMEO, JULIET, NURSE])
@pytest.mark.parametrize("deed", DEEDS)
def test_whoever_is_gone_in_the_middle_of_it_is_gone_and_nobody_else(deed: str, gone: str) -> None:
    number = sent = 0
    while sent == number:  # once for each stanza that they are sent
        number += 1
        network = Network()
        with pytest.MonkeyPatch.context() as monkeypatch:
            sent = min(number, len(staged(network, monkeypatch, deed, gone, number)))
        network.close()


def staged(
    network: Network, monkeypatch: pytest.MonkeyPatch, deed: str, gone: str, number: int
) -> list[Stanza]:
    modules = ("disco", "commands", "muc", "muc_versions", "muc_hats", "muc_activity")
    network.serve("montague.lit", services={ROOMS: {name: {} for name in modules}})
    people: dict[str, Client] = {jid: network.client(f"{jid}/x") for jid in (ROMEO, JULIET, NURSE)}
    create(people[ROMEO], "Romeo", persistentroom="1", whois="anyone")
    enter(people[JULIET], "Juliet")
    if not deed.startswith("enters"):
        enter(people[NURSE], "Nurse")
    rooms = network.server("montague.lit").hosts[ROOMS].manager.module("muc")
    assert isinstance(rooms, Rooms)
    sent = vanish(monkeypatch, gone, number)
    who, said = DEEDS[deed]
    people[who].send(said)
    network.flush()
    check(rooms.service.rooms.resident.get(JID.parse(ROOM)))
    if len(sent) >= number:
        room = rooms.service.rooms.resident.get(JID.parse(ROOM))
        assert room is None or JID.parse(f"{gone}/x") not in room.visits
    monkeypatch.undo()
    left = next(jid for jid in people if jid != gone)
    join(people[left], "Somebody")
    network.flush()
    return sent


def test_who_is_gone_when_an_invitation_comes_back_keeps_it_from_nobody(
    network: Network, romeo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = network.client(f"{ROMEO}/y")
    create(romeo, "Romeo")
    enter(other, "Rosaline")
    with monkeypatch.context() as patch:
        sent = vanish(patch, ROMEO, 1)
        invited = "<invite to='nobody@montague.lit'/>"
        other.send(f"<message to='{ROOM}' id='i'><x xmlns='{MUC}#user'>{invited}</x></message>")
        network.flush()
        assert {str(each.to) for each in sent if each.type == "error"} == {f"{ROMEO}/orchard", f"{ROMEO}/y"}
    rooms = network.server("montague.lit").hosts[ROOMS].manager.module("muc")
    assert isinstance(rooms, Rooms)
    room = rooms.service.rooms.resident[JID.parse(ROOM)]
    check(room)
    assert len(room.visits) == 1
