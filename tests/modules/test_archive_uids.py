"""XEP-0313 §3, XEP-0359 §3: nobody can guess under which id a message is archived."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any

import pytest

from jabberd.archive.uids import Uids
from jabberd.storage import open_storage
from jabberd.testing import Network
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from tests.modules.archived import JULIET, MAM, ROMEO, archive_of, form, paging, read, says, serve
from tests.modules.muc.play import ROOM, ROOMS, create, enter, heard_by, say, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from jabberd.testing import Client

BENVOLIO = "benvolio@montague.lit/street"
OTHER = f"street@{ROOMS}"
NOW = 1_790_000_000
UIDS = Uids(b"a key of the tests' own")
ID = NOW * 1_000_000
ODD = (
    "1",
    str(ID),
    "",
    " " * 20,
    "=" * 20,
    "A" * 20,
    "A" * 19 + "=",
    "\N{LATIN SMALL LETTER O WITH DIAERESIS}" * 20,
)


# -- the text -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", [0, 1, ID, (1 << 53) - 1])
def test_an_id_comes_back_from_its_text(id: int) -> None:
    text = UIDS.text(ROMEO, id)
    assert len(text) == 20
    assert UIDS.id(ROMEO, text) == id


def test_each_archive_and_each_server_has_another_text() -> None:
    text = UIDS.text(ROMEO, ID)
    others = (UIDS.text(ROOM, ID), Uids(b"another key").text(ROMEO, ID), UIDS.text(ROMEO, ID + 1))
    assert len({each[-10:] for each in (text, *others)}) == 4
    assert UIDS.id(ROOM, text) is None
    assert Uids(b"another key").id(ROMEO, text) is None


def test_every_letter_counts() -> None:
    text = UIDS.text(ROMEO, ID)
    for place in range(len(text)):
        other = "A" if text[place] != "A" else "B"
        assert UIDS.id(ROMEO, text[:place] + other + text[place + 1 :]) is None


def test_what_is_no_text_of_an_id_is_none() -> None:
    text = UIDS.text(ROMEO, ID)
    odd = (*ODD, "9" * 100_000, text + "=", f" {text}", text[:-1], text[:-1] + "\n", text[:-1] + "\0")
    assert [UIDS.id(ROMEO, each) for each in odd] == [None] * len(odd)


# -- in accounts ----------------------------------------------------------------------------------------


def row_ids(network: Network, owner: str = ROMEO) -> list[int]:
    return [row.id for row in done(archive_of(network).messages.rows(owner))]


def test_who_has_one_copy_of_a_message_cannot_guess_the_id_of_the_other(network: Network) -> None:
    serve(network, now=NOW)
    romeo, benvolio = network.client(f"{ROMEO}/orchard"), network.client(BENVOLIO)
    benvolio.send(f"<message type='chat' to='{ROMEO}'><body>Good morrow, cousin</body></message>")
    [his], [theirs] = read(romeo).ids, read(benvolio).ids
    [row], [own] = row_ids(network), row_ids(network, benvolio.jid.bare)
    assert his[-10:] != theirs[-10:]
    assert read(romeo, form(ids=[his])).bodies == ["Good morrow, cousin"]
    code = urlsafe_b64decode(theirs)[7:]
    guessed = urlsafe_b64encode(row.to_bytes(7, "big") + code).decode()
    for unknown in (theirs, guessed, str(row), str(own)):
        for asked in (form(ids=[unknown]), form(after_id=unknown), paging(before=unknown)):
            assert condition(read(romeo, asked).iq) == "item-not-found"


@pytest.mark.parametrize("odd", [each for each in ODD if each.strip()] + ["9" * 10_000])
def test_f8_an_id_that_the_archive_never_gave_is_not_found(network: Network, odd: str) -> None:
    serve(network, now=NOW)
    says(network, JULIET, "hi")
    romeo = network.client(f"{ROMEO}/orchard")
    asked = [paging(after=odd), paging(before=odd), form(ids=[odd]), form(before_id=odd), form(after_id=odd)]
    assert {condition(read(romeo, each).iq) for each in asked} == {"item-not-found"}


# -- after a restart ------------------------------------------------------------------------------------


@pytest.fixture
def restarted(tmp_path: Path) -> Iterator[Callable[[], Network]]:
    """Starts a server for accounts and rooms, each time anew on one database."""
    running: list[tuple[Network, Any]] = []

    def stop() -> None:
        network, storage = running.pop()
        network.close()
        storage.close()

    def start() -> Network:
        if running:
            stop()
        network, storage = Network(), open_storage(f"sqlite:///{tmp_path / 'montague.db'}", None)
        network.clock.rightNow = NOW
        rooms: dict[str, dict[str, object]] = {
            "disco": {},
            "muc": {},
            "muc_retraction": {},
            "muc_moderation": {},
        }
        network.serve(
            "montague.lit", modules={"sid": {}, "archive": {}}, services={ROOMS: rooms}, storage=storage
        )
        running.append((network, storage))
        return network

    yield start
    stop()


def test_clients_go_on_after_a_restart_with_the_ids_that_they_know(
    restarted: Callable[[], Network],
) -> None:
    network = restarted()
    romeo = network.client(f"{ROMEO}/orchard")
    network.stranger(JULIET)
    for number in range(5):
        says(network, JULIET, str(number))
    told = [each.find("{urn:xmpp:sid:0}stanza-id").get("id") for each in romeo.heard]  # type: ignore[union-attr]
    romeo = restarted().client(f"{ROMEO}/orchard")
    assert read(romeo).ids == told
    assert read(romeo, paging(max="2", after=told[0])).bodies == ["1", "2"]
    assert read(romeo, paging(max="2", before=told[4])).bodies == ["2", "3"]
    assert read(romeo, form(after_id=told[0], before_id=told[2])).bodies == ["1"]
    assert read(romeo, form(ids=[told[3], told[1]])).bodies == ["1", "3"]
    ends = romeo.ask(f"<iq type='get'><metadata xmlns='{MAM}'/></iq>").xpath(".//@id")
    assert ends[-2:] == [told[0], told[4]]


def test_messages_in_rooms_are_taken_back_after_a_restart_by_the_ids_that_they_were_heard_with(
    restarted: Callable[[], Network],
) -> None:
    romeo = restarted().client(f"{ROMEO}/orchard")
    create(romeo, "Romeo", persistentroom="1")
    told = [signed(romeo, body) for body in ("one", "two", "three")]
    network = restarted()
    romeo, benvolio = network.client(f"{ROMEO}/orchard"), network.client(BENVOLIO)
    heard = enter(romeo, "Romeo")
    assert [each for stanza in heard for each in texts(stanza, "sid:stanza-id/@id")] == told
    [row, *_] = [row.id for row in done(network.servers[0].storage.archive("muc-archive").rows(ROOM))]
    say(romeo, "oops", inside=f"<retract xmlns='urn:xmpp:message-retract:1' id='{told[0]}'/>")
    assert moderated(romeo, told[1]) == ""
    create(benvolio, "Benvolio", room=OTHER)
    for unknown in (told[1], str(row), "9" * 5000, signed(benvolio, "hi", OTHER)):
        assert moderated(romeo, unknown) == "item-not-found"
    romeo.forget()
    romeo.ask(f"<iq type='set' to='{ROOM}'><query xmlns='{MAM}'/></iq>")
    bodies = [
        each.findtext(".//{jabber:client}body")
        for each in romeo.heard
        if each.find(f"{{{MAM}}}result") is not None
    ]
    assert bodies == [None, None, "three", "oops", None]


def signed(who: Client, body: str, room: str = ROOM) -> str:
    """Say something in a room; the id that it is archived under."""
    say(who, body, room)
    [id] = texts(heard_by(who)[-1], "sid:stanza-id/@id")
    return id


def moderated(who: Client, id: str) -> str:
    """Take back what somebody said, as a moderator; the condition of the refusal."""
    inside = "<retract xmlns='urn:xmpp:message-retract:1'/>"
    return condition(
        who.ask(
            f"<iq type='set' to='{ROOM}'><moderate xmlns='urn:xmpp:message-moderate:1' id='{id}'>{inside}"
            "</moderate></iq>"
        )
    )
