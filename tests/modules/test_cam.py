"""XEP-0494: an owner lists clients and revokes their access, over real TLS in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from lxml import etree

from jabberd import settings
from jabberd.api import JID
from jabberd.interfaces import LoginPolicy
from jabberd.jsm.verbs import AccountVerbs
from jabberd.storage import open_storage
from jabberd.testing import Network
from jabberd.testing.client import condition, written
from jabberd.testing.outcome import done
from tests.modules.test_fast import OTHER_AGENT, coming, token_of, wants
from tests.streams.said import AGENT, at_once, secured

if TYPE_CHECKING:
    from pathlib import Path

    from jabberd.interfaces import Storage
    from jabberd.testing import Client

NS = "urn:xmpp:cam:0"
ROMEO = JID.parse("romeo@montague.lit")
BIND = "<bind xmlns='urn:xmpp:bind:0'/>"
MODULES: dict[str, dict[str, Any]] = {"bind2": {}, "fast": {}, "cam": {"remembered": 5000, "clients": 3}}


def serve(network: Network) -> None:
    """A server on which silent clients stay."""
    patient = settings.Limits(idle_timeout=10_000.0)
    network.serve("montague.lit", tls=True, modules=MODULES, door=patient)


def entered(network: Network, agent: str = AGENT, inside: str = "") -> tuple[Client, str]:
    """A client that is bound, and its token if it wanted one."""
    client = secured(network)
    success = at_once(client, agent + BIND + inside)
    client.next()
    return client, token_of(success)


def listed(client: Client) -> list[dict[str, Any]]:
    answer = client.ask(f"<iq type='get'><list xmlns='{NS}'/></iq>")
    return [
        {
            "connected": each.get("connected") == "true",
            "software": each.findtext(".//{*}software"),
            "first": each.findtext("{*}first-seen", "")[14:19],
            "last": each.findtext("{*}last-seen", "")[14:19],
            "auth": [etree.QName(name).localname for name in each.find("{*}auth")],  # type: ignore[union-attr]  # it must be there
        }
        for each in answer[0]
    ]


def revoked(client: Client, at: int) -> str:
    """Revoke the access of one client of the list: the error, or nothing."""
    id = client.ask(f"<iq type='get'><list xmlns='{NS}'/></iq>")[0][at].get("id")
    return condition(client.ask(f"<iq type='set'><revoke xmlns='{NS}' id='{id}'/></iq>"))


def test_an_owner_sees_who_is_and_was_here(network: Network) -> None:
    serve(network)
    entered(network, OTHER_AGENT.replace("Tassel", "Ruff"))[0].drop()
    network.advance(60)
    client, _ = entered(network, inside=wants())
    nameless = network.client("romeo@montague.lit/orchard")
    assert listed(client) == [
        {
            "connected": True,
            "software": "Tassel",
            "first": "01:00",
            "last": "01:00",
            "auth": ["password", "fast"],
        },
        {"connected": False, "software": "Ruff", "first": "00:00", "last": "00:00", "auth": ["password"]},
        {"connected": True, "software": None, "first": "01:00", "last": "01:00", "auth": ["password"]},
    ]
    assert listed(nameless) == listed(client)


def test_it_is_written_as_in_the_specification(network: Network) -> None:
    serve(network)
    client, _ = entered(network)
    answer = client.ask(f"<iq type='get'><list xmlns='{NS}'/></iq>")
    id = answer[0][0].get("id") or ""
    assert written(answer[0]) == written(
        etree.fromstring(
            f"<clients xmlns='{NS}'><client connected='true' id='{id}' type='session'>"
            "<first-seen>1970-01-01T00:00:00Z</first-seen><last-seen>1970-01-01T00:00:00Z</last-seen>"
            "<auth><password/></auth><permission status='unrestricted'/>"
            "<user-agent><software>Tassel</software></user-agent></client></clients>"
        )
    )
    assert "d4565fa7" not in id


def test_all_of_it_is_there_after_a_restart(network: Network, tmp_path: Path) -> None:
    def opened() -> Storage:
        return open_storage(f"sqlite:///{tmp_path / 'montague.db'}", None)

    storage = opened()
    network.serve("montague.lit", tls=True, modules=MODULES, storage=storage)
    client, token = entered(network, inside=wants())
    before = listed(client)
    client.drop()
    storage.close()
    again = Network()
    storage = opened()
    again.serve("montague.lit", tls=True, modules=MODULES, storage=storage)
    back, success = coming(again, token, inside=BIND)
    assert success.find("{urn:xmpp:bind:0}bound") is not None
    back.next()
    assert listed(back) == before
    again.close()
    storage.close()


def test_when_it_was_here_is_known_when_it_has_left(network: Network) -> None:
    serve(network)
    client, _ = entered(network, OTHER_AGENT)
    network.advance(3660)
    client.drop()
    assert listed(entered(network)[0])[1]["last"] == "01:00"


def test_nobody_else_sees_them(network: Network) -> None:
    serve(network)
    entered(network)
    juliet = network.client("juliet@montague.lit/balcony")
    for payload, type in (("list", "get"), ("revoke", "set")):
        question = f"<iq type='{type}' to='romeo@montague.lit'><{payload} xmlns='{NS}' id='x'/></iq>"
        assert condition(juliet.ask(question)) == "service-unavailable"


def test_the_anonymous_have_no_list(network: Network) -> None:
    network.serve("montague.lit", tls=True, modules=MODULES, policy=LoginPolicy(anonymous=True))
    client = secured(network, "montague.lit")
    client.send(
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='ANONYMOUS'>"
        f"<initial-response/>{AGENT}{BIND}</authenticate>"
    )
    client.next(), client.next()
    assert condition(client.ask(f"<iq type='get'><list xmlns='{NS}'/></iq>")) == "service-unavailable"


def test_who_knows_the_password_is_sent_away_and_may_come_again_until_it_is_changed(network: Network) -> None:
    serve(network)
    lost, token = entered(network, OTHER_AGENT, wants())
    client, _ = entered(network)
    at = [each["connected"] for each in listed(client)].index(True)
    assert at == 0
    other = next(n for n, each in enumerate(listed(client)) if "fast" in each["auth"])
    answer = client.ask(f"<iq type='get'><list xmlns='{NS}'/></iq>")
    id = answer[0][other].get("id")
    error = client.ask(f"<iq type='set'><revoke xmlns='{NS}' id='{id}'/></iq>")
    assert condition(error) == "service-unavailable"
    assert error.find(f".//{{{NS}}}password-reset-required") is not None
    assert lost.is_dismissed_with("not-authorized")
    assert condition(coming(network, token, agent=OTHER_AGENT)[1]) == "not-authorized"
    host = network.server("montague.lit").hosts["montague.lit"]
    done(host.accounts.set_password("romeo", "another"))
    assert [each["auth"] for each in listed(client)] == [[], []]
    assert revoked(client, other) == ""
    assert len(listed(client)) == 1


def test_who_stays_while_the_password_is_changed_does_not_know_the_new_one(network: Network) -> None:
    serve(network)
    leaving, _ = entered(network, OTHER_AGENT)
    client, _ = entered(network)
    assert [each["auth"] for each in listed(client)] == [["password"], ["password"]]
    host = network.server("montague.lit").hosts["montague.lit"]
    done(host.accounts.set_password("romeo", "another"))
    leaving.close()
    assert [each["auth"] for each in listed(client)] == [[], []]


def test_who_has_changed_the_password_knows_it_also_if_it_came_with_a_token(network: Network) -> None:
    network.serve("montague.lit", tls=True, modules={**MODULES, "registration": {}})
    client, token = entered(network, inside=wants())
    client.drop()
    client, _ = coming(network, token, inside=BIND)
    client.next()
    other, _ = entered(network, OTHER_AGENT)
    fields = "<username>romeo</username><password>rosaline</password>"
    changed = client.ask(f"<iq type='set'><query xmlns='jabber:iq:register'>{fields}</query></iq>")
    assert condition(changed) == ""
    assert [each["auth"] for each in listed(other)] == [["password"], []]  # and no token holds any more
    assert revoked(other, 0) == "service-unavailable"  # it may come again


def test_a_client_that_cannot_be_named_is_not_found(network: Network) -> None:
    serve(network)
    client, _ = entered(network)
    assert condition(client.ask(f"<iq type='set'><revoke xmlns='{NS}' id='x'/></iq>")) == "item-not-found"
    assert condition(client.ask(f"<iq type='set'><revoke xmlns='{NS}'/></iq>")) == "item-not-found"


def test_a_client_without_an_id_is_sent_away(network: Network) -> None:
    serve(network)
    nameless = network.client("romeo@montague.lit/orchard")
    client, _ = entered(network)
    assert revoked(client, 1) == "service-unavailable"
    assert nameless.is_dismissed_with("not-authorized")


def test_who_revokes_its_own_access_hears_the_answer(network: Network) -> None:
    serve(network)
    client, _ = entered(network)
    assert revoked(client, 0) == "service-unavailable"
    assert listed(client) != []


@pytest.mark.parametrize("count", [5])
def test_those_that_were_here_long_ago_are_forgotten(network: Network, count: int) -> None:
    serve(network)
    for number in range(count):
        entered(network, AGENT.replace("d4565fa7", f"{number:08}").replace("Tassel", f"T{number}"))[0].drop()
        network.advance(1)
    client = network.client("romeo@montague.lit/orchard")
    assert [each["software"] for each in listed(client)] == ["T4", "T3", "T2", None]
    network.advance(4998)
    assert [each["software"] for each in listed(client)] == ["T4", "T3", None]


def test_the_features_of_an_account_name_it(network: Network) -> None:
    network.serve("montague.lit", tls=True, modules={**MODULES, "disco": {}})
    client, _ = entered(network)
    info = client.ask("<iq type='get'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
    assert NS in info.xpath(".//@var")


def test_a_deleted_account_leaves_nothing(network: Network) -> None:
    serve(network)
    client, _ = entered(network, inside=wants())
    host = network.server("montague.lit").hosts["montague.lit"]
    done(AccountVerbs(host.manager, host.accounts).delete(ROMEO))
    network.flush()
    assert not client.connected
    storage = network.server("montague.lit").storage
    for store in ("clients", "fast-tokens"):
        assert done(storage.load(ROMEO, [store])) == {store: {}}


def test_whoever_has_a_token_is_listed_however_long_ago_it_was_here(network: Network) -> None:
    serve(network)
    away, token = entered(network, inside=wants())
    away.drop()
    entered(network, AGENT.replace("d4565fa7", "00000001").replace("Tassel", "Ruff"))[0].drop()
    network.advance(5001)
    client, _ = entered(network, OTHER_AGENT.replace("Tassel", "Fan"))
    assert [each["software"] for each in listed(client)] == ["Fan", "Tassel"]
    assert revoked(client, 1) in ("", "service-unavailable")
    assert etree.QName(coming(network, token)[1]).localname == "failure"


def test_whoever_is_forgotten_for_others_has_no_token_any_more(network: Network) -> None:
    serve(network)
    away, token = entered(network, inside=wants())
    away.drop()
    for number in range(3):
        network.advance(1)
        entered(network, AGENT.replace("d4565fa7", f"{number:08}").replace("Tassel", f"T{number}"))[0].drop()
    client = network.client("romeo@montague.lit/orchard")
    assert [each["software"] for each in listed(client)] == ["T2", "T1", "T0", None]
    assert etree.QName(coming(network, token)[1]).localname == "failure"
