"""What operators see of an account's stanzas while they trace it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import CancelledError

from jabberd.admin import Admin, UsageError
from jabberd.api import Live, Module, Refused, Stage, Stanza, StanzaError, filters
from jabberd.hosting import verb_groups
from jabberd.testing import Network
from jabberd.testing.outcome import done

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.defer import Deferred

ROMEO, JULIET = "romeo@montague.lit", "juliet@capulet.lit"


class Censor(Module):
    """Drops chat, refuses headlines."""

    @filters(Stage.REFUSE, "message")
    def judge(self, stanza: Stanza, _account: object) -> Stanza | None:
        if stanza.type == "headline":
            raise StanzaError("not-allowed")
        return None if stanza.id == "burn" else stanza


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    network.serve("montague.lit", modules={"censor": {}, "offline": {}}, classes={"censor": Censor})
    network.serve("capulet.lit")
    yield network
    network.close()


class Watcher:
    """Somebody at a terminal."""

    def __init__(self, network: Network, *words: str) -> None:
        self.rows: list[dict[str, Any]] = []
        self.ended: list[object] = []
        admin = Admin(lambda: verb_groups(network.server("montague.lit").hosts))
        live = done(admin.run(["trace", *words], {}))
        assert isinstance(live, Live)
        self.listening: Deferred[None] = live.listen(self.rows.append)  # type: ignore[arg-type]  # they are dicts
        self.listening.addBoth(self.ended.append)

    def hang_up(self) -> None:
        self.listening.addErrback(lambda why: why.trap(CancelledError))
        self.listening.cancel()

    @property
    def seen(self) -> list[tuple[str, str, str | None]]:
        """What happened, to what, with which remark; taken."""
        rows, self.rows[:] = [*self.rows], []
        return [(row["what"], row["id"] or row["stanza"], row["remark"]) for row in rows]


def test_a_message_is_seen_when_it_is_said_and_routed(network: Network) -> None:
    romeo = network.client(f"{ROMEO}/orchard")
    watcher = Watcher(network, ROMEO)
    network.advance(1.5)
    romeo.send(f"<message to='{JULIET}' type='chat' id='m1'><body>soft!</body><x xmlns='urn:x'/></message>")
    said, routed, comes, *_ = watcher.rows
    assert said == {
        "at": "1970-01-01T00:00:01.500Z",
        "what": "said",
        "stanza": "message",
        "type": "chat",
        "from": f"{ROMEO}/orchard",
        "to": JULIET,
        "id": "m1",
        "children": ["body", "{urn:x}x"],
        "bytes": len("<body>soft!</body><x xmlns='urn:x'/>"),
        "remark": "by orchard",
    }
    assert routed["what"] == "routed"
    assert (comes["what"], comes["type"]) == ("comes", "error")  # there is no such account
    watcher.hang_up()


def test_a_message_is_seen_when_it_comes_with_the_plan_and_to_whom_it_is_sent(network: Network) -> None:
    network.client(f"{ROMEO}/orchard")
    network.client(f"{ROMEO}/square")
    watcher = Watcher(network, f"{ROMEO}/orchard")
    juliet = network.client(f"{JULIET}/balcony")
    juliet.send(f"<message to='{ROMEO}' id='m1'><body>Romeo?</body></message>")
    assert watcher.seen == [
        ("comes", "m1", None),
        ("planned", "m1", "deliver it to each available resource of non-negative priority: there is one"),
        ("sent", "m1", "to orchard"),
        ("sent", "m1", "to square"),
    ]
    watcher.hang_up()


@pytest.mark.parametrize(
    ("attrs", "fate"),
    [
        ("id='burn'", ("dropped", "burn", "by a filter of stage REFUSE")),
        ("id='m1' type='headline'", ("refused", "m1", "not-allowed")),
    ],
)
def test_what_a_filter_does_not_let_through_is_seen_with_the_reason(
    network: Network, attrs: str, fate: tuple[str, str, str]
) -> None:
    network.client(f"{ROMEO}/orchard")
    watcher = Watcher(network, ROMEO)
    juliet = network.client(f"{JULIET}/balcony")
    juliet.send(f"<message to='{ROMEO}' {attrs}><body>Romeo?</body></message>")
    assert watcher.seen == [("comes", fate[1], None), fate]
    watcher.hang_up()


def test_what_the_client_itself_is_refused_is_seen(network: Network) -> None:
    romeo = network.client(f"{ROMEO}/orchard")
    watcher = Watcher(network, ROMEO)
    romeo.send(f"<presence type='subscribe' to='{ROMEO}' id='p1'/>")
    assert watcher.seen == [("said", "p1", "by orchard"), ("refused", "p1", "not-allowed")]
    watcher.hang_up()


def test_what_the_server_sends_in_the_accounts_name_is_seen(network: Network) -> None:
    romeo, juliet = network.client(f"{ROMEO}/orchard"), network.client(f"{JULIET}/balcony")
    for client, contact in ((romeo, juliet), (juliet, romeo)):
        client.send(f"<presence type='subscribe' to='{contact.jid.bare}'/>")
        contact.send(f"<presence type='subscribed' to='{client.jid.bare}'/>")
    watcher = Watcher(network, ROMEO)
    romeo.send("<presence id='p1'/>")
    assert [row["to"] for row in watcher.rows if row["what"] == "routed"] == [JULIET]
    watcher.hang_up()


def test_payloads_are_hidden_unless_asked_for_and_cut(network: Network) -> None:
    romeo = network.client(f"{ROMEO}/orchard")
    hidden, shown = Watcher(network, ROMEO), Watcher(network, ROMEO, "payloads")
    romeo.send(f"<message to='{JULIET}'><body>secret</body></message>")
    romeo.send(f"<message to='{JULIET}'><body>{'x' * 9000}</body></message>")
    assert "secret" not in str(hidden.rows)
    assert shown.rows[0]["payload"] == "<body>secret</body>"
    assert max(len(row["payload"]) for row in shown.rows) == 4096
    hidden.hang_up()
    shown.hang_up()


def test_other_accounts_are_not_seen(network: Network) -> None:
    watcher = Watcher(network, ROMEO)
    benvolio = network.client("benvolio@montague.lit/street")
    benvolio.send("<message to='mercutio@montague.lit'><body>hi!</body></message>")
    assert watcher.rows == []
    watcher.hang_up()


def test_nothing_is_paid_when_nobody_watches_any_more(network: Network) -> None:
    manager = network.server("montague.lit").hosts["montague.lit"].manager
    assert manager.watch is None
    one, other = Watcher(network, ROMEO), Watcher(network, ROMEO)
    one.hang_up()
    network.client(f"{ROMEO}/orchard").send(f"<message to='{JULIET}'/>")
    assert (one.rows, len(other.rows) > 0) == ([], True)
    other.hang_up()
    assert manager.watch is None


def test_a_watch_ends_with_its_count_or_its_time(network: Network) -> None:
    romeo = network.client(f"{ROMEO}/orchard")
    counted, timed = Watcher(network, ROMEO, "hidden", "2"), Watcher(network, ROMEO, "hidden", "9", "30")
    romeo.send(f"<message to='{JULIET}' id='m1'/>")
    assert (len(counted.rows), counted.ended) == (2, [None])
    network.advance(29)
    assert timed.ended == []
    network.advance(1)
    assert timed.ended == [None]
    assert network.server("montague.lit").hosts["montague.lit"].manager.watch is None


@pytest.mark.parametrize(
    "words", ["montague.lit", f"{ROMEO} hidden 0", f"{ROMEO} hidden 9 0", "x@evil.example"]
)
def test_what_cannot_be_watched_is_refused(network: Network, words: str) -> None:
    with pytest.raises(Refused):
        Watcher(network, *words.split())
    with pytest.raises(UsageError, match=r"^PAYLOADS 'bodies' is none of hidden, payloads$"):
        Watcher(network, ROMEO, "bodies")
