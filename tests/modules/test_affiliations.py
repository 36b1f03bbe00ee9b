"""XEP-0489: how far a domain knows the owners of its accounts, told to whom the operator wants."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from jabberd.interfaces import LoginPolicy
from jabberd.jsm.credentials import AccountRecord
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from jabberd.xmpp.jid import JID
from tests.modules.test_registration import fields, newcomer, refused, said

if TYPE_CHECKING:
    from jabberd.testing import Client, Network, Stranger

NS = "urn:xmpp:raa:0"
INFO = f"{{{NS}}}info"
MODULES: dict[str, Any] = {name: {} for name in ("disco", "commands", "last", "administration")}
FORGED = f"<info xmlns='{NS}' affiliation='admin' trust='100'/>"
ADMIN = "escalus@montague.lit"


def serve(network: Network, policy: LoginPolicy | None = None, **config: Any) -> None:
    modules = {**MODULES, "affiliations": config, "registration": {"open": True}}
    network.serve("montague.lit", tls=policy is None, modules=modules, admins=[ADMIN], policy=policy)


def aged(network: Network, days: float, name: str = "tybalt") -> Client:
    """The client of an account that its owner made so many days before 1970, which it is."""
    client = network.client(f"{name}@montague.lit/street")
    server = network.server("montague.lit")
    manager = server.hosts["montague.lit"].manager
    store = server.storage.keyed("account", AccountRecord)
    record = done(store.get(client.jid.bare))
    assert record is not None
    made = manager.module("affiliations").now() - timedelta(days=days)
    done(store.put(client.jid.bare, "", replace(record, created=made, registered=True)))
    client.drop()
    manager.accounts.drop(client.jid.bare)  # it is read anew
    return network.client(f"{name}@montague.lit/square")


def asked(stranger: Stranger, jid: str) -> Any:
    stranger.send(f"<iq type='get' id='q1' to='{jid}'><query xmlns='{NS}'/></iq>")
    return stranger.next()


def told(stranger: Stranger, jid: str) -> dict[str, str]:
    return dict(asked(stranger, jid).find(INFO).attrib)


def test_an_account_that_an_operator_made_is_a_members(network: Network) -> None:
    serve(network)
    network.client("romeo@montague.lit/orchard")
    juliet = network.stranger("juliet@capulet.lit/balcony")
    assert told(juliet, "romeo@montague.lit") == {"affiliation": "member"}


def test_an_account_that_its_owner_made_is_registered(network: Network) -> None:
    serve(network)
    client, _ = newcomer(network)
    assert refused(client, said(fields("tybalt"))) == ""
    juliet = network.stranger("juliet@capulet.lit/balcony")
    assert told(juliet, "tybalt@montague.lit")["affiliation"] == "registered"


@pytest.mark.parametrize(
    ("days", "what"),
    [
        (0.3, {"since": "1969-12-31T00:00:00Z"}),
        (29, {"since": "1969-12-03T00:00:00Z"}),
        (30, {"trust": "30"}),
        (99.9, {"trust": "99"}),
        (300, {"trust": "100"}),
    ],
)
def test_of_a_new_account_the_day_is_told_and_of_an_old_one_the_trust(
    network: Network, days: float, what: dict[str, str]
) -> None:
    serve(network)
    aged(network, days)
    juliet = network.stranger("juliet@capulet.lit/balcony")
    assert told(juliet, "tybalt@montague.lit") == {"affiliation": "registered", **what}


@pytest.mark.parametrize(("admins", "affiliation"), [(False, "member"), (True, "admin")])
def test_who_is_an_admin_is_told_where_the_operator_wants_that(
    network: Network, admins: bool, affiliation: str
) -> None:
    serve(network, admins=admins)
    network.client(f"{ADMIN}/hall")
    assert told(network.stranger("juliet@capulet.lit/balcony"), ADMIN) == {"affiliation": affiliation}


def test_who_logs_in_without_a_name_is_anonymous(network: Network) -> None:
    serve(network, LoginPolicy(require_tls=False, anonymous=True))
    client = network.connected("montague.lit")
    client.open()
    client.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'>=</auth>")
    client.forget()
    client.open()
    nobody = JID.parse(str(client.bind().findtext(".//{*}jid")))
    assert told(network.stranger("juliet@capulet.lit/balcony"), nobody.bare) == {"affiliation": "anonymous"}


def test_who_is_not_told_cannot_tell_an_account_from_none(network: Network) -> None:
    serve(network, servers=["verona.lit"])
    romeo = network.client("romeo@montague.lit/orchard")
    juliet = network.stranger("juliet@capulet.lit/balcony")
    prince = network.stranger("prince@verona.lit/hall")
    assert told(prince, "romeo@montague.lit") == {"affiliation": "member"}
    errors = [asked(juliet, f"{name}@montague.lit") for name in ("romeo", "nobody")]
    errors.append(asked(prince, "nobody@montague.lit"))
    assert [condition(each) for each in errors] == ["service-unavailable"] * 3
    romeo.send("<message to='juliet@capulet.lit'><body>hi</body></message>")
    assert juliet.next().find(INFO) is None
    romeo.send("<message to='prince@verona.lit'><body>hi</body></message>")
    assert prince.next().find(INFO) is not None


@pytest.mark.parametrize(
    "stanza",
    [
        "<message to='juliet@capulet.lit/balcony'><body>hi</body>{}</message>",
        "<message to='juliet@capulet.lit' type='chat'><body>hi</body>{}</message>",
        "<presence to='juliet@capulet.lit' type='subscribe'>{}</presence>",
        "<presence to='juliet@capulet.lit/balcony'>{}</presence>",
    ],
)
@pytest.mark.parametrize("said", ["", FORGED])
def test_those_who_are_no_contacts_are_told_the_truth(network: Network, stanza: str, said: str) -> None:
    serve(network)
    tybalt = aged(network, 2)
    juliet = network.stranger("juliet@capulet.lit/balcony")
    tybalt.send(stanza.format(said))
    infos = juliet.next().findall(INFO)
    assert [dict(each.attrib) for each in infos] == [
        {"affiliation": "registered", "since": "1969-12-30T00:00:00Z"}
    ]


@pytest.mark.parametrize("said", ["", FORGED])
def test_contacts_are_told_nothing_by_the_way(network: Network, said: str) -> None:
    serve(network)
    romeo = network.client("romeo@montague.lit/orchard")
    juliet = network.stranger("juliet@capulet.lit/balcony")
    romeo.send("<presence to='juliet@capulet.lit' type='subscribe'/>")
    juliet.send("<presence to='romeo@montague.lit' type='subscribed'/>")
    juliet.forget()
    romeo.send(f"<message to='juliet@capulet.lit'><body>hi</body>{said}</message>")
    assert juliet.next().find(INFO) is None


@pytest.mark.parametrize(
    "stanza",
    [
        "<message to='orchard@rooms.verona.lit' type='groupchat'><body>hi</body>{}</message>",
        "<presence to='orchard@rooms.verona.lit/romeo' type='unavailable'>{}</presence>",
    ],
)
def test_what_needs_no_judgement_says_nothing(network: Network, stanza: str) -> None:
    serve(network)
    romeo = network.client("romeo@montague.lit/orchard")
    room = network.stranger("orchard@rooms.verona.lit")
    romeo.send(stanza.format(FORGED))
    assert [each.find(INFO) for each in room.heard] == [None]


def test_presence_for_all_says_nothing(network: Network) -> None:
    serve(network)
    romeo = network.client("romeo@montague.lit/orchard", presence="")
    romeo.forget()
    romeo.send(f"<presence>{FORGED}</presence>")
    assert romeo.next().find(INFO) is None


def test_the_domain_says_what_it_tells(network: Network) -> None:
    serve(network)
    romeo = network.client("romeo@montague.lit/orchard")
    info = romeo.ask(
        "<iq type='get' to='montague.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    )
    features = {str(each) for each in info.xpath(".//@var") if str(each).startswith(NS)}
    embeds = ("presence-sub", "presence-directed", "message")
    assert features == {NS, *(f"{NS}#embed-{each}" for each in embeds)}
