"""The operator's verbs: how words become a call, and what the verbs for accounts do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest
from twisted.logger import capturedLogs, eventAsText
from zope.interface import Interface, implementer

from jabberd.admin import Admin, SecretNeededError, UsageError
from jabberd.api import JID, AccountCreated, AccountDeleted, Module, Refused, Secret, on, operator
from jabberd.hosting import verb_groups
from jabberd.jsm.threads import Overloaded
from jabberd.testing import Network
from jabberd.testing.outcome import done

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jabberd.testing.server import Server

ROMEO = "romeo@montague.lit"
SECRET = "wherefore"


class Treasury:
    """Verbs with every kind of argument."""

    def __init__(self, name: str) -> None:
        self.name = name

    @operator("pay somebody")
    def pay(self, jid: JID, word: Secret, ducats: int, purpose: str = "nothing") -> str:
        return f"{self.name} pays {jid} {ducats} for {purpose}, by {word == SECRET}"

    @operator("count the ducats")
    async def how_much(self) -> dict[str, int]:
        return {"ducats": 40}


class Street:
    """Verbs that need no noun."""

    @operator("cry something")
    def cry(self, word: Literal["fire", "murder"], jid: JID | None = None) -> str:
        return f"{word} at {jid}"


def admin() -> Admin:
    """Two domains with a treasury each, and one of the whole server."""
    return Admin(
        lambda: [
            ("treasury", "montague.lit", Treasury("montague")),
            ("treasury", "capulet.lit", Treasury("capulet")),
            ("mint", "", Treasury("mint")),
        ]
    )


def run(words: str, **secrets: str) -> Any:
    return done(admin().run(words.split(), secrets))


# -- words to a call ------------------------------------------------------------------------------------


def test_the_domain_of_the_jid_says_whose_verb_is_meant() -> None:
    assert run(f"treasury pay {ROMEO} 4", word=SECRET) == f"montague pays {ROMEO} 4 for nothing, by True"
    assert run("treasury pay juliet@capulet.lit 4", word="").startswith("capulet pays")


def test_a_verb_of_the_whole_server_may_be_about_any_domain() -> None:
    assert run("mint pay tybalt@evil.example 0 duels", word="") == (
        "mint pays tybalt@evil.example 0 for duels, by False"
    )
    assert run("mint how-much") == {"ducats": 40}


def test_a_verb_of_a_domain_that_is_about_nobody_is_told_the_domain() -> None:
    assert run("treasury how-much capulet.lit") == {"ducats": 40}
    with pytest.raises(UsageError, match=r"^DOMAIN is missing; usage: treasury how-much DOMAIN$"):
        run("treasury how-much")


def test_a_domain_that_is_not_hosted_is_refused_with_those_that_are() -> None:
    for words in ("treasury pay tybalt@evil.example 4", "treasury how-much evil.example"):
        with pytest.raises(
            Refused, match=r"^evil\.example is not hosted here; hosted are capulet\.lit, monta"
        ):
            run(words, word=SECRET)


@pytest.mark.parametrize("words", ["", "help"])
def test_help_shows_each_verb_once_and_never_asks_for_a_secret_among_the_words(words: str) -> None:
    assert run(words) == [
        {"verb": "treasury how-much DOMAIN", "help": "count the ducats"},
        {"verb": "treasury pay JID DUCATS [PURPOSE]", "help": "pay somebody"},
        {"verb": "mint how-much", "help": "count the ducats"},
        {"verb": "mint pay JID DUCATS [PURPOSE]", "help": "pay somebody"},
    ]


@implementer(Interface)
class Declaring:
    """Of zope.interface's classes something is listed that they do not have."""

    @operator("say it")
    def say(self) -> str:
        return "said"


async def test_whoever_has_verbs_may_implement_an_interface() -> None:
    assert await Admin(lambda: [("", "", Declaring())]).run(["say"], {}) == "said"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("treasury pya", r"^'treasury pya' is not a verb; there are: treasury pay\b"),
        ("treasure pay", r"^'treasure pay' is not a verb; there are: treasury pay$"),
        ("treasury", r"^'treasury' is not a verb; there are: treasury how-much, treasury pay$"),
        (
            "xyzzy",
            r"^'xyzzy' is not a verb; there are: treasury how-much, treasury pay, mint how-much, mint pay$",
        ),
        (f"treasury pay {ROMEO}", r"^DUCATS is missing; usage: treasury pay JID DUCATS \[PURPOSE\]$"),
        (f"treasury pay {ROMEO} 4 a b", r"^'b' is one word too many; usage: "),
        (f"treasury pay {ROMEO} few", r"^DUCATS 'few' is not a number; usage: "),
        ("treasury pay ro@meo@montague.lit 4", r"^JID 'ro@meo@montague.lit' is not an address: "),
    ],
)
def test_words_that_make_no_verb_are_answered_with_those_that_would(words: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run(words)


@pytest.mark.parametrize("odd", ["\0", "\ud800", "class\x007b"])
def test_a_word_that_is_no_text_is_not_taken(odd: str) -> None:
    with pytest.raises(UsageError, match="is not text"):
        done(admin().run(["treasury", "pay", ROMEO, "4", odd], {"word": SECRET}))
    with pytest.raises(UsageError, match="is not text"):
        done(admin().run([odd], {}))


def test_a_number_has_its_bounds() -> None:
    with pytest.raises(UsageError, match="DUCATS is too large"):
        run(f"treasury pay {ROMEO} {1 << 53}", word=SECRET)
    assert run(f"treasury pay {ROMEO} {(1 << 53) - 1}", word=SECRET)


def test_a_verb_may_need_no_noun_and_take_words_of_a_choice_and_what_may_be_left_out() -> None:
    street = Admin(lambda: [("", "", Street())])
    assert done(street.run(["cry", "fire"], {})) == "fire at None"
    assert done(street.run(["cry", "murder", ROMEO], {})) == f"murder at {ROMEO}"
    assert done(street.call("", "cry", {"word": "fire", "jid": ROMEO})) == f"fire at {ROMEO}"
    assert done(street.run(["help"], {})) == [{"verb": "cry WORD [JID]", "help": "cry something"}]
    with pytest.raises(UsageError, match=r"^WORD 'wolf' is none of fire, murder$"):
        done(street.run(["cry", "wolf"], {}))
    with pytest.raises(UsageError, match=r"^'cri fire' is not a verb; there are: cry$"):
        done(street.run(["cri", "fire"], {}))


def test_a_secret_is_asked_for_only_when_all_else_is_right() -> None:
    with pytest.raises(SecretNeededError, match=r"^word$"):
        run(f"treasury pay {ROMEO} 4")
    with pytest.raises(Refused):
        run("treasury pay tybalt@evil.example 4")


def test_the_log_says_what_was_done_and_no_secret() -> None:
    with capturedLogs() as events:
        run(f"treasury pay {ROMEO} 4", word=SECRET)
        with pytest.raises(UsageError):
            run(f"treasury pay {ROMEO} 4 for {SECRET}", word=SECRET)
    [line] = [eventAsText(event) for event in events]
    assert f"treasury pay {{'jid': '{ROMEO}', 'ducats': 4, 'word': Secret(...)}}" in line


def test_a_secret_shows_itself_to_nobody() -> None:
    assert SECRET not in repr({"word": Secret(SECRET)})
    assert Secret(SECRET) == SECRET


# -- accounts -------------------------------------------------------------------------------------------


class Chronicle(Module):
    """Writes down who comes and goes."""

    async def start(self) -> None:
        self.rows: list[object] = []

    @on(AccountCreated)
    @on(AccountDeleted)
    def write(self, event: AccountCreated | AccountDeleted) -> None:
        self.rows.append(event)


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    modules: dict[str, dict[str, object]] = {"offline": {}, "chronicle": {}}
    for domain in ("montague.lit", "capulet.lit"):
        network.serve(domain, modules=modules, classes={"chronicle": Chronicle})
    yield network
    network.close()


@pytest.fixture
def server(network: Network) -> Server:
    return network.server("montague.lit")


def operate(server: Server, words: str, **secrets: str) -> Any:
    return done(Admin(lambda: verb_groups(server.hosts)).run(words.split(), secrets))


def events(server: Server) -> list[object]:
    chronicle = server.hosts["montague.lit"].manager.module("chronicle")
    assert isinstance(chronicle, Chronicle)
    return chronicle.rows


def test_an_account_is_made_listed_and_entered(network: Network, server: Server) -> None:
    assert operate(server, "accounts list montague.lit") == []
    made = operate(server, "accounts create Romeo@montague.lit", password=SECRET)
    assert made == f"{ROMEO} was made"
    assert operate(server, "accounts list montague.lit") == [ROMEO]
    assert events(server) == [AccountCreated(JID.parse(ROMEO))]
    romeo = network.client(f"{ROMEO}/orchard", password=SECRET)
    assert romeo.jid == f"{ROMEO}/orchard"


def test_an_account_that_was_known_not_to_exist_does_when_it_is_made(
    network: Network, server: Server
) -> None:
    benvolio = network.client("benvolio@montague.lit/street")
    benvolio.send(f"<message to='{ROMEO}' id='m1'><body>hi!</body></message>")
    assert benvolio.next().get("type") == "error"
    operate(server, f"accounts create {ROMEO}", password=SECRET)
    benvolio.send(f"<message to='{ROMEO}' id='m2'><body>hi!</body></message>")
    assert benvolio.hears_nothing()


def test_another_password_lets_in_and_the_old_one_does_not(network: Network, server: Server) -> None:
    operate(server, f"accounts create {ROMEO}", password="rosaline")
    here = network.client(f"{ROMEO}/orchard", password="rosaline")
    assert operate(server, f"accounts password {ROMEO}", password=SECRET) == f"{ROMEO} has a new password"
    assert here.hears_nothing()
    assert here.connected
    with pytest.raises(AssertionError, match="not-authorized"):
        network.client(f"{ROMEO}/square", password="rosaline")
    network.client(f"{ROMEO}/square", password=SECRET)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("accounts create benvolio@montague.lit", "benvolio@montague.lit exists already"),
        (f"accounts password {ROMEO}", f"there is no account {ROMEO}"),
        (f"accounts delete {ROMEO}", f"there is no account {ROMEO}"),
        ("accounts create tybalt@evil.example", "evil.example is not hosted here; hosted are montague.lit"),
        ("accounts list evil.example", "evil.example is not hosted here; hosted are montague.lit"),
        ("accounts create montague.lit", "montague.lit is not an account; write it like romeo@montague.lit"),
        (f"accounts delete {ROMEO}/orchard", f"{ROMEO}/orchard is not an account; write it like"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(server: Server, words: str, said: str) -> None:
    operate(server, "accounts create benvolio@montague.lit", password=SECRET)
    with pytest.raises(Refused, match=said):
        operate(server, words, password=SECRET)


@pytest.mark.parametrize("verb", ["create", "password"])
def test_a_password_that_nobody_could_type_again_is_refused(server: Server, verb: str) -> None:
    if verb == "password":
        operate(server, f"accounts create {ROMEO}", password=SECRET)
    for password in ("", "bell\x07"):
        with pytest.raises(Refused, match=r"^the password cannot be used: ") as refused:
            operate(server, f"accounts {verb} {ROMEO}", password=password)
        assert "bell" not in str(refused.value)


def test_a_server_with_too_many_passwords_to_work_on_says_so(server: Server) -> None:
    def busy(_work: object) -> Any:
        raise Overloaded("66 calls are waiting")

    server.hosts["montague.lit"].accounts._run = busy
    with pytest.raises(Refused, match="too many passwords"):
        operate(server, f"accounts create {ROMEO}", password=SECRET)


def test_deleting_an_account_ends_its_sessions(network: Network, server: Server) -> None:
    network.client(f"{ROMEO}/square")
    romeo = network.client(f"{ROMEO}/orchard", presence="")
    assert operate(server, f"accounts delete {ROMEO}") == f"{ROMEO} is deleted"
    assert romeo.is_dismissed_with("not-authorized")
    assert events(server) == [AccountDeleted(JID.parse(ROMEO))]


def befriend(network: Network, one: str, other: str) -> tuple[Any, Any]:
    """Two clients who see each other's presence."""
    clients = network.client(one), network.client(other)
    for client, contact in (clients, clients[::-1]):
        client.send(f"<presence type='subscribe' to='{contact.jid.bare}'/>")
        contact.send(f"<presence type='subscribed' to='{client.jid.bare}'/>")
    for client in clients:
        client.forget()
    return clients


@pytest.mark.parametrize("contact", ["benvolio@montague.lit/street", "juliet@capulet.lit/balcony"])
def test_deleting_an_account_ends_its_subscriptions(network: Network, server: Server, contact: str) -> None:
    _, other = befriend(network, f"{ROMEO}/orchard", contact)
    other.ask("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>")
    operate(server, f"accounts delete {ROMEO}")
    network.flush()
    assert other.receives(
        f"<presence from='{ROMEO}/orchard' to='{other.jid.bare}' type='unavailable'/>",
    )
    roster = other.ask("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>")
    assert [item.get("subscription") for item in roster[0]] == ["none"]


def test_nothing_of_a_deleted_account_waits_for_the_next_of_that_name(
    network: Network, server: Server
) -> None:
    befriend(network, f"{ROMEO}/orchard", "juliet@capulet.lit/balcony")[0].drop()
    juliet = network.client("juliet@capulet.lit/balcony")
    juliet.send(f"<message to='{ROMEO}'><body>while he is away</body></message>")
    operate(server, f"accounts delete {ROMEO}")
    operate(server, f"accounts release {ROMEO}")
    operate(server, f"accounts create {ROMEO}", password=SECRET)
    romeo = network.client(f"{ROMEO}/orchard", password=SECRET, presence="")
    roster = romeo.ask("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>")
    assert len(roster[0]) == 0
    romeo.send("<presence/>")
    assert romeo.receives(f"<presence from='{ROMEO}/orchard' to='{ROMEO}'/>")
    assert romeo.hears_nothing()


def test_the_names_of_deleted_accounts_are_listed_and_released(network: Network, server: Server) -> None:
    operate(server, f"accounts create {ROMEO}", password=SECRET)
    assert operate(server, "accounts kept montague.lit") == []
    with pytest.raises(Refused, match=f"the name of {ROMEO} is not kept back"):
        operate(server, f"accounts release {ROMEO}")
    operate(server, f"accounts delete {ROMEO}")
    [row] = operate(server, "accounts kept montague.lit")
    assert row["jid"] == ROMEO
    assert row["deleted"] < row["until"]
    server.hosts["montague.lit"].accounts.names.span = float("inf")
    assert operate(server, "accounts kept montague.lit") == [{**row, "until": "forever"}]
    with pytest.raises(Refused, match=f"was deleted at {row['deleted']}, and its name is kept back; to let"):
        operate(server, f"accounts create {ROMEO}", password=SECRET)
    assert operate(server, f"accounts release {ROMEO}") == f"anybody can have the name of {ROMEO}"
    assert operate(server, f"accounts create {ROMEO}", password=SECRET) == f"{ROMEO} was made"


def test_what_is_on_its_way_to_an_account_while_it_is_deleted_is_not_kept(
    network: Network, server: Server
) -> None:
    romeo = network.client(f"{ROMEO}/orchard")
    benvolio = network.client("benvolio@montague.lit/street")
    forgotten: list[Any] = []
    forget = server.storage.forget

    def slow(owner: str) -> Any:
        benvolio.send(f"<message to='{ROMEO}' id='m1'><body>hi!</body></message>")
        forgotten.append(owner)
        return forget(owner)

    server.storage.forget = slow  # type: ignore[method-assign]  # to see what comes meanwhile
    operate(server, f"accounts delete {ROMEO}")
    assert forgotten == [ROMEO]
    assert benvolio.next().get("type") == "error"
    assert done(server.storage.archive("offline").count(ROMEO)) == 0
    assert not romeo.connected
