"""XEP-0198: acknowledgements and resumption, over real streams in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.jsm.limits import Limits
from jabberd.testing.client import condition
from jabberd.testing.outcome import done

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

    from jabberd.testing import Client, Network

NS = "urn:xmpp:sm:3"
RESULT = "http://jabber.org/protocol/errors"
PING = "<iq type='get' to='montague.lit'><ping xmlns='urn:xmpp:ping'/></iq>"
FAILED = f"<failed xmlns='{NS}'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"


def enabled(client: Client, attrs: str = "") -> str:
    """Enable stream management; gives the id to resume by."""
    client.forget()
    client.send(f"<enable xmlns='{NS}'{attrs}/>")
    answer = client.next()
    assert answer.tag == f"{{{NS}}}enabled"
    return str(answer.get("id", ""))


def authenticated(network: Network, jid: str) -> tuple[Client, Element]:
    """A client that is logged in but has no resource, and what it was offered."""
    client = network.connected(jid)
    client.open()
    client.login()
    return client, client.open()


def resuming(network: Network, jid: str, previd: str, h: int) -> Client:
    """A new connection that has asked to resume."""
    client, _ = authenticated(network, jid)
    client.send(f"<resume xmlns='{NS}' previd='{previd}' h='{h}'/>")
    return client


def slowly_resuming(network: Network, romeo: Client, previd: str, *, missed: int) -> tuple[Client, list[str]]:
    """Juliet, who has asked to resume and reads nothing of so many messages of 20 kB yet, and these."""
    said = [f"{number}{'x' * 20_000}" for number in range(missed)]
    for body in said:
        romeo.send(message(body))
        network.advance(1)
    client, _ = authenticated(network, "juliet@montague.lit/balcony")
    client.transport.pauseProducing()
    client.send(f"<resume xmlns='{NS}' previd='{previd}' h='0'/>")
    return client, said


def waiting(network: Network) -> list[str]:
    """The bodies of what waited for juliet, when she comes back."""
    back = network.client("juliet@montague.lit/tomb", presence="")
    back.send("<presence/>")
    bodies = [stanza.findtext("{jabber:client}body") for stanza in back.heard]
    back.forget()
    return [body for body in bodies if body]


def message(body: str) -> str:
    return f"<message to='juliet@montague.lit/balcony' type='chat' id='*'><body>{body}</body></message>"


def heard(body: str) -> str:
    return (
        "<message from='romeo@montague.lit/orchard' to='juliet@montague.lit/balcony' type='chat' id='*'>"
        f"<body>{body}</body></message>"
    )


@pytest.fixture
def verona(network: Network) -> None:
    """A server that adds nothing to messages."""
    network.serve("montague.lit", modules={"sm": {}, "offline": {}})


@pytest.fixture
def romeo(network: Network, verona: None) -> Client:
    return network.client("romeo@montague.lit/orchard")


@pytest.fixture
def juliet(network: Network, verona: None) -> Client:
    return network.client("juliet@montague.lit/balcony")


def test_the_stream_offers_it_once_a_client_is_logged_in(network: Network) -> None:
    _, offered = authenticated(network, "romeo@montague.lit/orchard")
    assert offered.find(f"{{{NS}}}sm") is not None


def test_stanzas_are_counted_from_enable_on_and_nonzas_are_not(romeo: Client) -> None:
    enabled(romeo)
    romeo.send(f"<r xmlns='{NS}'/>")
    assert romeo.receives(f"<a xmlns='{NS}' h='0'/>")
    romeo.send("<message to='romeo@montague.lit' type='error'/><presence type='error'/>")
    romeo.send(f"<r xmlns='{NS}'/>")
    assert romeo.receives(f"<a xmlns='{NS}' h='2'/>")


def test_a_stanza_that_was_refused_counts_as_handled(romeo: Client) -> None:
    enabled(romeo)
    romeo.send("<iq type='get' id='1' to='@@'><query xmlns='urn:x'/></iq>")
    romeo.forget()
    romeo.send(f"<a xmlns='{NS}' h='1'/><r xmlns='{NS}'/>")
    assert romeo.receives(f"<a xmlns='{NS}' h='1'/>")


def test_the_server_asks_once_for_what_it_has_sent(romeo: Client, juliet: Client) -> None:
    enabled(juliet)
    romeo.send(message("one"))
    romeo.send(message("two"))
    assert juliet.receives(heard("one"), f"<r xmlns='{NS}'/>", heard("two"))
    juliet.send(f"<a xmlns='{NS}' h='1'/>")
    assert juliet.receives(f"<r xmlns='{NS}'/>")
    juliet.send(f"<a xmlns='{NS}' h='2'/>")
    assert juliet.hears_nothing()


def test_f1_enable_before_binding_or_twice_fails(network: Network, romeo: Client) -> None:
    early, _ = authenticated(network, "nurse@montague.lit/x")
    early.send(f"<enable xmlns='{NS}'/>")
    assert early.receives(FAILED)
    early.bind()
    assert enabled(early) == ""
    enabled(romeo)
    romeo.send(f"<enable xmlns='{NS}'/>")
    assert romeo.receives(FAILED)
    assert romeo.is_dismissed_with("policy-violation")


@pytest.mark.parametrize("request_", [f"<enable xmlns='{NS}'/>", f"<resume xmlns='{NS}' h='0' previd='x'/>"])
def test_f1_whoever_has_not_logged_in_is_told_so_and_counts_as_having_failed(
    network: Network, romeo: Client, request_: str
) -> None:
    stranger = network.connected(romeo.jid)
    stranger.open()
    for _ in range(3):
        stranger.send(request_)
        assert stranger.receives(FAILED)
    assert stranger.is_dismissed_with("policy-violation")


def test_f2_unknown_foreign_and_used_ids_look_the_same(network: Network, romeo: Client) -> None:
    id = enabled(romeo, " resume='true'")
    romeo.drop()
    failed = f"<failed xmlns='{NS}'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
    foreign = resuming(network, "juliet@montague.lit/balcony", id, 0)
    unknown = resuming(network, "romeo@montague.lit/orchard", "no-such-id", 0)
    assert foreign.receives(failed)
    assert unknown.receives(failed)
    again = resuming(network, "romeo@montague.lit/orchard", id, 0)
    assert again.next().tag == f"{{{NS}}}resumed"
    again.send("</stream:stream>")
    used = resuming(network, "romeo@montague.lit/orchard", id, 0)
    assert used.receives(failed)
    used.bind()
    used.send("<presence/>")
    assert used.receives("<presence from='romeo@montague.lit/orchard' to='romeo@montague.lit'/>")


def test_f3_acknowledging_more_than_was_sent_ends_the_stream(romeo: Client) -> None:
    enabled(romeo)
    romeo.send(f"<a xmlns='{NS}' h='1'/>")
    assert romeo.is_dismissed_with("undefined-condition")


def test_f3_a_queue_over_its_cap_ends_the_session_and_its_messages_wait(network: Network) -> None:
    network.serve("montague.lit", modules={"sm": {"queue": 2}, "offline": {}})
    romeo = network.client("romeo@montague.lit/orchard")
    juliet = network.client("juliet@montague.lit/balcony")
    enabled(juliet)
    for body in ("one", "two", "three"):
        romeo.send(message(body))
    juliet.receives(heard("one"), f"<r xmlns='{NS}'/>", heard("two"), heard("three"))
    assert juliet.is_dismissed_with("resource-constraint")
    assert waiting(network) == ["one", "two", "three"]


@pytest.mark.parametrize("how", ["", " resume='true'"])
def test_what_had_not_left_when_acknowledgements_began_is_not_lost(network: Network, how: str) -> None:
    network.serve("montague.lit", modules={"sm": {}, "offline": {}})
    romeo = network.client("romeo@montague.lit/orchard")
    juliet = network.client("juliet@montague.lit/balcony")
    juliet.transport.pauseProducing()
    said = [f"{number}{'x' * 50_000}" for number in range(8)]
    for body in said:
        romeo.send(message(body))
    juliet.send(f"<enable xmlns='{NS}'{how}/>")
    romeo.send(message("last"))
    juliet.drop()
    network.advance(601)
    left = waiting(network)
    assert len(left) > 4
    assert sorted(left) == sorted([*said, "last"][-len(left) :])


def test_what_had_not_left_when_acknowledgements_began_is_not_lost_where_another_takes_its_place(
    network: Network, romeo: Client, juliet: Client
) -> None:
    juliet.transport.pauseProducing()
    said = [f"{number}{'x' * 50_000}" for number in range(8)]
    for body in said:
        romeo.send(message(body))
    juliet.send(f"<enable xmlns='{NS}' resume='true'/>")
    romeo.send(message("last"))
    network.client("juliet@montague.lit/balcony", presence="").close()
    left = waiting(network)
    assert len(left) > 4
    assert left == [*said, "last"][-len(left) :]


def test_f3_so_does_a_queue_with_too_many_bytes_which_count_until_they_are_acknowledged(
    network: Network,
) -> None:
    network.serve("montague.lit", modules={"sm": {"queue_size": 1000}, "offline": {}})
    romeo = network.client("romeo@montague.lit/orchard")
    juliet = network.client("juliet@montague.lit/balcony")
    enabled(juliet)
    first, second, third = ("a" * 600, "b" * 600, "c" * 600)
    romeo.send(message(first))
    juliet.receives(heard(first), f"<r xmlns='{NS}'/>")
    juliet.send(f"<a xmlns='{NS}' h='1'/>")
    romeo.send(message(second))
    juliet.receives(heard(second), f"<r xmlns='{NS}'/>")
    romeo.send(message(third))
    juliet.receives(heard(third))
    assert juliet.is_dismissed_with("resource-constraint")
    assert waiting(network) == [second, third]


def test_a_resumed_session_gets_what_it_missed_and_nobody_saw_it_leave(
    network: Network, romeo: Client, juliet: Client
) -> None:
    id = enabled(juliet, " resume='true'")
    romeo.send(message("one"))
    juliet.receives(heard("one"), f"<r xmlns='{NS}'/>")
    juliet.drop()
    romeo.send(message("two"))
    assert romeo.hears_nothing()
    back = resuming(network, "juliet@montague.lit/balcony", id, 1)
    assert back.receives(f"<resumed xmlns='{NS}' previd='{id}' h='0'/>", heard("two"), f"<r xmlns='{NS}'/>")
    back.send("<message to='romeo@montague.lit/orchard' type='chat' id='m'><body>here</body></message>")
    assert romeo.next().findtext("{jabber:client}body") == "here"


def test_who_has_missed_more_than_a_stream_holds_for_it_gets_it_as_it_reads(
    network: Network, romeo: Client, juliet: Client
) -> None:
    id = enabled(juliet, " resume='true'")
    juliet.drop()
    back, said = slowly_resuming(network, romeo, id, missed=100)
    romeo.send(message("meanwhile"))
    back.transport.resumeProducing()
    back.flush()
    assert back.next().tag == f"{{{NS}}}resumed"
    assert [each.findtext("{jabber:client}body") for each in back.heard[:-1]] == [*said, "meanwhile"]
    assert back.heard[-1].tag == f"{{{NS}}}r"


def test_who_is_lost_again_while_it_gets_what_it_missed_goes_on_where_it_was(
    network: Network, romeo: Client, juliet: Client
) -> None:
    id = enabled(juliet, " resume='true'")
    juliet.drop()
    back, said = slowly_resuming(network, romeo, id, missed=30)
    back.drop()
    romeo.send(message("meanwhile"))
    again = resuming(network, "juliet@montague.lit/balcony", id, 3)
    assert again.next().tag == f"{{{NS}}}resumed"
    assert [each.findtext("{jabber:client}body") for each in again.heard[:-1]] == [*said[3:], "meanwhile"]


def test_nobody_resumes_a_session_of_an_account_that_was_deleted(
    network: Network, romeo: Client, juliet: Client
) -> None:
    previd = enabled(juliet, " resume='true'")
    juliet.drop()
    romeo.send(message("one"))
    registrar = network.server("montague.lit").hosts["montague.lit"].manager.registrar
    done(registrar.delete(juliet.jid.bare))
    assert condition(romeo.next()) == "service-unavailable"  # nobody has got what waited for her
    client = resuming(network, "juliet@montague.lit/balcony", previd, 0)  # of the next of that name
    assert client.receives(FAILED.replace("unexpected-request", "item-not-found"))


def test_resuming_while_the_old_stream_still_seems_alive_ends_that_one(
    network: Network, juliet: Client
) -> None:
    id = enabled(juliet, " resume='true'")
    back = resuming(network, "juliet@montague.lit/balcony", id, 0)
    assert back.next().tag == f"{{{NS}}}resumed"
    assert juliet.is_dismissed_with("conflict")
    back.send(f"<r xmlns='{NS}'/>")
    assert back.receives(f"<a xmlns='{NS}' h='0'/>")


def test_a_client_that_never_comes_back_leaves_its_messages_to_the_account(
    network: Network, romeo: Client, juliet: Client
) -> None:
    enabled(juliet, " resume='true'")
    juliet.drop()
    romeo.send(message("later"))
    network.advance(700)
    assert waiting(network) == ["later"]


def test_a_goodbye_ends_the_session_at_once(network: Network, juliet: Client) -> None:
    id = enabled(juliet, " resume='true'")
    juliet.send("</stream:stream>")
    late = resuming(network, "juliet@montague.lit/balcony", id, 0)
    assert late.next().tag == f"{{{NS}}}failed"


def test_a_message_is_acknowledged_when_its_receiver_has_acknowledged_it(
    romeo: Client, juliet: Client
) -> None:
    enabled(romeo)
    enabled(juliet)
    romeo.send(message("hi") + f"<r xmlns='{NS}'/>")
    assert romeo.receives(f"<a xmlns='{NS}' h='0'/>")
    juliet.receives(heard("hi"), f"<r xmlns='{NS}'/>")
    juliet.send(f"<a xmlns='{NS}' h='1'/>")
    assert romeo.receives(f"<a xmlns='{NS}' h='1'/>")


def test_what_a_receiver_does_not_acknowledge_has_a_home_in_the_spool_before_long(
    network: Network, romeo: Client, juliet: Client
) -> None:
    enabled(romeo)
    enabled(juliet)
    romeo.send(message("hi") + f"<r xmlns='{NS}'/>")
    assert romeo.receives(f"<a xmlns='{NS}' h='0'/>")
    network.advance(0.4)
    assert romeo.hears_nothing()
    network.advance(0.6)
    assert romeo.receives(f"<a xmlns='{NS}' h='1'/>")
    juliet.forget()
    juliet.send(f"<a xmlns='{NS}' h='1'/>")
    spool = network.server("montague.lit").storage.archive("spool")
    counts: list[int] = []
    spool.count("montague.lit").addCallback(counts.append)
    assert counts == [0]


def test_who_lost_all_the_resources_that_are_allowed_can_log_in_and_loses_no_message(
    network: Network,
) -> None:
    network.serve("montague.lit", limits=Limits(sessions=2))
    romeo = network.client("romeo@montague.lit/orchard")
    for resource in ("first", "second"):
        juliet = network.client(f"juliet@montague.lit/{resource}")
        enabled(juliet, " resume='true'")
        juliet.drop()
    romeo.send("<message to='juliet@montague.lit/first' type='chat'><body>Art thou gone so?</body></message>")
    third = network.client("juliet@montague.lit/third", presence="")
    sessions = network.server("montague.lit").hosts["montague.lit"].manager.accounts
    [account] = [each for each in sessions if each.jid.localpart == "juliet"]
    assert [*account.sessions] == ["second", "third"]
    network.advance(1)  # that session was not there when the message went to the second one
    third.send("<presence/>")
    third.forget()
    fourth = network.connected("juliet@montague.lit/fourth")
    fourth.open()
    fourth.login()
    fourth.open()
    assert fourth.bind().get("type") == "result"  # the second made room
    assert "Art thou gone so?" in [each.findtext("{jabber:client}body") for each in third.heard]
    fifth = network.connected("juliet@montague.lit/fifth")
    fifth.open()
    fifth.login()
    fifth.open()
    assert fifth.bind().get("type") == "error"  # whose clients are there are not sent away
    assert third.connected


# -- numbers that are none ------------------------------------------------------------------------------


@pytest.mark.parametrize("h", ["", " h=''", " h='-1'", " h='rose'", f" h='{2**32}'", f" h='{'9' * 5000}'"])
def test_who_resumes_with_no_count_is_told_so_and_may_try_again(
    network: Network, juliet: Client, h: str
) -> None:
    id = enabled(juliet, " resume='true'")
    back, _ = authenticated(network, juliet.jid)
    back.send(f"<resume xmlns='{NS}' previd='{id}'{h}/>")
    assert back.receives(FAILED.replace("unexpected-request", "bad-request"))
    assert juliet.ask(PING).get("type")  # its stream goes on
    back.send(f"<resume xmlns='{NS}' previd='{id}' h='0'/>")
    assert back.next().tag == f"{{{NS}}}resumed"


def test_a_count_that_is_too_long_ends_the_stream_as_any_that_is_none(juliet: Client) -> None:
    enabled(juliet)
    juliet.send(f"<a xmlns='{NS}' h='{'9' * 5000}'/>")
    assert juliet.is_dismissed_with("policy-violation")


def test_a_session_waits_no_longer_than_its_client_likes(network: Network, juliet: Client) -> None:
    juliet.send(f"<enable xmlns='{NS}' resume='true' max='30'/>")
    answer = juliet.next()
    assert answer.get("max") == "30"
    juliet.drop()
    network.advance(29)
    assert resuming(network, juliet.jid, str(answer.get("id")), 0).next().tag == f"{{{NS}}}resumed"
    for asked in ("0", "-1", "soon", "100000", "9" * 5000):
        other = network.client("juliet@montague.lit/tomb")
        other.send(f"<enable xmlns='{NS}' resume='true' max='{asked}'/>")
        assert other.next().get("max") == "600"
        other.drop()


def test_a_session_is_given_up_when_its_client_said(network: Network, juliet: Client) -> None:
    juliet.send(f"<enable xmlns='{NS}' resume='true' max='30'/>")
    id = str(juliet.next().get("id"))
    juliet.drop()
    network.advance(31)
    back = resuming(network, juliet.jid, id, 0)
    assert back.receives(
        FAILED.replace("unexpected-request", "item-not-found").replace(" xm", " h='0' xm", 1)
    )


def test_who_comes_too_late_to_resume_learns_what_had_arrived(network: Network, juliet: Client) -> None:
    id = enabled(juliet, " resume='true' max='30'")
    juliet.send(PING)
    juliet.drop()
    network.advance(31)
    foreign = resuming(network, "romeo@montague.lit/tomb", id, 0).next()
    assert foreign.get("h") is None
    failed = resuming(network, juliet.jid, id, 0).next()
    assert (failed.tag, failed.get("h")) == (f"{{{NS}}}failed", "1")
