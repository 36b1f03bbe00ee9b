"""What is logged: which events, in which form, how much of them; and never a secret."""

from __future__ import annotations

import io
import json
import re
from base64 import b64encode
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    Logger,
    LogLevel,
    LogPublisher,
    globalLogPublisher,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from jabberd.api import Refused
from jabberd.jsm.account import ACCOUNTS
from jabberd.jsm.credentials import AccountRecord
from jabberd.logs import Levels, Lines, LogFile, LogVerbs, as_json, as_text
from jabberd.settings import Log
from jabberd.testing.outcome import done
from jabberd.testing.server import trusting
from jabberd.xmpp import ns
from jabberd.xmpp.jid import JID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from twisted.logger import LogEvent

    from jabberd.testing import Network

HOSTILE = "romeo\n2026-01-01 [jabberd#info] forged\x1b[2J\x07\u2028\u202e\x85\udc00"


def event(format: str, **fields: Any) -> LogEvent:
    """An event as a `Logger` makes it."""
    seen: list[LogEvent] = []

    @implementer(ILogObserver)
    def observer(event: LogEvent) -> None:
        seen.append(event)

    Logger("jabberd.streams.c2s", observer=observer).emit(LogLevel.info, format, **fields)
    return seen[0]


def failed(message: str) -> Failure:
    try:
        raise RuntimeError(message)
    except RuntimeError:
        return Failure()


# --- form ----------------------------------------------------------------------------------------


def test_text_has_time_namespace_level_and_message() -> None:
    line = as_text(event("{stream}: {jid!r} is bound", stream="c2s-7", jid=JID.parse("romeo@montague.lit/a")))
    time, rest = line.split(" ", 1)
    assert datetime.fromisoformat(time).tzinfo is not None
    assert rest == "[jabberd.streams.c2s#info] c2s-7: 'romeo@montague.lit/a' is bound\n"


def test_json_is_one_flat_object_with_the_fields_of_the_event() -> None:
    line = as_json(event("{stream}: {count} of {what}", stream="c2s-7", count=3, what=[1], no=None, yes=True))
    assert line.count("\n") == 1
    read = json.loads(line)
    assert datetime.fromisoformat(read.pop("time")).tzinfo is not None
    assert read == {
        "level": "info",
        "namespace": "jabberd.streams.c2s",
        "message": "c2s-7: 3 of [1]",
        "stream": "c2s-7",
        "count": 3,
        "what": "[1]",
        "no": None,
        "yes": True,
    }


def test_a_field_cannot_pass_for_what_the_line_itself_says() -> None:
    read = json.loads(
        as_json(event("said", time="then", namespace="evil", message="nothing") | {"level": "no"})
    )
    assert (read["level"], read["namespace"], read["message"]) == ("info", "jabberd.streams.c2s", "said")


def test_a_traceback_is_there_in_full_in_both_forms() -> None:
    happened = event("cannot do it", log_failure=failed("first\nsecond\x1b[0m"))
    lines = as_text(happened).splitlines()
    assert lines[0].endswith("cannot do it")
    assert all(line.startswith("\t") for line in lines[1:])
    assert lines[1] == "\tTraceback (most recent call last):"
    assert lines[-2:] == ["\tbuiltins.RuntimeError: first", "\tsecond\\x1b[0m"]
    assert json.loads(as_json(happened))["traceback"] == "\n".join(line[1:] for line in lines[1:])


def test_a_value_that_cannot_be_shown_costs_nothing_but_itself() -> None:
    class Broken:
        def __str__(self) -> str:
            raise ValueError

        __repr__ = __str__

    assert "Broken" in json.loads(as_json(event("said", what=Broken())))["what"]


def test_a_long_message_is_cut() -> None:
    assert len(as_text(event("{name}", name="a" * 100_000))) < 5_000
    assert len(as_json(event("{name}", name="a" * 100_000))) < 10_000


@pytest.mark.parametrize("format", ["{name}", "{name!r}", "{name!s:>4}"])
def test_newlines_and_control_characters_in_names_are_escaped_in_both_forms(format: str) -> None:
    happened = event(format, name=HOSTILE)
    text, read = as_text(happened), json.loads(as_json(happened))
    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()
    assert all(value.isprintable() for value in read.values())
    assert "romeo\\n2026-01-01 [jabberd#info] forged\\x1b[2J" in text
    assert "\\u202e" in read["name"]


@given(st.text())
def test_whatever_comes_in_one_printable_line_goes_out(name: str) -> None:
    happened = event("{name}", name=name)
    assert as_text(happened)[:-1].isprintable()
    assert json.loads(as_json(happened))["name"].isprintable()
    assert as_json(happened)[:-1].isprintable()
    as_text(happened).encode()


def test_letters_of_all_languages_stay_as_they_are() -> None:
    happened = event("{name}", name="Ромео & Джульетта ❤")
    assert as_text(happened).endswith(" Ромео & Джульетта ❤\n")
    assert "Ромео & Джульетта ❤" in as_json(happened)


# --- which ---------------------------------------------------------------------------------------


@pytest.fixture
def logged() -> tuple[Levels, Callable[[], list[str]], LogPublisher]:
    levels = Levels(Log(level="warn", levels={"jabberd.streams": "debug"}))
    out = io.StringIO()
    publisher = LogPublisher(FilteringLogObserver(FileLogObserver(out, Lines(as_text)), [levels]))

    def lines() -> list[str]:
        said = [line.split(" ", 1)[1] for line in out.getvalue().splitlines()]
        out.truncate(0)
        out.seek(0)
        return said

    return levels, lines, publisher


def say(publisher: LogPublisher, *namespaces: str) -> None:
    for namespace in namespaces:
        logger = Logger(namespace, observer=publisher)
        logger.debug("d")
        logger.warn("w")


def test_each_part_of_the_server_may_have_its_own_level(
    logged: tuple[Levels, Callable[[], list[str]], LogPublisher],
) -> None:
    _, lines, publisher = logged
    say(publisher, "jabberd.streams.c2s", "jabberd.jsm", "twisted")
    assert lines() == [
        "[jabberd.streams.c2s#debug] d",
        "[jabberd.streams.c2s#warn] w",
        "[jabberd.jsm#warn] w",
        "[twisted#warn] w",
    ]


def test_what_twisted_says_by_the_way_is_for_who_asks_for_it_alone() -> None:
    seen: list[str] = []

    @implementer(ILogObserver)
    def observer(event: LogEvent) -> None:
        seen.append(event["log_namespace"])

    old = Logger("log_legacy", observer=FilteringLogObserver(observer, [Levels(Log())]))
    old.info("DNSDatagramProtocol starting on 27500")
    assert seen == []
    old.critical("that failed")
    assert seen == ["log_legacy"]
    asked = Logger(
        "log_legacy", observer=FilteringLogObserver(observer, [Levels(Log(levels={"log_legacy": "debug"}))])
    )
    asked.info("DNSDatagramProtocol starting on 27500")
    assert seen == ["log_legacy"] * 2


def test_a_level_can_be_changed_while_the_server_runs(
    logged: tuple[Levels, Callable[[], list[str]], LogPublisher],
) -> None:
    levels, lines, publisher = logged
    say(publisher, "jabberd.jsm.roster", "jabberd.streams.c2s", "twisted")
    assert len(lines()) == 4
    verbs = LogVerbs(levels)
    assert verbs.level("jabberd.jsm", "debug") == "jabberd.jsm is logged from debug on"
    verbs.level("jabberd.streams", "error")
    verbs.level("*", "critical")
    say(publisher, "jabberd.jsm.roster", "jabberd.streams.c2s", "twisted")
    assert lines() == ["[jabberd.jsm.roster#debug] d", "[jabberd.jsm.roster#warn] w"]
    assert verbs.levels() == [
        {"namespace": "*", "level": "critical"},
        {"namespace": "jabberd.jsm", "level": "debug"},
        {"namespace": "jabberd.streams", "level": "error"},
    ]


def test_a_level_that_does_not_exist_is_refused_and_changes_nothing(
    logged: tuple[Levels, Callable[[], list[str]], LogPublisher],
) -> None:
    levels, _, _ = logged
    with pytest.raises(Refused, match="'loud' is not a level; use one of debug, info, warn, error, critical"):
        LogVerbs(levels).level("jabberd", "loud")
    assert levels.all() == {"": "warn", "jabberd.streams": "debug"}


# --- how much ------------------------------------------------------------------------------------


@pytest.fixture
def bounded() -> Iterator[tuple[Lines, Callable[[], list[str]]]]:
    """What the whole process logs, bounded."""
    lines = Lines(as_text)
    out = io.StringIO()
    observer = FileLogObserver(out, lines)
    globalLogPublisher.addObserver(observer)
    yield lines, lambda: [line.split(" ", 1)[1] for line in out.getvalue().splitlines()]
    globalLogPublisher.removeObserver(observer)


def test_who_makes_the_server_say_one_thing_again_and_again_fills_no_disk_and_hides_nothing_else(
    bounded: tuple[Lines, Callable[[], list[str]]],
) -> None:
    lines, said = bounded
    attacked = Logger("jabberd.streams.c2s")
    for number in range(10_000):
        attacked.info("login refused: {account!r}", account=f"guess{number}@montague.lit")
    attacked.info("something else")
    Logger("jabberd.streams.s2s").info("login refused: {account!r}", account="x")
    written = [line for line in said() if "guess" in line]
    assert 500 < len(written) < 2000
    assert sum(map(len, written)) < 128 << 10
    assert said()[-2:] == [
        "[jabberd.streams.c2s#info] something else",
        "[jabberd.streams.s2s#info] login refused: 'x'",
    ]
    lines.next_minute()
    assert said()[-1] == (
        f"[jabberd.logs#warn] suppressed {10_000 - len(written)} of jabberd.streams.c2s:"
        " 'login refused: {account!r}'"
    )
    attacked.info("login refused: {account!r}", account="again")
    assert said()[-1].endswith("login refused: 'again'")


def test_tracebacks_are_bounded_by_their_length(
    bounded: tuple[Lines, Callable[[], list[str]]], logged_errors: Any
) -> None:
    _, said = bounded
    attacked = Logger("jabberd.streams.c2s")
    for _ in range(1_000):
        attacked.failure("cannot do it", failed("a" * 1_000))
    assert sum(map(len, said())) < 140_000
    logged_errors.take()


def test_kinds_without_end_share_one_budget(bounded: tuple[Lines, Callable[[], list[str]]]) -> None:
    _, said = bounded
    for number in range(10_000):
        Logger("jabberd").info(f"{number} " + "a" * 1000)
    assert len(said()) < 1_200


def test_a_quiet_minute_says_nothing(bounded: tuple[Lines, Callable[[], list[str]]]) -> None:
    lines, said = bounded
    lines.next_minute()
    assert said() == []


# --- what a server logs --------------------------------------------------------------------------


@pytest.fixture
def told() -> Iterator[Callable[[], str]]:
    """All that is logged, at the finest level, in both forms."""
    out = io.StringIO()
    observers = [FileLogObserver(out, as_text), FileLogObserver(out, as_json)]
    for observer in observers:
        globalLogPublisher.addObserver(observer)
    yield out.getvalue
    for observer in observers:
        globalLogPublisher.removeObserver(observer)


PASSWORD = "A-rose-by-any-other-name"


def sasl(name: str, data: str, mechanism: str = "") -> str:
    attribute = f" mechanism='{mechanism}'" if mechanism else ""
    return f"<{name} xmlns='{ns.SASL}'{attribute}>{b64encode(data.encode()).decode()}</{name}>"


def test_no_password_no_key_and_no_message_body_is_ever_logged(
    network: Network, told: Callable[[], str], logged_errors: Any
) -> None:
    server = network.serve("montague.lit", tls=True)
    said: list[str] = []
    for attempt in (
        sasl("auth", f"\0romeo\0{PASSWORD}", "PLAIN"),
        sasl("auth", f"\0romeo\0{PASSWORD}!", "PLAIN"),
        sasl("auth", f"\0{PASSWORD}", "PLAIN"),
        sasl("auth", f"romeo@evil.example\0romeo\0{PASSWORD}", "PLAIN"),
        sasl("auth", f"n,,n=romeo,r={PASSWORD}", "SCRAM-SHA-256")
        + sasl("response", f"c=biws,r=x,p={PASSWORD}"),
        f"<auth xmlns='{ns.SASL}' mechanism='PLAIN'>{PASSWORD}=</auth>",
        f"<auth xmlns='{ns.SASL}' mechanism='PLAIN' password='{PASSWORD}'><{PASSWORD}/></auth>",
        f"<auth xmlns='{ns.SASL}' mechanism='PLAIN'>{PASSWORD}</response>",
    ):
        client = network.connected("romeo@montague.lit/orchard", PASSWORD)
        client.open()
        client.start_tls(trusting("montague.lit"))
        client.open()
        client.send(attempt)
        if client.connected:
            client.drop()
        said += re.findall(">([^<]{10,})<", attempt)
    romeo = network.client("romeo@montague.lit/orchard", password=PASSWORD)
    romeo.send("<message to='romeo@montague.lit'><body>wherefore art thou</body></message>")
    romeo.send("<message to='nobody@montague.lit'><body>wherefore art thou</body></message>")
    server.hosts["montague.lit"].accounts.keys = broken  # type: ignore[method-assign]  # a storage that is away
    client = network.connected("romeo@montague.lit/orchard", PASSWORD)
    with pytest.raises(AssertionError, match="temporary-auth-failure"):
        client.enter(trusting("montague.lit"))
    logged_errors.take(RuntimeError)
    [record] = dict.values(done(server.storage.keyed(ACCOUNTS, AccountRecord).all("romeo@montague.lit")))
    secrets = [PASSWORD, "wherefore", *said]
    for each in record.keys:
        secrets += [b64encode(each.stored_key).decode(), repr(each.stored_key), repr(each.server_key)]
    text = told()
    assert "'romeo@montague.lit/orchard' is bound" in text
    assert "login refused: not-authorized 'romeo@montague.lit'" in text
    assert "cannot check who this is" in text
    assert [each for each in secrets if each in text] == []


async def broken(username: str, hash_name: str) -> NoReturn:
    raise RuntimeError("away")


def test_all_lines_of_one_connection_have_its_name_and_no_others(
    network: Network, told: Callable[[], str]
) -> None:
    network.serve("montague.lit", tls=True)
    for name, address in (("romeo", "192.0.2.7"), ("juliet", "2001:db8::1")):
        client = network.connected(f"{name}@montague.lit/orchard", address=address)
        client.enter(trusting("montague.lit"))
        client.send("<poison/>")
    lines = [json.loads(line) for line in told().splitlines() if line.startswith("{")]
    by_stream: dict[str, list[str]] = {}
    for line in lines:
        if "stream" in line:
            by_stream.setdefault(line["stream"], []).append(line["message"])
    (romeo, romeos), (juliet, juliets) = by_stream.items()
    assert re.fullmatch(r"c2s-\d+ 192\.0\.2\.7", romeo)
    assert re.fullmatch(r"c2s-\d+ 2001:db8::1", juliet)
    assert romeos == [
        f"{romeo}: 'romeo@montague.lit/orchard' is bound",
        f"{romeo}: closed with unsupported-stanza-type",
        romeos[-1],
    ]
    assert "gone" in romeos[-1]
    assert len(juliets) == 3


def test_g7_what_a_client_calls_itself_cannot_forge_a_line(network: Network, told: Callable[[], str]) -> None:
    network.serve("montague.lit", tls=False)
    villain = network.connected("romeo@montague.lit/x")
    villain.open(to="evil.example\n2026 [jabberd#info] forged\u202e")
    villain = network.client("romeo@montague.lit/orchard\u00a0\u2003❤")
    villain.send(
        "<message to='juliet\u2028@montague.lit'/><message to='&#10;forged'/><presence to='&#x85;'/>"
    )
    for line in told().splitlines():
        assert line.isprintable() or line.startswith("\t")
        assert not line.startswith("2026 ")


# --- the file ------------------------------------------------------------------------------------


def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path) -> None:
    path, moved = tmp_path / "jabberd.log", tmp_path / "jabberd.log.1"
    file = LogFile(path)
    file.write("before\n")
    file.flush()
    path.rename(moved)
    file.write("still\n")
    file.reopen()
    file.write("after\n")
    file.flush()
    file._file.close()
    assert (moved.read_text(), path.read_text()) == ("before\nstill\n", "after\n")
    assert path.stat().st_mode & 0o777 & ~0o640 == 0


def test_a_file_that_cannot_be_opened_anew_stays_open(
    tmp_path: Path, bounded: tuple[Lines, Callable[[], list[str]]]
) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    file = LogFile(folder / "jabberd.log")
    folder.rename(tmp_path / "away")
    file.reopen()
    file.write("after\n")
    file._file.close()
    assert (tmp_path / "away" / "jabberd.log").read_text() == "after\n"
    assert "cannot be opened anew: [Errno 2] No such file or directory" in bounded[1]()[-1]


def test_how_much_of_one_kind_is_logged_in_a_minute_can_be_set() -> None:
    lines = Lines(as_text, budget=100)
    out = io.StringIO()
    observer = FileLogObserver(out, lines)
    globalLogPublisher.addObserver(observer)
    for _ in range(20):
        Logger("jabberd.streams.c2s").info("refused")
    globalLogPublisher.removeObserver(observer)
    assert out.getvalue().count("refused") == 2


class Stream:
    """What an event of a stream holds."""

    def __init__(self, address: str) -> None:
        self.address = address


def test_one_peer_cannot_hide_what_others_do(bounded: tuple[Lines, Callable[[], list[str]]]) -> None:
    lines, said = bounded
    attacked = Logger("jabberd.streams.c2s")
    for _ in range(2_000):
        attacked.info("{account!r} refused", account="x" * 80, stream=Stream("192.0.2.66"))
    attacked.info("{account!r} refused", account="romeo", stream=Stream("192.0.2.1"))
    assert said()[-1] == "[jabberd.streams.c2s#info] 'romeo' refused"
    assert 20_000 < sum(map(len, said())) < 40_000  # a quarter
    lines.next_minute()
    assert "suppressed 17" in said()[-1]
    attacked.info("{account!r} refused", account="x" * 80, stream=Stream("192.0.2.66"))
    assert "xxx" in said()[-1]


def test_who_is_not_even_let_in_cannot_hide_it_of_others_either(
    bounded: tuple[Lines, Callable[[], list[str]]],
) -> None:
    _, said = bounded
    door = Logger("jabberd.streams.addresses")
    for _ in range(2_000):
        door.info("refused a connection from {address}", address="192.0.2.66")
    door.info("refused a connection from {address}", address="192.0.2.1")
    assert said()[-1] == "[jabberd.streams.addresses#info] refused a connection from 192.0.2.1"
    assert len(said()) < 600


def test_what_is_remembered_of_peers_goes_with_the_budget(
    bounded: tuple[Lines, Callable[[], list[str]]],
) -> None:
    lines, _ = bounded
    for number in range(10_000):
        Logger("jabberd.streams.c2s").info("refused", stream=Stream(f"192.0.2.{number}"))
    assert len(lines._spent_on) < 4_000  # with the last line of the budget nobody else is remembered
    lines.next_minute()
    assert len(lines._spent_on) == 0
