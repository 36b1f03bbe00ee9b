"""XEP-0012."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import fail

from jabberd.api import AccountDeleted, StorageError
from jabberd.xmpp.jid import JID
from tests.rehearsal import Player, Rehearsal

if TYPE_CHECKING:
    import pytest

QUERY = "<query xmlns='jabber:iq:last'/>"
JULIET = "juliet@capulet.lit/balcony"


def befriend(stage: Rehearsal, romeo: Player) -> None:
    """Let Juliet see Romeo's presence."""
    stage.receive("<presence type='subscribe' from='juliet@capulet.lit' to='romeo@montague.lit'/>")
    romeo.say("<presence type='subscribed' to='juliet@capulet.lit'/>")


def juliet_hears(stage: Rehearsal, to: str = "romeo@montague.lit") -> bytes:
    stage.abroad.clear()
    stage.receive(f"<iq type='get' id='last1' from='{JULIET}' to='{to}'>{QUERY}</iq>")
    [answer] = stage.abroad
    return answer.payload


def test_a_subscriber_learns_when_and_with_which_words_the_account_left() -> None:
    with Rehearsal({"last": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        befriend(stage, romeo)
        romeo.say("<presence/>")
        romeo.say("<presence type='unavailable'><status>Heading Home</status></presence>")
        romeo.leave()
        stage.clock.advance(903)
        assert juliet_hears(stage) == b"<query xmlns='jabber:iq:last' seconds='903'>Heading Home</query>"


def test_a_lost_connection_leaves_no_words() -> None:
    with Rehearsal({"last": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        befriend(stage, romeo)
        romeo.say("<presence><status>In the orchard</status></presence>")
        romeo.leave()
        stage.clock.advance(3)
        assert juliet_hears(stage) == b"<query xmlns='jabber:iq:last' seconds='3'/>"


def test_it_is_zero_while_one_of_several_sessions_is_left() -> None:
    with Rehearsal({"last": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        befriend(stage, romeo)
        phone = stage.login("romeo@montague.lit/phone")
        phone.leave()
        stage.clock.advance(60)
        assert juliet_hears(stage) == b"<query xmlns='jabber:iq:last' seconds='0'/>"
        romeo.leave()
        stage.clock.advance(60)
        assert juliet_hears(stage) == b"<query xmlns='jabber:iq:last' seconds='60'/>"


def test_it_survives_a_restart() -> None:
    with Rehearsal({"last": {}}) as first:
        romeo = first.login("romeo@montague.lit/orchard")
        befriend(first, romeo)
        romeo.leave()
    with Rehearsal({"last": {}}, storage=first.storage) as second:
        second.clock.advance(86400)
        assert juliet_hears(second) == b"<query xmlns='jabber:iq:last' seconds='86400'/>"


def test_it_is_never_negative_when_the_clock_was_set_back() -> None:
    with Rehearsal({"last": {}}) as first:
        first.clock.advance(1000)
        romeo = first.login("romeo@montague.lit/orchard")
        befriend(first, romeo)
        romeo.leave()
    with Rehearsal({"last": {}}, storage=first.storage) as second:
        assert juliet_hears(second) == b"<query xmlns='jabber:iq:last' seconds='0'/>"


def test_who_was_never_here_cannot_have_left() -> None:
    with Rehearsal({}) as before:  # the module was switched on later
        romeo = before.login("romeo@montague.lit/orchard")
        befriend(before, romeo)
        romeo.leave()
    with Rehearsal({"last": {}}, storage=before.storage) as stage:
        assert b"<item-not-found" in juliet_hears(stage)


def test_a_stranger_cannot_tell_an_account_from_none() -> None:
    with Rehearsal({"last": {}}) as stage:
        stage.login("romeo@montague.lit/orchard")
        assert b"<service-unavailable" in juliet_hears(stage)
        assert juliet_hears(stage) == juliet_hears(stage, "nobody@montague.lit")


def test_the_owner_asks_about_itself() -> None:
    with Rehearsal({"last": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        answer = romeo.ask(f"<iq type='get'>{QUERY}</iq>")
        assert answer.payload == b"<query xmlns='jabber:iq:last' seconds='0'/>"


def test_the_domain_tells_how_long_it_has_been_up() -> None:
    with Rehearsal({"last": {}}) as stage:
        stage.clock.advance(123456.7)
        answer = juliet_hears(stage, "montague.lit")
        assert answer == b"<query xmlns='jabber:iq:last' seconds='123456'/>"


async def test_nothing_is_kept_of_an_anonymous_session() -> None:
    with Rehearsal({"last": {}}) as stage:
        client = stage.let_in()
        owner = client.session.jid.bare
        client.leave()
        stage.clock.advance(60)
        found = await stage.storage.load(owner, ["last"])
        assert found == {"last": {}}


async def test_what_is_noted_is_written_some_seconds_later_and_once() -> None:
    with Rehearsal({"last": {}}) as stage:
        for _ in range(3):
            stage.login("romeo@montague.lit/orchard").leave()
            stage.clock.advance(1)
        assert await stage.storage.load("romeo@montague.lit", ["last"]) == {"last": {}}
        stage.clock.advance(5)
        first = await stage.storage.load("romeo@montague.lit", ["arrival", "last"])
        assert {name: len(found) for name, found in first.items()} == {"arrival": 1, "last": 1}
        stage.login("romeo@montague.lit/orchard").leave()
        stage.clock.advance(60)
        assert await stage.storage.load("romeo@montague.lit", ["arrival", "last"]) != first


async def test_nothing_is_written_of_an_account_that_was_removed_meanwhile() -> None:
    with Rehearsal({"last": {}}) as stage:
        stage.login("romeo@montague.lit/orchard").leave()
        stage.domain.fire(AccountDeleted(JID.parse("romeo@montague.lit")))
        stage.clock.advance(60)
        assert await stage.storage.load("romeo@montague.lit", ["arrival", "last"]) == {
            "arrival": {},
            "last": {},
        }


def test_a_storage_that_is_away_costs_what_was_noted_and_no_more(
    log_lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Rehearsal({"last": {}}) as stage:
        stage.login("romeo@montague.lit/orchard").leave()
        store = stage.domain.module("last").departures  # type: ignore[attr-defined]  # it has
        with monkeypatch.context() as away:
            away.setattr(store, "put", lambda *_: fail(StorageError("it is away")))
            stage.clock.advance(5)
        assert any("was not written: it is away" in line for line in log_lines)
        stage.login("romeo@montague.lit/orchard").leave()
        stage.clock.advance(60)
        assert stage.operate("last", "last", "romeo@montague.lit")["logout"]
