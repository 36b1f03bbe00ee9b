"""XEP-0077: newcomers make accounts, owners change passwords and remove accounts, over real TLS in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from lxml import etree
from twisted.internet.defer import fail

from jabberd import settings
from jabberd.admin import Admin
from jabberd.api import JID, Keyed, Module, StorageError
from jabberd.hosting import let_operate, verb_groups
from jabberd.interfaces import LoginPolicy
from jabberd.rates import Rate
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from jabberd.testing.server import trusting

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.modules.administration import Administration
    from jabberd.testing import Client, Network
    from tests.conftest import LoggedErrors

NS = "jabber:iq:register"
FEATURE = "{http://jabber.org/features/iq-register}register"
ASK = f"<iq type='get'><query xmlns='{NS}'/></iq>"
REMOVE = "<remove/>"
ROMEO = JID.parse("romeo@montague.lit")


def said(inside: str, to: str = "") -> str:
    return f"<iq type='set'{to and f' to={chr(39)}{to}{chr(39)}'}><query xmlns='{NS}'>{inside}</query></iq>"


def fields(username: str = "romeo", password: str = "o blessed night") -> str:
    return f"<username>{username}</username><password>{password}</password>"


def form(kind: str = NS, **values: str) -> str:
    filled = {"FORM_TYPE": kind, **values}
    inside = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in filled.items())
    return f"<x xmlns='jabber:x:data' type='submit'>{inside}</x>"


def serve(network: Network, **config: Any) -> None:
    limits = settings.Limits(registrations=Rate(3, 60))
    modules = {"registration": config, "disco": {}}
    network.serve("montague.lit", tls=True, modules=modules, door=limits)


def newcomer(network: Network, *, tls: bool = True, address: str = "127.0.0.1") -> tuple[Client, _Element]:
    """Somebody without an account, and what the stream offers them."""
    client = network.connected("montague.lit", address=address)
    features = client.open()
    if tls:
        client.start_tls(trusting("montague.lit"))
        features = client.open()
    return client, features


def refused(client: Client, xml: str) -> str:
    """The condition of the refusal; empty: it was done."""
    return condition(client.ask(xml))


def enters(network: Network, password: str, jid: str = "romeo@montague.lit/orchard") -> bool:
    client, _ = newcomer(network)
    client.jid, client._password = JID.parse(jid), password  # no account is made for it
    try:
        client.login()
    except AssertionError:
        return False
    client.open()
    client.bind()
    client.close()
    return True


# --- newcomers ------------------------------------------------------------------------------------


def test_a_newcomer_makes_an_account_and_logs_in_on_the_same_stream(network: Network) -> None:
    serve(network, open=True)
    client, features = newcomer(network)
    assert features.find(FEATURE) is not None
    assert refused(client, said(fields("Romeo"))) == ""
    client.jid, client._password = JID.parse("romeo@montague.lit/orchard"), "o blessed night"
    client.login()
    client.open()
    assert client.bind().get("type") == "result"


def test_a_newcomer_is_told_what_to_fill_in_as_fields_and_as_a_form(network: Network) -> None:
    serve(network, open=True, instructions="Choose well.")
    query = newcomer(network)[0].ask(ASK)[0]
    names = [etree.QName(each).localname for each in query]
    assert names == ["instructions", "username", "password", "x"]
    assert query.findtext("{*}instructions") == "Choose well."
    asked = {each.get("var"): each.get("type") for each in query.iter("{jabber:x:data}field")}
    assert asked == {"FORM_TYPE": "hidden", "username": "text-single", "password": "text-private"}


def test_a_form_comes_before_the_fields(network: Network) -> None:
    serve(network, open=True)
    client, _ = newcomer(network)
    filled = form(username="romeo", password="o blessed night")
    assert refused(client, said(fields("tybalt") + filled, "montague.lit")) == ""
    assert enters(network, "o blessed night")


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        (fields(password=""), "not-acceptable"),
        (fields(username=""), "not-acceptable"),
        ("<username>romeo</username>", "not-acceptable"),
        (fields("rom eo"), "not-acceptable"),
        (fields("romeo@montague.lit"), "not-acceptable"),
        (fields(password="\u0007".replace("\u0007", "\u00ad")), "not-acceptable"),
        (form(username="romeo"), "not-acceptable"),
        (form("jabber:iq:register:cancel", username="romeo", password="x"), "bad-request"),
        (fields("Admin"), "conflict"),
        (fields("escalus"), "conflict"),
        (fields("juliet"), "conflict"),
        (REMOVE, "unexpected-request"),
    ],
)
def test_what_cannot_be_an_account_is_refused(network: Network, inside: str, why: str) -> None:
    modules: dict[str, Any] = {"registration": {"open": True}}
    network.serve("montague.lit", tls=True, modules=modules, admins=["escalus@montague.lit"])
    network.client("juliet@montague.lit/balcony")
    client, _ = newcomer(network)
    assert refused(client, said(inside)) == why


def test_a_closed_door_says_so_and_offers_nothing(network: Network) -> None:
    serve(network)
    client, features = newcomer(network)
    assert features.find(FEATURE) is None
    assert refused(client, ASK) == "service-unavailable"
    assert refused(client, said(fields())) == "not-allowed"
    assert not enters(network, "o blessed night")


def test_no_password_is_taken_without_tls(network: Network) -> None:
    network.serve("montague.lit", modules={"registration": {"open": True}})
    client, features = newcomer(network, tls=False)
    assert features.find(FEATURE) is None
    assert refused(client, said(fields())) == "not-authorized"
    romeo = network.client("romeo@montague.lit/orchard")
    assert refused(romeo, said(fields(password="rosaline"))) == "not-authorized"
    assert network.client("romeo@montague.lit/garden").jid.resourcepart == "garden"


def test_one_address_makes_so_many_accounts_and_no_more_for_a_while(network: Network) -> None:
    serve(network, open=True)
    client, _ = newcomer(network, address="2001:db8::1")
    names = ("sampson", "gregory", "abram", "balthasar")
    assert [refused(client, said(fields(name))) for name in names] == ["", "", "", "resource-constraint"]
    neighbour, _ = newcomer(network, address="2001:db8::2")
    assert refused(neighbour, said(fields("balthasar"))) == "resource-constraint"
    other, _ = newcomer(network, address="192.0.2.7")
    assert refused(other, said(fields("balthasar"))) == ""
    network.advance(20)
    assert refused(client, said(fields("peter"))) == ""


@pytest.mark.parametrize(
    "stanza",
    [
        "<message to='juliet@montague.lit'><body>hi</body></message>",
        f"<iq type='get' id='1' to='juliet@montague.lit'><query xmlns='{NS}'/></iq>",
        "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>",
        f"<iq type='result' id='1'><query xmlns='{NS}'/></iq>",
        f"<iq type='get'><query xmlns='{NS}'/></iq>",
    ],
)
def test_a_newcomer_may_say_nothing_else(network: Network, stanza: str) -> None:
    serve(network, open=True)
    client, _ = newcomer(network)
    client.send(stanza)
    assert client.is_dismissed_with("not-authorized")


def test_a_storage_that_is_away_makes_no_account_and_says_so(
    network: Network, monkeypatch: pytest.MonkeyPatch, logged_errors: LoggedErrors
) -> None:
    serve(network, open=True)
    storage = network.server("montague.lit").storage
    monkeypatch.setattr(storage, "save", lambda *_, **__: fail(StorageError("away")))
    client, _ = newcomer(network)
    assert refused(client, said(fields())) == "resource-constraint"
    assert len(logged_errors.take(StorageError)) == 1


def test_nobody_gets_the_name_of_an_admin_who_has_no_account_yet(network: Network) -> None:
    """Whoever the operator trusts with another domain of the server, or has added by a verb."""
    modules: dict[str, Any] = {name: {} for name in ("commands", "last", "disco", "administration")}
    modules["registration"] = {"open": True}
    server = network.serve("montague.lit", "capulet.lit", tls=True, modules=modules)
    trusted = {
        "montague.lit": frozenset[JID](),
        "capulet.lit": frozenset([JID.parse("escalus@montague.lit")]),
    }
    let_operate(server.hosts, Admin(lambda: verb_groups(server.hosts)), trusted)
    manager = server.hosts["montague.lit"].manager
    administration = cast("Administration", manager.module("administration"))
    done(administration.add(manager.jid, JID.parse("friar@montague.lit")))
    client, _ = newcomer(network)
    for name in ("escalus", "Friar"):
        assert refused(client, said(fields(name))) == "conflict", name
    assert refused(client, said(fields("benvolio"))) == ""


# --- owners ---------------------------------------------------------------------------------------


def test_an_owner_learns_that_there_is_an_account(network: Network) -> None:
    serve(network)
    romeo = network.client("romeo@montague.lit/orchard")
    for to in ("", " to='montague.lit'"):
        query = romeo.ask(f"<iq type='get'{to}><query xmlns='{NS}'/></iq>")[0]
        told = {etree.QName(each).localname: each.text for each in query}
        assert told.pop("instructions")  # §3.1
        assert told == {"registered": None, "username": "romeo", "password": None}


@pytest.mark.parametrize(
    "inside",
    [
        fields(password="rosaline"),
        fields("romeo@montague.lit", "rosaline"),
        form(f"{NS}:changepassword", username="romeo", old_password="secret", password="rosaline"),
    ],
)
def test_an_owner_changes_the_password(network: Network, inside: str) -> None:
    serve(network)
    romeo = network.client("romeo@montague.lit/orchard")
    assert refused(romeo, said(inside, "montague.lit")) == ""
    assert enters(network, "rosaline", "romeo@montague.lit/garden")
    assert not enters(network, "secret", "romeo@montague.lit/garden")
    assert refused(romeo, ASK) == ""


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        (fields(password=""), "bad-request"),
        ("<password>rosaline</password>", "bad-request"),
        (fields("juliet"), "forbidden"),
        (fields("rom eo"), "forbidden"),
        (fields(password="\u00ad"), "not-acceptable"),
        (form(NS, username="romeo", password="rosaline"), "bad-request"),
        (REMOVE + fields(), "bad-request"),
    ],
)
def test_what_is_no_change_is_refused_and_the_password_stays(network: Network, inside: str, why: str) -> None:
    serve(network)
    romeo = network.client("romeo@montague.lit/orchard")
    assert refused(romeo, said(inside)) == why
    assert enters(network, "secret", "romeo@montague.lit/garden")


class Diary(Module):
    """Owned by an account."""

    pages = Keyed("diary", of=str)


def test_an_owner_removes_the_account_with_everything_it_owns(network: Network) -> None:
    modules: dict[str, Any] = {"registration": {}, "diary": {}}
    server = network.serve("montague.lit", tls=True, modules=modules, classes={"diary": Diary})
    romeo = network.client("romeo@montague.lit/orchard")
    elsewhere = network.client("romeo@montague.lit/garden")
    diary = server.storage.keyed("diary", str)
    done(diary.put(ROMEO, "", "of Rosaline"))
    romeo.forget()
    elsewhere.forget()
    romeo.send(said(REMOVE).replace("<iq", "<iq id='r1'"))
    answers = [each for each in romeo.heard if each.get("id") == "r1"]
    assert [each.get("type") for each in answers] == ["result"]
    romeo.heard = [each for each in romeo.heard if "error" in str(each.tag)]
    assert romeo.is_dismissed_with("not-authorized")
    assert elsewhere.is_dismissed_with("not-authorized")
    assert done(diary.get(ROMEO)) is None
    assert done(server.hosts["montague.lit"].accounts.list()) == []


def test_contacts_of_a_removed_account_learn_that_it_is_gone(network: Network) -> None:
    serve(network)
    romeo = network.client("romeo@montague.lit/orchard")
    juliet = network.client("juliet@montague.lit/balcony")
    juliet.ask("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>")
    romeo.send("<presence type='subscribe' to='juliet@montague.lit'/>")
    juliet.send("<presence type='subscribed' to='romeo@montague.lit'/>")
    juliet.send("<presence type='subscribe' to='romeo@montague.lit'/>")
    romeo.send("<presence type='subscribed' to='juliet@montague.lit'/>")
    juliet.forget()
    romeo.send(said(REMOVE).replace("<iq", "<iq id='r1'"))
    heard = {each.get("type") for each in juliet.heard}
    assert {"unsubscribe", "unsubscribed", "unavailable"} <= heard


def test_a_storage_that_is_away_removes_nothing_and_the_session_goes_on(
    network: Network, monkeypatch: pytest.MonkeyPatch, logged_errors: LoggedErrors
) -> None:
    serve(network)
    romeo = network.client("romeo@montague.lit/orchard")
    storage = network.server("montague.lit").storage
    with monkeypatch.context() as patch:
        patch.setattr(storage, "save", lambda *_, **__: fail(StorageError("away")))
        assert refused(romeo, said(REMOVE)) == "resource-constraint"
    assert len(logged_errors.take(StorageError)) == 1
    assert refused(romeo, ASK) == ""
    assert enters(network, "secret", "romeo@montague.lit/garden")


def test_where_changes_are_switched_off_owners_are_told(network: Network) -> None:
    serve(network, changes=False)
    romeo = network.client("romeo@montague.lit/orchard")
    assert refused(romeo, said(fields(password="rosaline"))) == "not-allowed"
    assert refused(romeo, said(REMOVE)) == "not-allowed"


def test_an_anonymous_session_has_nothing_to_change(network: Network) -> None:
    modules: dict[str, Any] = {"registration": {}}
    network.serve("montague.lit", modules=modules, policy=LoginPolicy(require_tls=False, anonymous=True))
    client = network.connected("montague.lit")
    client.open()
    client.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'>=</auth>")
    client.forget()
    client.open()
    client.bind()
    assert refused(client, said(REMOVE)) == "registration-required"


def test_strangers_and_other_accounts_ask_in_vain(network: Network) -> None:
    serve(network)
    network.client("romeo@montague.lit/orchard")
    juliet = network.client("juliet@montague.lit/balcony")
    assert refused(juliet, said(REMOVE, "romeo@montague.lit")) == "service-unavailable"
    stranger = network.stranger("tybalt@capulet.lit/street")
    stranger.send(f"<iq type='set' id='s1' to='montague.lit'><query xmlns='{NS}'><remove/></query></iq>")
    assert condition(stranger.next()) == "service-unavailable"


def test_the_domain_says_that_accounts_can_be_changed(network: Network) -> None:
    serve(network)
    romeo = network.client("romeo@montague.lit/orchard")
    info = romeo.ask(
        "<iq type='get' to='montague.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    )
    assert NS in info.xpath(".//@var")
