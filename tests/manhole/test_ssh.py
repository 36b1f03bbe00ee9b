"""The SSH server around the prompt, with a client in memory: who is let in, one verb, bad manners."""

from __future__ import annotations

import gc
import struct
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.keys import Key
from twisted.logger import LogLevel, capturedLogs, eventAsText

from jabberd.manhole import session
from tests.manhole.client import Channel, House, new_key
from tests.manhole.seat import SECRET

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import LoggedErrors
    from tests.manhole.client import Client

ROMEO = "romeo@montague.lit"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def key(house: House) -> Key:
    key = new_key()
    house.trust(key)
    return key


@pytest.fixture
def operator(house: House, key: Key) -> Client:
    return house.client(key)


# --- who is let in ---------------------------------------------------------------------------------


def test_whose_key_is_in_the_file_is_let_in(house: House, key: Key) -> None:
    with capturedLogs() as events:
        client = house.client(key)
    assert client.logged_in
    [said] = [eventAsText(each, includeTimestamp=False, includeSystem=False) for each in events]
    assert said.startswith("manhole: nurse SHA256:")
    assert said.endswith(" came from 127.0.0.1")


def test_whose_key_is_not_in_the_file_is_not_let_in(house: House, key: Key) -> None:
    with capturedLogs() as events:
        client = house.client(new_key())
    assert not client.logged_in
    said = [eventAsText(each, includeTimestamp=False, includeSystem=False) for each in events]
    assert said[0].startswith("manhole: refused the key SHA256:")


def test_a_key_is_let_in_as_soon_as_it_is_in_the_file_and_no_longer(house: House, key: Key) -> None:
    other = new_key()
    assert not house.client(other).logged_in
    house.trust(other)
    assert house.client(other).logged_in
    assert not house.client(key).logged_in


def test_a_signature_with_sha1_is_none(house: House) -> None:
    key = Key(rsa.generate_private_key(65537, 2048))  # which Conch's client makes by SHA-1
    house.trust(key)
    with capturedLogs() as events:
        assert not house.client(key).logged_in
    assert "refused a signature by nurse SHA256:" in eventAsText(events[0])


def test_somebody_elses_signature_is_none(house: House, key: Key) -> None:
    assert not house.client(key, signer=new_key()).logged_in


@pytest.mark.parametrize(
    ("content", "mode"), [(b"", 0o600), (b"# nobody", 0o600), (b"nonsense", 0o600), (None, 0o622)]
)
def test_where_the_file_is_not_as_it_must_be_nobody_is_let_in(
    house: House, key: Key, content: bytes | None, mode: int, logged_errors: LoggedErrors
) -> None:
    if content is not None:
        house.authorized.write_bytes(content)
    house.authorized.chmod(mode)
    assert not house.client(key).logged_in
    logged_errors.take()


def test_without_the_file_nobody_is_let_in(house: House, logged_errors: LoggedErrors) -> None:
    assert not house.client(new_key()).logged_in
    assert "cannot be read: No such file" in logged_errors.take()[0]


def test_there_are_no_passwords_and_nothing_weak(house: House, key: Key) -> None:
    house.client(None)
    server: Any = next(iter(house.doorway.connections))
    assert server.supportedCompressions == [b"none"]
    assert all(each.startswith(b"hmac-sha2-") for each in server.supportedMACs)
    assert not [each for each in server.supportedKeyExchanges if b"sha1" in each]
    assert not [each for each in server.supportedCiphers if b"cbc" in each]
    assert [each.__name__ for each in house.doorway.portal.listCredentialsInterfaces()] == ["ISSHPrivateKey"]


def test_who_does_not_log_in_is_shown_out(house: House, key: Key) -> None:
    stranger = house.client(None)
    house.flush(29)
    assert not stranger.closed
    house.flush(2)
    assert stranger.closed
    assert not house.doorway.connections


def test_strangers_are_few_and_do_not_keep_operators_out_for_long(house: House, key: Key) -> None:
    for _ in range(10):
        house.client(None)
    assert house.doorway.buildProtocol(None) is None
    house.flush(31)
    assert house.client(key).logged_in


def test_operators_are_not_counted_as_strangers(house: House, key: Key) -> None:
    clients = [house.client(key) for _ in range(12)]
    assert all(client.logged_in for client in clients)
    house.flush(31)
    assert not any(client.closed for client in clients)


# --- one verb --------------------------------------------------------------------------------------


def test_a_verb_answers_on_standard_output_with_status_0(house: House, operator: Client) -> None:
    ran = house.run(operator, "treasury all-of-it")
    assert (ran.out, ran.err, ran.status, ran.over) == (
        b"jid                  ducats\nromeo@montague.lit       40\nevil.example\\x1b[2J       -\n",
        b"",
        0,
        True,
    )


@pytest.mark.parametrize(
    ("words", "given", "said", "status"),
    [
        ("treasury opne", None, b"'treasury opne' is not a verb; there are: treasury open", 2),
        ("treasury 'open", None, b'No closing quotation in "treasury \'open"', 2),
        ("treasury spill", None, b"it failed; the server's log says why", 1),
        (f"treasury pay {ROMEO}", b"friend\n", b"word for romeo@montague.lit: that is not the word", 1),
        (
            f"treasury pay {ROMEO}",
            b"",
            b"word for romeo@montague.lit: no word was given; nothing was done",
            1,
        ),
        (f"treasury pay {ROMEO} 1 {SECRET}", None, b"usage: treasury pay JID [DUCATS]", 2),
    ],
)
def test_what_fails_says_so_on_standard_error_with_a_status(
    house: House,
    operator: Client,
    logged_errors: LoggedErrors,
    words: str,
    given: bytes | None,
    said: bytes,
    status: int,
) -> None:
    ran = house.run(operator, words, given)
    logged_errors.take(ZeroDivisionError)
    assert (ran.out, ran.status) == (b"", status)
    assert said in ran.err


@pytest.mark.parametrize("given", [f"{SECRET}\n".encode(), SECRET.encode()])
def test_a_secret_is_read_from_standard_input(house: House, operator: Client, given: bytes) -> None:
    with capturedLogs() as events:
        ran = house.run(operator, f"treasury pay {ROMEO} 3", given)
    assert (ran.out, ran.status) == (b"romeo@montague.lit has 3 more\n", 0)
    assert SECRET not in str([eventAsText(each) for each in events])


def test_what_was_said_is_logged_without_what_should_not_have_been(house: House, operator: Client) -> None:
    with capturedLogs() as events:
        house.run(operator, f"treasury pay {ROMEO} 1 {SECRET}")
    [said] = [eventAsText(each, includeTimestamp=False, includeSystem=False) for each in events]
    assert said.endswith(f": treasury pay {ROMEO} 1 ***")


def test_a_verb_may_take_its_time(house: House, operator: Client) -> None:
    ran = house.run(operator, "treasury open")
    assert (ran.out, ran.over) == (b"", False)
    house.treasury.opened.callback("open")
    house.flush()
    assert (ran.out, ran.status, ran.over) == (b"open\n", 0, True)


def test_who_does_not_wait_for_the_answer_cancels_the_verb(house: House, operator: Client) -> None:
    house.run(operator, "treasury open")
    operator.vanish()
    house.flush()
    assert house.treasury.opened.called


def test_a_verb_that_goes_on_says_row_by_row_and_ends_with_its_client(house: House, operator: Client) -> None:
    ran = house.run(operator, f"watch {ROMEO}")
    assert ran.out == b"romeo@montague.lit  balcony\\x1b[2J  -\n"
    house.alone.clock.advance(60)
    house.flush()
    assert ran.out.endswith(b"\nromeo@montague.lit  orchard  nurse,friar\n")
    house.alone.clock.advance(60)
    house.flush()
    assert (ran.status, ran.over) == (0, True)
    house.run(operator, f"watch {ROMEO}")
    operator.vanish()
    house.flush()
    assert house.alone.clock.getDelayedCalls() == []


def test_on_a_terminal_the_table_fits_and_ctrl_c_interrupts(house: House, operator: Client) -> None:
    channel = house.session(operator)
    channel.pty(21)
    channel.ask(b"exec", NS(b"treasury all-of-it"))
    house.flush()
    house.flush()
    assert channel.out.split(b"\r\n")[1] == "romeo@montag…      40".encode()
    waiting = house.session(operator)
    waiting.pty(80)
    waiting.ask(b"exec", NS(b"treasury open"))
    house.flush()
    waiting.type(b"\x03")
    house.flush()
    assert (waiting.status, waiting.over) == (130, True)


def test_an_answer_that_does_not_fit_into_the_window_comes_in_pieces(house: House, operator: Client) -> None:
    channel = house.session(operator, window=100)
    house.treasury.opened.callback("x" * 10_000)
    channel.ask(b"exec", NS(b"treasury open"))
    house.flush()
    house.flush()
    assert (len(channel.out), channel.status, channel.over) == (10_001, 0, True)


def test_without_a_verb_and_without_a_terminal_the_verbs_are_told(house: House, operator: Client) -> None:
    channel = house.session(operator)
    channel.ask(b"shell")
    house.flush()
    house.flush()
    assert b"treasury pay JID [DUCATS]  pay somebody\n" in channel.out
    assert channel.status == 0


# --- a prompt --------------------------------------------------------------------------------------


def test_a_terminal_gets_a_prompt(house: House, operator: Client) -> None:
    channel = house.shell(operator)
    channel.type(b"one + 1\r")
    house.flush()
    assert b"\r\n\r\x1b[K2\r\n" in channel.out
    channel.type(b"\x04")
    house.flush()
    assert (channel.status, channel.over) == (0, True)


def test_the_prompt_follows_the_size_of_the_window(house: House, operator: Client) -> None:
    channel = house.shell(operator)
    channel.ask(b"window-change", struct.pack(">4L", 21, 24, 0, 0))
    channel.type(b"admin.treasury.all_of_it()\r")
    house.flush()
    assert "romeo@montag…      40\r\n".encode() in channel.out


def test_a_terminal_that_knows_no_colours_gets_none(house: House, operator: Client) -> None:
    channel = house.session(operator)
    channel.pty(80, b"dumb")
    channel.ask(b"shell")
    channel.type(b"if 1: 'x'\r")
    house.flush()
    assert b"\x1b[3" not in channel.out


def test_each_visit_begins_with_the_history_of_those_before(house: House, operator: Client) -> None:
    house.shell(operator).type(b"40 + 2\r")
    house.flush()
    later = house.shell(operator)
    later.type(b"\x1b[A")
    house.flush()
    assert b"40" in later.out


def test_a_client_that_does_not_read_is_dropped(
    house: House, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_UNREAD", 10_000)
    channel = house.session(operator, window=100)
    monkeypatch.setattr(operator.channels, "adjustWindow", lambda *_: None)
    channel.pty(80)
    channel.ask(b"shell")
    channel.type(b"print('x' * 20_000)\r")
    house.flush()
    assert operator.closed


# --- bad manners, silence, the end -----------------------------------------------------------------


def test_a_session_runs_one_thing_and_there_are_not_many_of_them(house: House, operator: Client) -> None:
    channel = house.shell(operator)
    for request, data in (
        (b"shell", b""),
        (b"exec", NS(b"help")),
        (b"subsystem", NS(b"sftp")),
        (b"env", b""),
    ):
        channel.ask(request, data)
    house.flush()
    assert channel.granted == [True, True, False, False, False, False]
    sessions = [house.session(operator) for _ in range(10)]
    assert [each.refused for each in sessions] == [False] * 9 + [True]


def test_nothing_is_forwarded(house: House, operator: Client) -> None:
    answers: list[Any] = []
    listening = operator.channels.sendGlobalRequest(b"tcpip-forward", NS(b"") + b"\0\0\0\0", wantReply=1)
    listening.addBoth(answers.append)
    channel = Channel()
    channel.name = b"direct-tcpip"
    operator.channels.openChannel(
        channel, NS(b"127.0.0.1") + b"\0\0\0\x16" + NS(b"127.0.0.1") + b"\0\0\0\x16"
    )
    house.flush()
    assert channel.refused
    assert type(answers[0]).__name__ == "Failure"


def test_who_sends_nonsense_harms_only_this_connection(
    house: House, operator: Client, key: Key, logged_errors: LoggedErrors
) -> None:
    operator.say(94, b"\xff" * 12)  # data for a channel that there is not
    house.flush()
    assert operator.closed
    assert len(logged_errors.take(KeyError)) == 1
    assert house.client(key).logged_in


@pytest.mark.parametrize(
    ("message", "nonsense"),
    [(20, b"\xff" * 20), (5, b"\xff" * 4), (5, b""), (2, b"\xff" * 4 + b"x"), (30, b"\xff")],
)
def test_a_stranger_who_sends_nonsense_leaves_no_traceback(
    house: House, key: Key, message: int, nonsense: bytes
) -> None:
    stranger = house.client(None)
    stranger.say(message, nonsense)
    with capturedLogs() as events:
        house.flush()
    assert not [event for event in events if event["log_level"] >= LogLevel.warn]
    assert house.client(key).logged_in


def test_a_client_that_answers_is_never_dropped_and_a_vanished_one_is(house: House, operator: Client) -> None:
    house.shell(operator)
    for _ in range(10):
        house.flush(60)
    assert not operator.closed
    [server] = house.doorway.connections
    console = weakref.ref(next(iter(server.service.channels.values())))  # type: ignore[union-attr]  # it is logged in
    house.vanish()
    for _ in range(5):
        house.clock.advance(60)
    assert server.transport._raw.aborted
    server.connectionLost()
    del server, operator
    gc.collect()
    assert not house.doorway.connections
    assert console() is None
    assert house.clock.getDelayedCalls() == []


def test_when_the_server_stops_everybody_is_told(house: House, operator: Client) -> None:
    house.doorway.close_all()
    house.flush()
    assert operator.closed
    assert not house.doorway.connections
    assert house.clock.getDelayedCalls() == []
