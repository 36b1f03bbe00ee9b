"""XEP-0115: what clients and the server itself can do, named by a hash."""

from __future__ import annotations

from collections import OrderedDict
from operator import is_
from typing import TYPE_CHECKING, Annotated, Final, cast

from msgspec import Meta
from twisted.internet.defer import Deferred

from jabberd.api import E, Element, Module, Settings, Stanza, StanzaError
from jabberd.modules.disco import INFO, Disco
from jabberd.xmpp import caps

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jabberd.api import JID
    from jabberd.xmpp.caps import Caps

_NODE: Final = "urn:jabberd"
_NOTIFY: Final = "+notify"
_MOST: Final = 300  #: nodes that one client listens to; what it says beyond that does not count
_NOBODY: Final = frozenset[str]()


class EntityCapabilities(Module, xep=115, version="1.6.0"):
    """Says what the server can do in its stream features, and knows what clients listen to.

    A hash is asked for once, checked (§5.4) and remembered; what cannot be checked counts for the one who
    said it, and for nobody else.
    """

    requires = ("disco",)
    features = (caps.NS,)

    class Config(Settings):
        """How much is remembered.

        :ivar remembered: hashes of clients, each with the nodes that it listens to.
        """

        remembered: Annotated[int, Meta(ge=1)] = 1_000

    config: Config

    async def start(self) -> None:
        """Nothing is known yet."""
        self._known: OrderedDict[tuple[str, str], frozenset[str]] = OrderedDict()
        self._asking: dict[tuple[str, JID], list[Deferred[frozenset[str] | None]]] = {}
        self._told: tuple[list[Module | Settings], int, str] = ([], 0, "")
        self._feature = "", E(caps.NS, "c")

    # -- of others --------------------------------------------------------------------------------

    def known(self, said: Caps) -> frozenset[str] | None:
        """The nodes whose notifications they want (XEP-0060 §9.2) who say that; None: it is not known yet."""
        found = self._known.get((said.hash, said.ver))
        if found is not None:
            self._known.move_to_end((said.hash, said.ver))
        return found

    async def learn(self, said: Caps, who: JID, asker: JID) -> frozenset[str] | None:
        """Ask whoever says that; None if there is no answer.

        :param who: their full JID; ``asker``: one of our accounts.
        """
        waiting = self._asking.get((said.ver, who))
        if waiting is not None:  # its presence came to many accounts
            answer: Deferred[frozenset[str] | None] = Deferred()
            waiting.append(answer)
            return await answer
        waiting = self._asking[said.ver, who] = []
        wanted = await self._asked(said, who, asker)
        del self._asking[said.ver, who]
        for each in waiting:
            each.callback(wanted)
        return wanted

    async def _asked(self, said: Caps, who: JID, asker: JID) -> frozenset[str] | None:
        query = E(INFO, "query", {"node": f"{said.node}#{said.ver}"})
        try:
            answer = await self.domain.ask(Stanza.of("iq", query, sender=asker, to=who, type="get"))
        except StanzaError:
            return None
        info = answer.child(f"{{{INFO}}}query")
        if info is None:
            return None
        wanted = _wanted(info)
        if said.hash and _is_true(said, info):
            self._known[said.hash, said.ver] = wanted
            if len(self._known) > self.config.remembered:
                self._known.popitem(last=False)
        return wanted

    # -- of the server ------------------------------------------------------------------------------

    @property
    def stream_features(self) -> tuple[Element, ...]:  # type: ignore[override]  # it follows the other modules
        """§6.3."""
        ver = self._own()
        if self._feature[0] != ver:
            self._feature = ver, E(caps.NS, "c", {"hash": "sha-1", "node": _NODE, "ver": ver})
        return (self._feature[1],)

    def node_info(self, node: str, asker: JID) -> Iterable[Element] | None:  # for anybody
        """The server, by the name that it has in its stream features."""
        return self._about() if node == f"{_NODE}#{self._own()}" else None

    def node_items(self, node: str, asker: JID) -> Iterable[Element] | None:  # as above
        """Nothing belongs to it."""
        return [] if node == f"{_NODE}#{self._own()}" else None

    def _own(self) -> str:
        """The hash of the server, made anew when other modules or settings came."""
        now = [each for module in self.domain.modules for each in (module, module.config)]
        before, changes, ver = self._told
        same = len(now) == len(before) and all(map(is_, now, before))
        if not same or changes != self._disco.changes:
            ver = caps.verification(E(INFO, "query", None, *self._about()))
            self._told = now, self._disco.changes, ver
        return ver

    @property
    def _disco(self) -> Disco:
        return cast("Disco", self.domain.module("disco"))

    def _about(self) -> list[Element]:
        return self._disco.about_domain()


def _wanted(info: Element) -> frozenset[str]:
    """The nodes that somebody listens to."""
    nodes = [each.removesuffix(_NOTIFY) for each in caps.features(info) if each.endswith(_NOTIFY)]
    return frozenset(nodes) if len(nodes) <= _MOST else _NOBODY


def _is_true(said: Caps, info: Element) -> bool:
    """Whether the answer is what its name says (§5.4)."""
    try:
        return caps.verification(info, said.hash) == said.ver
    except ValueError:
        return False
