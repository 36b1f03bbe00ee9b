"""Who comes and goes meanwhile: no message is lost, none doubled, and each session gets its own in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jabberd.testing import Network
from jabberd.xmpp import ns
from jabberd.xmpp.jid import JID

if TYPE_CHECKING:
    from jabberd.testing.client import Client

ROMEO = "romeo@montague.lit"
RESOURCES = st.sampled_from(["orchard", "phone", "tablet"])
PRIORITIES = st.sampled_from([None, -1, 0, 5])  # None: not available
KINDS = st.sampled_from(["chat", "normal", "headline"])
ACTIONS = st.one_of(
    st.tuples(st.just("shows"), RESOURCES, PRIORITIES),
    st.tuples(st.just("leaves"), RESOURCES),
    st.tuples(st.just("is told"), st.none() | RESOURCES, KINDS),
)


class World:
    """Romeo's sessions, Juliet who writes to them, and who has to get what (RFC 6121 §8.5, XEP-0160)."""

    def __init__(self) -> None:
        self.network = Network()
        self.network.serve("montague.lit")
        self.network.server("montague.lit").create(JID(ROMEO), "secret")
        self.juliet = self.network.stranger("juliet@capulet.lit/balcony")
        self.clients: dict[str, Client] = {}
        self.priorities: dict[str, int | None] = {}
        self.expected: dict[int, list[int]] = {}  # by client, what it has to get
        self.got: dict[int, list[int]] = {}
        self.stored: list[int] = []
        self.bounced: list[int] = []
        self.told = 0
        self.seen: list[Client] = []  # lest another one gets the same id

    def shows(self, resource: str, priority: int | None) -> None:
        """A session comes if there is none, and shows itself so."""
        if resource not in self.clients:
            self.clients[resource] = self.network.client(f"{ROMEO}/{resource}", presence="")
            self.seen.append(self.clients[resource])
        was = self.priorities.get(resource)
        client = self.clients[resource]
        shown = "type='unavailable'/>" if priority is None else f"><priority>{priority}</priority></presence>"
        client.send(f"<presence {shown}")
        self.priorities[resource] = priority
        if priority is not None and priority >= 0 and (was is None or was < 0):
            self._expect(client, *self.stored)
            self.stored.clear()

    def leaves(self, resource: str) -> None:
        """A session ends, if there is one."""
        self.priorities.pop(resource, None)
        client = self.clients.pop(resource, None)
        if client is not None:
            self._take(client)
            client.close()

    def is_told(self, resource: str | None, kind: str) -> None:
        """Juliet writes to all of Romeo or to one of his clients."""
        self.told += 1
        to = ROMEO if resource is None else f"{ROMEO}/{resource}"
        self.juliet.send(
            f"<message to='{to}' type='{kind}' id='{self.told}'><body>{self.told}</body></message>"
        )
        shown = self.priorities.items()
        present = [self.clients[each] for each, priority in shown if priority is not None and priority >= 0]
        if resource in self.clients:
            self._expect(self.clients[resource], self.told)
        elif resource is not None and kind == "normal":
            self.bounced.append(self.told)
        elif present and (resource is None or kind == "chat"):
            for client in present:
                self._expect(client, self.told)
        elif kind != "headline":
            self.stored.append(self.told)

    def ends(self) -> None:
        """Somebody comes for what is left, and it is seen who got what."""
        self.shows("last", 5)
        for resource in [*self.clients]:
            self.leaves(resource)
        assert self.got == self.expected
        assert [int(str(each.get("id"))) for each in self.juliet.heard] == self.bounced
        self.network.close()

    def _expect(self, client: Client, *numbers: int) -> None:
        if numbers:
            self.expected.setdefault(id(client), []).extend(numbers)

    def _take(self, client: Client) -> None:
        client.flush()
        bodies = [each.findtext("{*}body") for each in client.heard if each.tag == f"{{{ns.CLIENT}}}message"]
        if bodies:
            self.got.setdefault(id(client), []).extend(int(str(each)) for each in bodies)


@pytest.mark.rfc6120("10.1-2")
@given(st.lists(ACTIONS, max_size=12))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_every_message_gets_to_whom_it_is_for_once_and_in_order(actions: list[tuple[Any, ...]]) -> None:
    world = World()
    for name, *how in actions:
        getattr(world, name.replace(" ", "_"))(*how)
    world.ends()
