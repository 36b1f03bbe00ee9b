"""How the client of a stream proves who it is: what it is offered, what it tries (RFC 6120 §6, XEP-0388)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from jabberd.interfaces import Identity
from jabberd.streams import sasl2
from jabberd.streams.exchange import Exchange
from jabberd.streams.sasl2 import Login
from jabberd.xmpp import ns, sasl
from jabberd.xmpp.element import E
from jabberd.xmpp.errors import SASLFailure, StreamError
from jabberd.xmpp.jid import JID

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred

    from jabberd.interfaces import Credentials, SessionHost
    from jabberd.streams.c2s import C2SStream
    from jabberd.xmpp.element import Element
    from jabberd.xmpp.parser import Nonza
    from jabberd.xmpp.scram import ScramKeys

__all__ = ["SASL", "Authentication"]

log = Logger()


class Authentication:
    """The client's side of it is `C2SStream`; what becomes of its tries is decided here.

    To SASL mechanisms it stands for the host's credentials (`jabberd.xmpp.identity.Credentials`), closed for
    an account whose password was guessed wrong too often from the client's address.

    :ivar offered: the names of the mechanisms that the client can choose from.
    """

    def __init__(self, stream: C2SStream, host: SessionHost) -> None:
        self._stream = stream
        self._host = host
        self.offered: tuple[str, ...] = ()
        self._vouched: Sequence[JID] = ()  # the accounts that the client's certificate vouches for
        self._sasl = Exchange(self)
        self._sasl2 = Exchange(self, ns.SASL2)
        self._login: Login | None = None  # while it logs in by XEP-0388
        self._claimed = ""  # the account that the client wants to be, or wanted to be last

    # -- what is offered ----------------------------------------------------------------------------

    async def look_at_certificate(self) -> None:
        """Find out who may log in with it (XEP-0178 §2) before anything is offered."""
        assert self._host.policy.named is not None
        named, objection = self._host.policy.named(self._stream.security.peer_chain)
        try:
            self._vouched = [each for each in named if await self._host.admits(each.localpart)]
        except Exception:  # noqa: BLE001  # such as a storage that is away: there are other mechanisms
            log.failure("{stream}: cannot look for the accounts of its certificate", stream=self._stream)
        if not self._vouched:
            why = objection or "none of the accounts that it names can log in"
            log.info("{stream}: its certificate is of no use: {why}", stream=self._stream, why=why)

    def choose_mechanisms(self) -> None:
        """Find out what can be `offered` on this stream: nothing before TLS where that is required."""
        policy, security = self._host.policy, self._stream.security
        if policy.require_tls and not security.encrypted:
            return
        self.offered = sasl.offered(
            security,
            plain=policy.plain,
            anonymous=policy.anonymous,
            external=bool(self._vouched),
            hashes=policy.hashes,
        )

    def offer(self) -> list[Element]:
        """The mechanisms in both profiles, and the channel bindings that -PLUS can use (XEP-0440)."""
        if not self.offered:  # as for a domain that wants certificates alone
            return []
        security = self._stream.security
        mechanisms = [E(ns.SASL, "mechanism", None, name) for name in self.offered]
        offer = [E(ns.SASL, "mechanisms", None, *mechanisms)]
        if security.bindings:
            names = sorted(security.bindings)
            types = [E(ns.SASL_CB, "channel-binding", {"type": name}) for name in names]
            offer.append(E(ns.SASL_CB, "sasl-channel-binding", None, *types))
        if security.encrypted:  # XEP-0388 §3
            offer.append(sasl2.feature(self.offered, self._host.inline(security)))
        return offer

    # -- what the client tries ----------------------------------------------------------------------

    @property
    def undivided(self) -> bool:
        """Whether nothing else may be said now (XEP-0388 §2.4)."""
        return self._sasl2.running

    @property
    def running(self) -> bool:
        """Whether the client has begun, and neither failed nor succeeded."""
        return self._sasl.running or self._sasl2.running

    def take(self, nonza: Nonza) -> Deferred[None] | None:
        """Take one of `SASL`."""
        return SASL[nonza.name](self, nonza)

    def _auth(self, nonza: Nonza) -> Deferred[None] | None:
        choose = partial(self._choose, nonza.attrs.get("mechanism", ""))
        return self._begin(self._sasl, choose, nonza.element().text or "")

    def _authenticate(self, nonza: Nonza) -> Deferred[None] | None:
        """XEP-0388 §2.3."""
        request = nonza.element()
        choose = partial(self._choose_at_once, nonza.attrs.get("mechanism", ""), request)
        return self._begin(self._sasl2, choose, request.findtext(f"{{{ns.SASL2}}}initial-response"))

    def _respond(self, nonza: Nonza) -> Deferred[None]:
        return self._only(self._sasl).respond(nonza)

    def _abort(self, nonza: Nonza) -> None:
        self._only(self._sasl).abort(nonza)

    def _respond_at_once(self, nonza: Nonza) -> Deferred[None]:
        return self._sasl2.respond(nonza)

    def _abort_at_once(self, nonza: Nonza) -> None:
        self._sasl2.abort(nonza)

    def _only(self, exchange: Exchange) -> Exchange:
        """That one, as long as the other does not run."""
        if self._sasl2.running:
            raise StreamError("policy-violation", "you are logging in")
        return exchange

    def _begin(
        self, exchange: Exchange, choose: Callable[[], sasl.Mechanism], initial: str | None
    ) -> Deferred[None] | None:
        if self._stream.client is not None:
            raise StreamError("policy-violation", "already logged in")
        if self._sasl2.running or (exchange is self._sasl2 and self._sasl.running):
            raise StreamError("policy-violation", "you are logging in")
        if exchange.running:  # RFC 6120 §6.4.2: another begins; the one that is given up counts
            self._stream.count_failure()
        if self._stream.ended:
            return None
        self._claimed = ""
        return exchange.begin(choose, initial)

    def _choose(self, name: str) -> sasl.Mechanism:
        if not self.offered:
            raise SASLFailure("encryption-required")
        return sasl.mechanism(
            name,
            self.offered,
            security=self._stream.security,
            domain=self._host.jid,
            credentials=self,
            identities=self._vouched,
            protected=self._host.policy.downgrade_protection,
        )

    def _choose_at_once(self, name: str, request: Element) -> sasl.Mechanism:
        if not self._stream.security.encrypted:
            raise SASLFailure("encryption-required")
        self._login = Login(self._stream, self._host, request, self)
        return self._host.mechanism(name, self._login) or self._choose(name)

    # -- what becomes of it: see `jabberd.streams.exchange` -------------------------------------------

    def __str__(self) -> str:
        return str(self._stream)

    @property
    def ended(self) -> bool:
        """Whether the stream has ended."""
        return self._stream.ended

    def write(self, data: bytes) -> None:
        """Put bytes on the stream."""
        self._stream.write(data)

    async def authenticated(self, success: sasl.Success) -> None:
        """The client is who it says."""
        login, self._login = self._login, None
        exchange = self._sasl if login is None else self._sasl2
        stream, jid = self._stream, JID.of(success.username, self._host.jid)
        mistaken = stream.to not in (None, jid) and success.mechanism != "ANONYMOUS"
        if mistaken and stream.security.encrypted:  # RFC 6120 §6.4.6; in the clear it may be anybody's word
            exchange.refuse(SASLFailure("invalid-authzid", "that is not the 'from' of your stream"))
            return
        data = None if success.data is None else exchange.encoded(success.data)
        if login is None:
            client = Identity(success.username, success.mechanism)
            stream.log_in(client, E(ns.SASL, "success", None, data or ""))
            return
        login.identified(success)
        await stream.log_in_at_once(login, data)

    def refused(self, failure: SASLFailure) -> None:
        """The client is not who it says, or does not prove it."""
        stream, self._login = self._stream, None
        stream.settings.traffic.logins[failure.condition] += 1
        if self._claimed and failure.condition == "not-authorized":
            stream.door.failed(stream.address, self._claimed)
        log.info(
            "{stream}: login refused: {condition} {account!r}",
            stream=stream,
            condition=failure.condition,
            account=self._claimed,
        )
        stream.count_failure()

    # -- passwords: see `jabberd.xmpp.identity.Credentials` -------------------------------------------

    async def keys(self, username: str, hash_name: str) -> ScramKeys:
        """The account's SCRAM keys."""
        return await self._credentials_of(username).keys(username, hash_name)

    async def check(self, username: str, password: str) -> bool:
        """Whether this is the password."""
        return await self._credentials_of(username).check(username, password)

    def _credentials_of(self, username: str) -> Credentials:
        self._claimed = JID.of(username, self._host.jid)
        if not self._stream.door.may_try(self._stream.address, self._claimed):
            raise SASLFailure("temporary-auth-failure")
        return self._host.credentials


#: What a client says to prove who it is.
SASL: Final[dict[str, Callable[[Authentication, Nonza], Deferred[None] | None]]] = {
    f"{{{ns.SASL}}}auth": Authentication._auth,  # noqa: SLF001  # the class's own table
    f"{{{ns.SASL}}}response": Authentication._respond,  # noqa: SLF001
    f"{{{ns.SASL}}}abort": Authentication._abort,  # noqa: SLF001
    f"{{{ns.SASL2}}}authenticate": Authentication._authenticate,  # noqa: SLF001
    f"{{{ns.SASL2}}}response": Authentication._respond_at_once,  # noqa: SLF001
    f"{{{ns.SASL2}}}abort": Authentication._abort_at_once,  # noqa: SLF001
}
