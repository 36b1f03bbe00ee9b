"""XEP-0401, XEP-0445, XEP-0379: invitations are made, used once and revoked, over real TLS in memory."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from twisted.internet.defer import Deferred, fail

from jabberd import direct, settings
from jabberd.api import JID, Refused, StorageError
from jabberd.config import Config, ConfigError
from jabberd.modules.invitations import Invitations
from jabberd.modules.invitations.ledger import Invitation, Ledger
from jabberd.modules.invitations.links import Link
from jabberd.operating.options import options
from jabberd.rates import Rate
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from jabberd.xmpp.timestamp import from_stamp
from tests.modules.test_registration import ASK, enters, fields, newcomer, refused, said

if TYPE_CHECKING:
    from pathlib import Path

    from jabberd.testing import Client, Network
    from tests.conftest import LoggedErrors

IBR = "{urn:xmpp:ibr-token:0}register"
REGISTER = "{http://jabber.org/features/iq-register}register"
COMMAND = "<command xmlns='http://jabber.org/protocol/commands' node='urn:xmpp:invite#{}'{}>{}</command>"
MODULES: dict[str, Any] = {
    name: {} for name in ("disco", "commands", "last", "administration", "registration", "invitations")
}
ROMEO = JID.parse("romeo@montague.lit")
DOMAIN = JID.parse("montague.lit")
WEEK = 7 * 86400


def serve(network: Network, *, admins: tuple[str, ...] = (), **config: Any) -> None:
    modules = {**MODULES, "invitations": config}
    door = settings.Limits(registrations=Rate(100, 60))
    network.serve("montague.lit", tls=True, modules=modules, door=door, admins=list(admins))


def module(network: Network) -> Invitations:
    return cast(
        "Invitations", network.server("montague.lit").hosts["montague.lit"].manager.module("invitations")
    )


def failed(work: Any) -> Any:
    """What it raised."""
    with pytest.raises((Refused, StorageError)) as raised:
        done(work)
    return raised.value


def made(network: Network, *args: Any, **more: Any) -> str:
    """The token of an invitation that an operator made."""
    return token(str(done(module(network).create(*args, **more))["uri"]))


def token(uri: str) -> str:
    found = re.search(r";preauth=([a-z2-7]{24})(;|$)", uri)
    assert found is not None, uri
    return found[1]


def shows(client: Client, token: str) -> str:
    return refused(
        client, f"<iq type='set' to='montague.lit'><preauth xmlns='urn:xmpp:pars:0' token='{token}'/></iq>"
    )


def registers(network: Network, token: str, name: str = "juliet") -> str:
    client, _ = newcomer(network)
    return shows(client, token) or refused(client, said(fields(name)))


def ran(client: Client, node: str, inside: str = "", session: str = "") -> Any:
    """What a command answers: its element, or the whole error."""
    attrs = f" sessionid='{session}'" if session else ""
    answer = client.ask(f"<iq type='set' to='montague.lit'>{COMMAND.format(node, attrs, inside)}</iq>")
    return answer[0] if answer.get("type") == "result" else answer


def invited(client: Client) -> dict[str, str]:
    """What a command gives: by field, its value."""
    found = ran(client, "invite")
    every = found.iter("{jabber:x:data}field")
    return {str(each.get("var")): str(each.findtext("{*}value")) for each in every}


def roster(client: Client) -> dict[str, str]:
    answer = client.ask("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>")
    return {str(each.get("jid")): str(each.get("subscription")) for each in answer[0]}


# --- an account (XEP-0445) ------------------------------------------------------------------------


def test_whoever_is_invited_makes_an_account_where_the_door_is_closed(network: Network) -> None:
    serve(network)
    client, features = newcomer(network)
    assert features.find(IBR) is not None
    assert features.find(REGISTER) is not None
    assert refused(client, said(fields("juliet"))) == "not-allowed"
    assert shows(client, made(network, DOMAIN)) == ""
    query = client.ask(ASK)[0]
    assert [each.text for each in query.iter("{*}username")] == [None]
    assert refused(client, said(fields("juliet"))) == ""
    assert enters(network, "o blessed night", "juliet@montague.lit/balcony")


def test_an_invitation_is_used_once(network: Network) -> None:
    serve(network)
    token = made(network, DOMAIN)
    assert registers(network, token) == ""
    assert registers(network, token, "tybalt") == "item-not-found"


def test_of_two_who_show_the_same_invitation_one_gets_an_account(network: Network) -> None:
    serve(network)
    token = made(network, DOMAIN)
    one, other = newcomer(network)[0], newcomer(network)[0]
    assert (shows(one, token), shows(other, token)) == ("", "")
    assert refused(one, said(fields("juliet"))) == ""
    assert refused(other, said(fields("tybalt"))) == "item-not-found"
    assert not enters(network, "o blessed night", "tybalt@montague.lit/street")


def test_while_one_makes_an_account_nobody_else_can(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(network)
    token = made(network, DOMAIN)
    registrar = network.server("montague.lit").hosts["montague.lit"].manager.registrar
    hashing: Deferred[None] = Deferred()

    async def create(*_: object, **__: object) -> None:
        await hashing

    one, other = newcomer(network)[0], newcomer(network)[0]
    assert (shows(one, token), shows(other, token)) == ("", "")
    with monkeypatch.context() as patch:
        patch.setattr(registrar, "create", create)
        one.send(said(fields("juliet")).replace("<iq", "<iq id='q1'"))
        assert refused(other, said(fields("tybalt"))) == "item-not-found"
        hashing.errback(Refused("it was too much", "resource-constraint"))
    assert condition(one.next()) == "resource-constraint"
    assert refused(other, said(fields("tybalt"))) == ""


def test_an_invitation_is_not_used_by_what_fails(network: Network) -> None:
    serve(network)
    network.client("romeo@montague.lit/orchard")
    token = made(network, DOMAIN)
    assert registers(network, token, "romeo") == "conflict"
    assert registers(network, token, "admin") == "conflict"
    assert registers(network, token, "juliet") == ""


def test_a_whole_class_may_use_one(network: Network) -> None:
    serve(network)
    token = made(network, DOMAIN, uses=2)
    assert [registers(network, token, name) for name in ("juliet", "nurse", "tybalt")] == [
        "",
        "",
        "item-not-found",
    ]


@pytest.mark.parametrize("token", ["", "x", "a" * 24])
def test_what_is_no_invitation_is_not_found(network: Network, token: str) -> None:
    serve(network)
    client, _ = newcomer(network)
    assert shows(client, token) == "item-not-found"
    assert refused(client, said(fields())) == "not-allowed"


def test_no_invitation_is_taken_without_tls(network: Network) -> None:
    network.serve("montague.lit", modules=MODULES)
    client, features = newcomer(network, tls=False)
    assert features.find(IBR) is None
    assert shows(client, made(network, DOMAIN)) == "not-authorized"


def test_an_invitation_expires_but_not_for_whoever_has_shown_it(network: Network) -> None:
    serve(network, lifetime=WEEK)
    token = made(network, DOMAIN)
    network.advance(WEEK - 1)
    client, _ = newcomer(network)
    assert shows(client, token) == ""
    network.advance(1)
    assert registers(network, token, "tybalt") == "item-not-found"
    made(network, DOMAIN)  # which forgets what has expired
    assert refused(client, said(fields("juliet"))) == ""


def test_a_name_is_kept_for_whoever_is_invited_to_take_it(network: Network) -> None:
    serve(network)
    done(module(network).create(DOMAIN))
    token = made(network, JID.parse("juliet@montague.lit"))
    assert registers(network, made(network, DOMAIN), "juliet") == "conflict"
    client, _ = newcomer(network)
    assert shows(client, token) == ""
    query = client.ask(ASK)[0]
    assert query.findtext("{*}username") == "juliet"
    assert query.findtext(".//{jabber:x:data}field[@var='username']/{*}value") == "juliet"
    assert refused(client, said(fields("tybalt"))) == "not-acceptable"
    assert refused(client, said(fields("juliet"))) == ""


def test_a_name_that_nobody_else_gets_is_given_by_an_invitation(network: Network) -> None:
    serve(network, admins=("escalus@montague.lit",))
    for name in ("info", "escalus"):
        assert registers(network, made(network, JID.parse(f"{name}@montague.lit")), name) == ""


def test_a_name_is_free_again_when_its_invitation_expires(network: Network) -> None:
    serve(network, lifetime=60)
    juliet = JID.parse("juliet@montague.lit")
    made(network, juliet)
    assert failed(module(network).create(juliet)).condition == "conflict"
    network.advance(60)
    assert registers(network, made(network, DOMAIN)) == ""


def test_who_is_invited_answers_no_question(network: Network) -> None:
    question = {"ask": "How many houses?", "answers": ["two"]}
    modules = {**MODULES, "registration": {"open": True, "questions": [question]}}
    network.serve("montague.lit", tls=True, modules=modules)
    client, _ = newcomer(network)
    assert shows(client, made(network, DOMAIN)) == ""
    assert refused(client, said(fields("juliet"))) == ""


def test_the_inviter_and_who_came_see_each_other(network: Network) -> None:
    serve(network)
    romeo = network.client("romeo@montague.lit/orchard")
    romeo.ask("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>")
    romeo.forget()
    assert registers(network, made(network, DOMAIN, ROMEO)) == ""
    pushed: Any = romeo.next().find("{jabber:iq:roster}query/{*}item")  # XEP-0401 §4.5
    assert dict(pushed.attrib) | {"name": ""} == {
        "jid": "juliet@montague.lit",
        "name": "",
        "subscription": "both",
    }
    assert pushed.find("{*}group") is None
    client, _ = newcomer(network)
    client.jid, client._password = JID.parse("juliet@montague.lit/balcony"), "o blessed night"
    client.login()
    client.open()
    client.bind()
    assert roster(client) == {"romeo@montague.lit": "both"}
    client.send("<presence/>")
    assert "romeo@montague.lit/orchard" in [each.get("from") for each in client.heard]
    assert romeo.next().get("from") == "juliet@montague.lit/balcony"


def test_an_inviter_who_is_gone_invites_nobody(network: Network) -> None:
    serve(network)
    romeo = network.client("romeo@montague.lit/orchard")
    token = made(network, DOMAIN, ROMEO)
    done(network.server("montague.lit").hosts["montague.lit"].manager.registrar.delete(romeo.jid.bare))
    assert registers(network, token) == "item-not-found"


def test_a_full_roster_keeps_nobody_from_an_account(network: Network) -> None:
    serve(network)
    romeo = network.client("romeo@montague.lit/orchard")
    token = made(network, DOMAIN, ROMEO)
    manager = network.server("montague.lit").hosts["montague.lit"].manager
    manager.use(replace(manager.limits, roster=replace(manager.limits.roster, items=0)))
    assert registers(network, token) == ""
    assert enters(network, "o blessed night", "juliet@montague.lit/balcony")
    assert roster(romeo) == {}


# --- killed in between ----------------------------------------------------------------------------


def claimed(network: Network, who: str, **what: Any) -> None:
    """An invitation that was being used when the server was killed."""
    storage = network.server("montague.lit").storage
    expires = module(network).now().replace(year=2030)
    store = storage.keyed("invitations", Invitation)
    done(store.put(DOMAIN, "key", Invitation(expires, left=0, claims=(who,), account=True, **what)))
    done(module(network).start())
    done(module(network).ready())


def kept(network: Network) -> dict[str, Invitation]:
    return done(network.server("montague.lit").storage.keyed("invitations", Invitation).all(DOMAIN))


def test_an_account_that_was_made_has_used_its_invitation_and_gets_its_contact(network: Network) -> None:
    serve(network)
    romeo = network.client("romeo@montague.lit/orchard")
    network.client("juliet@montague.lit/balcony")
    claimed(network, "juliet@montague.lit", inviter=ROMEO)
    assert kept(network) == {}
    assert roster(romeo) == {"juliet@montague.lit": "both"}


def test_an_account_that_was_not_made_has_used_no_invitation(network: Network) -> None:
    serve(network)
    claimed(network, "juliet@montague.lit")
    assert [(each.left, each.claims) for each in kept(network).values()] == [(1, ())]


def test_a_contact_that_was_not_approved_has_used_no_invitation(network: Network) -> None:
    serve(network)
    network.client("romeo@montague.lit/orchard")
    claimed(network, "juliet@capulet.lit", inviter=ROMEO, contact=True)
    assert [(each.left, each.claims) for each in kept(network).values()] == [(1, ())]


def test_what_another_instance_may_be_about_is_left_alone_for_a_while(network: Network) -> None:
    serve(network)
    old = module(network)
    claim = Invitation(old.now() + timedelta(days=1), left=0, claims=("juliet@montague.lit",), account=True)
    done(old.kept.put(DOMAIN, "key", claim))
    new = Invitations(old.name, old.domain, old.config, old.stores, old.log)
    done(new.start())
    done(new.ready())
    network.advance(59)
    assert kept(network) == {"key": claim}
    network.advance(1)
    assert kept(network)["key"].left == 1
    done(new.stop())


def test_a_use_is_on_the_disk_before_there_is_an_account(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(network)
    token = made(network, DOMAIN)
    registrar = network.server("montague.lit").hosts["montague.lit"].manager.registrar
    seen: list[tuple[int, tuple[str, ...]]] = []

    async def create(*_: object, **__: object) -> None:
        seen.extend((each.left, each.claims) for each in kept(network).values())
        raise Refused("no", "conflict")

    monkeypatch.setattr(registrar, "create", create)
    assert registers(network, token) == "conflict"
    assert seen == [(0, ("juliet@montague.lit",))]
    assert [(each.left, each.claims) for each in kept(network).values()] == [(1, ())]


def test_a_storage_that_is_away_uses_no_invitation(
    network: Network, monkeypatch: pytest.MonkeyPatch, logged_errors: LoggedErrors
) -> None:
    serve(network)
    token = made(network, DOMAIN)
    with monkeypatch.context() as patch:
        patch.setattr(module(network)._ledger._store, "change", lambda *_: fail(StorageError("away")))
        assert registers(network, token) == "resource-constraint"
        assert isinstance(failed(module(network).create(DOMAIN)), StorageError)
        key = Ledger.valid(module(network)._ledger, token, module(network).now())
        assert isinstance(failed(module(network).revoke(DOMAIN, str(key)[:8])), StorageError)
    assert len(logged_errors.take(StorageError)) == 1
    assert registers(network, token) == ""


def test_invitations_count_and_reserve_while_they_are_being_stored(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(network)
    ledger, now, stored = module(network)._ledger, module(network).now(), Deferred[None]()
    with monkeypatch.context() as patch:
        patch.setattr(ledger._store, "change", lambda *_: stored)
        made = Deferred.fromCoroutine(
            ledger.add(Invitation(now + timedelta(1), "romeo@montague.lit", username="rosaline"), now)
        )
        assert len(ledger.open(now, "romeo@montague.lit")) == 1
        assert ledger.reserves("rosaline", now)
        stored.errback(StorageError("away"))
    assert isinstance(failed(made), StorageError)
    assert not ledger.reserves("rosaline", now)


# --- a contact (XEP-0379) -------------------------------------------------------------------------


def test_a_users_invitation_has_a_link_and_says_how_long_it_holds(network: Network) -> None:
    serve(network, inviters="everybody")
    romeo = network.client("romeo@montague.lit/orchard")
    told = invited(romeo)
    assert told["FORM_TYPE"] == "urn:xmpp:invite#invitation"
    assert re.fullmatch(r"xmpp:romeo@montague.lit\?roster;preauth=[a-z2-7]{24};ibr=y", told["uri"])
    assert told["expire"] == "1970-01-08T00:00:00Z"
    assert told["landing-url"] == f"https://montague.lit/invite/{token(told['uri'])}"


def subscribe(client: Any, token: str) -> None:
    preauth = f"<preauth xmlns='urn:xmpp:pars:0' token='{token}'/>"
    client.send(f"<presence to='romeo@montague.lit' type='subscribe'>{preauth}</presence>")


def test_a_stranger_with_an_invitation_is_approved_and_asked_for_the_same(network: Network) -> None:
    serve(network, inviters="everybody")
    romeo = network.client("romeo@montague.lit/orchard", presence="")
    roster(romeo)
    uri = invited(romeo)["uri"]
    juliet = network.stranger("juliet@capulet.lit/balcony")
    other = network.stranger("tybalt@capulet.lit/street")
    romeo.send("<presence/>")
    romeo.forget()
    subscribe(juliet, token(uri))
    assert "subscribe" not in [each.get("type") for each in romeo.heard]  # the owner is not asked
    assert [each.get("type") for each in juliet.heard] == ["subscribed", None, "subscribe"]
    assert roster(romeo) == {"juliet@capulet.lit": "from"}
    juliet.send("<presence to='romeo@montague.lit' type='subscribed'/>")
    assert roster(romeo) == {"juliet@capulet.lit": "both"}
    romeo.forget()
    subscribe(other, token(uri))  # it was used
    assert [each.get("from") for each in romeo.heard] == ["tybalt@capulet.lit"]
    assert other.hears_nothing()
    assert kept(network) == {}


def test_an_invitation_that_is_used_is_no_pre_approval_for_later(network: Network) -> None:
    serve(network, inviters="everybody")
    romeo = network.client("romeo@montague.lit/orchard")
    juliet = network.stranger("juliet@capulet.lit/balcony")
    subscribe(juliet, token(invited(romeo)["uri"]))
    answer = romeo.ask("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>")
    assert answer[0][0].get("approved") is None


def test_a_user_of_the_same_domain_is_approved_too(network: Network) -> None:
    serve(network, inviters="everybody")
    romeo = network.client("romeo@montague.lit/orchard")
    uri = invited(romeo)["uri"]
    benvolio = network.client("benvolio@montague.lit/street")
    benvolio.send("<presence to='romeo@montague.lit' type='subscribed'/>")  # §3.4: pre-approved
    subscribe(benvolio, token(uri))
    assert roster(romeo) == {"benvolio@montague.lit": "both"}
    assert roster(benvolio) == {"romeo@montague.lit": "both"}


@pytest.mark.parametrize("case", ["unknown", "anothers", "account", "revoked", "expired"])
def test_any_other_token_leaves_it_to_the_owner(network: Network, case: str) -> None:
    serve(network, inviters="everybody", lifetime=60)
    romeo = network.client("romeo@montague.lit/orchard", presence="")
    benvolio = network.client("benvolio@montague.lit/street")
    tokens = {
        "unknown": "a" * 24,
        "anothers": token(invited(benvolio)["uri"]),
        "account": made(network, DOMAIN, ROMEO),
        "revoked": token(invited(romeo)["uri"]),
    }
    tokens["expired"] = tokens["revoked"]
    if case == "revoked":
        for row in module(network).list(DOMAIN):
            done(module(network).revoke(DOMAIN, str(row["id"])))
    if case == "expired":
        network.advance(60)
    romeo.send("<presence/>")
    romeo.forget()
    juliet = network.stranger("juliet@capulet.lit/balcony")
    subscribe(juliet, tokens[case])
    assert romeo.next().get("type") == "subscribe"
    assert juliet.hears_nothing()


def test_who_came_as_a_contact_may_make_an_account_instead(network: Network) -> None:
    serve(network, inviters="everybody")
    romeo = network.client("romeo@montague.lit/orchard")
    assert registers(network, token(invited(romeo)["uri"])) == ""
    assert roster(romeo) == {"juliet@montague.lit": "both"}


def test_where_contacts_make_no_accounts_the_link_does_not_say_so_and_the_token_is_none(
    network: Network,
) -> None:
    serve(network, inviters="everybody", accounts=False)
    romeo = network.client("romeo@montague.lit/orchard")
    uri = invited(romeo)["uri"]
    assert "ibr" not in uri
    assert registers(network, token(uri)) == "item-not-found"


# --- who invites ----------------------------------------------------------------------------------

ITEMS = "<iq type='get' to='montague.lit'><query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/></iq>"


@pytest.mark.parametrize(
    ("inviters", "user", "operator"),
    [
        ("operators", set(), {"invite", "create-account"}),
        ("everybody", {"invite"}, {"invite", "create-account"}),
        ("nobody", set(), {"create-account"}),
    ],
)
def test_who_invites_is_a_setting(
    network: Network, inviters: str, user: set[str], operator: set[str]
) -> None:
    serve(network, admins=("escalus@montague.lit",), inviters=inviters)
    for name, may in (("romeo", user), ("escalus", operator)):
        client = network.client(f"{name}@montague.lit/street")
        nodes = [str(each.get("node")) for each in client.ask(ITEMS)[0]]
        assert {each.partition("invite#")[2] for each in nodes if "invite#" in each} == may
    romeo = network.client("romeo@montague.lit/orchard")
    asked = f"<iq type='set' to='montague.lit'>{COMMAND.format('create-account', '', '')}</iq>"
    assert refused(romeo, asked) == "forbidden"  # XEP-0050 §4.4


def test_a_user_has_so_many_open_invitations_and_operators_have_no_limit(network: Network) -> None:
    serve(network, admins=("escalus@montague.lit",), inviters="everybody", open=2)
    romeo = network.client("romeo@montague.lit/orchard")
    escalus = network.client("escalus@montague.lit/hall")
    answers = [ran(romeo, "invite").get("type") for _ in range(3)]
    assert answers == [None, None, "error"]
    assert [ran(escalus, "invite").get("type") for _ in range(3)] == [None, None, None]
    network.advance(WEEK)
    assert ran(network.client("romeo@montague.lit/street"), "invite").get("status") == "completed"


def submitted(**values: str) -> str:
    inside = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in values.items())
    return f"<x xmlns='jabber:x:data' type='submit'>{inside}</x>"


def test_an_operator_invites_to_an_account_with_a_client(network: Network) -> None:
    serve(network, admins=("escalus@montague.lit",), landing_page="https://montague.lit/invite/#{token}")
    escalus = network.client("escalus@montague.lit/hall")
    form = ran(escalus, "create-account")
    types = {each.get("var"): each.get("type") for each in form.iter("{jabber:x:data}field")}
    assert types | {"FORM_TYPE": ""} == {
        "FORM_TYPE": "",
        "username": "text-single",
        "roster-subscription": "boolean",
    }
    given = ran(escalus, "create-account", submitted(username="Juliet"), form.get("sessionid"))
    told = {each.get("var"): each.findtext("{*}value") for each in given.iter("{jabber:x:data}field")}
    preauth = token(told["uri"])
    assert told["uri"] == f"xmpp:juliet@montague.lit?register;preauth={preauth}"
    assert told["landing-url"] == f"https://montague.lit/invite/#{preauth}"
    assert registers(network, preauth) == ""
    assert roster(escalus) == {"juliet@montague.lit": "both"}


@pytest.mark.parametrize(("name", "why"), [("rom eo", "not-acceptable"), ("escalus", "conflict")])
def test_an_operator_is_told_what_cannot_be_an_account(network: Network, name: str, why: str) -> None:
    serve(network, admins=("escalus@montague.lit",))
    escalus = network.client("escalus@montague.lit/hall")
    session = ran(escalus, "create-account").get("sessionid")
    error = ran(escalus, "create-account", submitted(username=name, **{"roster-subscription": "0"}), session)
    assert error.find(f"{{*}}error/{{*}}{why}") is not None


def test_operators_list_and_revoke(network: Network) -> None:
    serve(network, inviters="everybody")
    romeo = network.client("romeo@montague.lit/orchard")
    tokens = [made(network, JID.parse("juliet@montague.lit"), ROMEO), made(network, DOMAIN, uses=30)]
    invited(romeo)
    rows = module(network).list(DOMAIN)
    assert sorted((str(row["for"]), row["uses"], row["inviter"]) for row in rows) == [
        ("a contact or an account at montague.lit", 1, "romeo@montague.lit"),
        ("an account at montague.lit", 30, None),
        ("juliet@montague.lit", 1, "romeo@montague.lit"),
    ]
    assert not any(each in str(rows) for each in tokens)
    for row in rows:
        assert "nobody can use" in done(module(network).revoke(DOMAIN, str(row["id"])))
    assert [registers(network, each) for each in tokens] == ["item-not-found"] * 2
    assert module(network).list(DOMAIN) == []
    assert kept(network) == {}


@pytest.mark.parametrize(
    "arguments",
    [
        (JID.parse("juliet@montague.lit"), None, 2),
        (DOMAIN, None, 0),
        (DOMAIN, None, 1001),
        (JID.parse("juliet@montague.lit/balcony"),),
        (DOMAIN, JID.parse("tybalt@montague.lit")),
        (DOMAIN, JID.parse("tybalt@capulet.lit")),
        (ROMEO,),
    ],
)
def test_what_no_invitation_can_be_is_refused(network: Network, arguments: tuple[Any, ...]) -> None:
    serve(network)
    network.client("romeo@montague.lit/orchard")
    assert isinstance(failed(module(network).create(*arguments)), Refused)
    assert isinstance(failed(module(network).revoke(DOMAIN, "00000000")), Refused)


def test_an_invitation_that_is_revoked_is_none_for_whoever_has_shown_it(network: Network) -> None:
    serve(network)
    token = made(network, DOMAIN)
    client, _ = newcomer(network)
    assert shows(client, token) == ""
    done(module(network).revoke(DOMAIN, str(module(network).list(DOMAIN)[0]["id"])))
    assert refused(client, said(fields("juliet"))) == "item-not-found"


# --- links ----------------------------------------------------------------------------------------


def test_a_name_that_no_uri_has_is_escaped_in_a_link(network: Network) -> None:
    serve(network)
    invitation = Invitation(module(network).now(), inviter="d\u00f6rte#1?@montague.lit", contact=True)
    link = Link(DOMAIN, invitation, "abc", "https://xmpp.link/#{uri}")
    assert link.uri == "xmpp:d%C3%B6rte%231%3F@montague.lit?roster;preauth=abc"
    assert link.landing_url == "https://xmpp.link/#d%C3%B6rte%231%3F@montague.lit?roster;preauth=abc"


CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[storage]
url = "{}"
[domains."montague.lit".modules.invitations]
{}
"""


def test_operators_invite_while_no_server_runs(tmp_path: Path) -> None:
    file = tmp_path / "montague.toml"
    file.write_text(CONFIG.format("sqlite:montague.db", 'lifetime = "1 h"'))
    told = direct.run(file, ["invitations", "create", "montague.lit"], {})["done"]
    left = from_stamp(told["expires"]) - datetime.now(UTC)
    assert timedelta(minutes=50) < left <= timedelta(hours=1)
    listed = direct.run(file, ["invitations", "list", "montague.lit"], {})["done"]
    assert [row["for"] for row in listed] == ["an account at montague.lit"]


@pytest.mark.parametrize("page", ["http://montague.lit/#{token}", "https://montague.lit/invite"])
def test_a_landing_page_is_safe_and_has_a_place_for_the_invitation(tmp_path: Path, page: str) -> None:
    file = tmp_path / "montague.toml"
    file.write_text(CONFIG.format("memory", f'landing_page = "{page}"'))
    with pytest.raises(ConfigError, match="landing_page: is no page for an invitation"):
        options(Config.read(file))


def test_for_strangers_nobody_looks_through_all_invitations(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(network)
    looked: list[tuple[object, ...]] = []

    def look(*what: object) -> dict[str, Invitation]:
        looked.append(what)
        return {}

    monkeypatch.setattr(module(network)._ledger, "open", look)
    stranger = network.stranger("paris@evil.example/x")
    command = COMMAND.format("create-account", "", "")
    stranger.send(f"<iq xmlns='jabber:client' type='set' id='c' to='montague.lit'>{command}</iq>")
    assert condition(stranger.next()) in ("forbidden", "item-not-found")
    assert not looked


def test_the_name_of_a_deleted_account_is_promised_to_nobody_and_given_to_nobody(network: Network) -> None:
    serve(network)
    manager = network.server("montague.lit").hosts["montague.lit"].manager
    juliet = JID.parse("juliet@montague.lit")
    free = made(network, DOMAIN)
    done(manager.registrar.create(juliet, "o blessed night"))
    done(manager.registrar.delete(juliet))
    assert "kept back" in str(failed(module(network).create(juliet)))
    client, _ = newcomer(network)
    assert shows(client, free) == ""
    assert refused(client, said(fields("juliet"))) == "conflict"
    assert refused(client, said(fields("nurse"))) == ""  # the invitation still holds
