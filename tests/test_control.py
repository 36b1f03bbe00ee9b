"""The control socket: a line of JSON in, a line of JSON out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, eventAsText

from jabberd.admin import Admin
from jabberd.api import JID, Live, Refused, Secret, operator
from jabberd.control import ControlFactory
from jabberd.control import answer as answered
from jabberd.interfaces import StorageError
from jabberd.testing.outcome import done

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import LoggedErrors


class Door:
    """Verbs that end in every way."""

    def __init__(self) -> None:
        self.opened: Deferred[str] = Deferred()

    @operator("open it")
    def open(self, word: Secret) -> Deferred[str]:
        if word != "mellon":
            raise Refused("that is not the word")
        return self.opened

    @operator("break it")
    def force(self, who: JID) -> None:
        raise ZeroDivisionError


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def admin(door: Door) -> Admin:
    return Admin(lambda: [("door", "", door)])


def asked(admin: Admin, request: bytes) -> StringTransport:
    """A connection on which this was said."""
    protocol: Any = ControlFactory(admin).buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(request)
    return transport


def said(transport: StringTransport) -> Any:
    assert transport.disconnecting
    [line] = transport.value().splitlines()
    return json.loads(line)


def request(*words: str, **secrets: str) -> bytes:
    return json.dumps({"words": words, "secrets": secrets}).encode() + b"\n"


def test_an_answer_comes_when_the_verb_is_done_and_ends_the_connection(admin: Admin, door: Door) -> None:
    transport = asked(admin, request("door", "open", word="mellon"))
    assert (transport.value(), transport.disconnecting) == (b"", False)
    door.opened.callback("it is open")
    assert said(transport) == {"done": "it is open"}


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (request("door", "open", word="friend"), {"refused": "that is not the word"}),
        (request("door", "open"), {"ask": "word"}),
        (request("door", "force"), {"usage": "WHO is missing; usage: door force WHO"}),
        (b"open the door\n", {"usage": "a request is a line of JSON with words"}),
        (b'["door", "open"]\n', {"usage": "a request is a line of JSON with words"}),
        (b'{"words": null}\n', {"usage": "a request is a line of JSON with words"}),
        (b'{"words": ["help"], "secrets": []}\n', {"usage": "a request is a line of JSON with words"}),
        (b"\xff\n", {"usage": "a request is a line of JSON with words"}),
        (b"[" * 60_000 + b"\n", {"usage": "a request is a line of JSON with words"}),
    ],
)
def test_whatever_is_asked_is_answered(admin: Admin, request_: bytes, answer: dict[str, str]) -> None:
    assert said(asked(admin, request_)) == answer


def test_a_request_without_an_end_is_not_kept(admin: Admin) -> None:
    transport = asked(admin, b"x" * 70_000)
    assert transport.disconnecting
    assert transport.value() == b""


def test_a_verb_that_fails_tells_the_operator_so_and_the_log_why(
    admin: Admin, logged_errors: LoggedErrors
) -> None:
    assert done(answered(admin, ["door", "force", "romeo@montague.lit"], {})) == {
        "refused": "it failed; the server's log says why"
    }
    [told] = logged_errors.take(ZeroDivisionError)
    assert "an operator's verb failed: ['door', 'force']" in told


def test_a_storage_that_fails_is_told_to_the_operator(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise StorageError("database or disk is full")

    monkeypatch.setattr(admin, "run", fail)
    assert done(answered(admin, ["door", "open"], {})) == {
        "refused": "the storage failed: database or disk is full"
    }


def test_no_secret_is_logged_whatever_becomes_of_it(admin: Admin) -> None:
    with capturedLogs() as events:
        asked(admin, request("door", "open", word="mellon"))
        asked(admin, request("door", "open", "mellon"))
        asked(admin, b'{"words": ["door", "open"], "secrets": {"word": "mellon"}\n')
    assert "mellon" not in "".join(eventAsText(event) for event in events)


# -- answers that go on ---------------------------------------------------------------------------------


class Bell:
    """It rings when somebody pulls."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.pull: Callable[[object], None] | None = None

    @operator("hear it ring")
    def hear(self) -> Live:
        def begin(tell: Callable[[object], None]) -> Callable[[], None]:
            self.pull = tell
            return self.silence

        return Live(self.clock, begin, rows=2, seconds=60)

    def silence(self) -> None:
        self.pull = None

    @property
    def silent(self) -> bool:
        """Nobody listens, and nothing is left behind."""
        return self.pull is None and not self.clock.getDelayedCalls()


def listened(bell: Bell) -> tuple[Any, StringTransport]:
    protocol: Any = ControlFactory(Admin(lambda: [("bell", "", bell)])).buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(request("bell", "hear"))
    return protocol, transport


def lines(transport: StringTransport) -> list[Any]:
    return [json.loads(line) for line in transport.value().splitlines()]


def test_an_answer_that_goes_on_has_a_line_for_each_row_and_then_an_end() -> None:
    bell = Bell()
    _, transport = listened(bell)
    assert bell.pull is not None
    bell.pull("ding")
    assert (lines(transport), transport.disconnecting) == ([{"row": "ding"}], False)
    bell.pull("dong")
    assert lines(transport) == [{"row": "ding"}, {"row": "dong"}, {"done": None}]
    assert (transport.disconnecting, bell.silent) == (True, True)


def test_an_answer_that_goes_on_ends_when_its_time_is_up() -> None:
    bell = Bell()
    _, transport = listened(bell)
    bell.clock.advance(60)
    assert (lines(transport), bell.silent) == ([{"done": None}], True)


def test_an_answer_that_goes_on_ends_when_the_client_hangs_up() -> None:
    bell = Bell()
    protocol, transport = listened(bell)
    protocol.connectionLost()
    assert (bell.silent, transport.value()) == (True, b"")


def test_a_verb_is_done_to_its_end_though_the_client_hangs_up(admin: Admin, door: Door) -> None:
    protocol: Any = ControlFactory(admin).buildProtocol(None)
    protocol.makeConnection(StringTransport())
    protocol.dataReceived(request("door", "open", word="mellon"))
    protocol.connectionLost()
    assert not door.opened.called


def test_who_cannot_show_an_answer_that_goes_on_is_told_who_can() -> None:
    bell = Bell()
    said = done(answered(Admin(lambda: [("bell", "", bell)]), ["bell", "hear"], {}))
    assert said == {"refused": "this goes on and on; ask a running server, with jabberctl or in its manhole"}
    assert bell.silent
