"""What is stored is JSON, which every later version can read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from jabberd.interfaces import StorageError
from jabberd.jsm.credentials import AccountRecord
from jabberd.jsm.roster import RosterItem
from jabberd.modules.groups import Group
from jabberd.modules.last import Arrival, Departure
from jabberd.storage.values import Values
from jabberd.xmpp.jid import JID
from jabberd.xmpp.scram import ScramKeys

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEYS = ScramKeys("SHA-1", b"\xfb\xff\xfe~", 4096, b"\x00>>>", b"???")
JULIET = RosterItem(
    "juliet@capulet.lit", "Juliet ❤", ("Verona",), "to", pending_in="<presence id='ä'/>", version=3
)


@pytest.mark.parametrize(
    ("stored", "value"),
    [
        (
            (
                '{"keys":[{"hash_name":"SHA-1","salt":"-__-fg==","iterations":4096,"stored_key":"AD4-Pg==",'
                '"server_key":"Pz8_","genuine":true}],"created":"2026-11-22T12:00:00Z","disabled":null}'
            ),
            AccountRecord((KEYS,), NOON),
        ),
        (
            (
                '{"jid":"juliet@capulet.lit","name":"Juliet ❤","groups":["Verona"],"subscription":"to",'
                '"ask":false,"approved":false,"pending_in":"<presence id=\'ä\'/>","listed":true,"version":3}'
            ),
            JULIET,
        ),
        ('{"at":"2026-11-22T12:00:00Z"}', Arrival(NOON)),
        (
            '{"at":"2026-11-22T12:00:00.123456Z","status":"a"}',
            Departure(NOON.replace(microsecond=123456), "a"),
        ),
        ('{"members":["romeo@montague.lit"]}', Group(("romeo@montague.lit",))),
        ("true", True),
    ],
)
def test_what_the_first_version_stored_can_be_read(stored: str, value: object) -> None:
    assert Values[Any]("kept", type(value)).load("", stored) == value


def test_an_account_that_was_read_can_be_stored_again() -> None:
    accounts = Values("accounts", AccountRecord)
    record = accounts.load("", accounts.dump(AccountRecord((KEYS,), NOON)))
    disabled = replace(record, disabled=NOON)
    assert accounts.load("", accounts.dump(disabled)) == disabled


@dataclass(frozen=True)
class Friend:
    jid: JID
    since: int = 0


def test_an_address_in_a_value_comes_back_as_an_address() -> None:
    friends = Values("friends", Friend)
    friend = friends.load("", friends.dump(Friend(JID.parse("romeo@montague.lit"))))
    assert friend.jid.localpart == "romeo"


@pytest.mark.parametrize(
    "stored", ['{"jid":"@"}', '{"jid":5}', '{"jid":"romeo@montague.lit"', "{}", "[]", ""]
)
def test_what_is_no_value_of_the_store_is_told_without_being_quoted(stored: str) -> None:
    with pytest.raises(
        StorageError, match=r"the store 'friends' holds no .*Friend.* under 'romeo'"
    ) as caught:
        Values("friends", Friend).load("romeo", stored)
    assert "montague" not in str(caught.value)
