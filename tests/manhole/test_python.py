"""Python at the prompt: what is complete, what it is worth, and how its failures are told."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from jabberd.manhole.python import complete, evaluate, told
from jabberd.testing.outcome import done


@pytest.mark.parametrize(
    "source",
    ["", "1", "x = 1", "await x", "a = 1; b = 2", "if 1:\n  2\n", "# nothing", "[await x for _ in y]"],
)
def test_a_whole_piece_is_known(source: str) -> None:
    assert complete(source)


@pytest.mark.parametrize("source", ["if 1:", "if 1:\n  2", "'''a", "f(", "async def g():", "@d"])
def test_more_lines_are_waited_for(source: str) -> None:
    assert not complete(source)


@pytest.mark.parametrize("source", ["1 +", "x y", "  x", "'"])
def test_what_cannot_become_python_is_refused_at_once(source: str) -> None:
    with pytest.raises(SyntaxError):
        complete(source)


async def seven() -> int:
    return 7


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("1 + 1", 2),
        ("x = 1", None),
        ("x = 1; x", 1),
        ("await seven()", 7),
        ("seven()", 7),
        ("later", 8),
        ("await later + 1", 9),
        ("y = await seven(); y + 1", 8),
        ("[await seven() for _ in range(2)]", [7, 7]),
        ("async def f():\n  return seven()\n", None),
        ("", None),
    ],
)
def test_the_value_of_the_last_expression_is_waited_for(source: str, value: object) -> None:
    assert done(evaluate(source, {"seven": seven, "later": succeed(8)})) == value


def test_a_deferred_that_was_looked_at_keeps_its_result() -> None:
    later: Deferred[int] = Deferred()
    looking = [Deferred.fromCoroutine(evaluate("later", {"later": later})) for _ in range(2)]
    later.callback(8)
    assert [done(each) for each in looking] == [8, 8]
    assert done(later) == 8


def test_a_deferred_that_failed_is_told_once() -> None:
    with pytest.raises(ValueError, match="no"):
        done(evaluate("later", {"later": fail(ValueError("no"))}))


def test_who_gives_up_waiting_cancels_what_was_waited_for() -> None:
    waited: Deferred[None] = Deferred()
    running = Deferred.fromCoroutine(evaluate("waited", {"waited": waited}))
    running.cancel()
    with pytest.raises(CancelledError):
        done(running)
    assert waited.called


def test_names_stay_from_one_line_to_the_next() -> None:
    namespace: dict[str, Any] = {}
    done(evaluate("def double(x):\n  return 2 * x\n", namespace))
    assert done(evaluate("double(4)", namespace)) == 8


def test_a_traceback_begins_where_the_typed_lines_do() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        done(evaluate("def f():\n  1 / 0\nf()", {}))
    assert told(caught.value) == (
        "Traceback (most recent call last):\n"
        '  File "<manhole>", line 3, in <module>\n'
        '  File "<manhole>", line 2, in f\n'
        "ZeroDivisionError: division by zero"
    )


def test_a_mistake_in_the_spelling_is_told_without_a_traceback() -> None:
    with pytest.raises(SyntaxError) as caught:
        complete("1 +")
    assert told(caught.value).startswith('  File "<manhole>", line 1\n')
    assert "Traceback" not in told(caught.value)
