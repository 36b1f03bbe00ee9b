"""The threads that read: as many as are needed, three at most."""

from __future__ import annotations

from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine

from jabberd.storage.database import READERS, Readers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from tests.storage.pump import Pump


@pytest.fixture
def readers(sqlite_url: str, pump: Pump) -> Iterator[Readers]:
    made = Readers(create_engine(sqlite_url), pump)
    yield made
    pump.wait(made.close())


def answer(number: int, _: Connection) -> int:
    return number


def test_questions_one_after_the_other_need_one_thread(readers: Readers, pump: Pump) -> None:
    for number in range(5):
        assert pump.wait(readers.ask(partial(answer, number))) == number
    assert len(readers._ends) == 1


def test_a_question_that_finds_all_at_work_gets_a_thread_of_its_own_up_to_three(
    readers: Readers, pump: Pump
) -> None:
    begun: SimpleQueue[int] = SimpleQueue()
    go_on: SimpleQueue[None] = SimpleQueue()

    def slow(number: int, _: Connection) -> int:
        begun.put(number)
        go_on.get()
        return number

    answers = [readers.ask(partial(slow, number)) for number in range(READERS + 2)]
    assert {begun.get(timeout=10) for _ in range(READERS)} == set(range(READERS))
    assert len(readers._ends) == READERS
    for _ in answers:
        go_on.put(None)
    assert [pump.wait(answer) for answer in answers] == list(range(READERS + 2))
    assert len(readers._ends) == READERS
