"""XEP-0065: a proxy for those who cannot connect to each other, at a domain of its own.

The connections are in `jabberd.streams.relay`; here it is decided who may use it, and for whom.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from hashlib import sha1
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from jabberd.api import (
    ANYONE,
    DOMAIN,
    IQ,
    JID,
    BytestreamTerms,
    DomainName,
    Duration,
    E,
    Element,
    Module,
    Settings,
    Size,
    Stanza,
    StanzaError,
    answers,
    operator,
    serves,
)
from jabberd.xmpp.jid import InvalidJID

if TYPE_CHECKING:
    from jabberd.api.relay import Bytestream

NS: Final = "http://jabber.org/protocol/bytestreams"
_ACTIVATE: Final = f"{{{NS}}}activate"
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104  # what is told instead: the domain
_BOTH: Final = 2

Rows = list[dict[str, object]]


@dataclass(frozen=True)
class Carried:
    """A bytestream that is active."""

    requester: JID
    target: JID
    since: float
    stream: Bytestream


class Bytestreams(Module, xep=65, version="1.8.2"):
    """Connects two clients, one of them a user of ours, who find each other by a digest of who they are.

    Nobody is connected to anywhere else, and nothing passes before the user has asked for it (§6.3.5).
    """

    requires = ("disco",)
    identities = (("proxy", "bytestreams"),)
    features = (NS,)
    replaceable = False
    counted = ("each",)

    class Config(Settings):
        """Who may use it, and how much.

        :ivar users: the domains whose people may; none: the domain that this one is below of.
        :ivar host: where clients connect, as they are told; empty: where the listener is, or this domain if
            that is everywhere.
        :ivar port: the same; None: the listener's.
        :ivar each: bytestreams of one user at a time.
        :ivar rate: octets a second, of each side.
        :ivar size: of one bytestream, both sides together.
        :ivar idle: silence of both sides after which it ends.
        """

        users: tuple[DomainName, ...] = ()
        host: str = ""
        port: Annotated[int, Meta(ge=1, le=65535)] | None = None
        each: Annotated[int, Meta(ge=1)] = 10
        rate: Size = 4 << 20
        size: Size = 4096 << 20
        idle: Duration = 300.0

    config: Config

    async def start(self) -> None:
        """Nobody is connected."""
        self._active: dict[tuple[JID, str], Carried] = {}

    async def ready(self) -> None:
        """Say so where nobody can connect."""
        if self.domain.relay is None:
            self.log.warn(
                '{jid!r} can relay nothing: no listener is of kind "bytestreams"', jid=self.domain.jid
            )

    async def stop(self) -> None:
        """End all of them."""
        for each in list(self._active.values()):
            each.stream.close()

    @answers.get(NS, "query", to=DOMAIN, by=ANYONE)
    def tell(self, request: IQ) -> Element:
        """Tell a user where to connect (§4).

        :raises StanzaError: ``forbidden``: it is no user; ``not-allowed``: one cannot connect at all.
        """
        self._require_user(request.sender)
        place = self.domain.relay.place if self.domain.relay else None
        if place is None:
            raise StanzaError("not-allowed", "this proxy has no listener")
        host = self.config.host or (self.domain.jid if place[0] in _EVERYWHERE else place[0])
        port = str(self.config.port or place[1])
        return E(NS, "query", {}, E(NS, "streamhost", {"host": host, "jid": self.domain.jid, "port": port}))

    @answers.set(NS, "query", to=DOMAIN, by=ANYONE)
    def activate(self, request: IQ) -> None:
        """Connect a user with a target (§6.3.5).

        :raises StanzaError: ``forbidden``: it is no user; ``bad-request``, ``jid-malformed``: with whom is
            missing; ``not-authorized``: nobody is connected for the two; ``not-allowed``: only one is;
            ``resource-constraint``: it has too many.
        """
        requester = request.sender
        self._require_user(requester)
        sid, target = request.payload.get("sid", ""), _target(request.payload)
        if not sid or (requester, sid) in self._active:
            raise StanzaError("bad-request", "every bytestream has a sid of its own")
        if sum(each.requester.bare == requester.bare for each in self._active.values()) >= self.config.each:
            raise self.limited("each", f"you have {self.config.each} bytestreams already")
        digest = sha1(f"{sid}{requester}{target}".encode(), usedforsecurity=False).hexdigest()
        relay = self.domain.relay
        there = relay.waiting(digest) if relay else 0
        if relay is None or there == 0:
            raise StanzaError("not-authorized", "nobody is connected for that")
        if there < _BOTH:
            raise StanzaError("not-allowed", "only one of you is connected")
        terms = BytestreamTerms(self.config.rate, self.config.size, self.config.idle)
        stream = relay.activate(digest, terms, partial(self._ended, requester, sid))
        self._active[requester, sid] = Carried(requester, target, self.domain.clock.seconds(), stream)

    def _require_user(self, who: JID) -> None:
        users = self.config.users or (self.domain.jid.domainpart.partition(".")[2],)
        if who.domainpart not in users:
            raise StanzaError("forbidden", "this proxy is for others")

    def _ended(self, requester: JID, sid: str) -> None:
        carried = self._active.pop((requester, sid))
        self.log.info(
            "{size} octets passed between {requester!r} and {target!r}",
            size=carried.stream.carried,
            requester=requester,
            target=carried.target,
        )

    @serves
    def take(self, stanza: Stanza) -> None:
        """Nobody lives here."""
        if stanza.type not in ("error", "result") and stanza.name != "presence":
            raise StanzaError("service-unavailable")

    @operator("list the bytestreams that a proxy relays")
    def list(self) -> Rows:
        """A row for each, with how much has passed and for how many seconds."""
        now = self.domain.clock.seconds()
        return [
            {
                "requester": each.requester,
                "target": each.target,
                "octets": each.stream.carried,
                "seconds": round(now - each.since),
            }
            for each in self._active.values()
        ]


def _target(query: Element) -> JID:
    wanted = query.findtext(_ACTIVATE)
    if not wanted:
        raise StanzaError("bad-request", "whom to connect with is missing")
    try:
        return JID.parse(wanted.strip())
    except InvalidJID:
        raise StanzaError("jid-malformed") from None
