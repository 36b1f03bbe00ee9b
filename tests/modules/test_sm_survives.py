"""XEP-0198, XEP-0160: what was acknowledged is delivered, once in each session, wherever the power is cut."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from jabberd.storage.memory import MemoryArchive, MemoryStorage
from jabberd.testing import Network
from jabberd.testing.outcome import done
from jabberd.xmpp.jid import JID
from tests.modules.test_sm import NS, authenticated, enabled

if TYPE_CHECKING:
    from collections.abc import Callable

    from jabberd.testing import Client

ROMEO, JULIET = "romeo@montague.lit/orchard", "juliet@montague.lit"
MODULES = {"sm": {"resumable": 20}, "offline": {}}
PLACES = st.sampled_from(["balcony", "tomb"])
ACTIONS = st.one_of(
    st.tuples(st.just("says"), st.none() | PLACES),
    st.tuples(st.just("comes"), PLACES),
    st.tuples(st.sampled_from(["is lost", "leaves", "acknowledges"]), PLACES),
    st.tuples(st.just("is written"), st.integers(1, 3)),
    st.tuples(st.just("passes"), st.sampled_from([1.0, 25.0])),
    st.tuples(st.just("power cut")),
)


class Disk:
    """What is written there is durable when it is time, in its order; what is not by then never is."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], Deferred[Any]], Deferred[Any]]] = []

    def write(self, change: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        self._waiting.append((change, Deferred()))
        return self._waiting[-1][1]

    def commit(self, most: int) -> bool:
        """Write what has waited the longest; False: nothing has."""
        together, self._waiting = self._waiting[:most], self._waiting[most:]
        for outcome, told in [(change(), told) for change, told in together]:
            outcome.chainDeferred(told)
        return bool(together)


class SlowArchive(MemoryArchive):
    """An archive on that disk."""

    disk: Disk

    def append(self, *row: Any, **how: Any) -> Deferred[int]:
        return self.disk.write(lambda: super(SlowArchive, self).append(*row, **how))

    def remove(self, owner: str, ids: Any) -> Deferred[None]:
        gone = list(ids)
        return self.disk.write(lambda: super(SlowArchive, self).remove(owner, gone))


class SlowStorage(MemoryStorage):
    """A storage whose archives are `SlowArchive`."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk()

    def archive(self, name: str) -> SlowArchive:
        found = self._archives.setdefault(name, SlowArchive(self._ids))
        assert isinstance(found, SlowArchive)
        found.disk = self.disk
        return found

    def lose_power(self) -> None:
        """What is not written is gone, and so is whoever waits for it."""
        self.disk = Disk()
        for name in self._archives:
            self.archive(name)


class Resource:
    """A client that acknowledges what it hears, in its time, and comes back as the session that it was."""

    def __init__(self, jid: str) -> None:
        self.jid = jid
        self.client: Client | None = None
        self.id = ""
        self.sessions: list[list[str]] = []  # what it heard in each
        self._counted = 0

    def come(self, network: Network) -> None:
        if self.client is not None:
            return
        self.client, _ = authenticated(network, self.jid)
        if self.id:
            self.client.send(f"<resume xmlns='{NS}' previd='{self.id}' h='{self._counted}'/>")
            if self.client.next().tag == f"{{{NS}}}resumed":
                return
        self.client.bind()
        self.id = enabled(self.client, " resume='true'")
        self.sessions.append([])
        self._counted = 0
        self.client.send("<presence/>")

    def go(self, *, lost: bool = True) -> None:
        client, self.client = self.client, None
        if client is not None:
            self._hear(client)
            if lost:
                client.drop()
            else:
                client.close()
                self.id = ""

    def acknowledge(self) -> None:
        if self.client is not None:
            self._hear(self.client)
            self.client.send(f"<a xmlns='{NS}' h='{self._counted}'/>")

    def _hear(self, client: Client) -> None:
        client.flush()
        for each in client.heard:
            self._counted += str(each.tag).startswith("{jabber:client}")
            if each.findtext("{jabber:client}body"):
                late = each.find("{urn:xmpp:delay}delay") is not None
                self.sessions[-1].append(f"{each.get('id')}{' late' if late else ''}")
        client.heard.clear()


class World:
    """Romeo writes to Juliet, who has two clients, at a server that may lose its power."""

    def __init__(self) -> None:
        self.storage = SlowStorage()
        self.juliets = {place: Resource(f"{JULIET}/{place}") for place in ("balcony", "tomb")}
        self.again: Counter[str] = Counter()  # how often he had to say it again
        self.acknowledged: set[str] = set()
        self._said: list[tuple[str, str]] = []  # in this session: id and whole message
        self._number = 0
        self._serve(0)
        for place in self.juliets:
            self.comes(place)

    def _serve(self, now: float) -> None:
        self.network = Network()
        self.network.clock.rightNow = now
        self.network.serve("montague.lit", storage=self.storage, modules=MODULES)
        self.network.server("montague.lit").create(JID(JULIET), "secret")
        self.romeo = self.network.client(ROMEO)
        enabled(self.romeo)

    def does(self, name: str, *how: Any) -> None:
        """Do it, a moment after what came before."""
        self.network.clock.rightNow += 0.001
        getattr(self, name.replace(" ", "_"))(*how)

    def says(self, place: str | None) -> None:
        self._number += 1
        to = JULIET if place is None else f"{JULIET}/{place}"
        self._say(
            str(self._number), f"<message to='{to}' type='chat' id='{self._number}'><body>hi</body></message>"
        )

    def _say(self, id: str, message: str) -> None:
        self._said.append((id, message))
        self.romeo.send(f"{message}<r xmlns='{NS}'/>")

    def comes(self, place: str) -> None:
        self.juliets[place].come(self.network)

    def is_lost(self, place: str) -> None:
        self.juliets[place].go()

    def leaves(self, place: str) -> None:
        self.juliets[place].go(lost=False)

    def acknowledges(self, place: str) -> None:
        self.juliets[place].acknowledge()

    def is_written(self, most: int) -> None:
        self.storage.disk.commit(most)
        self.network.flush()

    def passes(self, seconds: float) -> None:
        self.network.advance(seconds)

    def power_cut(self) -> None:
        self._look()
        for juliet in self.juliets.values():
            juliet.go()
        self.storage.lose_power()
        left, self._said = [each for each in self._said if each[0] not in self.acknowledged], []
        self._serve(self.network.clock.seconds() + 1)
        for id, message in left:
            self.again[id] += 1
            self._say(id, message)

    def _look(self) -> None:
        """Know what was acknowledged."""
        self.romeo.flush()
        handled = [int(each.get("h", "0")) for each in self.romeo.heard if each.tag == f"{{{NS}}}a"]
        self.acknowledged.update(id for id, _ in self._said[: max(handled, default=0)])
        assert not [each for each in self.romeo.heard if each.get("type") == "error"]

    def ends(self) -> None:
        """Everything comes to rest; then it is seen what has become of each message."""
        for _ in range(4):
            for place in self.juliets:
                self.does("comes", place)
                self.does("acknowledges", place)
            while self.storage.disk.commit(99):
                self.network.flush()
            self.network.advance(1)
        self._look()
        assert len(self.acknowledged) == self._number
        for place in self.juliets:
            self.leaves(place)
        sessions = [each for juliet in self.juliets.values() for each in juliet.sessions]
        heard = [Counter(each.removesuffix(" late") for each in session) for session in sessions]
        assert {id for each in heard for id in each} == self.acknowledged
        assert not [(id, each) for each in heard for id, times in each.items() if times > 1 + self.again[id]]
        for session in sessions:
            at_once = [int(id) for id in session if not id.endswith("late") and not self.again[id]]
            assert all(one < other for one, other in pairwise(at_once))
        while self.storage.disk.commit(99):
            self.network.flush()
        assert done(self.storage.archive("spool").count("montague.lit")) == 0
        assert done(self.storage.archive("offline").count(JULIET)) == 0


@given(st.lists(ACTIONS, min_size=12, max_size=24))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_what_was_acknowledged_is_delivered_once_in_each_session_wherever_the_power_is_cut(
    actions: list[tuple[Any, ...]],
) -> None:
    world = World()
    for action in actions:
        world.does(*action)
    world.ends()
    world.network.close()
