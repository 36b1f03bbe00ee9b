"""XEP-0160, and the delay notes of XEP-0203."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from jabberd.interfaces import StorageError
from jabberd.jsm.unstored import PATIENCE
from jabberd.modules import offline
from jabberd.modules.offline.emptied import Emptied
from jabberd.modules.offline.loads import Load, Loads
from jabberd.testing.outcome import done
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza
from tests.rehearsal import Ear, Player, Rehearsal

if TYPE_CHECKING:
    from tests.conftest import LoggedErrors

ROMEO = "romeo@montague.lit"
JULIET = "juliet@capulet.lit/balcony"
DELAY = "<delay xmlns='urn:xmpp:delay' from='{}' stamp='2002-09-10T23:08:25Z'>Offline Storage</delay>"
OURS = DELAY.format("montague.lit")


@pytest.fixture
def stage() -> Any:
    with Rehearsal({"offline": {"limit": 30}}) as stage:
        stage.clock.advance(1031699305)  # the moment of XEP-0160, example 4
        stage.create(ROMEO)
        yield stage


def write(stage: Rehearsal, body: str, to: str = ROMEO, inside: str = "") -> None:
    """Juliet sends a message."""
    stage.receive(f"<message type='chat' from='{JULIET}' to='{to}'><body>{body}</body>{inside}</message>")


def enter(stage: Rehearsal, jid: str = f"{ROMEO}/orchard", priority: int = 0) -> Player:
    client = stage.login(jid)
    client.say(f"<presence><priority>{priority}</priority></presence>")
    return client


def bodies(client: Player) -> list[str]:
    """What the messages say that a client has heard."""
    return [body for xml in client.hear() for body in re.findall("<body>(.*)</body>", xml)]


def test_a_message_waits_for_its_reader_with_a_note_of_when_it_came(stage: Rehearsal) -> None:
    write(stage, "I am afeard")
    assert stage.abroad == []
    stage.clock.advance(3600)
    romeo = enter(stage)
    assert romeo.hear()[1:] == [  # his own presence came first
        f"<message type='chat' from='{JULIET}' to='{ROMEO}'><body>I am afeard</body>{OURS}</message>"
    ]


def test_messages_keep_their_order_and_come_only_once(
    stage: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "BATCH", 10)
    said = [str(number) for number in range(23)]  # more than are read at a time
    for body in said:
        write(stage, body)
    romeo = enter(stage)
    assert bodies(romeo) == said
    romeo.leave()
    assert bodies(enter(stage)) == []


def test_a_message_for_a_resource_that_is_gone_waits_as_well(stage: Rehearsal) -> None:
    write(stage, "hi!", to=f"{ROMEO}/garden")
    [heard] = [xml for xml in enter(stage).hear() if "<body>" in xml]
    assert f"to='{ROMEO}/garden'" in heard


def test_they_survive_a_restart(stage: Rehearsal) -> None:
    write(stage, "hi!")
    with Rehearsal({"offline": {}}, storage=stage.storage) as second:
        assert bodies(enter(second)) == ["hi!"]


def test_a_resource_that_is_not_available_gets_nothing(stage: Rehearsal) -> None:
    write(stage, "hi!")
    romeo = stage.login(f"{ROMEO}/orchard")
    assert bodies(romeo) == []
    romeo.say("<presence/>")
    assert bodies(romeo) == ["hi!"]


def test_a_resource_of_negative_priority_gets_nothing_until_that_changes(stage: Rehearsal) -> None:
    write(stage, "hi!")
    romeo = enter(stage, priority=-1)
    assert bodies(romeo) == []
    romeo.say("<presence><priority>0</priority></presence>")
    assert bodies(romeo) == ["hi!"]


@pytest.mark.parametrize(
    "message",
    [
        "<message type='groupchat' from='{}' to='{}'><body>hi all</body></message>",
        "<message type='headline' from='{}' to='{}'><body>Montague feud!</body></message>",
        "<message type='error' from='{}' to='{}'><body>hi!</body></message>",
        "<message type='chat' from='{}' to='{}'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
    ],
)
def test_what_is_not_worth_keeping_is_not_kept(stage: Rehearsal, message: str) -> None:
    stage.receive(message.format(JULIET, ROMEO))
    assert [xml for xml in enter(stage).hear() if "<message" in xml] == []


def test_one_message_more_than_the_limit_is_refused_until_the_others_were_read(stage: Rehearsal) -> None:
    for number in range(31):
        write(stage, str(number))
    [bounced] = stage.abroad
    assert (bounced.type, bounced.to) == ("error", JULIET)
    assert b"<service-unavailable" in bounced.payload
    romeo = enter(stage)
    assert bodies(romeo) == [str(number) for number in range(30)]
    romeo.leave()
    write(stage, "again")
    assert bodies(enter(stage)) == ["again"]


def test_the_limit_counts_what_was_stored_before_a_restart(stage: Rehearsal) -> None:
    for number in range(30):
        write(stage, str(number))
    with Rehearsal({"offline": {"limit": 30}}, storage=stage.storage) as second:
        write(second, "too much")
        assert len(second.abroad) == 1


def test_other_accounts_have_limits_of_their_own(stage: Rehearsal) -> None:
    stage.create("benvolio@montague.lit")
    for number in range(30):
        write(stage, str(number))
    write(stage, "hi!", to="benvolio@montague.lit")
    assert stage.abroad == []


def test_the_counts_of_few_accounts_are_remembered(stage: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jabberd.modules.offline.loads.MOST", 1)
    stage.create("benvolio@montague.lit")
    for number in range(31):
        write(stage, str(number))
        write(stage, str(number), to="benvolio@montague.lit")
    assert len(stage.abroad) == 2  # one more than the limit for each: they were counted anew


def test_nobody_stores_for_an_account_that_does_not_exist(stage: Rehearsal) -> None:
    write(stage, "hi!", to="nobody@montague.lit")
    assert b"<service-unavailable" in stage.abroad[0].payload


# -- while something is going on ----------------------------------------------------------------------


class Slow:
    """An archive whose answers wait: ``release`` lets them come, in order."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._held: list[tuple[Deferred[Any], Deferred[Any]]] = []

    def release(self) -> None:
        held, self._held = self._held, []
        for answer, real in held:
            real.chainDeferred(answer)

    def __getattr__(self, name: str) -> Any:
        def ask(*args: Any, **kwargs: Any) -> Deferred[Any]:
            answer: Deferred[Any] = Deferred()
            self._held.append((answer, getattr(self._real, name)(*args, **kwargs)))
            return answer

        return ask


def slow(stage: Rehearsal) -> Slow:
    module = stage.domain.module("offline")
    archive = Slow(module.stores["messages"])
    vars(module)["messages"] = archive  # where it may have been found already
    return archive


def test_all_who_waited_for_a_count_that_failed_are_told_and_the_next_one_counts_again() -> None:
    counts: list[Deferred[Load]] = []

    def count(_: JID) -> Deferred[Load]:
        counts.append(Deferred())
        return counts[-1]

    loads, romeo = Loads(count), JID.parse("romeo@montague.lit")
    told: list[object] = []
    for _ in range(2):
        loads.counted(romeo).addBoth(told.append)
    counts[0].errback(StorageError("away"))
    assert [str(why.value) for why in told if isinstance(why, Failure)] == ["away"] * 2
    assert loads.get(romeo) is None
    again = loads.counted(romeo)
    counts[1].callback(found := Load(3, 30))
    assert loads.get(romeo) is found
    assert done(again) is found


def test_what_is_counted_when_something_is_taken_away_is_not_remembered() -> None:
    counting: Deferred[Load] = Deferred()
    loads, romeo = Loads(lambda _: counting), JID.parse("romeo@montague.lit")
    before = loads.counted(romeo)
    loads.forget(romeo)
    counting.callback(found := Load(3, 30))
    assert done(before) is found
    assert loads.get(romeo) is None


def test_messages_keep_their_order_while_the_older_ones_are_being_counted(stage: Rehearsal) -> None:
    archive = slow(stage)
    for body in "abc":
        write(stage, body)
    for _ in range(3):
        archive.release()
    romeo = enter(stage)
    for _ in range(5):
        archive.release()
    assert bodies(romeo) == ["a", "b", "c"]


def test_who_comes_while_a_message_is_being_stored_gets_it(stage: Rehearsal) -> None:
    archive = slow(stage)
    write(stage, "hi!")
    archive.release()  # counted; now it is being appended
    romeo = enter(stage)
    for _ in range(6):
        archive.release()
    assert bodies(romeo) == ["hi!"]


def test_who_is_deleted_while_it_is_counted_what_waits_leaves_nothing_to_who_gets_the_name(
    stage: Rehearsal,
) -> None:
    archive = slow(stage)
    write(stage, "hi!")
    done(stage.domain.account(JID(ROMEO))).exists = False  # as whoever deletes it says first
    archive.release()
    assert b"<service-unavailable" in stage.abroad[0].payload
    assert done(stage.storage.archive("offline").count(ROMEO)) == 0


def test_two_resources_that_come_at_once_do_not_both_get_it(stage: Rehearsal) -> None:
    write(stage, "hi!")
    archive = slow(stage)
    orchard, phone = enter(stage), enter(stage, f"{ROMEO}/phone")
    for _ in range(6):
        archive.release()
    assert bodies(orchard) + bodies(phone) == ["hi!"]


def test_who_is_gone_before_they_were_read_loses_nothing(stage: Rehearsal) -> None:
    write(stage, "hi!")
    archive = slow(stage)
    romeo = enter(stage)
    romeo.leave()
    for _ in range(6):
        archive.release()
    assert bodies(romeo) == []
    romeo = enter(stage)
    for _ in range(6):
        archive.release()
    assert bodies(romeo) == ["hi!"]


def test_who_comes_again_is_asked_about_only_if_something_came(
    stage: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive: Any = stage.domain.module("offline").stores["messages"]
    asked: list[str] = []
    monkeypatch.setattr(archive, "rows", noting(archive.rows, asked))
    for _ in range(3):
        enter(stage).leave()
    assert asked == [ROMEO]
    write(stage, "hi!")
    romeo = enter(stage)
    assert bodies(romeo) == ["hi!"]
    romeo.leave()
    del asked[:]
    assert bodies(enter(stage)) == []
    assert asked == []


def noting(ask: Any, asked: list[str]) -> Any:
    """Ask, and note about whom."""

    def noted(owner: str, **how: Any) -> Any:
        asked.append(owner)
        return ask(owner, **how)

    return noted


def test_of_whom_something_is_being_stored_it_is_not_known_that_nothing_waits() -> None:
    emptied = Emptied()
    emptied.look(ROMEO)
    assert ROMEO in emptied
    emptied.storing(ROMEO)
    emptied.storing(ROMEO)
    emptied.stored(ROMEO)
    emptied.look(ROMEO)  # what is being stored cannot be seen yet
    assert ROMEO not in emptied
    emptied.stored(ROMEO)
    emptied.look(ROMEO)
    assert ROMEO in emptied
    emptied.found(ROMEO)
    assert ROMEO not in emptied


def test_where_nothing_waits_nothing_is_counted(stage: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(stage).leave()
    archive: Any = stage.domain.module("offline").stores["messages"]
    monkeypatch.setattr(archive, "size", lambda *_: fail(StorageError("it was asked")))
    write(stage, "hi!")
    assert bodies(enter(stage)) == ["hi!"]


def test_it_is_remembered_of_a_bounded_number_that_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jabberd.modules.offline.emptied.MOST", 2)
    emptied = Emptied()
    for owner in "abc":
        emptied.look(owner)
    assert [owner in emptied for owner in "abc"] == [False, True, True]


@pytest.mark.parametrize("answered", range(4))
def test_what_comes_while_it_is_looked_whether_anything_waits_is_found_by_the_next(
    stage: Rehearsal, answered: int
) -> None:
    archive = slow(stage)
    enter(stage).leave()  # it is looked, and nothing found
    write(stage, "hi!")
    for _ in range(answered):
        archive.release()
    romeo = enter(stage)
    for _ in range(6):
        archive.release()
    assert bodies(romeo) == ["hi!"]


def test_what_could_not_be_looked_up_is_looked_up_again(
    stage: Rehearsal, monkeypatch: pytest.MonkeyPatch, logged_errors: LoggedErrors
) -> None:
    write(stage, "hi!")
    archive: Any = stage.domain.module("offline").stores["messages"]
    with monkeypatch.context() as broken:
        broken.setattr(archive, "rows", lambda *_, **__: fail(StorageError("it is away")))
        enter(stage).leave()
    assert len(logged_errors.take(StorageError)) == 1
    assert bodies(enter(stage)) == ["hi!"]


def test_who_reads_slowly_is_sent_no_more_than_it_reads(stage: Rehearsal) -> None:
    for body in "abc":
        write(stage, body)
    romeo = stage.login(f"{ROMEO}/orchard")
    romeo.ear.reads = False
    romeo.say("<presence/>")
    assert bodies(romeo) == ["a"]
    romeo.leave()
    assert bodies(enter(stage)) == ["b", "c"]  # only what was sent was removed


class Acknowledging(Ear):
    """A client whose stanzas have a home only once it says so."""

    def __init__(self) -> None:
        super().__init__()
        self.homes: list[Deferred[None]] = []

    def send(self, stanza: Stanza) -> Deferred[None]:
        super().send(stanza)
        self.homes.append(Deferred())
        return self.homes[-1]


def test_what_was_sent_is_kept_until_it_has_another_home(stage: Rehearsal) -> None:
    archive: Any = stage.domain.module("offline").stores["messages"]
    for body in "ab":
        write(stage, body)
    ear = Acknowledging()
    romeo = stage.login(f"{ROMEO}/orchard", ear)
    romeo.say("<presence/>")
    assert bodies(romeo) == ["a", "b"]
    assert done(archive.count(ROMEO)) == 2
    for home in ear.homes:
        home.callback(None)
    assert done(archive.count(ROMEO)) == 0


def test_what_is_delivered_again_keeps_the_note_of_when_it_came_first(stage: Rehearsal) -> None:
    write(stage, "hi!")
    first = enter(stage)
    [once] = [stanza for stanza in first.heard if stanza.name == "message"]
    first.leave()
    stage.clock.advance(3600)
    stage.domain.redeliver(once)  # as if it had never reached that client
    [again] = [xml for xml in enter(stage).hear() if "<body>" in xml]
    assert again.count("<delay") == 1
    assert OURS in again


def test_what_was_removed_and_comes_back_is_sent_again_and_no_second_copy(stage: Rehearsal) -> None:
    for body in "ab":
        message = f"<message type='chat' from='{JULIET}' to='{ROMEO}' id='{body}'>"
        stage.receive(f"{message}<body>{body}</body></message>")
    first = stage.login(f"{ROMEO}/orchard")
    first.ear.reads = False
    first.say("<presence/>")
    [once] = [stanza for stanza in first.heard if stanza.name == "message"]
    first.say("<presence type='unavailable'/>")
    slow = Acknowledging()
    second = stage.login(f"{ROMEO}/cell", slow)
    second.say("<presence/>")
    first.ear.read_on()
    assert bodies(second) == ["b"]
    home = slow.homes[-1]
    second.say("<presence type='unavailable'/>")
    stage.domain.redeliver(once)  # it had never reached the first
    third = enter(stage, f"{ROMEO}/street")
    home.callback(None)
    assert bodies(third) == ["a"]


def test_what_was_removed_only_in_part_and_comes_back_waits(
    logged_errors: LoggedErrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Rehearsal({"sid": {}, "archive": {}, "offline": {}}) as stage:
        stage.create(ROMEO)
        own: Any = stage.domain.module("offline").stores["messages"]
        write(stage, "hi!")
        with monkeypatch.context() as broken:
            broken.setattr(own, "remove", lambda *_: fail(StorageError("the disk is full")))
            client = enter(stage)
            [once] = [stanza for stanza in client.heard if stanza.name == "message"]
            client.leave()
            stage.domain.redeliver(once)  # it had never reached that client
        stage.clock.advance(2)
        assert bodies(enter(stage)) == ["hi!"]
    assert logged_errors.take(StorageError)


def test_a_message_that_cannot_be_stored_for_long_is_bounced(
    stage: Rehearsal, logged_errors: LoggedErrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive: Any = stage.domain.module("offline").stores["messages"]
    with monkeypatch.context() as broken:
        broken.setattr(archive, "append", lambda *_: fail(StorageError("the disk is full")))
        write(stage, "hi!")
        assert stage.abroad == []
        stage.clock.pump([1.0] * (int(PATIENCE) + 2))
    assert len(logged_errors.take(StorageError)) == 1
    assert b"<resource-constraint" in stage.abroad[0].payload
    write(stage, "hi again!")
    assert bodies(enter(stage)) == ["hi again!"]


def test_what_cannot_be_counted_is_put_off_and_counted_again_the_next_time(
    stage: Rehearsal, logged_errors: LoggedErrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive: Any = stage.domain.module("offline").stores["messages"]
    with monkeypatch.context() as broken:
        broken.setattr(archive, "size", lambda *_: fail(StorageError("the database is away")))
        write(stage, "hi!")
    assert len(logged_errors.take(StorageError)) == 2
    stage.clock.advance(1)
    write(stage, "hi again!")
    assert bodies(enter(stage)) == ["hi!", "hi again!"]


def test_what_was_delivered_and_cannot_be_removed_is_not_delivered_again(
    stage: Rehearsal, logged_errors: LoggedErrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive: Any = stage.domain.module("offline").stores["messages"]
    write(stage, "hi!")
    with monkeypatch.context() as broken:
        broken.setattr(archive, "remove", lambda *_: fail(StorageError("the disk is full")))
        client = enter(stage)
        stage.clock.advance(5)
    assert len(logged_errors.take(StorageError)) == 2
    assert bodies(client) == ["hi!"]
    write(stage, "hi again!")
    stage.clock.advance(1)
    assert bodies(client) == ["hi again!"]
    client.leave()
    assert bodies(enter(stage)) == []


def test_what_waits_is_bounded_in_bytes(stage: Rehearsal) -> None:
    stage.domain.module("offline").config = offline.Offline.Config(size=400)
    for _ in range(4):
        write(stage, "x" * 150)
    assert len(stage.abroad) == 2
    assert b"<service-unavailable" in stage.abroad[0].payload
    romeo = enter(stage)
    assert bodies(romeo) == ["x" * 150] * 2
    romeo.leave()


# -- forged notes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("present", [True, False])
def test_a_note_in_our_name_that_others_wrote_is_taken_away(stage: Rehearsal, *, present: bool) -> None:
    theirs = DELAY.format("capulet.lit")
    forged = theirs.replace("capulet.lit", "Montague.lit")
    romeo = enter(stage) if present else None
    write(stage, "hi!", inside=forged + theirs)
    [heard] = [xml for xml in (romeo or enter(stage)).hear() if "<body>" in xml]
    assert "Montague.lit" not in heard
    assert theirs in heard
    assert (OURS in heard) is not present


def test_a_note_of_somebody_else_is_left_as_it_is(stage: Rehearsal) -> None:
    romeo = enter(stage)
    romeo.hear()
    message = f"<message from='{JULIET}' to='{ROMEO}'><body>hi!</body>{DELAY.format('capulet.lit')}</message>"
    stage.receive(message)
    assert romeo.hear() == [message]


def test_the_domain_itself_may_write_notes(stage: Rehearsal) -> None:
    romeo = enter(stage)
    romeo.hear()
    message = f"<message from='montague.lit' to='{ROMEO}'><body>hi!</body>{OURS}</message>"
    stage.domain.route(Stanza.from_standalone(message.encode()))
    assert romeo.hear() == [message]
