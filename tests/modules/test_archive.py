"""XEP-0313: what is archived, under which id; XEP-0441, and what is too old."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred

from jabberd.api import JID, Refused
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from tests.modules.archived import JULIET, MAM, NURSE, ROMEO, archive_of, form, read, says, serve

if TYPE_CHECKING:
    from datetime import datetime

    from jabberd.testing import Client, Network

ID = "<stanza-id xmlns='urn:xmpp:sid:0' by='{}' id='{}'/>"
DAY = 86400


@pytest.fixture(autouse=True)
def stage(network: Network) -> None:
    serve(network, now=40000 * DAY)
    network.stranger(JULIET)
    network.stranger(NURSE)


def romeo_of(network: Network, resource: str = "orchard") -> Client:
    return network.client(f"{ROMEO}/{resource}")


def test_both_sides_are_archived_in_order(network: Network) -> None:
    romeo = romeo_of(network)
    says(network, JULIET, "Ay me!")
    romeo.send(f"<message type='chat' to='{JULIET}'><body>O, speak again</body></message>")
    assert read(romeo).bodies == ["Ay me!", "O, speak again"]


def test_what_both_sides_archive_is_written_once_and_stored_together(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[tuple[str, bytes, bool]] = []
    stored: list[Deferred[int]] = []

    def append(owner: str, peer: str, stamp: datetime, stanza: bytes, **how: Any) -> Deferred[int]:
        rows.append((owner, stanza, bool(stored) and how["beside"] is stored[-1]))
        if not rows[-1][2]:
            stored.append(Deferred())
        return stored[-1]

    romeo, benvolio = romeo_of(network), network.client("benvolio@montague.lit/street")
    monkeypatch.setattr(archive_of(network).messages, "append", append)
    for body in ("1", "2"):
        romeo.send(f"<message type='chat' to='{benvolio.jid}'><body>{body}</body></message>")
    assert [(owner, beside) for owner, _, beside in rows] == [
        (ROMEO, False),
        (benvolio.jid.bare, True),
        (ROMEO, False),
        (benvolio.jid.bare, True),
    ]
    assert rows[0][1] is rows[1][1]
    assert b"<body>1</body>" in rows[0][1]
    assert b"<body>2</body>" in rows[2][1]


def test_a_client_learns_under_which_id_a_message_is_archived(network: Network) -> None:
    romeo = romeo_of(network)
    says(network, JULIET, "hi")
    got = romeo.next()
    [id] = read(romeo).ids
    [told] = got.findall("{urn:xmpp:sid:0}stanza-id")
    assert dict(told.attrib) == {"by": ROMEO, "id": id}


def test_a_forged_id_is_replaced(network: Network) -> None:
    romeo = romeo_of(network)
    says(network, JULIET, "hi", inside=ID.format(ROMEO, 7) + ID.format(ROMEO, 8))
    [told] = romeo.next().findall("{urn:xmpp:sid:0}stanza-id")
    assert told.get("id") == read(romeo).ids[0]


def test_whom_one_writes_to_does_not_learn_the_id(network: Network) -> None:
    romeo = romeo_of(network)
    romeo.send(f"<message type='chat' to='{JULIET}'><body>hi</body></message>")
    juliet = network.stranger(JULIET)
    assert juliet.receives(f"<message type='chat' from='{romeo.jid}' to='{JULIET}'><body>hi</body></message>")


def test_a_copy_of_what_was_said_has_the_id(network: Network) -> None:
    romeo, garden = romeo_of(network), romeo_of(network, "garden")
    garden.ask("<iq type='set'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
    garden.forget()
    romeo.send(f"<message type='chat' to='{JULIET}'><body>hi</body></message>")
    says(network, JULIET, "hello", to=romeo.jid)
    copies = [garden.next(), garden.next()]
    told = [each.find(".//{*}message/{urn:xmpp:sid:0}stanza-id") for each in copies]
    assert [each.get("id") for each in told if each is not None] == read(romeo).ids


def test_a_message_is_archived_once_however_many_get_it(network: Network) -> None:
    romeo, garden = romeo_of(network), romeo_of(network, "garden")
    romeo.forget()  # that the other one has come
    says(network, JULIET, "hi")
    [one], [other] = (list(client.next().iter("{urn:xmpp:sid:0}stanza-id")) for client in (romeo, garden))
    assert one.get("id") == other.get("id")
    assert len(read(romeo).ids) == 1


def test_what_one_says_to_oneself_is_archived_once_and_can_be_asked_for(network: Network) -> None:
    romeo = romeo_of(network)
    says(network, JULIET, "hi")
    romeo.send(f"<message type='chat' to='{ROMEO}'><body>note</body></message>")
    romeo.send(f"<message type='chat' to='{romeo.jid}'><body>note 2</body></message>")
    assert read(romeo).bodies == ["hi", "note", "note 2"]
    assert read(romeo, form(with_=ROMEO)).bodies == ["note", "note 2"]


@pytest.mark.parametrize("type", ["headline", "groupchat", "error"])
def test_what_is_no_conversation_is_not_archived(network: Network, type: str) -> None:
    romeo = romeo_of(network)
    says(network, JULIET, "hi", to=romeo.jid, type=type)
    assert romeo.next().find("{urn:xmpp:sid:0}stanza-id") is None
    assert read(romeo).bodies == []


@pytest.mark.parametrize("hint", ["no-store", "no-permanent-store"])
def test_what_is_not_to_be_stored_is_not_archived(network: Network, hint: str) -> None:
    romeo = romeo_of(network)
    says(network, JULIET, "hi", inside=f"<{hint} xmlns='urn:xmpp:hints'/>")
    assert len(romeo.heard) == 1
    assert read(romeo).bodies == []


def test_a_message_that_comes_back_is_still_what_was_said(network: Network) -> None:
    romeo = romeo_of(network)
    romeo.send("<message type='chat' to='nobody@montague.lit'><body>hi</body></message>")
    assert condition(romeo.next()) == "service-unavailable"
    assert read(romeo).bodies == ["hi"]


def test_an_account_that_is_deleted_takes_its_archive_with_it(network: Network) -> None:
    romeo = romeo_of(network)
    says(network, JULIET, "hi")
    server = network.server("montague.lit")
    romeo.close()
    server.storage.forget(ROMEO)
    assert read(romeo_of(network)).bodies == []


# -- XEP-0441 ---------------------------------------------------------------------------------------


def prefs(default: str, always: str = "", never: str = "") -> str:
    lists = "".join(
        f"<{name}>{''.join(f'<jid>{jid}</jid>' for jid in jids.split())}</{name}>"
        for name, jids in (("always", always), ("never", never))
    )
    return f"<prefs xmlns='{MAM}' default='{default}'>{lists}</prefs>"


def test_preferences_are_told_and_changed(network: Network) -> None:
    romeo = romeo_of(network)
    romeo.send(f"<iq type='get' id='p1'><prefs xmlns='{MAM}'/></iq>")
    head = f"<iq type='result' id='{{}}' from='{ROMEO}' to='{romeo.jid}'>"
    assert romeo.receives(f"{head.format('p1')}{prefs('always')}</iq>")
    chosen = prefs("roster", "juliet@capulet.lit", "tybalt@evil.example nurse@capulet.lit")
    romeo.send(f"<iq type='set' id='p2'>{chosen}</iq>")
    assert romeo.receives(f"{head.format('p2')}{chosen}</iq>")
    romeo.send(f"<iq type='get' id='p3'><prefs xmlns='{MAM}'/></iq>")
    assert romeo.receives(f"{head.format('p3')}{chosen}</iq>")


@pytest.mark.parametrize(
    ("default", "always", "never", "kept"),
    [
        ("always", "", "", "1 2 3"),
        ("never", "", "", ""),
        ("never", "juliet@capulet.lit", "", "1 2"),
        ("never", JULIET, "", "1 2"),
        ("never", "juliet@capulet.lit/chamber", "", ""),
        ("always", "", "juliet@capulet.lit", "3"),
        ("always", "juliet@capulet.lit", "juliet@capulet.lit", "3"),
        ("roster", "", "", "3"),
        ("roster", "juliet@capulet.lit", "", "1 2 3"),
    ],
)
def test_only_what_the_account_wants_is_archived(
    network: Network, default: str, always: str, never: str, kept: str
) -> None:
    romeo = romeo_of(network)
    romeo.ask("<iq type='set'><query xmlns='jabber:iq:roster'><item jid='nurse@capulet.lit'/></query></iq>")
    romeo.ask(f"<iq type='set'>{prefs(default, always, never)}</iq>")
    says(network, JULIET, "1")
    romeo.send(f"<message type='chat' to='{JULIET}'><body>2</body></message>")
    says(network, NURSE, "3")
    assert read(romeo).bodies == kept.split()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (prefs("sometimes"), "bad-request"),
        (f"<prefs xmlns='{MAM}'/>", "bad-request"),
        (prefs("always", "@"), "bad-request"),
        (prefs("always", " ".join(f"u{n}@x.example" for n in range(1001))), "resource-constraint"),
    ],
)
def test_preferences_that_make_no_sense_are_refused(network: Network, wrong: str, error: str) -> None:
    romeo = romeo_of(network)
    assert condition(romeo.ask(f"<iq type='set'>{wrong}</iq>")) == error
    assert romeo.ask(f"<iq type='get'><prefs xmlns='{MAM}'/></iq>")[0].get("default") == "always"


# -- what is too old --------------------------------------------------------------------------------


def test_messages_go_when_they_are_too_old(network: Network) -> None:
    romeo_of(network).close()
    for day in range(3):
        says(network, JULIET, str(day))
        network.advance(DAY)
    romeo_of(network).close()  # what waits stays
    done(archive_of(network).retain(JID(ROMEO), 5, 100))
    network.advance(3 * DAY)
    assert read(romeo_of(network)).bodies == ["1", "2"]


def test_the_newest_stay_when_there_are_too_many(network: Network) -> None:
    romeo = romeo_of(network)
    for number in range(6):
        says(network, JULIET, str(number))
    assert done(archive_of(network).retain(JID(ROMEO), 10, 4)) == f"{ROMEO}: 2 messages removed"
    assert read(romeo).bodies == ["2", "3", "4", "5"]
    says(network, JULIET, "6")
    network.advance(DAY)
    assert read(romeo_of(network)).bodies == ["3", "4", "5", "6"]


def test_an_account_may_have_a_rule_of_its_own_and_lose_it(network: Network) -> None:
    romeo_of(network)
    says(network, JULIET, "1")
    archive = archive_of(network)
    done(archive.retain(JID(ROMEO), 7, 10))
    shown = done(archive.show(JID(ROMEO)))
    assert shown == {
        "jid": ROMEO,
        "messages": 1,
        "oldest": "2079-07-08T00:00:00Z",
        "newest": "2079-07-08T00:00:00Z",
        "days": 7.0,
        "most": 10,
    }
    done(archive.retain(JID(ROMEO), 0, 0))
    assert done(archive.show(JID(ROMEO)))["days"] == 365.0


def test_operators_are_told_what_cannot_be(network: Network) -> None:
    romeo_of(network)
    archive = archive_of(network)
    with pytest.raises(Refused, match="no account"):
        done(archive.show(JID("nobody@montague.lit")))
    with pytest.raises(Refused, match="above 0"):
        done(archive.retain(JID(ROMEO), 1, 0))
    with pytest.raises(Refused, match="36500 at most"):
        done(archive.retain(JID(ROMEO), 36501, 1))
    assert done(archive.retain(JID(ROMEO), 36500, 1))
