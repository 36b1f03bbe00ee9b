"""Moments: the DateTime profile of XEP-0082."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.xmpp.timestamp import from_stamp, to_stamp

MOMENT = datetime(2002, 9, 10, 23, 8, 25, tzinfo=UTC)


def test_a_moment_is_written_in_utc_to_the_second() -> None:
    assert to_stamp(MOMENT) == "2002-09-10T23:08:25Z"
    assert to_stamp(MOMENT + timedelta(microseconds=999_999)) == "2002-09-10T23:08:25Z"
    assert to_stamp(MOMENT.astimezone(timezone(timedelta(hours=-5)))) == "2002-09-10T23:08:25Z"
    assert to_stamp(datetime(44, 3, 15, tzinfo=UTC)) == "0044-03-15T00:00:00Z"


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        to_stamp(MOMENT.replace(tzinfo=None))


def test_the_examples_of_the_specification_are_one_moment() -> None:
    landing = datetime(1969, 7, 21, 2, 56, 15, tzinfo=UTC)
    assert from_stamp("1969-07-21T02:56:15Z") == landing
    assert from_stamp("1969-07-20T21:56:15-05:00") == landing
    assert from_stamp("1969-07-20T21:56:15-05:00").tzinfo is UTC


def test_a_fraction_of_a_second_may_have_any_number_of_digits() -> None:
    assert from_stamp("2002-09-10T23:08:25.5Z") == MOMENT + timedelta(seconds=0.5)
    assert from_stamp("2002-09-10T23:08:25.1234567890Z") == MOMENT + timedelta(microseconds=123_456)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2002-09-10",
        "23:08:25",
        "2002-09-10T23:08:25",  # no time zone
        "2002-09-10 23:08:25Z",
        "20020910T23:08:25",  # what XEP-0091 had
        "2002-09-10T23:08Z",
        "2002-09-10T23:08:25.Z",
        "2002-09-10T23:08:25+0100",
        "2002-09-10T23:08:25z",
        "2002-09-10T23:08:25Z\n",
        "2002-02-30T23:08:25Z",
        "2002-09-10T25:08:25Z",
        "2002-09-10T23:08:25+24:00",
        "\u0662002-09-10T23:08:25Z",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"DateTime|day|hour|offset"):
        from_stamp(text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_is_written_is_read_back(moment: datetime) -> None:
    assert from_stamp(to_stamp(moment)) == moment.replace(microsecond=0)


@given(st.text("0123456789-:+.TZ", max_size=30))
def test_any_text_is_a_moment_or_a_value_error(text: str) -> None:
    try:
        moment = from_stamp(text)
    except ValueError:
        return
    assert moment.tzinfo is UTC
