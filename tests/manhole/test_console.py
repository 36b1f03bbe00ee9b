"""The prompt, on a terminal whose screen is read: no SSH, no reactor."""

from __future__ import annotations

import gc
import weakref
from time import process_time
from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs, eventAsText

from jabberd.manhole.console import Console
from jabberd.manhole.line import History
from jabberd.testing.outcome import done
from tests.manhole.seat import SECRET, Seat

if TYPE_CHECKING:
    from tests.conftest import LoggedErrors

ROMEO = "romeo@montague.lit"
PAY = f"admin.treasury.pay('{ROMEO}')"
UP, DOWN, LEFT = "\x1b[A", "\x1b[B", "\x1b[D"


def typed(*texts: str) -> str:
    """The screen after somebody typed that."""
    return Seat().type(*texts)


def logged(*texts: str) -> list[str]:
    """What the log says after somebody typed that."""
    with capturedLogs() as events:
        typed(*texts)
    return [eventAsText(each, includeTimestamp=False, includeSystem=False) for each in events]


# --- what is shown ---------------------------------------------------------------------------------


def test_it_greets_and_prompts() -> None:
    seat = Seat()
    assert b": `admin` shows the verbs, Tab completes, Ctrl-D leaves." in seat.raw
    assert (seat.screen(), seat.cursor) == (">>>", 4)


def test_a_line_is_run_and_its_value_is_shown_and_kept() -> None:
    assert typed("1 + 1\r_ + 1\r") == ">>> 1 + 1\n2\n>>> _ + 1\n3\n>>>"


def test_what_is_no_expression_shows_nothing() -> None:
    assert typed("x = 1\r", "None\r", "\r") == ">>> x = 1\n>>> None\n>>>\n>>>"


def test_a_block_ends_with_an_empty_line() -> None:
    assert typed("for x in 'ab':\r", "  print(x, 1)\r", "\r") == (
        ">>> for x in 'ab':\n...   print(x, 1)\n...\na 1\nb 1\n>>>"
    )


def test_what_the_server_offers_is_at_hand() -> None:
    assert typed("one\r") == ">>> one\n1\n>>>"


def test_a_verb_is_waited_for_with_and_without_await() -> None:
    for words in ("await admin.treasury.open()", "admin.treasury.open()"):
        seat = Seat()
        assert seat.type(words + "\r") == f">>> {words}"
        seat.treasury.opened.callback("it is open")
        assert seat.screen() == f">>> {words}\nit is open\n>>>"


def test_rows_are_shown_as_a_table_and_nothing_in_them_moves_the_cursor() -> None:
    assert typed("admin.treasury.all_of_it()\r") == (
        ">>> admin.treasury.all_of_it()\n"
        "jid                  ducats\n"
        f"{ROMEO}       40\n"
        "evil.example\\x1b[2J       -\n"
        ">>>"
    )


def test_a_table_fits_the_terminal_also_after_its_size_has_changed() -> None:
    seat = Seat()
    seat.window.width = 20
    assert "romeo@mont…  " not in seat.type("")
    seat.type("admin.treasury.all_of_it()\r")
    assert "romeo@monta…      40" in seat.raw.decode()


def test_an_answer_is_still_data() -> None:
    assert typed("[each['ducats'] for each in await admin.treasury.all_of_it()]\r").endswith(
        "\n[40, None]\n>>>"
    )
    assert typed("x = await admin.treasury.all_of_it()\r", "x[0]\r").endswith(
        "\n{'jid': 'romeo@montague.lit', 'ducats': 40}\n>>>"
    )


def test_an_answer_of_nobody_says_so() -> None:
    assert typed("admin.treasury.debtors()\r").endswith("\nnone\n>>>")


def test_what_goes_on_is_shown_as_it_comes_until_it_is_over() -> None:
    seat = Seat()
    first = f">>> admin.watch('{ROMEO}')\n{ROMEO}  balcony\\x1b[2J  -"
    assert seat.type(f"admin.watch('{ROMEO}')\r") == first
    seat.alone.clock.advance(60)
    assert seat.screen() == f"{first}\n{ROMEO}  orchard  nurse,friar"
    seat.alone.clock.advance(60)
    assert seat.screen() == f"{first}\n{ROMEO}  orchard  nurse,friar\n>>>"


@pytest.mark.parametrize("end", ["type", "vanish"])
def test_what_goes_on_is_ended_by_ctrl_c_and_by_a_client_that_vanishes(end: str) -> None:
    seat = Seat()
    seat.type(f"admin.watch('{ROMEO}')\r")
    seat.type("\x03") if end == "type" else seat.vanish()
    assert seat.alone.clock.getDelayedCalls() == []


def test_a_failure_shows_its_traceback() -> None:
    assert "Traceback (most recent call last):\n" in typed("1/0\r")
    assert typed("1/0\r").endswith("\nZeroDivisionError: division by zero\n>>>")
    spilt = typed("admin.treasury.spill()\r")
    assert "in spill" in spilt.replace("\n", "")  # broken where the terminal ends
    assert "\nSyntaxError: " in typed("1 +\r")  # what follows differs between Pythons
    assert typed("raise KeyboardInterrupt\r").endswith("\nKeyboardInterrupt\n>>>")


def test_what_an_operator_got_wrong_is_told_in_one_line() -> None:
    assert typed("admin.tresury\r") == (
        ">>> admin.tresury\nthere is no admin.tresury; there are: treasury\n>>>"
    )
    assert typed("admin.treasury.pay('romeo@@', 'x')\r").split("\n")[1].startswith("JID 'romeo@@' is not")


def test_output_that_is_too_long_is_cut() -> None:
    seat = Seat()
    seat.type("'a' * 300_000\r")
    assert len(seat.raw) < 300_000
    assert "characters more" in seat.screen()


def test_colours_are_for_terminals_that_know_them() -> None:
    plain, coloured = Seat(), Seat(colour=True)
    for seat in (plain, coloured):
        seat.type("if 1: 1/0\r\r", "admin.treasury\r")
    assert plain.screen() == coloured.screen()
    assert b"\x1b[35mif\x1b[0m" in coloured.raw
    assert b"\x1b[31mZeroDivisionError" in coloured.raw
    assert b"\x1b[1mverb" in coloured.raw
    assert b"\x1b[3" not in plain.raw


def test_help_tells_of_verbs_and_of_python() -> None:
    assert "admin.treasury.pay(jid, word, ducats=1)\n\npay somebody\n\nPay so many" in typed(
        "help(admin.treasury.pay)\r"
    )
    assert "admin.watch(jid)" in typed("help()\r")
    assert "Return the number of items" in typed("help(len)\r")


def test_print_prints_here_unless_it_is_told_where() -> None:
    assert typed("print('a\\x1b[2J', 1, sep='-')\r").endswith("\na\\x1b[2J-1\n>>>")
    assert typed("import io; f = io.StringIO(); print(2, file=f); f.getvalue()\r").endswith("\n'2\\n'\n>>>")


@pytest.mark.parametrize("call", ["input()", "breakpoint()", "license()"])
def test_what_would_wait_at_the_servers_own_terminal_is_refused(call: str) -> None:
    assert typed(f"{call}\r").endswith("\nthat would make the whole server wait at its own terminal\n>>>")


# --- keys ------------------------------------------------------------------------------------------


def test_a_line_is_edited_where_the_cursor_is() -> None:
    seat = Seat()
    assert seat.type("1 + 3", LEFT, "2") == ">>> 1 + 23"
    assert seat.cursor == 9
    assert seat.type("\x01", "4 + ", "\r").endswith("\n28\n>>>")


def test_characters_of_every_language_can_be_typed() -> None:
    seat = Seat()
    seat.type("'Jérôme 茱麗葉'\x7f\x7f'\r")
    assert "\r\n\r\x1b[K'Jérôme 茱麗'\r\n".encode() in seat.raw


def test_tab_completes_nouns_verbs_and_all_else() -> None:
    assert typed("admin.tr\t.op\t") == ">>> admin.treasury.open"
    assert typed("admin.treasury.\t") == (
        ">>> admin.treasury.\nall_of_it  debtors    open       pay        spill\n>>> admin.treasury."
    )
    assert typed("x = await adm\t") == ">>> x = await admin"
    assert typed("isinst\t") == ">>> isinstance"
    assert typed("'a'.join(on\t") == ">>> 'a'.join(one"
    assert typed("nothing.at.all\t", "1/0\t", "admin.xyz.\t") == ">>> nothing.at.all1/0admin.xyz."
    assert typed("if 1:\r", "\tprint(1)\r\r") == ">>> if 1:\n...     print(1)\n...\n1\n>>>"


def test_the_arrows_go_through_the_history_also_of_an_earlier_visit() -> None:
    history = History()
    Seat(history=history).type("1 + 1\r", "2 + 2\r")
    later = Seat(history=history)
    assert later.type("draft", UP, UP) == ">>> 1 + 1"
    assert later.type(DOWN, DOWN) == ">>> draft"


def test_ctrl_c_takes_a_line_back_and_ctrl_d_leaves_an_empty_one() -> None:
    seat = Seat()
    assert seat.type("if 1:\r", "  some", "\x03") == ">>> if 1:\n...   some^C\n>>>"
    assert seat.type("xab", LEFT, LEFT, "\x04") == ">>> if 1:\n...   some^C\n>>> xb"
    assert not seat.left
    seat.type("\x03", "\x04")
    assert seat.left


@pytest.mark.parametrize("words", ["exit()", "quit()", "raise SystemExit"])
def test_one_can_leave_by_words(words: str) -> None:
    seat = Seat()
    seat.type(words + "\r")
    assert seat.left


def test_ctrl_l_clears_the_screen() -> None:
    seat = Seat()
    seat.type("1\r", "2\x0c")
    assert seat.raw.endswith(b"\x1b[2J\x1b[H\r>>> 2\x1b[K\r\x1b[5C")


def test_keys_without_a_meaning_have_none() -> None:
    assert typed("\x1bx\x1b[5~\x1b[15~\x1bOP\x00\x1c1") == ">>> 1"


def test_what_is_pasted_waits_until_the_line_before_is_done() -> None:
    seat = Seat()
    assert seat.type("x = await admin.treasury.open()\rx\r1 + 1\r") == ">>> x = await admin.treasury.open()"
    seat.treasury.opened.callback("open")
    assert seat.screen().endswith("open()\n>>> x\nopen\n>>> 1 + 1\n2\n>>>")


def test_what_is_too_long_is_dropped_as_a_whole_until_ctrl_c() -> None:
    seat = Seat()
    too_much = "that is too much at once, and dropped; go on with Ctrl-C"
    assert seat.type("'" + "x" * 20_000, "y'\r", "1\r").endswith(f"{too_much}\n>>>")
    assert seat.type("\x03", "2\r").endswith("\n>>> 2\n2\n>>>")
    seat.type("admin.treasury.open()\r", "z = 3\r" * 20_000)
    seat.treasury.opened.callback("open")
    assert seat.screen().endswith(f"{too_much}\nopen\n>>>")
    assert seat.type("\x03", "z\r").endswith("NameError: name 'z' is not defined\n>>>")
    seat.type("if 1:\r", *[f"  '{'x' * 15_000}'\r"] * 7)
    assert seat.screen().endswith(f"{too_much}\n>>>")


def test_a_long_line_that_is_pasted_does_not_hold_up_the_server() -> None:
    seat = Seat()
    began = process_time()
    seat.type("'" + "x" * 15_000 + "'[0]")
    assert seat.type("\r").endswith("\n'x'\n>>>")
    assert process_time() - began < 2


def test_a_line_that_is_wider_than_the_terminal_keeps_to_one_row() -> None:
    seat = Seat()
    seat.window.width = 20
    assert seat.type("'" + "ab" * 20 + "'") == ">>> " + ("ab" * 20)[-14:] + "'"


# --- secrets ---------------------------------------------------------------------------------------


def test_a_secret_is_asked_for_twice_and_never_shown() -> None:
    seat = Seat()
    assert seat.type(f"{PAY}\r") == f">>> {PAY}\nword for {ROMEO}:"
    assert seat.type(f"{SECRET}x\x7f\r") == f">>> {PAY}\nword for {ROMEO}:\nonce more:"
    assert seat.type(f"{SECRET}\r").endswith(f"\nonce more:\n{ROMEO} has 1 more\n>>>")
    assert SECRET.encode() not in seat.raw


def test_two_that_differ_are_asked_for_again() -> None:
    assert typed(f"{PAY}\r", "one\r", "two\r", f"{SECRET}\r", f"{SECRET}\r").endswith(
        f"\nthey differ; again, please\nword for {ROMEO}:\nonce more:\n{ROMEO} has 1 more\n>>>"
    )


def test_ctrl_c_gives_up_a_question_and_what_was_typed_is_gone() -> None:
    seat = Seat()
    assert seat.type(f"{PAY}\r", "half", "\x03").endswith(f"word for {ROMEO}: ^C\n\ncancelled\n>>>")
    assert seat.type(f"{PAY}\r", f"{SECRET}\r", f"{SECRET}\r").endswith("has 1 more\n>>>")


def test_two_questions_at_once_are_one_too_many() -> None:
    seat = Seat()
    assert seat.type(
        "pay = admin.treasury.pay\r", f"first = pay('{ROMEO}'); pay('juliet@capulet.lit')\r"
    ).endswith(f"\nsomething else is being asked for\nword for {ROMEO}:")
    assert seat.type(f"{SECRET}\r{SECRET}\r", "first\r").endswith(f"\n{ROMEO} has 1 more\n>>>")


def test_lines_with_secrets_are_not_in_the_history() -> None:
    seat = Seat()
    seat.type("1\r", f"admin.treasury.pay('{ROMEO}', '{SECRET}')\r", f"password = '{SECRET}'\r", "pay 'x\r")
    assert seat.type(UP).endswith(">>> 1")


def test_lines_that_are_misspelt_are_in_the_history() -> None:
    assert typed("1 +\r", UP).endswith(">>> 1 +")


# --- the log ---------------------------------------------------------------------------------------


def test_every_line_is_logged_with_whose_it_was_before_it_runs() -> None:
    assert logged("x = 1\r", "if x:\r  1/0\r\r", "1 +\r", "'\\x1b'\r") == [
        "manhole: nurse@verona: x = 1",
        r"manhole: nurse@verona: if x:\n  1/0\n",
        "manhole: nurse@verona: 1 +",
        r"manhole: nurse@verona: '\x1b'",
    ]


def test_no_secret_reaches_the_log(logged_errors: LoggedErrors) -> None:
    lines = logged(
        f"{PAY}\r{SECRET}\r{SECRET}\r",
        f"admin.treasury.pay('{ROMEO}', '{SECRET}')\r",
        f"admin.treasury.pay('{ROMEO}' '{SECRET}'))\r",
    )
    assert len(lines) == 5
    assert lines[2:] == [
        f"manhole: nurse@verona: admin.treasury.pay('{ROMEO}', ***)",
        f"operator: treasury pay {{'jid': '{ROMEO}', 'word': Secret(...)}}",
        "manhole: nurse@verona: (not Python)",
    ]
    assert SECRET not in str(lines)


# --- the end ---------------------------------------------------------------------------------------


def test_when_the_client_vanishes_what_it_waited_for_is_cancelled_and_nothing_is_kept() -> None:
    seat = Seat()
    seat.type("admin.treasury.open()\r")
    opening = seat.treasury.opened
    seat.vanish()
    assert opening.called
    console = weakref.ref(seat.console)
    del seat
    gc.collect()
    assert console() is None


def test_when_the_client_vanishes_questions_are_not_waited_for() -> None:
    seat = Seat()
    seat.type(f"asked = {PAY}\r")
    asked, shown = seat.console._namespace["asked"], seat.raw
    seat.vanish()
    with pytest.raises(CancelledError):
        done(asked)
    assert seat.raw == shown


def test_what_goes_on_in_the_background_does_not_write_to_who_is_gone() -> None:
    seat = Seat()
    later: Deferred[str] = Deferred()
    seat.console._namespace["later"] = later
    seat.type("later.addCallback(print) and None\r")
    seat.type("1 +")
    later.callback("noise")
    assert seat.screen().endswith("\nnoise\n>>> 1 +")
    seat.vanish()
    shown = seat.raw
    seat.console.put("more")
    assert seat.raw == shown


def test_a_console_that_fails_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, logged_errors: LoggedErrors
) -> None:
    seat = Seat()
    monkeypatch.setattr(Console, "_show_error", lambda *_: 1 / 0)
    seat.type("1/0\r")
    assert len(logged_errors.take(ZeroDivisionError)) == 1
    assert seat.type("2\r").endswith("\n2\n>>>")
