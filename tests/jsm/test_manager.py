"""Who gets a stanza, who answers a question, what is left of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred

from jabberd.api import (
    ACCOUNT,
    ANYONE,
    DOMAIN,
    IQ,
    LOCAL,
    OWNER,
    SUBSCRIBER,
    E,
    Element,
    Module,
    SessionClosed,
    SessionOpened,
    StanzaError,
    answers,
    on,
)
from jabberd.interfaces import LoginPolicy, StorageError
from jabberd.streams.protocol import StreamSettings
from jabberd.testing.client import condition, read, written
from jabberd.xmpp import ns
from jabberd.xmpp.stanza import Stanza
from tests.jsm.conftest import befriend
from tests.jsm.said import FROM_JULIET, HI, STANZAS, UNKNOWN, Counting, refused

if TYPE_CHECKING:
    from jabberd.testing import Client, Network
    from tests.conftest import LoggedErrors


LATER = (
    "<message from='juliet@capulet.lit/balcony' to='{}' type='chat' id='m1'><body>hi</body>"
    "<delay xmlns='urn:xmpp:delay' from='montague.lit' stamp='*'>*</delay></message>"
)


# --- messages -------------------------------------------------------------------------------------


@pytest.mark.rfc6121("5.2.2-1", "8.5.2.1.1-2", "8.5.2.1.1-5", "8.5.2.1.1-7", "8.5.2.1.1-8")
@pytest.mark.parametrize("type", ["chat", "normal", "headline"])
def test_a_message_to_the_bare_jid_reaches_every_resource_of_non_negative_priority(
    romeo: Client, juliet: Client, network: Network, type: str
) -> None:
    street = network.client(
        "romeo@montague.lit/street", presence="<presence><priority>5</priority></presence>"
    )
    tomb = network.client("romeo@montague.lit/tomb", presence="<presence><priority>-1</priority></presence>")
    silent = network.client("romeo@montague.lit/silent", presence="")
    romeo.forget()
    street.forget()
    juliet.send(HI.format("romeo@montague.lit", type))
    for each in (romeo, street):
        assert each.receives(FROM_JULIET.format("romeo@montague.lit", type))
    for each in (romeo, street, tomb, silent, juliet):
        assert each.hears_nothing()


@pytest.mark.rfc6120("10.5.4-1")
@pytest.mark.rfc6121("5.2.2-2", "8.5.3.1-2")
@pytest.mark.parametrize("presence", ["", "<presence/>", "<presence><priority>-1</priority></presence>"])
def test_a_message_to_a_full_jid_reaches_that_resource_alone(
    romeo: Client, juliet: Client, network: Network, presence: str
) -> None:
    street = network.client("romeo@montague.lit/street", presence=presence)
    romeo.forget()
    juliet.send(HI.format("romeo@montague.lit/street", "chat"))
    assert street.receives(FROM_JULIET.format("romeo@montague.lit/street", "chat"))
    assert romeo.hears_nothing()


@pytest.mark.rfc6121("8.5.3.2.1-1", "8.5.3.2.1-3")
def test_a_chat_message_to_a_resource_that_is_gone_goes_to_the_others(romeo: Client, juliet: Client) -> None:
    juliet.send(HI.format("romeo@montague.lit/gone", "chat"))
    assert romeo.receives(FROM_JULIET.format("romeo@montague.lit/gone", "chat"))
    juliet.send(HI.format("romeo@montague.lit/gone", "groupchat"))
    assert refused(juliet) == "service-unavailable"


@pytest.mark.rfc6120("10.5.3.2-1")
@pytest.mark.parametrize("first", ["", "<presence><priority>-1</priority></presence>"])
def test_a_message_for_nobody_waits_until_somebody_can_be_sent_it(
    juliet: Client, network: Network, first: str
) -> None:
    romeo = network.client("romeo@montague.lit/orchard", presence=first)
    juliet.send(HI.format("romeo@montague.lit", "chat"))
    assert juliet.hears_nothing()
    assert romeo.hears_nothing()
    romeo.send("<presence><priority>1</priority></presence>")
    romeo.next()  # his own presence
    assert romeo.receives(LATER.format("romeo@montague.lit"))
    romeo.send("<presence><priority>2</priority></presence>")
    romeo.next()
    assert romeo.hears_nothing()  # once


def test_without_an_offline_store_the_sender_is_told(network: Network) -> None:
    network.serve("montague.lit", modules={})
    romeo = network.client("romeo@montague.lit/orchard", presence="")
    romeo.send(HI.format("romeo@montague.lit", "chat"))
    assert refused(romeo) == "service-unavailable"
    composing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
    romeo.send(f"<message to='romeo@montague.lit' type='chat'>{composing}</message>")
    assert romeo.hears_nothing()  # nobody misses a chat state


@pytest.mark.rfc6120("10.3-1", "10.3.1-1")
def test_a_message_to_oneself_without_an_address_comes_back(romeo: Client) -> None:
    romeo.send("<message id='m1'><body>O</body></message>")  # RFC 6120 §10.3.1
    assert romeo.receives(
        "<message id='m1' from='romeo@montague.lit/orchard' to='romeo@montague.lit'><body>O</body></message>"
    )


@pytest.mark.rfc6120("10.5.1-1", "10.5.2-1", "8.4-7")
def test_the_domain_itself_takes_no_messages_and_no_presence(romeo: Client) -> None:
    romeo.send(HI.format("montague.lit", "chat"))
    assert refused(romeo) == "service-unavailable"
    romeo.send("<presence to='montague.lit'/><message to='montague.lit' type='error' id='m1'/>")
    assert romeo.hears_nothing()
    romeo.send(HI.format("montague.lit/resource", "chat"))
    assert refused(romeo) == "service-unavailable"
    romeo.send(UNKNOWN.format("montague.lit/resource", "get"))
    assert refused(romeo, "q1") == "service-unavailable"


@pytest.mark.rfc6120("10.4.3-1")
def test_a_domain_that_is_not_ours_is_the_way_out(romeo: Client, network: Network) -> None:
    tybalt = network.stranger("tybalt@evil.example")
    romeo.send(HI.format("tybalt@evil.example", "chat"))
    assert tybalt.receives(
        FROM_JULIET.format("tybalt@evil.example", "chat").replace("juliet@capulet.lit/balcony", romeo.jid)
    )
    romeo.send(HI.format("nobody@nowhere.example", "chat"))
    assert refused(romeo) == "remote-server-not-found"


# --- questions ------------------------------------------------------------------------------------


class Oracle(Module):
    """Answers what it is asked with who asked."""

    later: Deferred[Element]

    @answers.get("urn:x", "owner", to=ACCOUNT, by=OWNER)
    @answers.get("urn:x", "subscriber", to=ACCOUNT, by=SUBSCRIBER)
    @answers.get("urn:x", "local", to=ACCOUNT, by=LOCAL)
    @answers.get("urn:x", "anyone", to=ACCOUNT, by=ANYONE)
    @answers.get("urn:x", "local", to=DOMAIN, by=LOCAL)
    @answers.get("urn:x", "anyone", to=DOMAIN, by=ANYONE)
    def who(self, request: IQ) -> Element:
        """Tell who asked."""
        return E("urn:x", "you", {"are": request.sender})

    @answers.set("urn:x", "nothing", to=DOMAIN, by=ANYONE)
    def nothing(self, request: IQ) -> None:
        """Do it."""

    @answers.set("urn:x", "something", to=DOMAIN, by=ANYONE)
    def something(self, request: IQ) -> Element:
        """Answer."""
        return E("urn:x", "one")

    @answers.set("urn:x", "refused", to=DOMAIN, by=ANYONE)
    def refused(self, request: IQ) -> None:
        """Refuse."""
        raise StanzaError("not-acceptable")

    @answers.set("urn:x", "broken", to=DOMAIN, by=ANYONE)
    def broken(self, request: IQ) -> None:
        """Fail."""
        raise ZeroDivisionError

    @answers.set("urn:x", "broken-later", to=DOMAIN, by=ANYONE)
    async def broken_later(self, request: IQ) -> None:
        """Fail, too."""
        raise ZeroDivisionError

    @answers.set("urn:x", "later", to=DOMAIN, by=ANYONE)
    async def answer_later(self, request: IQ) -> Element:
        """Answer when the test does."""
        return await self.later


@pytest.fixture
def oracle(network: Network) -> type[Oracle]:
    network.serve("montague.lit", "capulet.lit", modules={"oracle": {}}, classes={"oracle": Oracle})
    return Oracle


class House:
    """Who may ask romeo's account: himself, a friend of his, somebody of his domain, strangers."""

    def __init__(self, network: Network) -> None:
        self.romeo = network.client("romeo@montague.lit/orchard")
        self.juliet = network.client("juliet@capulet.lit/balcony")
        self.benvolio = network.client("benvolio@montague.lit/street")
        self.tybalt = network.client("tybalt@capulet.lit/street")
        befriend(self.romeo, self.juliet)

    def who_learns(self, question: str, to: str) -> list[str]:
        """The names of those who are not refused."""
        learned = []
        for client in (self.romeo, self.juliet, self.benvolio, self.tybalt):
            answer = client.ask(f"<iq to='{to}' type='get'><{question} xmlns='urn:x'/></iq>")
            if answer.get("type") == "result":
                assert answer[0].get("are") == client.jid
                learned.append(client.jid.localpart)
            else:
                assert condition(answer) == "service-unavailable"
            assert answer.get("from") == to
        return learned


@pytest.mark.rfc6120("8.2.3-2", "10.5.3.1-2", "10.5.3.2-2")
@pytest.mark.parametrize(
    ("to", "question", "learn"),
    [
        ("romeo@montague.lit", "owner", ["romeo"]),
        ("romeo@montague.lit", "subscriber", ["romeo", "juliet"]),
        ("romeo@montague.lit", "local", ["romeo", "benvolio"]),
        ("romeo@montague.lit", "anyone", ["romeo", "juliet", "benvolio", "tybalt"]),
        ("romeo@montague.lit", "unknown", []),
        ("nobody@montague.lit", "anyone", []),
        ("montague.lit", "local", ["romeo", "benvolio"]),
        ("montague.lit", "anyone", ["romeo", "juliet", "benvolio", "tybalt"]),
        ("montague.lit", "owner", []),
    ],
)
@pytest.mark.usefixtures("oracle")
def test_a_question_is_answered_to_whom_it_may_concern(
    network: Network, to: str, question: str, learn: list[str]
) -> None:
    assert House(network).who_learns(question, to) == learn


@pytest.mark.rfc6120("8.1.1.1-2", "8.1.2.1-3", "10.3.3-1")
@pytest.mark.usefixtures("oracle")
def test_a_question_without_an_address_is_for_ones_own_account(network: Network) -> None:
    romeo = network.client("romeo@montague.lit/orchard")
    romeo.send("<iq type='get' id='q1'><owner xmlns='urn:x'/></iq>")
    assert romeo.receives(
        "<iq type='result' id='q1' from='romeo@montague.lit' to='romeo@montague.lit/orchard'>"
        "<you xmlns='urn:x' are='romeo@montague.lit/orchard'/></iq>"
    )


ANSWERS = {
    "nothing": "<iq type='result' id='q1' from='montague.lit' to='romeo@montague.lit/orchard'/>",
    "something": "<iq type='result' id='q1' from='montague.lit' to='romeo@montague.lit/orchard'>"
    "<one xmlns='urn:x'/></iq>",
    "refused": "<iq type='error' id='q1' from='montague.lit' to='romeo@montague.lit/orchard'>"
    f"<error type='modify'><not-acceptable xmlns='{ns.STANZA_ERRORS}'/></error></iq>",
}


@pytest.mark.rfc6120("8.1.2.1-2", "8.2.3-3")
@pytest.mark.parametrize("question", ANSWERS)
@pytest.mark.usefixtures("oracle")
def test_a_module_answers_with_what_its_method_returns(network: Network, question: str) -> None:
    romeo = network.client("romeo@montague.lit/orchard")
    romeo.send(f"<iq type='set' id='q1' to='montague.lit'><{question} xmlns='urn:x'/></iq>")
    assert romeo.receives(ANSWERS[question])


@pytest.mark.rfc6120("8.3.1-1")
@pytest.mark.parametrize("question", ["broken", "broken-later"])
@pytest.mark.usefixtures("oracle")
def test_a_bug_in_a_module_is_an_error_for_who_asked_and_the_stream_lives(
    network: Network, question: str, logged_errors: LoggedErrors
) -> None:
    romeo = network.client("romeo@montague.lit/orchard")
    romeo.send(f"<iq type='set' id='q1' to='montague.lit'><{question} xmlns='urn:x'/></iq>")
    assert refused(romeo, "q1") == "internal-server-error"
    assert len(logged_errors.take(ZeroDivisionError)) == 1
    assert romeo.ask("<iq to='montague.lit' type='get'><anyone xmlns='urn:x'/></iq>").get("type") == "result"


@pytest.mark.rfc6120("10.1-1", "10.1-5")
@pytest.mark.usefixtures("oracle")
def test_what_a_client_says_behind_a_question_waits_for_the_answer(
    network: Network, oracle: type[Oracle]
) -> None:
    oracle.later = Deferred()
    romeo = network.client("romeo@montague.lit/orchard")
    romeo.send("<iq type='set' id='q1' to='montague.lit'><later xmlns='urn:x'/></iq>")
    romeo.send("<message to='romeo@montague.lit/orchard' id='m1'/>")
    assert romeo.hears_nothing()
    oracle.later.callback(E("urn:x", "now"))
    assert [romeo.next().get("id"), romeo.next().get("id")] == ["q1", "m1"]


@pytest.mark.usefixtures("oracle")
def test_an_answer_to_a_client_that_has_left_goes_nowhere(network: Network, oracle: type[Oracle]) -> None:
    oracle.later = Deferred()
    romeo = network.client("romeo@montague.lit/orchard")
    romeo.send("<iq type='set' id='q1' to='montague.lit'><later xmlns='urn:x'/></iq>")
    romeo.drop()
    oracle.later.callback(E("urn:x", "now"))


@pytest.mark.rfc6120("13.10.2-1")
def test_a_question_to_a_full_jid_reaches_the_client_if_the_asker_may_know_that_it_is_there(
    romeo: Client, juliet: Client, network: Network
) -> None:
    question = "<iq type='get' id='q1' to='romeo@montague.lit/orchard'><x xmlns='urn:x'/></iq>"
    juliet.send(question)
    assert refused(juliet, "q1") == "service-unavailable"
    assert romeo.hears_nothing()
    romeo.send("<presence to='juliet@capulet.lit'/>")
    juliet.forget()
    juliet.send(question)
    assert romeo.next().get("from") == juliet.jid
    street = network.client("romeo@montague.lit/street")
    romeo.forget()
    street.send(question)
    assert romeo.next().get("from") == street.jid
    network.stranger("evil.example").send(question)
    assert romeo.hears_nothing()  # a domain is a stranger, too
    benvolio = network.client("benvolio@montague.lit/street")
    befriend(romeo, benvolio)
    benvolio.send(question)
    assert romeo.next().get("from") == benvolio.jid
    romeo.send("<iq type='result' id='q1' to='benvolio@montague.lit/street'/>")
    assert benvolio.next().get("type") == "result"


# --- when storage fails ---------------------------------------------------------------------------


@pytest.fixture
def storage(network: Network) -> Counting:
    counting = Counting()
    network.serve("montague.lit", storage=counting, modules={"offline": {}})
    return counting


def test_a_failing_storage_is_an_error_for_the_sender_and_the_stream_lives(
    network: Network, storage: Counting, logged_errors: LoggedErrors
) -> None:
    romeo = network.client("romeo@montague.lit/orchard")
    storage.broken = True
    for stanza in STANZAS:
        romeo.send(stanza.format("benvolio@montague.lit"))
        assert refused(romeo) == "resource-constraint"
    romeo.send("<message to='benvolio@montague.lit' type='error'/>")
    assert romeo.hears_nothing()
    assert len(logged_errors.take(StorageError)) == 4
    storage.broken = False
    romeo.send(HI.format("benvolio@montague.lit", "chat"))
    assert refused(romeo) == "service-unavailable"  # there is no such account
    romeo.send(HI.format("romeo@montague.lit", "chat"))
    assert romeo.next().get("id") == "m1"


def test_a_failing_storage_keeps_nobody_from_trying_to_bind_again(
    network: Network, storage: Counting, logged_errors: LoggedErrors
) -> None:
    romeo = network.connected("romeo@montague.lit/orchard")
    romeo.open()
    romeo.login()
    romeo.open()
    storage.broken = True
    assert condition(romeo.bind()) == "internal-server-error"
    assert len(logged_errors.take(StorageError)) == 1
    storage.broken = False
    assert romeo.bind().get("type") == "result"


# --- sessions, beginning and end ------------------------------------------------------------------


class Diary(Module):
    """Writes down sessions, and greets every new one."""

    entries: list[str]

    async def start(self) -> None:
        """Begin anew."""
        type(self).entries = []

    @on(SessionOpened)
    def opened(self, event: SessionOpened) -> None:
        """Greet it."""
        self.entries.append(f"opened {event.session.jid.resourcepart}")
        event.session.send(Stanza.of("message", sender=self.domain.jid, to=event.session.jid, id="hail"))

    @on(SessionClosed)
    def closed(self, event: SessionClosed) -> None:
        """Remember its last words."""
        self.entries.append(f"closed {event.session.jid.resourcepart} {event.status}".rstrip())


@pytest.fixture
def diary(network: Network) -> type[Diary]:
    network.serve("montague.lit", modules={"diary": {}}, classes={"diary": Diary})
    return Diary


@pytest.mark.usefixtures("diary")
def test_the_bind_result_is_the_first_thing_on_the_stream(network: Network) -> None:
    romeo = network.connected("romeo@montague.lit/orchard")
    romeo.open()
    romeo.login()
    romeo.open()
    romeo.send(f"<iq type='set' id='b1'><bind xmlns='{ns.BIND}'><resource>orchard</resource></bind></iq>")
    assert [romeo.next().get("id"), romeo.next().get("id")] == ["b1", "hail"]


@pytest.mark.rfc6120("7.5-1")
def test_a_session_that_is_replaced_ends_before_the_new_one_begins(
    network: Network, diary: type[Diary]
) -> None:
    old = network.client("romeo@montague.lit/orchard")
    street = network.client("romeo@montague.lit/street")
    diary.entries.clear()
    old.forget()
    [wire] = [pipe.client for pipe in network.pipes if pipe.client is old.transport]
    wire.pauseProducing()  # it does not learn of its end for a while
    new = network.client("romeo@montague.lit/orchard")
    assert diary.entries == ["closed orchard", "opened orchard"]
    assert street.receives(
        "<presence type='unavailable' from='romeo@montague.lit/orchard' to='romeo@montague.lit'/>",
        "<presence from='romeo@montague.lit/orchard' to='romeo@montague.lit'/>",
    )
    wire.resumeProducing()
    assert old.is_dismissed_with("conflict")
    assert street.hears_nothing()  # the old stream's end is not the new session's
    assert diary.entries == ["closed orchard", "opened orchard"]
    new.send("<message to='romeo@montague.lit/orchard' id='m1'/>")
    assert new.next().get("id") == "m1"


def test_a_stanza_that_the_old_client_sent_too_late_is_not_the_new_ones(
    network: Network, diary: type[Diary]
) -> None:
    old = network.client("romeo@montague.lit/orchard")
    street = network.client("romeo@montague.lit/street")
    old.transport.write(b"<message to='romeo@montague.lit/street' id='late'/>")
    [pipe] = [pipe for pipe in network.pipes if pipe.client is old.transport]
    pipe.server.pauseProducing()
    network.client("romeo@montague.lit/orchard")
    pipe.server.resumeProducing()
    old.flush()
    street.receives("<presence type='unavailable' from='*' to='*'/>", "<presence from='*' to='*'/>")
    assert street.hears_nothing()


@pytest.mark.parametrize("end", ["close", "drop"])
def test_what_comes_for_a_client_that_has_just_left_is_not_lost(
    romeo: Client, juliet: Client, network: Network, end: str
) -> None:
    romeo.transport.pauseProducing()  # our goodbye does not reach him; the connection lasts on
    if end == "close":
        romeo.close()
    else:
        romeo.drop()
    juliet.send(HI.format("romeo@montague.lit", "chat"))
    again = network.client("romeo@montague.lit/street", presence="")
    again.send("<presence/>")
    again.next()
    assert again.receives(LATER.format("romeo@montague.lit"))


# --- what never left ------------------------------------------------------------------------------


@pytest.fixture
def slow(network: Network) -> Client:
    """Romeo, who has stopped reading; the buffers on the way to him are full."""
    streams = StreamSettings(unread=1_000_000)
    network.serve("montague.lit", "capulet.lit", modules={"offline": {}}, streams=streams)
    romeo = network.client("romeo@montague.lit/orchard")
    juliet = network.client("juliet@capulet.lit/stuffing")
    romeo.transport.pauseProducing()
    body = f"<body>{'x' * 70_000}</body>"
    juliet.send(f"<message to='romeo@montague.lit/orchard' type='headline'>{body}</message>")
    juliet.close()
    return romeo


def lose(client: Client) -> None:
    client.transport.resumeProducing()
    client.transport.abortConnection()
    client.flush()


def test_a_message_that_never_left_is_stored(slow: Client, juliet: Client, network: Network) -> None:
    juliet.send(HI.format("romeo@montague.lit", "chat"))
    juliet.send(HI.format("romeo@montague.lit/orchard", "chat"))
    lose(slow)
    again = network.client("romeo@montague.lit/street", presence="")
    again.send("<presence/>")
    again.next()
    assert again.receives(LATER.format("romeo@montague.lit"), LATER.format("romeo@montague.lit/orchard"))
    assert again.hears_nothing()


def test_others_who_had_it_do_not_get_it_again_but_who_came_later_does(
    slow: Client, juliet: Client, network: Network
) -> None:
    street = network.client("romeo@montague.lit/street")
    network.advance(1)
    juliet.send(HI.format("romeo@montague.lit", "chat"))
    assert street.receives(FROM_JULIET.format("romeo@montague.lit", "chat"))
    street.send("<presence type='unavailable'/>")
    juliet.send(HI.format("romeo@montague.lit", "chat").replace("m1", "m2"))
    network.advance(1)
    street.send("<presence/>")
    street.forget()
    juliet.send(HI.format("romeo@montague.lit", "chat").replace("m1", "m3"))
    street.forget()
    lose(slow)
    street.receives("<presence type='unavailable' from='*' to='*'/>")
    assert [each.get("id") for each in street.heard] == ["m1", "m2"]


def test_a_question_that_never_left_is_refused(slow: Client, network: Network) -> None:
    street = network.client("romeo@montague.lit/street")
    street.send("<iq type='get' to='romeo@montague.lit/orchard' id='q1'><x xmlns='urn:x'/></iq>")
    street.send("<presence to='romeo@montague.lit/orchard'/>")
    assert street.hears_nothing()
    lose(slow)
    street.receives("<presence type='unavailable' from='*' to='*'/>")
    assert refused(street, "q1") == "service-unavailable"


# --- anonymous sessions (XEP-0175) ----------------------------------------------------------------


@pytest.fixture
def nobody(network: Network) -> Client:
    policy = LoginPolicy(require_tls=False, anonymous=True)
    network.serve("montague.lit", "capulet.lit", modules={"offline": {}}, policy=policy)
    client = network.connected("montague.lit")
    client.open()
    client.send(f"<auth xmlns='{ns.SASL}' mechanism='ANONYMOUS'>=</auth>")
    assert client.receives(f"<success xmlns='{ns.SASL}'/>")
    client.open()
    client.bind()
    client.send("<presence/>")
    client.forget()
    return client


def test_an_anonymous_session_talks_with_this_server_only(nobody: Client, network: Network) -> None:
    juliet = network.client("juliet@capulet.lit/balcony")
    nobody.send(HI.format("juliet@capulet.lit", "chat"))
    assert juliet.next().get("from") == nobody.jid
    juliet.send(HI.format(nobody.jid.bare, "chat"))
    assert nobody.next().get("from") == juliet.jid
    tybalt = network.stranger("tybalt@evil.example")
    for stanza in (
        "<message to='{}' id='m1'/>",
        "<presence to='{}' id='m1'/>",
        "<presence type='subscribe' to='{}' id='m1'/>",
    ):
        nobody.send(stanza.format("tybalt@evil.example"))
        assert refused(nobody) == "not-allowed"
    assert tybalt.hears_nothing()


def test_what_an_anonymous_session_has_ends_with_it(nobody: Client, network: Network) -> None:
    juliet = network.client("juliet@capulet.lit/balcony")
    befriend(nobody, juliet)
    roster = nobody.ask("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>")
    assert [item.get("subscription") for item in roster[0]] == ["both"]
    nobody.close()
    assert juliet.next().get("type") == "unavailable"
    juliet.send(HI.format(nobody.jid.bare, "chat"))
    assert refused(juliet) == "service-unavailable"
    storage: Any = network.server("montague.lit").storage
    assert not [owner for texts in storage._texts.values() for owner in texts if owner == nobody.jid.bare]


def test_a_message_for_an_anonymous_session_that_is_not_available_is_refused(
    nobody: Client, network: Network
) -> None:
    juliet = network.client("juliet@capulet.lit/balcony")
    nobody.send("<presence type='unavailable'/>")
    juliet.send(HI.format(nobody.jid.bare, "chat"))
    assert refused(juliet) == "service-unavailable"


@pytest.mark.rfc6120("8.3.1-2", "8.3.1-3", "8.3.2-1")
def test_the_xml_of_errors_is_exactly_this(romeo: Client) -> None:
    romeo.send("<message to='capulet.lit' id='m&quot;1' xml:lang='it'><body>ciao</body></message>")
    assert written(romeo.next()) == written(
        read(
            "<message type='error' from='capulet.lit' to='romeo@montague.lit/orchard' id='m&quot;1'>"
            f"<error type='cancel'><service-unavailable xmlns='{ns.STANZA_ERRORS}'/></error></message>"
        )
    )
