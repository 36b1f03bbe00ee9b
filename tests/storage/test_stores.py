"""What every storage promises, in memory, SQLite and PostgreSQL alike."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Literal

import pytest

from jabberd.interfaces import ArchiveRow, StorageError

if TYPE_CHECKING:
    from jabberd.interfaces import Storage
    from tests.storage.pump import Pump

ROMEO = "romeo@montague.lit"
BENVOLIO = "benvolio@montague.lit"
JULIET = "juliet@capulet.lit"
NURSE = "nurse@capulet.lit"
NOON = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)


@dataclass(frozen=True)
class Item:
    subscription: Literal["none", "to", "from", "both"] = "none"
    groups: frozenset[str] = frozenset()
    since: datetime | None = None


@dataclass(frozen=True)
class Keys:
    salt: bytes
    iterations: dict[str, int] = field(default_factory=dict)


class Address(str):
    """A subclass of str with another text for people, as a JID might be."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<an address>"


# --- values by owner and key -----------------------------------------------------------------------


def test_what_was_put_is_what_one_gets(storage: Storage, pump: Pump) -> None:
    roster = storage.keyed("roster", Item)
    item = Item(subscription="both", groups=frozenset({"Liebe ❤", "a\0b"}), since=NOON)
    pump.wait(roster.put(ROMEO, JULIET, item))
    assert pump.wait(roster.get(ROMEO, JULIET)) == item


def test_values_may_be_dataclasses_with_binary_fields(storage: Storage, pump: Pump) -> None:
    accounts = storage.keyed("accounts", Keys)
    keys = Keys(bytes(range(256)), {"SHA-256": 10_000})
    pump.wait(accounts.put(ROMEO, "", keys))
    assert pump.wait(accounts.get(ROMEO)) == keys


def test_a_value_put_and_then_changed_in_place_is_stored_as_it_was_put(storage: Storage, pump: Pump) -> None:
    nicks = storage.keyed("nicks", list[str])
    value = ["Rosaline"]
    done = nicks.put(ROMEO, "", value)
    value.append("Juliet")
    pump.wait(done)
    assert pump.wait(nicks.get(ROMEO)) == ["Rosaline"]


def test_nobody_has_what_was_not_put(storage: Storage, pump: Pump) -> None:
    roster = storage.keyed("roster", Item)
    pump.wait(roster.put(ROMEO, JULIET, Item()))
    assert pump.wait(roster.get(ROMEO, NURSE)) is None
    assert pump.wait(roster.get(BENVOLIO, JULIET)) is None
    assert pump.wait(storage.keyed("vcards", str).get(ROMEO, JULIET)) is None
    assert pump.wait(roster.all(NURSE)) == {}


def test_a_second_put_replaces_the_first(storage: Storage, pump: Pump) -> None:
    nicks = storage.keyed("nicks", str)
    pump.wait(nicks.put(ROMEO, "", "Montague"))
    pump.wait(nicks.put(ROMEO, "", "love"))
    assert pump.wait(nicks.all(ROMEO)) == {"": "love"}


def test_a_change_puts_and_removes_several_keys(storage: Storage, pump: Pump) -> None:
    nicks = storage.keyed("nicks", str)
    pump.wait(nicks.change(ROMEO, {"a": "1", "b": "2", "c": "3"}))
    pump.wait(nicks.change(ROMEO, {"a": None, "b": "two", "d": "4", "never there": None}))
    assert pump.wait(nicks.all(ROMEO)) == {"b": "two", "c": "3", "d": "4"}


def test_a_change_of_nothing_changes_nothing(storage: Storage, pump: Pump) -> None:
    nicks = storage.keyed("nicks", str)
    pump.wait(nicks.put(ROMEO, "", "Montague"))
    pump.wait(nicks.change(ROMEO, {}))
    assert pump.wait(nicks.all(ROMEO)) == {"": "Montague"}


def test_a_change_that_fails_changes_nothing(storage: Storage, pump: Pump) -> None:
    nicks = storage.keyed("nicks", str)
    pump.wait(nicks.put(ROMEO, "a", "1"))
    with pytest.raises(StorageError):
        pump.wait(nicks.change(ROMEO, {"a": None, "b": "2", "c": "\udc80"}))
    assert pump.wait(nicks.all(ROMEO)) == {"a": "1"}


def test_a_value_of_another_type_is_refused_and_not_quoted(storage: Storage, pump: Pump) -> None:
    roster = storage.keyed("roster", Item)
    wrong = Item(groups="my secret")  # type: ignore[arg-type]  # which is refused
    with pytest.raises(StorageError, match="'roster'") as caught:
        pump.wait(roster.put(ROMEO, JULIET, wrong))
    assert "my secret" not in str(caught.value)
    assert pump.wait(roster.all(ROMEO)) == {}


def test_changes_are_made_in_the_order_they_were_asked_for(storage: Storage, pump: Pump) -> None:
    nicks = storage.keyed("nicks", str)
    changes = [nicks.put(ROMEO, "", "1"), nicks.change(ROMEO, {"": None}), nicks.put(ROMEO, "", "2")]
    for change in changes:
        pump.wait(change)
    assert pump.wait(nicks.all(ROMEO)) == {"": "2"}


def test_owners_and_keys_may_be_subclasses_of_str(storage: Storage, pump: Pump) -> None:
    nicks = storage.keyed("nicks", str)
    pump.wait(nicks.put(Address(ROMEO), Address(JULIET), "love"))
    assert pump.wait(nicks.get(ROMEO, JULIET)) == "love"
    assert pump.wait(nicks.all(Address(ROMEO))) == {JULIET: "love"}
    assert pump.wait(nicks.owners(Address("montague.lit"))) == [ROMEO]


def test_owner_and_key_are_stored_literally(storage: Storage, pump: Pump) -> None:
    nicks = storage.keyed("nicks", str)
    odd = [
        "'; DROP TABLE keyed; --",
        "%",
        "_",
        ":owner",
        "\\",
        "ROMEO",
        "romeo",
        "\N{PILE OF POO}",
        "%(key)s",
    ]
    pump.wait(nicks.change("o'neill@montague.lit", {key: key for key in odd}))
    assert pump.wait(nicks.all("o'neill@montague.lit")) == {key: key for key in odd}
    assert pump.wait(nicks.all("o_neill@montague.lit")) == {}


def test_owner_and_key_may_be_as_long_as_addresses_get(storage: Storage, pump: Pump) -> None:
    letters = random.Random(7).choices(string.ascii_lowercase + string.digits, k=2300)
    owner = "".join(letters[:1023]) + "@montague.lit"
    key = "".join(letters[1023:2046]) + "@" + "".join(letters[2046:])
    nicks = storage.keyed("nicks", str)
    pump.wait(nicks.put(owner, key, "long"))
    assert pump.wait(nicks.all(owner)) == {key: "long"}


def test_the_owners_at_a_domain_are_listed_once_and_sorted(storage: Storage, pump: Pump) -> None:
    roster = storage.keyed("roster", Item)
    for owner in (ROMEO, "Äbtissin@montague.lit", "Zoe@montague.lit", JULIET, BENVOLIO, "montague.lit"):
        pump.wait(roster.change(owner, {NURSE: Item(), "mercutio@montague.lit": Item()}))
    pump.wait(storage.keyed("nicks", str).put("tybalt@montague.lit", "", "cat"))
    at_montague = ["Zoe@montague.lit", BENVOLIO, "montague.lit", ROMEO, "Äbtissin@montague.lit"]
    assert pump.wait(roster.owners("montague.lit")) == at_montague
    assert pump.wait(roster.owners("lit")) == []


def test_who_has_a_value_under_a_key_is_listed_by_domain_and_sorted(storage: Storage, pump: Pump) -> None:
    roster = storage.keyed("roster", Item)
    for owner in (ROMEO, "Äbtissin@montague.lit", BENVOLIO, JULIET):
        pump.wait(roster.change(owner, {NURSE: Item(), "mercutio@montague.lit": Item()}))
    pump.wait(roster.change(BENVOLIO, {NURSE: None}))
    pump.wait(storage.keyed("nicks", str).put("tybalt@montague.lit", NURSE, "cat"))
    assert pump.wait(roster.having("montague.lit", NURSE)) == [ROMEO, "Äbtissin@montague.lit"]
    assert pump.wait(roster.having("lit", NURSE)) == pump.wait(roster.having("montague.lit", "")) == []


def test_the_values_at_a_domain_come_page_by_page(storage: Storage, pump: Pump) -> None:
    nicks = storage.keyed("nicks", str)
    owners = [ROMEO, "Äbtissin@montague.lit", "Zoe@montague.lit", BENVOLIO, "montague.lit"]
    for owner in (*owners, JULIET):
        pump.wait(nicks.change(owner, {"": owner.upper(), "other": "not told"}))
    pump.wait(nicks.put("tybalt@montague.lit", "other", "not told"))
    pages = [pump.wait(nicks.page("montague.lit", limit=2))]
    while pages[-1]:
        pages.append(pump.wait(nicks.page("montague.lit", after=[*pages[-1]][-1], limit=2)))
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    found = [item for page in pages for item in page.items()]
    assert sorted(found) == sorted((owner, owner.upper()) for owner in owners)


def test_the_last_values_at_a_domain_come_page_by_page(storage: Storage, pump: Pump) -> None:
    nicks = storage.keyed("nicks", str)
    for owner in (JULIET, "d@montague.lit", "a@montague.lit", "c@montague.lit", "b@montague.lit"):
        pump.wait(nicks.put(owner, "", owner[0]))
    last = pump.wait(nicks.page("montague.lit", limit=2, last=True))
    assert [*last.values()] == ["c", "d"]
    before = pump.wait(nicks.page("montague.lit", before=next(iter(last)), limit=1, last=True))
    assert [*before.values()] == ["b"]
    first = pump.wait(nicks.page("montague.lit", "a@montague.lit", before="d@montague.lit", limit=3))
    assert [*first.values()] == ["b", "c"]


def test_the_values_of_an_owner_come_page_by_page(storage: Storage, pump: Pump) -> None:
    nicks = storage.keyed("nicks", str)
    keys = ["cat", "ass", "dog", "bee", "Émile", "Zoë"]
    pump.wait(nicks.change(ROMEO, {"": "no page has it", **{key: key.upper() for key in keys}}))
    pump.wait(nicks.put(BENVOLIO, "ape", "another one's"))
    pump.wait(storage.keyed("roster", str).put(ROMEO, "ape", "of another store"))
    pages = [pump.wait(nicks.some(ROMEO, limit=4))]
    while pages[-1]:
        pages.append(pump.wait(nicks.some(ROMEO, after=[*pages[-1]][-1], limit=4)))
    assert [len(page) for page in pages] == [4, 2, 0]
    found = [item for page in pages for item in page.items()]
    assert sorted(found) == sorted((key, key.upper()) for key in keys)
    order = [key for key, _ in found]  # the storage's own
    for number, key in enumerate(order):
        last = pump.wait(nicks.some(ROMEO, before=key, limit=2, last=True))
        assert [*last] == order[max(number - 2, 0) : number]
    assert [*pump.wait(nicks.some(ROMEO, after=order[0], before=order[4], limit=2, last=True))] == order[2:4]
    assert [*pump.wait(nicks.some(ROMEO, last=True))] == order
    assert pump.wait(nicks.some(JULIET)) == {}


def test_several_stores_change_together_or_not_at_all(storage: Storage, pump: Pump) -> None:
    nicks, roster = storage.keyed("nicks", str), storage.keyed("roster", Item)
    pump.wait(storage.save(ROMEO, {"nicks": {"": "love", "old": "boy"}, "roster": {JULIET: Item()}}))
    pump.wait(storage.save(ROMEO, {"nicks": {"old": None, "new": "man"}, "roster": {NURSE: Item("both")}}))
    assert pump.wait(nicks.all(ROMEO)) == {"": "love", "new": "man"}
    assert pump.wait(roster.all(ROMEO)) == {JULIET: Item(), NURSE: Item("both")}
    with pytest.raises(StorageError):
        pump.wait(storage.save(ROMEO, {"nicks": {"": "hate"}, "roster": {JULIET: "no item"}}))
    assert pump.wait(nicks.get(ROMEO)) == "love"
    with pytest.raises(KeyError):
        storage.save(ROMEO, {"nobody's": {}})


def test_what_is_saved_anew_is_all_that_there_is(storage: Storage, pump: Pump) -> None:
    nicks, roster = storage.keyed("nicks", str), storage.keyed("roster", Item)
    pump.wait(storage.save(ROMEO, {"nicks": {"old": "boy"}, "roster": {JULIET: Item()}}))
    pump.wait(storage.archive("messages").append(ROMEO, JULIET, NOON, b"old"))
    pump.wait(storage.ordered("items", str).change(ROMEO, "list", {"old": "item"}))
    pump.wait(nicks.put(BENVOLIO, "", "cousin"))
    pump.wait(storage.save(ROMEO, {"nicks": {"": "love"}}, anew=True))
    assert pump.wait(nicks.all(ROMEO)) == {"": "love"}
    assert pump.wait(roster.all(ROMEO)) == {}
    assert pump.wait(storage.archive("messages").count(ROMEO)) == 0
    assert pump.wait(storage.ordered("items", str).sizes(ROMEO)) == {}
    assert pump.wait(nicks.get(BENVOLIO)) == "cousin"


def test_an_owner_whose_last_value_went_is_none(storage: Storage, pump: Pump) -> None:
    roster = storage.keyed("roster", Item)
    pump.wait(roster.put(ROMEO, JULIET, Item()))
    pump.wait(roster.change(ROMEO, {JULIET: None}))
    assert pump.wait(roster.owners("montague.lit")) == []


def test_a_store_is_shared_by_all_who_ask_for_it(storage: Storage, pump: Pump) -> None:
    pump.wait(storage.keyed("nicks", str).put(ROMEO, "", "love"))
    assert pump.wait(storage.keyed("nicks", str).get(ROMEO)) == "love"


def test_a_store_holds_one_type(storage: Storage) -> None:
    storage.keyed("nicks", str)
    with pytest.raises(ValueError, match="nicks"):
        storage.keyed("nicks", int)


def test_everything_of_an_owner_is_loaded_at_once(storage: Storage, pump: Pump) -> None:
    roster, nicks = storage.keyed("roster", Item), storage.keyed("nicks", str)
    storage.keyed("blocklist", str)
    pump.wait(roster.change(ROMEO, {JULIET: Item(subscription="both"), NURSE: Item()}))
    pump.wait(nicks.put(ROMEO, "", "love"))
    pump.wait(nicks.put(BENVOLIO, "", "cousin"))
    assert pump.wait(storage.load(ROMEO, ["roster", "nicks", "blocklist"])) == {
        "roster": {JULIET: Item(subscription="both"), NURSE: Item()},
        "nicks": {"": "love"},
        "blocklist": {},
    }


def test_a_store_that_nobody_asked_for_cannot_be_loaded(storage: Storage) -> None:
    with pytest.raises(KeyError):
        storage.load(ROMEO, ["roster"])


# --- stanzas in the order they came ----------------------------------------------------------------


def test_archived_rows_come_back_as_they_were_in_order(storage: Storage, pump: Pump) -> None:
    offline = storage.archive("offline")
    stanzas = [b"<message/>", bytes(range(256)), b""]
    ids = [pump.wait(offline.append(NURSE, JULIET, NOON, stanza)) for stanza in stanzas]
    assert ids == sorted(set(ids))
    assert ids[-1] < 2**53
    assert pump.wait(offline.rows(NURSE)) == [
        ArchiveRow(id, NOON, JULIET, stanza) for id, stanza in zip(ids, stanzas, strict=True)
    ]


def test_the_stamp_is_kept_to_the_microsecond_in_utc(storage: Storage, pump: Pump) -> None:
    offline = storage.archive("offline")
    verona = timezone(timedelta(hours=1))
    pump.wait(offline.append(NURSE, JULIET, NOON.astimezone(verona), b""))
    [row] = pump.wait(offline.rows(NURSE))
    assert row.stamp == NOON
    assert row.stamp.tzinfo == UTC


def test_rows_are_asked_for_in_pages(storage: Storage, pump: Pump) -> None:
    offline = storage.archive("offline")
    ids = [pump.wait(offline.append(NURSE, JULIET, NOON, b"")) for _ in range(5)]
    assert [row.id for row in pump.wait(offline.rows(NURSE, limit=2))] == ids[:2]
    assert [row.id for row in pump.wait(offline.rows(NURSE, after=ids[1], limit=2))] == ids[2:4]
    assert [row.id for row in pump.wait(offline.rows(NURSE, after=ids[1]))] == ids[2:]
    assert pump.wait(offline.rows(NURSE, after=ids[-1])) == []


def test_rows_are_counted_and_removed(storage: Storage, pump: Pump) -> None:
    offline = storage.archive("offline")
    ids = [pump.wait(offline.append(NURSE, JULIET, NOON, b"")) for _ in range(4)]
    pump.wait(offline.remove(NURSE, [*ids[:2], 1]))
    assert [row.id for row in pump.wait(offline.rows(NURSE))] == ids[2:]
    assert pump.wait(offline.count(NURSE)) == 2
    pump.wait(offline.remove(NURSE, []))
    assert pump.wait(offline.count(NURSE)) == 2


def test_nobody_removes_the_rows_of_another_owner_or_archive(storage: Storage, pump: Pump) -> None:
    offline = storage.archive("offline")
    id = pump.wait(offline.append(NURSE, JULIET, NOON, b""))
    pump.wait(offline.remove(ROMEO, [id]))
    pump.wait(storage.archive("mam").remove(NURSE, [id]))
    assert pump.wait(offline.count(NURSE)) == 1
    assert pump.wait(offline.count(ROMEO)) == 0
    assert pump.wait(storage.archive("mam").rows(NURSE)) == []


def test_an_id_is_not_given_again_after_its_row_went(storage: Storage, pump: Pump) -> None:
    offline = storage.archive("offline")
    first = pump.wait(offline.append(NURSE, JULIET, NOON, b""))
    pump.wait(offline.remove(NURSE, [first]))
    assert pump.wait(offline.append(NURSE, JULIET, NOON, b"")) > first


# --- both ------------------------------------------------------------------------------------------


def test_forgetting_an_owner_removes_all_that_is_theirs_and_no_more(storage: Storage, pump: Pump) -> None:
    roster, offline = storage.keyed("roster", Item), storage.archive("offline")
    for owner in (ROMEO, BENVOLIO):
        pump.wait(roster.put(owner, JULIET, Item()))
        pump.wait(offline.append(owner, JULIET, NOON, b""))
    pump.wait(storage.forget(ROMEO))
    assert pump.wait(roster.all(ROMEO)) == {}
    assert pump.wait(offline.count(ROMEO)) == 0
    assert pump.wait(roster.all(BENVOLIO)) == {JULIET: Item()}
    assert pump.wait(offline.count(BENVOLIO)) == 1
