"""What operators see of sessions, do with them, and say to everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jabberd.admin import Admin, UsageError
from jabberd.api import Refused
from jabberd.hosting import verb_groups
from jabberd.testing import Network
from jabberd.testing.outcome import done

if TYPE_CHECKING:
    from collections.abc import Iterator

ROMEO = "romeo@montague.lit"
SM = "urn:xmpp:sm:3"


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    network.serve("montague.lit", "capulet.lit", tls=True)
    yield network
    network.close()


def operate(network: Network, *words: str) -> Any:
    return done(Admin(lambda: verb_groups(network.server("montague.lit").hosts)).run([*words], {}))


def listed(network: Network, *words: str) -> list[str]:
    return [row["jid"] for row in operate(network, "sessions", "list", *words)]


# -- sessions -------------------------------------------------------------------------------------------


def test_a_session_is_shown_with_its_client_its_tls_and_its_presence(network: Network) -> None:
    network.advance(3600)
    network.client(
        f"{ROMEO}/orchard",
        address="192.0.2.7",
        presence="<presence><priority>5</priority><c xmlns='http://jabber.org/protocol/caps'"
        " hash='sha-1' node='https://gajim.org' ver='q07IKJEyjvHSyhy//CH0CxmKi8w='/></presence>",
    )
    [row] = operate(network, "sessions", "list", ROMEO)
    assert row == {
        "jid": f"{ROMEO}/orchard",
        "state": "available",
        "client": "https://gajim.org",
        "priority": 5,
        "address": "192.0.2.7",
        "tls": "TLSv1.3",
        "cipher": row["cipher"],
        "queue": 0,
        "since": "1970-01-01T01:00:00Z",
    }
    assert row["cipher"].startswith("TLS_")


@pytest.mark.parametrize(
    ("presence", "state"),
    [
        ("", "connected"),
        ("<presence/>", "available"),
        ("<presence><show>dnd</show></presence>", "dnd"),
        ("<presence><show/></presence>", "available"),
        ("<presence><status>away</status></presence>", "available"),
    ],
)
def test_the_state_is_what_the_presence_shows(network: Network, presence: str, state: str) -> None:
    network.client(f"{ROMEO}/orchard", presence=presence)
    assert operate(network, "sessions", "list")[0]["state"] == state


def test_a_session_that_waits_for_its_client_says_so_and_what_it_has_for_it(network: Network) -> None:
    romeo = network.client(f"{ROMEO}/orchard")
    romeo.send(f"<enable xmlns='{SM}' resume='true'/>")
    romeo.drop()
    juliet = network.client("juliet@capulet.lit/balcony")
    for _ in range(3):
        juliet.send(f"<message to='{ROMEO}' type='chat'><body>Romeo?</body></message>")
    [row] = operate(network, "sessions", "list", ROMEO)
    assert (row["state"], row["queue"], row["address"]) == ("waiting", 3, "127.0.0.1")
    assert operate(network, "sessions", "count")[1]["waiting"] == 1
    assert operate(network, "sessions", "kick", ROMEO) == f"ended {ROMEO}/orchard"
    assert listed(network) == ["juliet@capulet.lit/balcony"]


def test_a_list_is_of_all_or_of_a_domain_or_of_an_account_or_one(network: Network) -> None:
    for jid in (
        f"{ROMEO}/square",
        f"{ROMEO}/orchard",
        "juliet@capulet.lit/balcony",
        "benvolio@montague.lit/x",
    ):
        network.client(jid)
    assert listed(network) == [
        "benvolio@montague.lit/x",
        "juliet@capulet.lit/balcony",
        f"{ROMEO}/orchard",
        f"{ROMEO}/square",
    ]
    assert listed(network, "capulet.lit") == ["juliet@capulet.lit/balcony"]
    assert listed(network, ROMEO) == [f"{ROMEO}/orchard", f"{ROMEO}/square"]
    assert listed(network, f"{ROMEO}/square") == [f"{ROMEO}/square"]
    assert listed(network, "nurse@capulet.lit") == []
    with pytest.raises(
        Refused, match=r"^evil\.example is not hosted here; hosted are capulet\.lit, montague\.lit$"
    ):
        listed(network, "evil.example")


def test_sessions_are_counted_by_domain(network: Network) -> None:
    network.client(f"{ROMEO}/square")
    network.client(f"{ROMEO}/orchard", presence="")
    none = {"accounts online": 0, "sessions": 0, "available": 0, "waiting": 0}
    assert operate(network, "sessions", "count") == [
        {"domain": "capulet.lit", **none},
        {"domain": "montague.lit", "accounts online": 1, "sessions": 2, "available": 1, "waiting": 0},
    ]


def test_who_is_kicked_is_told_why_and_may_come_back(network: Network) -> None:
    square, orchard = network.client(f"{ROMEO}/square"), network.client(f"{ROMEO}/orchard")
    square.forget()
    assert operate(network, "sessions", "kick", f"{ROMEO}/square", "Enough!") == f"ended {ROMEO}/square"
    square.flush()
    assert square.heard[0].findtext("{urn:ietf:params:xml:ns:xmpp-streams}text") == "Enough!"
    assert square.is_dismissed_with("policy-violation")
    assert orchard.connected
    network.client(f"{ROMEO}/square")
    assert operate(network, "sessions", "kick", ROMEO) == f"ended {ROMEO}/orchard, {ROMEO}/square"
    with pytest.raises(Refused, match=r"^romeo@montague\.lit has no session$"):
        operate(network, "sessions", "kick", ROMEO)


def test_a_whole_domain_cannot_be_kicked_by_a_slip(network: Network) -> None:
    network.client(f"{ROMEO}/square")
    with pytest.raises(Refused, match="is not an account"):
        operate(network, "sessions", "kick", "montague.lit")
    assert len(listed(network)) == 1


# -- accounts -------------------------------------------------------------------------------------------


def test_a_disabled_account_loses_its_sessions_and_nobody_gets_in_until_it_is_enabled(
    network: Network,
) -> None:
    romeo = network.client(f"{ROMEO}/orchard")
    authenticated = network.connected(f"{ROMEO}/square")
    assert operate(network, "accounts", "disable", ROMEO) == f"{ROMEO} is disabled"
    assert romeo.is_dismissed_with("not-authorized")
    assert operate(network, "accounts", "show", ROMEO)["disabled"].endswith("Z")
    with pytest.raises(AssertionError, match="not-authorized"):
        network.client(f"{ROMEO}/orchard")
    assert operate(network, "accounts", "enable", ROMEO) == f"{ROMEO} is enabled"
    assert operate(network, "accounts", "show", ROMEO)["disabled"] is None
    network.client(f"{ROMEO}/orchard")
    authenticated.drop()


def test_a_session_that_could_be_resumed_ends_with_its_account_disabled(network: Network) -> None:
    romeo = network.client(f"{ROMEO}/orchard")
    romeo.send(f"<enable xmlns='{SM}' resume='true'/>")
    romeo.drop()
    operate(network, "accounts", "disable", ROMEO)
    assert listed(network) == []


def test_what_is_written_to_a_disabled_account_waits_for_it(network: Network) -> None:
    network.client(f"{ROMEO}/orchard")
    operate(network, "accounts", "disable", ROMEO)
    juliet = network.client("juliet@capulet.lit/balcony")
    juliet.send(f"<message to='{ROMEO}' type='chat'><body>Romeo?</body></message>")
    assert juliet.hears_nothing()
    operate(network, "accounts", "enable", ROMEO)
    romeo = network.client(f"{ROMEO}/orchard", presence="")
    romeo.send("<presence/>")
    assert "Romeo?" in [each.findtext("{jabber:client}body") for each in romeo.heard]


@pytest.mark.parametrize("verb", ["disable", "enable", "show", "last"])
def test_an_account_that_is_not_there_is_refused(network: Network, verb: str) -> None:
    with pytest.raises(Refused, match=r"^there is no account nobody@montague\.lit$"):
        operate(network, "accounts", verb, "nobody@montague.lit")


def test_an_account_is_shown_with_its_sessions_and_how_many_contacts_it_has(network: Network) -> None:
    romeo = network.client(f"{ROMEO}/orchard")
    romeo.ask("<iq type='set'><query xmlns='jabber:iq:roster'><item jid='juliet@capulet.lit'/></query></iq>")
    shown = operate(network, "accounts", "show", ROMEO)
    assert shown == {
        "jid": ROMEO,
        "created": shown["created"],
        "disabled": None,
        "sessions": [f"{ROMEO}/orchard"],
        "contacts": 1,
    }
    assert shown["created"].endswith("Z")


def test_the_last_login_and_logout_are_told(network: Network) -> None:
    network.advance(60)
    romeo = network.client(f"{ROMEO}/orchard")
    known = {"jid": ROMEO, "login": "1970-01-01T00:01:00Z"}
    assert operate(network, "accounts", "last", ROMEO) == {
        **known,
        "online": True,
        "logout": None,
        "status": None,
    }
    romeo.send("<presence type='unavailable'><status>Farewell!</status></presence>")
    network.advance(60)
    romeo.drop()
    network.advance(1)
    assert operate(network, "accounts", "last", ROMEO) == {
        **known,
        "online": False,
        "logout": "1970-01-01T00:02:00Z",
        "status": "Farewell!",
    }


# -- announcements --------------------------------------------------------------------------------------


def test_an_announcement_reaches_whoever_is_available_and_is_kept_for_nobody(network: Network) -> None:
    romeo, juliet = network.client(f"{ROMEO}/orchard"), network.client("juliet@capulet.lit/balcony")
    silent = network.client("benvolio@montague.lit/street", presence="")
    network.client("nurse@capulet.lit/chamber").send("<presence type='unavailable'/>")
    assert operate(network, "announce", "The prince comes & speaks") == "told 2 sessions"
    for client in (romeo, juliet):
        assert client.receives(
            f"<message from='{client.jid.domainpart}' to='{client.jid}' type='headline'>"
            "<body>The prince comes &amp; speaks</body></message>"
        )
    assert silent.hears_nothing()
    late = network.client("nurse@capulet.lit/garden", presence="")
    late.send("<presence/>")
    assert late.receives(f"<presence from='{late.jid}' to='{late.jid.bare}'/>")
    assert late.hears_nothing()


def test_an_announcement_may_be_for_one_domain(network: Network) -> None:
    romeo, juliet = network.client(f"{ROMEO}/orchard"), network.client("juliet@capulet.lit/balcony")
    assert operate(network, "announce", "To bed!", "capulet.lit") == "told 1 session"
    assert romeo.hears_nothing()
    assert juliet.next().findtext("{jabber:client}body") == "To bed!"
    with pytest.raises(Refused, match="is not hosted here"):
        operate(network, "announce", "To bed!", "evil.example")
    with pytest.raises(Refused, match=r"^an empty message tells nobody anything$"):
        operate(network, "announce", "")
    with pytest.raises(UsageError, match=r"^TEXT is missing; usage: announce TEXT \[DOMAIN\]$"):
        operate(network, "announce")
