"""XEP-0160 with XEP-0198: what waited, was sent and was not taken waits where it was."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import fail

from jabberd.interfaces import ArchiveRow, Span, StorageError
from jabberd.modules import offline
from jabberd.modules.offline import Offline
from jabberd.modules.offline.under_way import UnderWay
from jabberd.modules.sm import StreamManagement
from jabberd.operating.change import Change
from jabberd.storage.memory import MemoryArchive
from jabberd.testing.outcome import done
from jabberd.xmpp.stanza import Stanza
from tests.modules.test_sm import NS, enabled, waiting
from tests.modules.test_sm_resources import bodies, to_all

if TYPE_CHECKING:
    from jabberd.testing import Client, Network
    from tests.conftest import LoggedErrors

JULIET = "juliet@montague.lit"
WAITING: dict[str, dict[str, Any]] = {"sm": {}, "offline": {"limit": 6}}


@pytest.fixture(params=["offline", "archive"])
def romeo(network: Network, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Romeo, where messages wait in the module's own store, and where they wait in an archive."""
    monkeypatch.setattr(offline, "BATCH", 4)
    archive: dict[str, dict[str, Any]] = {"sid": {}, "archive": {}} if request.param == "archive" else {}
    network.serve("montague.lit", modules=WAITING | archive)
    network.client(f"{JULIET}/balcony").close()
    return network.client("romeo@montague.lit/orchard")


def say(network: Network, romeo: Client, said: str) -> None:
    """Each letter is a message, and takes its time."""
    for body in said:
        romeo.send(to_all(body))
        network.advance(0.1)
    romeo.forget()


def enter(network: Network, how: str = "") -> Client:
    """Juliet, who acknowledges nothing."""
    juliet = network.client(f"{JULIET}/tomb", presence="")
    enabled(juliet, how)
    juliet.send("<presence/>")
    return juliet


def rows(network: Network) -> int:
    """How many messages wait for Juliet."""
    storage = network.server("montague.lit").storage
    waiting = done(storage.archive("archive").count(JULIET, Span(waiting=True)))
    return waiting + done(storage.archive("offline").count(JULIET))


@pytest.mark.parametrize("how", ["", " resume='true' max='30'"])
def test_it_waits_again_in_its_order_and_for_no_more_than_the_limit(
    network: Network, romeo: Client, how: str
) -> None:
    say(network, romeo, "abcdef")
    for _ in range(2):
        juliet = enter(network, how)
        assert bodies(juliet) == [*"abcd"]
        juliet.drop()
        network.advance(31)
        assert romeo.hears_nothing()
        assert rows(network) == 6
    assert waiting(network) == [*"abcdef"]
    assert rows(network) == 0


def test_what_came_meanwhile_comes_behind_it(network: Network, romeo: Client) -> None:
    say(network, romeo, "abc")
    juliet = enter(network)
    say(network, romeo, "de")
    assert bodies(juliet) == [*"abcde"]
    juliet.send(f"<a xmlns='{NS}' h='2'/>")  # her presence, and the first message
    juliet.drop()
    assert waiting(network) == [*"bcde"]


def test_it_goes_to_another_resource_that_is_there(network: Network, romeo: Client) -> None:
    say(network, romeo, "ab")
    juliet = enter(network)
    assert bodies(juliet) == [*"ab"]
    balcony = network.client(f"{JULIET}/balcony")
    say(network, romeo, "c")
    juliet.drop()
    assert bodies(balcony) == [*"cab"]
    assert rows(network) == 0


def test_it_waits_for_no_second_process_in_the_spool(network: Network, romeo: Client) -> None:
    say(network, romeo, "a")
    enter(network, " resume='true'")
    network.advance(20)
    assert done(network.server("montague.lit").storage.archive("spool").count("montague.lit")) == 0
    assert rows(network) == 1


def test_nor_where_the_server_runs_since_before_messages_wait(network: Network) -> None:
    network.serve("montague.lit", modules={"sm": {}})
    host = network.server("montague.lit").hosts["montague.lit"]
    romeo = network.client("romeo@montague.lit/orchard")
    juliet = enter(network)
    note = "<delay xmlns='urn:xmpp:delay' from='mantua.lit' stamp='2002-09-10T23:08:25Z'/>"
    romeo.send(to_all("a").replace("</body>", f"</body>{note}"))
    network.advance(1)
    juliet.send(f"<a xmlns='{NS}' h='2'/>")
    juliet.close()
    change = Change(host, {"sm": StreamManagement.Config(), "offline": Offline.Config()})
    done(change.start())
    change.commit()
    say(network, romeo, "b")
    enter(network, " resume='true'")
    network.advance(1)
    assert done(network.server("montague.lit").storage.archive("spool").count("montague.lit")) == 0
    assert rows(network) == 1


def test_what_could_not_be_removed_in_time_is_not_lost_when_it_comes_back(
    network: Network, romeo: Client, monkeypatch: pytest.MonkeyPatch, logged_errors: LoggedErrors
) -> None:
    say(network, romeo, "abcd")
    juliet = enter(network)
    with monkeypatch.context() as broken:
        for name in ("remove", "mark"):
            broken.setattr(MemoryArchive, name, lambda *_, **__: fail(StorageError("full")))
        juliet.send(f"<a xmlns='{NS}' h='3'/>")
        juliet.drop()
        network.advance(1)
    network.advance(2)
    assert waiting(network) == [*"cd"]
    assert logged_errors.take(StorageError)


def test_a_copy_that_comes_back_does_not_hold_up_what_waits(network: Network) -> None:
    network.serve("montague.lit", modules=WAITING | {"carbons": {}})
    romeo = network.client("romeo@montague.lit/orchard")
    balcony, tomb = (network.client(f"{JULIET}/{place}") for place in ("balcony", "tomb"))
    enabled(tomb)
    tomb.ask("<iq type='set' id='1'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
    romeo.send(to_all("a").replace(JULIET, f"{JULIET}/balcony"))
    balcony.close()
    tomb.drop()
    assert rows(network) == 1
    network.client(f"{JULIET}/phone", presence="<presence><priority>-1</priority></presence>")
    enter(network).drop()
    say(network, romeo, "b")
    assert rows(network) == 2
    assert "b" in waiting(network)


# -- rows under way ---------------------------------------------------------------------------------


def given(under_way: UnderWay, *, waits: bool = False) -> Stanza:
    """A message that was sent, and then had another home."""
    stanza = Stanza.from_standalone(b"<message xmlns='jabber:client'><body>hi</body></message>")
    row = ArchiveRow(1, datetime.now(UTC), "romeo@montague.lit", b"", waiting=waits)
    under_way.give(row, stanza).over = True
    return stanza


def test_a_row_that_is_just_being_removed_does_not_stay() -> None:
    under_way = UnderWay()
    stanza = given(under_way)
    assert [row.id for row in under_way.remove()] == [1]
    assert not under_way.returned(stanza)
    assert [row.id for row in under_way.remove()] == [1]  # it is stored anew: the old one still has to go
    under_way.removed()
    assert not under_way


def test_a_row_whose_mark_is_just_being_removed_is_marked_anew_and_stays_so() -> None:
    under_way = UnderWay()
    stanza = given(under_way, waits=True)
    under_way.remove()
    assert not under_way.returned(stanza)
    assert under_way.remove() == []
    assert not under_way


def test_only_what_has_no_other_home_stays_where_it_is() -> None:
    under_way = UnderWay()
    stanza = given(under_way)
    assert stanza not in under_way
    other = Stanza.from_standalone(stanza.to_standalone())
    assert not under_way.returned(other)
    assert under_way.returned(stanza)
    assert not under_way
