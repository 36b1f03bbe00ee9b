"""XEP-0160 with an archive: what waits for somebody is an archived message, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import fail

from jabberd.api import JID
from jabberd.interfaces import Span, StorageError
from jabberd.jsm.unstored import PATIENCE
from jabberd.storage.memory import MemoryArchive
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from tests.modules.archived import JULIET, MODULES, ROMEO, archive_of, paging, read, says, serve

if TYPE_CHECKING:
    from jabberd.testing import Client, Network
    from tests.conftest import LoggedErrors

TRANSIENT = "<no-permanent-store xmlns='urn:xmpp:hints'/>"


@pytest.fixture(autouse=True)
def stage(network: Network) -> None:
    serve(network, now=1e9)
    network.client(f"{ROMEO}/orchard").close()


def bodies(client: Client) -> list[str]:
    found = [each.findtext("{*}body") for each in client.heard]
    client.forget()
    return [body for body in found if body]


def enter(network: Network, *, before: str = "") -> Client:
    romeo = network.client(f"{ROMEO}/orchard", presence="")
    if before:
        read(romeo, before)
    romeo.send("<presence/>")
    return romeo


def test_what_waits_is_delivered_with_its_id_and_stays_in_the_archive(network: Network) -> None:
    says(network, JULIET, "hi")
    network.advance(60)
    romeo = enter(network)
    romeo.heard.pop(0)  # his own presence
    told = romeo.next()
    assert told.find("{urn:xmpp:delay}delay") is not None
    answer = read(romeo)
    assert answer.bodies == ["hi"]
    assert [each.get("id") for each in told.findall("{urn:xmpp:sid:0}stanza-id")] == answer.ids


def test_it_is_delivered_once(network: Network) -> None:
    says(network, JULIET, "hi")
    assert bodies(enter(network)) == ["hi"]
    assert bodies(enter(network)) == []
    assert read(enter(network)).bodies == ["hi"]


def test_what_is_archived_and_what_is_not_waits_in_one_order(network: Network) -> None:
    for number in range(60):
        says(network, JULIET, str(number), inside=TRANSIENT if number % 3 == 0 else "")
    assert bodies(enter(network)) == [str(number) for number in range(60)]
    assert bodies(romeo := enter(network)) == []
    assert len(read(romeo).bodies) == 40


def test_who_has_read_the_archive_is_not_sent_it_again(network: Network) -> None:
    for body in ("1", "2", "3"):
        says(network, JULIET, body)
    says(network, JULIET, "not archived", inside=TRANSIENT)
    assert bodies(enter(network, before=paging(max="2"))) == ["3", "not archived"]
    assert bodies(enter(network)) == []


def test_who_has_only_asked_how_much_there_is_gets_it(network: Network) -> None:
    says(network, JULIET, "1")
    assert bodies(enter(network, before=paging(max="0"))) == ["1"]


def test_what_waits_is_not_too_old_for_anybody(network: Network) -> None:
    says(network, JULIET, "1")
    done(archive_of(network).retain(JID(ROMEO), 1, 100))
    network.advance(2 * 86400)
    assert bodies(enter(network)) == ["1"]
    network.advance(86400)
    assert read(enter(network)).bodies == []


def test_together_they_are_no_more_than_the_limit(network: Network) -> None:
    for number in range(501):
        says(network, JULIET, str(number), inside=TRANSIENT if number % 3 == 0 else "")
    [refused] = network.stranger(JULIET).heard
    assert refused.get("type") == "error"
    network.stranger(JULIET).forget()
    romeo = enter(network)
    assert len(bodies(romeo)) == 500


def test_what_was_sent_but_never_acknowledged_waits_as_the_row_that_it_is(network: Network) -> None:
    network.serve("mantua.lit", modules={**MODULES, "sm": {}})
    romeo = network.client("romeo@mantua.lit/street")
    romeo.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
    romeo.drop()
    says(network, JULIET, "hi", to="romeo@mantua.lit/street")
    network.advance(700)  # nobody came back
    account = network.server("mantua.lit").storage.archive("archive")
    assert done(account.count("romeo@mantua.lit", Span(waiting=True))) == 1
    assert done(account.count("romeo@mantua.lit")) == 1
    back = network.client("romeo@mantua.lit/street", presence="")
    back.send("<presence/>")
    assert len({each.get("id") for each in back.heard[1].findall("{urn:xmpp:sid:0}stanza-id")}) == 1
    assert bodies(back) == ["hi"]
    assert read(back).bodies == ["hi"]


def test_what_could_not_be_archived_when_it_was_sent_waits_under_the_id_that_it_got(
    network: Network, monkeypatch: pytest.MonkeyPatch, logged_errors: LoggedErrors
) -> None:
    network.serve("mantua.lit", modules={**MODULES, "sm": {}})
    romeo = network.client("romeo@mantua.lit/street")
    romeo.send("<enable xmlns='urn:xmpp:sm:3'/>")
    romeo.forget()
    with monkeypatch.context() as full:
        full.setattr(MemoryArchive, "append", lambda *_, **__: fail(StorageError("full")))
        says(network, JULIET, "one", to="romeo@mantua.lit")
    says(network, JULIET, "two", to="romeo@mantua.lit")
    told = [each.get("id") for each in romeo.next().findall("{urn:xmpp:sid:0}stanza-id")]
    romeo.drop()
    back = network.client("romeo@mantua.lit/street", presence="")
    back.send("<presence/>")
    assert [each.get("id") for each in back.heard[1].findall("{urn:xmpp:sid:0}stanza-id")] == told
    assert bodies(back) == ["one", "two"]
    answer = read(back)
    assert answer.bodies == ["one", "two"]
    assert answer.ids[:1] == told
    assert logged_errors.take(StorageError)


def test_what_cannot_be_archived_for_somebody_absent_comes_back(
    network: Network, monkeypatch: pytest.MonkeyPatch, logged_errors: LoggedErrors
) -> None:
    monkeypatch.setattr(MemoryArchive, "append", lambda *_, **__: fail(StorageError("full")))
    says(network, JULIET, "hi")
    assert network.stranger(JULIET).hears_nothing()
    network.advance(PATIENCE + 1)
    assert condition(network.stranger(JULIET).next()) == "resource-constraint"
    assert logged_errors.take(StorageError)


def test_what_cannot_be_archived_is_delivered_all_the_same(
    network: Network, monkeypatch: pytest.MonkeyPatch, logged_errors: LoggedErrors
) -> None:
    romeo = enter(network)
    romeo.forget()
    monkeypatch.setattr(MemoryArchive, "append", lambda *_, **__: fail(StorageError("full")))
    says(network, JULIET, "hi")
    assert bodies(romeo) == ["hi"]
    assert network.stranger(JULIET).hears_nothing()
    assert logged_errors.take(StorageError)
