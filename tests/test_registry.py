"""What modules declare is bound: answers, filters by stage, listeners, who takes what is undelivered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jabberd.api import (
    ACCOUNT,
    ANYONE,
    DOMAIN,
    IQ,
    LOCAL,
    SUBSCRIBER,
    Account,
    BecameAvailable,
    BecameUnavailable,
    E,
    Element,
    Module,
    Session,
    SessionClosed,
    SessionOpened,
    Stage,
    Stanza,
    StanzaError,
    answers,
    filters,
    on,
    undelivered,
)
from jabberd.registry import Registry
from tests.rehearsal import Rehearsal

if TYPE_CHECKING:
    from tests.conftest import LoggedErrors

NS = "urn:example:fate"
NOTE = f"{{{NS}}}note"
ASK = f"<fate xmlns='{NS}'/>"


def staged(*classes: type[Module]) -> Rehearsal:
    """A rehearsal with these modules, in this order."""
    named = {cls.__name__.lower(): cls for cls in classes}
    return Rehearsal({name: {} for name in named}, named)


# -- answers ----------------------------------------------------------------------------------------


class Fate(Module):
    """Answers in every way there is."""

    @answers.get(NS, "fate", to=DOMAIN, by=ANYONE)
    def anyone(self, request: IQ) -> Element:
        return E(NS, "fate", {"of": request.sender, "type": request.type})

    @answers.set(NS, "fate", to=DOMAIN, by=LOCAL)
    async def local(self, request: IQ) -> Element:
        assert request.account is None
        return E(NS, "one", None, request.payload.get("word", ""))

    @answers.get(NS, "fate", to=ACCOUNT, by=SUBSCRIBER)
    def subscriber(self, request: IQ) -> None:
        assert request.account is not None
        assert request.account.jid == "romeo@montague.lit"

    @answers.set(NS, "fate", to=ACCOUNT)
    def owner(self, request: IQ) -> None:
        raise StanzaError("gone", "fate has spoken")

    @answers.get(NS, "broken", to=DOMAIN, by=ANYONE)
    def broken(self, request: IQ) -> None:
        raise RuntimeError(request.payload.tag)


def abroad(stage: Rehearsal, type: str, to: str) -> str:
    """What another server's user is answered."""
    stage.abroad.clear()
    stage.receive(f"<iq type='{type}' id='1' from='juliet@capulet.lit/balcony' to='{to}'>{ASK}</iq>")
    [answer] = stage.abroad
    return answer.to_bytes().decode()


def test_an_element_is_the_answer() -> None:
    with staged(Fate) as stage:
        assert abroad(stage, "get", "montague.lit") == (
            "<iq type='result' from='montague.lit' to='juliet@capulet.lit/balcony' id='1'>"
            f"<fate xmlns='{NS}' of='juliet@capulet.lit/balcony' type='get'/></iq>"
        )


def test_an_answer_may_take_its_time() -> None:
    with staged(Fate) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        answer = romeo.ask(f"<iq type='set' to='montague.lit'><fate xmlns='{NS}' word='love'/></iq>")
        assert answer.payload.decode() == f"<one xmlns='{NS}'>love</one>"


def test_an_error_that_is_raised_is_the_refusal() -> None:
    with staged(Fate) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        answer = romeo.ask(f"<iq type='set'>{ASK}</iq>")
        assert answer.type == "error"
        assert b"<gone" in answer.payload
        assert b"fate has spoken" in answer.payload


def test_a_mistake_in_a_module_is_logged_and_answered_and_costs_nothing_else(
    logged_errors: LoggedErrors,
) -> None:
    with staged(Fate) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        answer = romeo.ask(f"<iq type='get' to='montague.lit'><broken xmlns='{NS}'/></iq>")
        assert b"<internal-server-error" in answer.payload
        assert len(logged_errors.take(RuntimeError)) == 1
        assert romeo.ask(f"<iq type='get' to='montague.lit'>{ASK}</iq>").type == "result"


@pytest.mark.parametrize(
    ("type", "to", "local", "stranger"),
    [
        ("get", "montague.lit", "result", "result"),
        ("set", "montague.lit", "result", "error"),
        ("get", "romeo@montague.lit", "error", "error"),
        ("set", "romeo@montague.lit", "error", "error"),
    ],
)
def test_who_may_not_ask_is_refused(type: str, to: str, local: str, stranger: str) -> None:
    with staged(Fate) as stage:
        stage.create("romeo@montague.lit")
        benvolio = stage.login("benvolio@montague.lit/square")
        assert benvolio.ask(f"<iq type='{type}' to='{to}'>{ASK}</iq>").type == local
        answer = abroad(stage, type, to)
        assert f"type='{stranger}'" in answer
        assert stranger == "result" or "<service-unavailable" in answer


def test_a_question_that_nobody_answers_is_refused() -> None:
    with staged() as stage:
        assert "<service-unavailable" in abroad(stage, "get", "montague.lit")


# -- filters ----------------------------------------------------------------------------------------


class Watch(Module):
    """Writes down who sees what; a filter by its letter may drop or refuse the stanza."""

    async def start(self) -> None:
        self.saw: list[str] = []

    def _see(self, stage: str, stanza: Stanza) -> Stanza | None:
        self.saw.append(f"{stage} {stanza.name}")
        if f"{{{NS}}}refuse-{stage}" in stanza.children:
            raise StanzaError("not-acceptable")
        return None if f"{{{NS}}}drop-{stage}" in stanza.children else stanza

    @filters(Stage.SAID)
    def said(self, stanza: Stanza, session: Session) -> Stanza | None:
        assert stanza.sender == session.jid
        return self._see("said", stanza)

    @filters(Stage.REFUSE, "message")
    def arrived(self, stanza: Stanza, account: Account) -> Stanza | None:
        assert stanza.to is not None
        assert account.jid == stanza.to.bare
        return self._see("refuse", stanza)

    @filters(Stage.REWRITE, "message")
    def rewrite(self, stanza: Stanza, account: Account) -> Stanza | None:
        seen = self._see("rewrite", stanza)
        return seen and seen.with_child(E(NS, "note", {"for": account.jid}))

    @filters(Stage.COPY, "message")
    def copy(self, stanza: Stanza, account: Account, recipients: list[Session]) -> Stanza | None:
        for session in set(account.sessions.values()).difference(recipients):
            session.send(stanza.with_child(E(NS, "copy")))
        return self._see("copy", stanza)

    @filters(Stage.SENDING, "message")
    def sending(self, stanza: Stanza, session: Session) -> Stanza | None:
        return self._see(f"sending-{session.jid.resourcepart}", stanza)


def talk(stage: Rehearsal, inside: str = "") -> tuple[list[str], list[str], list[str]]:
    """Benvolio writes to Romeo: what Romeo's resources and Benvolio hear."""
    romeo = stage.login("romeo@montague.lit/orchard")
    phone = stage.login("romeo@montague.lit/phone")
    benvolio = stage.login("benvolio@montague.lit/square")
    romeo.say("<presence/>")
    phone.say("<presence><priority>-1</priority></presence>")
    for client in (romeo, phone):
        client.hear()
    stage.domain.module("watch").saw.clear()  # type: ignore[attr-defined]  # it is a Watch
    benvolio.say(f"<message to='romeo@montague.lit'>{inside}</message>")
    return romeo.hear(), phone.hear(), benvolio.hear()


def test_a_stanza_passes_the_stages_in_order() -> None:
    with staged(Watch) as stage:
        [heard], [copied], nothing = talk(stage)
        watch: Any = stage.domain.module("watch")
        assert watch.saw == [
            "said message",
            "refuse message",
            "rewrite message",
            "sending-phone message",  # the copy
            "copy message",
            "sending-orchard message",
        ]
        note = f"<note xmlns='{NS}' for='romeo@montague.lit'/>"
        envelope = "<message to='romeo@montague.lit' from='benvolio@montague.lit/square'>"
        assert heard == f"{envelope}{note}</message>"
        assert copied == f"{envelope}{note}<copy xmlns='{NS}'/></message>"
        assert nothing == []


@pytest.mark.parametrize("where", ["said", "refuse", "rewrite", "copy", "sending-orchard"])
def test_a_filter_drops_what_it_does_not_return(where: str) -> None:
    with staged(Watch) as stage:
        heard, _, answer = talk(stage, f"<drop-{where} xmlns='{NS}'/>")
        assert (heard, answer) == ([], [])


@pytest.mark.parametrize("where", ["said", "refuse"])
def test_a_filter_that_refuses_before_delivery_has_it_bounced(where: str) -> None:
    with staged(Watch) as stage:
        heard, copied, [answer] = talk(stage, f"<refuse-{where} xmlns='{NS}'/>")
        assert (heard, copied) == ([], [])
        assert "<not-acceptable" in answer


class First(Module):
    """Adds a word to noted messages."""

    @filters(Stage.REFUSE, "message", children=[NOTE, f"{{{NS}}}other"])
    def add(self, stanza: Stanza, _account: Account) -> Stanza:
        return stanza.with_child(E(NS, self.name))


class Second(First):
    """The same."""


class Always(Module):
    """Adds a word to all messages."""

    @filters(Stage.REFUSE, "message")
    def add(self, stanza: Stanza, _account: Account) -> Stanza:
        return stanza.with_child(E(NS, self.name))


@pytest.mark.parametrize(
    ("inside", "added"),
    [
        ("<body>hi!</body>", ["always"]),
        (f"<note xmlns='{NS}'/>", ["first", "always", "second"]),
        (f"<other xmlns='{NS}'/><note xmlns='{NS}'/>", ["first", "always", "second"]),
    ],
)
def test_filters_run_in_the_order_of_their_modules_and_only_where_their_children_are(
    inside: str, added: list[str]
) -> None:
    with staged(First, Always, Second) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        stage.receive(
            f"<message from='juliet@capulet.lit/balcony' to='romeo@montague.lit/orchard'>{inside}</message>"
        )
        words = "".join(f"<{word} xmlns='{NS}'/>" for word in added)
        assert romeo.hear()[0].endswith(f"{inside}{words}</message>")


def test_where_nobody_filters_nobody_pays() -> None:
    with staged(Always) as stage:
        assert stage.domain.registry.filters.get((Stage.REFUSE, "iq")) is None
        assert stage.domain.registry.filters.get((Stage.COPY, "message")) is None


# -- listeners, features ------------------------------------------------------------------------------


class Diary(Module):
    """Writes down what happens."""

    async def start(self) -> None:
        self.entries: list[str] = []

    @on(SessionOpened)
    @on(SessionClosed)
    @on(BecameAvailable)
    async def write(self, event: SessionOpened | SessionClosed | BecameAvailable) -> None:
        self.entries.append(type(event).__name__)

    @on(BecameUnavailable)
    def part(self, event: BecameUnavailable) -> None:
        self.entries.append(f"BecameUnavailable {event.status}")


class Clumsy(Module):
    """Cannot listen."""

    @on(SessionOpened)
    def listen(self, event: SessionOpened) -> None:
        raise RuntimeError(event.session.jid)


def test_listeners_are_told_of_a_session_from_its_beginning_to_its_end() -> None:
    with staged(Diary) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        romeo.say("<presence/>")
        romeo.say("<presence type='unavailable'><status>Good night</status></presence>")
        romeo.leave()
        diary: Any = stage.domain.module("diary")
        assert diary.entries == [
            "SessionOpened",
            "BecameAvailable",
            "BecameUnavailable Good night",
            "SessionClosed",
        ]


def test_a_listener_that_fails_keeps_nobody_from_listening(logged_errors: LoggedErrors) -> None:
    with staged(Clumsy, Diary) as stage:
        stage.login("romeo@montague.lit/orchard")
        diary: Any = stage.domain.module("diary")
        assert diary.entries == ["SessionOpened"]
        assert len(logged_errors.take(RuntimeError)) == 1


class Keeper(Module):
    """Takes what is undelivered, and tells of it."""

    stream_features = (E(NS, "kept"),)

    async def start(self) -> None:
        self.kept: list[Stanza] = []

    @undelivered
    def keep(self, stanza: Stanza, _account: Account) -> None:
        if self.kept:
            raise StanzaError("resource-constraint")
        self.kept.append(stanza)


def test_what_nobody_was_there_to_receive_is_taken_or_refused() -> None:
    with staged(Keeper) as stage:
        stage.create("romeo@montague.lit")
        message = (
            "<message from='juliet@capulet.lit/balcony' to='romeo@montague.lit'><body>hi!</body></message>"
        )
        stage.receive(message)
        assert stage.abroad == []
        stage.receive(message)
        assert b"<resource-constraint" in stage.abroad[0].payload


def test_stream_features_are_those_of_all_modules() -> None:
    with staged(Keeper, Diary) as stage:
        assert [feature.tag for feature in stage.domain.registry.stream_features] == [f"{{{NS}}}kept"]


def test_a_registry_of_no_modules_has_nothing() -> None:
    registry = Registry()
    assert (registry.modules, registry.listeners, registry.stream_features) == ({}, {}, ())
    assert registry.undelivered is None
    assert registry.answer("get", f"{{{NS}}}fate", DOMAIN) is None
