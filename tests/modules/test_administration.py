"""XEP-0133."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import succeed

from jabberd import loader
from jabberd.api import JID, Refused
from jabberd.jsm.account import ACCOUNTS
from jabberd.jsm.credentials import AccountRecord
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from jabberd.xmpp import ns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lxml.etree import _Element

    from jabberd.jsm.manager import SessionManager
    from jabberd.testing import Network
    from jabberd.testing.client import Client
    from tests.conftest import LoggedErrors

ADMIN = "http://jabber.org/protocol/admin"
COMMANDS = "http://jabber.org/protocol/commands"
X = "{jabber:x:data}"
ALL = [
    "add-user",
    "delete-user",
    "disable-user",
    "reenable-user",
    "end-user-session",
    "change-user-password",
    "get-user-roster",
    "get-user-lastlogin",
    "user-stats",
    "get-registered-users-num",
    "get-registered-users-list",
    "get-disabled-users-num",
    "get-disabled-users-list",
    "get-online-users-num",
    "get-online-users-list",
    "get-active-users-num",
    "get-active-users",
    "get-idle-users-num",
    "get-idle-users",
    "edit-admin",
    "edit-blacklist",
    "edit-whitelist",
    "announce",
    "set-motd",
    "edit-motd",
    "delete-motd",
    "set-welcome",
    "delete-welcome",
    "restart",
    "shutdown",
]


@pytest.fixture
def manager(network: Network) -> SessionManager:
    """Of montague.lit, whose admin is its prince."""
    server = network.serve("montague.lit", "verona.lit", admins=["prince@montague.lit"])
    return server.hosts["montague.lit"].manager


@pytest.fixture
def prince(network: Network, manager: SessionManager) -> Client:
    return network.client("prince@montague.lit/palace")


@pytest.fixture
def romeo(network: Network, manager: SessionManager) -> Client:
    return network.client("romeo@montague.lit/orchard")


def begun(client: Client, name: str) -> _Element:
    """The first answer to a command."""
    asked = f"<command xmlns='{COMMANDS}' node='{ADMIN}#{name}'/>"
    return client.ask(f"<iq type='set' to='montague.lit'>{asked}</iq>")


def ran(client: Client, name: str, **fields: str | list[str]) -> _Element:
    """The last answer to a command whose form was filled in so, a dash for each underline."""
    [command] = begun(client, name)
    form = command.find(f"{X}x")
    assert form is not None
    assert form.findtext(f"{X}field/{X}value") == ADMIN
    known = set(form.xpath("./*/@var"))
    assert set(fields) <= {each.replace("-", "_") for each in known}
    filled = "".join(
        f"<field var='{var.replace('_', '-') if var.replace('_', '-') in known else var}'>"
        + "".join(f"<value>{each}</value>" for each in ([given] if isinstance(given, str) else given))
        + "</field>"
        for var, given in fields.items()
    )
    return client.ask(
        f"<iq type='set' to='montague.lit'><command xmlns='{COMMANDS}' node='{command.get('node')}'"
        f" sessionid='{command.get('sessionid')}'><x xmlns='jabber:x:data' type='submit'>"
        f"<field var='FORM_TYPE'><value>{ADMIN}</value></field>{filled}</x></command></iq>"
    )


def notes(answer: _Element) -> list[tuple[str, str]]:
    assert answer[0].get("status") == "completed"
    return [(each.get("type", ""), each.text or "") for each in answer[0].iterfind("{*}note")]


def data(answer: _Element) -> dict[str, list[str]]:
    """What the result says."""
    [form] = answer[0].iterfind(f"{X}x")
    assert form.get("type") == "result"
    return {
        field.get("var", ""): [value.text or "" for value in field.iterfind(f"{X}value")]
        for field in form.iterfind(f"{X}field")
        if field.get("type") != "hidden"
    }


def record(manager: SessionManager, jid: str) -> AccountRecord | None:
    return done(manager.storage.keyed(ACCOUNTS, AccountRecord).get(jid))


# --- who may -------------------------------------------------------------------------------------


def nodes(client: Client, to: str = "montague.lit") -> list[str]:
    query = f"<query xmlns='http://jabber.org/protocol/disco#items' node='{COMMANDS}'/>"
    found = client.ask(f"<iq type='get' to='{to}'>{query}</iq>").xpath(".//@node")
    return [str(node).removeprefix(f"{ADMIN}#") for node in found[1:]]


def test_an_admin_sees_all_commands(prince: Client) -> None:
    assert nodes(prince) == ALL


def test_nobody_else_sees_a_command_or_runs_one(romeo: Client) -> None:
    assert nodes(romeo) == []
    assert {condition(begun(romeo, name)) for name in ALL} == {"forbidden"}


def test_without_admins_nobody_sees_a_command(network: Network) -> None:
    network.serve("capulet.lit")
    assert nodes(network.client("juliet@capulet.lit/balcony"), "capulet.lit") == []


def test_an_admin_of_one_domain_cannot_end_the_server_of_several(
    prince: Client, manager: SessionManager
) -> None:
    manager.operators = replace(manager.operators, server=frozenset())
    assert nodes(prince) == ALL[:-2]
    assert {condition(begun(prince, name)) for name in ("shutdown", "restart")} == {"forbidden"}


def shown(client: Client, name: str) -> list[str]:
    """What the only field of a command's form has in it."""
    return [
        each.text or ""
        for each in begun(client, name).xpath(".//*[@var and not(@type='hidden')]/*")
        if each.tag == f"{X}value"
    ]


def test_the_list_of_admins_is_edited(prince: Client, romeo: Client) -> None:
    assert shown(prince, "edit-admin") == ["prince@montague.lit"]
    jids = ["prince@montague.lit", "romeo@montague.lit/orchard", "juliet@capulet.lit"]
    assert notes(ran(prince, "edit-admin", adminjids=jids)) == [
        ("info", "romeo@montague.lit is an admin of montague.lit"),
        ("info", "juliet@capulet.lit is an admin of montague.lit"),
    ]
    assert nodes(romeo) == ALL[:-2]  # the server's end is for those in the configuration file alone
    assert shown(romeo, "edit-admin") == ["juliet@capulet.lit", "prince@montague.lit", "romeo@montague.lit"]
    assert notes(ran(prince, "edit-admin", adminjids=["prince@montague.lit", "juliet@capulet.lit"])) == [
        ("info", "romeo@montague.lit is no admin of montague.lit any more"),
    ]
    assert nodes(romeo) == []


def test_who_is_an_admin_by_the_configuration_stays_one(prince: Client) -> None:
    assert notes(ran(prince, "edit-admin", adminjids=["capulet.lit"])) == [
        (
            "error",
            "the configuration file names prince@montague.lit as an admin of montague.lit; change it there",
        ),
        ("error", "capulet.lit is not an account; write it like romeo@montague.lit"),
    ]
    assert nodes(prince) == ALL


def test_who_was_made_an_admin_is_one_after_a_restart(
    prince: Client, romeo: Client, manager: SessionManager
) -> None:
    ran(prince, "edit-admin", adminjids=["prince@montague.lit", "romeo@montague.lit"])
    administration = manager.module("administration")
    done(administration.stop())
    done(administration.start())
    assert nodes(romeo) == ALL[:-2]


def test_an_admin_who_is_none_any_more_finishes_no_command(prince: Client, romeo: Client) -> None:
    ran(prince, "edit-admin", adminjids=["prince@montague.lit", "romeo@montague.lit"])
    [command] = begun(romeo, "announce")
    ran(prince, "edit-admin", adminjids=["prince@montague.lit"])
    filled = "<x xmlns='jabber:x:data' type='submit'><field var='announcement'><value>!</value></field></x>"
    answer = romeo.ask(
        f"<iq type='set' to='montague.lit'><command xmlns='{COMMANDS}' node='{command.get('node')}'"
        f" sessionid='{command.get('sessionid')}'>{filled}</command></iq>"
    )
    assert condition(answer) == "forbidden"


@pytest.fixture
def rules(manager: SessionManager) -> dict[str, str]:
    """Whom montague.lit talks to, kept by stand-ins for the verbs, which a server in memory has not."""
    kept: dict[str, str] = {}

    async def call(noun: str, name: str, arguments: Mapping[str, Any]) -> Any:
        assert (noun, arguments["domain"]) == ("federation", "montague.lit")
        if name == "list":
            return [{"domain": "montague.lit", "peer": peer, "rule": kept[peer]} for peer in sorted(kept)]
        if " " in arguments["peer"]:
            raise Refused(f"{arguments['peer']!r} is not a domain")
        if name == "forget":
            del kept[arguments["peer"]]
        else:
            kept[arguments["peer"]] = name
        return f"{name} {arguments['peer']}"

    manager.operators = replace(manager.operators, call=call)
    return kept


def test_the_blacklist_and_the_whitelist_are_edited(prince: Client, rules: dict[str, str]) -> None:
    assert shown(prince, "edit-blacklist") == []
    black = ["evil.example", "*.example.com", "no domain", ""]
    assert notes(ran(prince, "edit-blacklist", blacklistjids=black)) == [
        ("info", "deny evil.example"),
        ("info", "deny *.example.com"),
        ("error", "'no domain' is not a domain"),
    ]
    ran(prince, "edit-whitelist", whitelistjids="good.example.com")
    assert rules == {"evil.example": "deny", "*.example.com": "deny", "good.example.com": "allow"}
    assert shown(prince, "edit-blacklist") == ["*.example.com", "evil.example"]
    assert notes(ran(prince, "edit-blacklist", blacklistjids="*.example.com")) == [
        ("info", "forget evil.example")
    ]
    assert notes(ran(prince, "edit-blacklist")) == [("info", "nothing was changed")]
    assert rules == {"*.example.com": "deny", "good.example.com": "allow"}


# --- accounts ------------------------------------------------------------------------------------

TYBALT = {"accountjid": "tybalt@montague.lit", "password": "ratcatcher"}


def test_a_user_is_added_and_can_log_in(prince: Client, network: Network) -> None:
    added = ran(prince, "add-user", **TYBALT, password_verify="ratcatcher")
    assert notes(added) == [("info", "tybalt@montague.lit was made")]
    tybalt = network.connected("tybalt@montague.lit/street", password="ratcatcher")
    tybalt.open()
    tybalt.login()


def test_a_user_who_is_there_is_a_conflict(prince: Client, romeo: Client) -> None:
    again = ran(prince, "add-user", accountjid=romeo.jid.bare, password="a", password_verify="a")
    assert condition(again) == "conflict"


def test_the_name_of_a_deleted_user_is_kept_back_until_an_admin_says_so(
    prince: Client, manager: SessionManager
) -> None:
    form = {**TYBALT, "password_verify": "ratcatcher"}
    for _ in range(2):
        ran(prince, "delete-user", accountjids="tybalt@montague.lit")
        [(kind, said)] = notes(ran(prince, "add-user", **form))
        if kind == "error":
            assert "was deleted at" in said
            [(kind, said)] = notes(ran(prince, "add-user", **form, **{"{urn:jabberd:names}release": "1"}))
        assert (kind, said) == ("info", "tybalt@montague.lit was made")
    assert record(manager, "tybalt@montague.lit") is not None
    again = ran(prince, "add-user", **form, **{"{urn:jabberd:names}release": "1"})
    assert condition(again) == "conflict"


def test_passwords_that_differ_are_refused(prince: Client, manager: SessionManager) -> None:
    answer = ran(prince, "add-user", **TYBALT, password_verify="ratcather")
    assert notes(answer) == [("error", "the passwords differ")]
    assert record(manager, "tybalt@montague.lit") is None


@pytest.mark.parametrize(
    ("jid", "said"),
    [
        ("tybalt@verona.lit", "tybalt@verona.lit is not at montague.lit"),
        ("montague.lit", "montague.lit is not an account; write it like romeo@montague.lit"),
    ],
)
def test_what_is_no_account_of_the_domain_is_not_added(
    prince: Client, manager: SessionManager, jid: str, said: str
) -> None:
    added = ran(prince, "add-user", accountjid=jid, password="a", password_verify="a")
    assert notes(added) == [("error", said)]
    assert record(manager, jid) is None


def test_users_are_deleted_each_with_a_note(prince: Client, romeo: Client, manager: SessionManager) -> None:
    jids = ["romeo@montague.lit", "paris@montague.lit", "romeo@verona.lit"]
    assert notes(ran(prince, "delete-user", accountjids=jids)) == [
        ("info", "romeo@montague.lit is deleted"),
        ("error", "there is no account paris@montague.lit"),
        ("error", "romeo@verona.lit is not at montague.lit"),
    ]
    assert record(manager, "romeo@montague.lit") is None
    assert not romeo.connected


def test_to_delete_a_user_by_a_full_jid_deletes_the_account(
    prince: Client, romeo: Client, manager: SessionManager
) -> None:
    answer = ran(prince, "delete-user", accountjids="romeo@montague.lit/nowhere")
    assert notes(answer) == [("info", "romeo@montague.lit is deleted")]
    assert record(manager, "romeo@montague.lit") is None


def test_a_user_is_disabled_and_enabled_again(
    prince: Client, romeo: Client, manager: SessionManager, network: Network
) -> None:
    disabled = ran(prince, "disable-user", accountjids="romeo@montague.lit")
    assert notes(disabled) == [("info", "romeo@montague.lit is disabled")]
    assert not romeo.connected
    assert data(ran(prince, "get-disabled-users-list")) == {"disableduserjids": ["romeo@montague.lit"]}
    assert data(begun(prince, "get-disabled-users-num")) == {"disabledusersnum": ["1"]}
    enabled = ran(prince, "reenable-user", accountjids="romeo@montague.lit")
    assert notes(enabled) == [("info", "romeo@montague.lit is enabled")]
    assert data(begun(prince, "get-disabled-users-num")) == {"disabledusersnum": ["0"]}
    assert network.client("romeo@montague.lit/orchard").connected


def test_one_session_of_a_user_is_ended_or_all(prince: Client, romeo: Client, network: Network) -> None:
    phone, tablet = (network.client(f"romeo@montague.lit/{each}") for each in ("phone", "tablet"))
    romeo.forget()
    ended = ran(prince, "end-user-session", accountjids="romeo@montague.lit/phone")
    assert notes(ended) == [("info", "ended romeo@montague.lit/phone")]
    assert [each.connected for each in (romeo, phone, tablet)] == [True, False, True]
    ran(prince, "end-user-session", accountjids="romeo@montague.lit")
    assert not romeo.connected
    assert not tablet.connected
    again = ran(prince, "end-user-session", accountjids="romeo@montague.lit")
    assert notes(again) == [("error", "romeo@montague.lit has no session")]


def test_a_password_is_changed(prince: Client, romeo: Client, network: Network) -> None:
    changed = ran(prince, "change-user-password", accountjid="romeo@montague.lit", password="rosaline")
    assert notes(changed) == [("info", "romeo@montague.lit has a new password")]
    again = network.connected("romeo@montague.lit/phone", password="rosaline")
    again.open()
    again.login()


def test_a_password_that_cannot_be_used_is_refused(prince: Client, romeo: Client) -> None:
    changed = ran(prince, "change-user-password", accountjid="romeo@montague.lit", password="&#x378;")
    [(type, said)] = notes(changed)
    assert (type, said[:26]) == ("error", "the password cannot be use")


def test_rosters_are_shown(prince: Client, romeo: Client) -> None:
    item = "<item jid='juliet@capulet.lit' name='Juliet'><group>Lovers</group></item>"
    romeo.ask(f"<iq type='set'><query xmlns='jabber:iq:roster'>{item}</query></iq>")
    answer = ran(prince, "get-user-roster", accountjids=["romeo@montague.lit", "prince@montague.lit"])
    first, second = answer[0].iterfind(f"{X}x")
    assert first.xpath("string(.//*[@var='accountjids'])") == "romeo@montague.lit"
    [contact] = first.iterfind("{jabber:iq:roster}query/{jabber:iq:roster}item")
    assert dict(contact.attrib) == {"jid": "juliet@capulet.lit", "name": "Juliet", "subscription": "none"}
    assert contact[0].text == "Lovers"
    assert len(second.find("{jabber:iq:roster}query")) == 0  # type: ignore[arg-type]  # it is there


def test_a_roster_of_nobody_is_refused(prince: Client) -> None:
    answer = ran(prince, "get-user-roster", accountjids="paris@montague.lit")
    assert notes(answer) == [("error", "there is no account paris@montague.lit")]


def test_the_last_logins_are_shown_of_those_who_were_there(
    prince: Client, network: Network, manager: SessionManager
) -> None:
    network.advance(60)
    network.client("romeo@montague.lit/orchard")
    network.server("montague.lit").create(prince.jid.parse("benvolio@montague.lit"), "secret")
    jids = [f"{name}@montague.lit" for name in ("benvolio", "paris", "romeo", "prince")]
    answer = ran(prince, "get-user-lastlogin", accountjids=jids)
    assert data(answer) == {
        "accountjids": ["romeo@montague.lit", "prince@montague.lit"],
        "lastlogin": ["1970-01-01T00:01:00Z", "1970-01-01T00:00:00Z"],
    }
    assert notes(answer) == [
        ("info", "benvolio@montague.lit has never logged in"),
        ("error", "there is no account paris@montague.lit"),
    ]


def test_the_statistics_of_a_user(prince: Client, network: Network) -> None:
    network.client("romeo@montague.lit/orchard", address="192.0.2.1")
    network.client("romeo@montague.lit/phone", address="192.0.2.1")
    assert data(ran(prince, "user-stats", accountjid="romeo@montague.lit/phone")) == {
        "accountjid": ["romeo@montague.lit"],
        "ipaddresses": ["192.0.2.1"],
        "rostersize": ["0"],
        "onlineresources": ["orchard", "phone"],
    }


def test_the_statistics_of_several_users_are_a_form_each(prince: Client, network: Network) -> None:
    server = network.server("montague.lit")
    for name in ("romeo", "benvolio"):
        server.create(JID.parse(f"{name}@montague.lit"), "secret")
    answer = ran(prince, "user-stats", accountjids=["benvolio@montague.lit", "romeo@montague.lit/phone"])
    named = answer.xpath(".//*[local-name()='field'][@var='accountjid']/*/text()")
    assert named == ["benvolio@montague.lit", "romeo@montague.lit"]


def test_statistics_without_a_user_are_refused(prince: Client) -> None:
    assert condition(ran(prince, "user-stats")) == "not-acceptable"


def test_the_statistics_of_nobody_are_refused(prince: Client) -> None:
    answer = ran(prince, "user-stats", accountjid="paris@montague.lit")
    assert notes(answer) == [("error", "there is no account paris@montague.lit")]


# --- who there is --------------------------------------------------------------------------------


@pytest.fixture
def household(prince: Client, network: Network) -> None:
    """Romeo is there, and away with his phone; Benvolio is away; Mercutio says nothing; Abram left."""
    network.client("romeo@montague.lit/orchard")
    network.client("romeo@montague.lit/phone", presence="<presence><show>xa</show></presence>")
    network.client("benvolio@montague.lit/street", presence="<presence><show>away</show></presence>")
    network.client("mercutio@montague.lit/street", presence="")
    network.client("abram@montague.lit/street").close()
    network.client("escalus@verona.lit/palace")


@pytest.mark.parametrize(
    ("number", "listing", "who", "names"),
    [
        (
            "get-registered-users-num",
            "get-registered-users-list",
            "registered",
            ["abram", "benvolio", "mercutio", "prince", "romeo"],
        ),
        ("get-disabled-users-num", "get-disabled-users-list", "disabled", []),
        (
            "get-online-users-num",
            "get-online-users-list",
            "online",
            ["benvolio", "mercutio", "prince", "romeo"],
        ),
        ("get-active-users-num", "get-active-users", "active", ["prince", "romeo"]),
        ("get-idle-users-num", "get-idle-users", "idle", ["benvolio", "mercutio"]),
    ],
)
def test_users_are_counted_and_listed(
    prince: Client, household: None, number: str, listing: str, who: str, names: list[str]
) -> None:
    assert data(begun(prince, number)) == {f"{who}usersnum": [str(len(names))]}
    jids = [f"{name}@montague.lit" for name in names]
    assert data(ran(prince, listing, max_items="100")) == {f"{who}userjids": jids}


def test_a_long_list_is_cut_and_says_so(prince: Client, network: Network) -> None:
    for each in range(30):
        network.server("montague.lit").create(prince.jid.parse(f"servant{each:02}@montague.lit"), "secret")
    answer = ran(prince, "get-registered-users-list")
    assert len(data(answer)["registereduserjids"]) == 25
    assert notes(answer) == [("info", "6 more are not shown")]
    assert notes(ran(prince, "get-registered-users-list", max_items="50")) == []


# --- everybody -----------------------------------------------------------------------------------


def test_an_announcement_goes_to_everybody_at_the_domain(
    prince: Client, romeo: Client, network: Network
) -> None:
    escalus = network.client("escalus@verona.lit/palace")
    text = ["Rebellious subjects,", "enemies to peace"]
    assert notes(ran(prince, "announce", announcement=text)) == [("info", "told 2 sessions")]
    assert romeo.receives(
        "<message from='montague.lit' to='romeo@montague.lit/orchard' type='headline'>"
        "<body>Rebellious subjects,\nenemies to peace</body></message>"
    )
    assert escalus.hears_nothing()


def test_an_announcement_of_nothing_is_refused(prince: Client) -> None:
    assert condition(ran(prince, "announce", announcement="")) == "bad-request"


def told(client: Client) -> str:
    """The only message that the client got, and what is in it."""
    client.flush()
    [message] = [each for each in client.heard if each.tag == f"{{{ns.CLIENT}}}message"]
    client.forget()
    assert message.get("from") == "montague.lit"
    return str(message.findtext("{*}body"))


def test_the_message_of_the_day_is_set_edited_and_deleted(
    prince: Client, romeo: Client, network: Network
) -> None:
    assert shown(prince, "set-motd") == []
    said = ["A plague", "on both your houses"]
    assert notes(ran(prince, "set-motd", motd=said)) == [
        ("info", "told 2 accounts, the others when they come")
    ]
    assert told(romeo) == "A plague\non both your houses"
    assert shown(prince, "edit-motd") == said
    ran(prince, "edit-motd", motd="A scratch")
    assert romeo.hears_nothing()
    benvolio = network.client("benvolio@montague.lit/street", presence="")
    benvolio.send("<presence/>")
    assert told(benvolio) == "A scratch"
    assert notes(begun(prince, "delete-motd")) == [("info", "the message of the day is deleted")]
    assert notes(begun(prince, "delete-motd")) == [("error", "montague.lit has no message of the day")]
    assert shown(prince, "edit-motd") == []


def test_the_welcome_message_is_set_and_deleted(prince: Client, network: Network) -> None:
    ran(prince, "set-welcome", welcome=["Welcome,", "gentlemen"])
    assert shown(prince, "set-welcome") == ["Welcome,", "gentlemen"]
    ran(prince, "add-user", **TYBALT, password_verify="ratcatcher")
    tybalt = network.connected("tybalt@montague.lit/street", password="ratcatcher")
    tybalt.open()
    tybalt.login()
    tybalt.open()
    tybalt.bind()
    tybalt.send("<presence/>")
    assert told(tybalt) == "Welcome,\ngentlemen"
    assert notes(begun(prince, "delete-welcome")) == [("info", "the welcome message is deleted")]
    assert shown(prince, "set-welcome") == []


def test_commands_of_a_module_that_is_off_are_not_there(network: Network) -> None:
    modules: dict[str, dict[str, object]] = {
        name: {} for name in loader.DEFAULT if name not in {"motd", "welcome"}
    }
    network.serve("verona.lit", admins=["escalus@verona.lit"], modules=modules)
    missing = {"set-motd", "edit-motd", "delete-motd", "set-welcome", "delete-welcome"}
    assert nodes(network.client("escalus@verona.lit/palace"), "verona.lit") == [
        name for name in ALL if name not in missing
    ]


@pytest.fixture
def called(manager: SessionManager) -> list[Any]:
    """The verbs that were called, in place of those of this server."""
    called: list[Any] = []

    def call(noun: str, name: str, arguments: Mapping[str, object]) -> Any:
        called.append((noun, name, arguments))
        return succeed("told 7 sessions")

    manager.operators = replace(manager.operators, call=call)
    return called


def test_the_server_ends_later_and_everybody_is_told_now(
    prince: Client, network: Network, called: list[Any]
) -> None:
    answer = ran(prince, "shutdown", delay="60", announcement=["Once more,", "depart!"])
    assert notes(answer) == [("info", "the server ends in 60 s; told 7 sessions")]
    assert called == [("", "announce", {"text": "Once more,\ndepart!"})]
    network.advance(59)
    assert len(called) == 1
    network.advance(1)
    assert called[1:] == [("", "shutdown", {})]


def test_the_server_ends_without_a_word_and_another_time_replaces_the_first(
    prince: Client, network: Network, called: list[Any]
) -> None:
    ran(prince, "shutdown", delay="300")
    answer = ran(prince, "shutdown")
    assert notes(answer) == [("info", "the server ends in 30 s; nobody was told")]
    network.advance(400)
    assert called == [("", "shutdown", {})]


def test_the_server_is_restarted(prince: Client, network: Network, called: list[Any]) -> None:
    answer = ran(prince, "restart", delay="0")
    assert notes(answer) == [("info", "the server restarts in 0 s; nobody was told")]
    network.advance(0)
    assert called == [("", "restart", {})]


def test_an_end_that_fails_is_logged(prince: Client, network: Network, logged_errors: LoggedErrors) -> None:
    ran(prince, "shutdown")  # which no server in memory has
    network.advance(30)
    [error] = logged_errors.take(KeyError)
    assert error.startswith("the server did not shutdown")


def test_a_module_that_stops_ends_nothing_any_more(
    prince: Client, manager: SessionManager, network: Network, called: list[Any]
) -> None:
    ran(prince, "shutdown")
    done(manager.module("administration").stop())
    network.advance(60)
    assert called == []


def test_whoever_gets_the_name_of_a_deleted_admin_is_no_admin(network: Network) -> None:
    names = ("disco", "commands", "last", "administration")
    server = network.serve("montague.lit", modules={name: {} for name in names})
    network.client("romeo@montague.lit/orchard").close()
    romeo, montague = JID.parse("romeo@montague.lit"), JID.parse("montague.lit")
    manager = server.hosts["montague.lit"].manager
    module: Any = manager.module("administration")  # another test may have loaded its class again
    done(module.add(montague, romeo))
    done(manager.registrar.delete(romeo))
    assert module.list(montague) == []
    assert done(module.added.all(montague)) == {}
