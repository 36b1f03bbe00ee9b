"""Client-to-server streams (RFC 6120): TLS, SASL, binding, and then stanzas."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from jabberd.streams import newcomers, sasl2
from jabberd.streams.authentication import SASL, Authentication
from jabberd.streams.protocol import StreamProtocol
from jabberd.xmpp import ns, stream
from jabberd.xmpp.element import E, Element, Sealed, serialize
from jabberd.xmpp.errors import StanzaError, StreamError
from jabberd.xmpp.jid import JID, InvalidJID, prepare_resourcepart
from jabberd.xmpp.stanza import check_iq

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime

    from jabberd.interfaces import Identity, Security, Session, SessionHost
    from jabberd.streams.protocol import StreamSettings
    from jabberd.streams.sasl2 import Login
    from jabberd.xmpp.parser import Header, Nonza
    from jabberd.xmpp.stanza import Stanza

log = Logger()

_COMPRESS: Final = "http://jabber.org/protocol/compress"
_BIND: Final = f"{{{ns.BIND}}}bind"
_MOST_OFFERS: Final = 100  # that are remembered as they were written
_MOST_BINDINGS: Final = 10  # RFC 6120 §7.7.3: between 5 and 10 tries


class Door(Protocol):
    """What client streams share: who is hosted, with which certificates, who is connected.

    :ivar attempts: failures until a stream is closed (RFC 6120 §6.4.5).
    """

    hosts: Mapping[str, SessionHost]

    @property
    def attempts(self) -> int: ...

    def host(self, domain: str) -> SessionHost | None:
        """The host of that domainpart; for an empty one the only host, if there is only one."""

    def creator(self, domain: str) -> IOpenSSLServerConnectionCreator | None:
        """TLS with the certificate of that domain; None if there is none."""

    def security(self, transport: object) -> Security:
        """What is known of a connection whose TLS handshake is done."""

    def may_try(self, address: str, account: str) -> bool:
        """Whether that address may guess once more the password of that account."""

    def failed(self, address: str, account: str) -> None:
        """It guessed wrong."""

    def may_register(self, address: str) -> bool:
        """Whether somebody there may try to make an account; if so, it counts."""

    def closed(self, stream: C2SStream) -> None:
        """That stream is gone."""


class C2SStream(StreamProtocol):
    """One client's stream.

    :ivar to: whom our header is for: who the client says it is.
    :ivar authentication: how it proves who it is; None before its header, and when it has a session.
    """

    content_ns: ClassVar[str] = ns.CLIENT
    kind: ClassVar[str] = "c2s"
    holding: ClassVar[frozenset[str]] = frozenset({"iq", "presence"})
    waits: ClassVar[bool] = False  # see `jabberd.interfaces.Outlet`

    def __init__(self, door: Door, settings: StreamSettings, clock: IReactorTime) -> None:
        super().__init__(settings, clock)
        self.door = door
        self.host: SessionHost | None = None
        self.session: Session | None = None
        self.client: Identity | None = None  # once authenticated
        self.asked = 0.0  # when it was asked, by `clock`, whether it is still there
        self.to: JID | None = None
        self.authentication: Authentication | None = None
        self._failures = 0
        self._refused = 0

    # -- the stream's life --------------------------------------------------------------------------

    def handshakeCompleted(self) -> None:
        self.security = self.door.security(self.transport)

    def on_over(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            session.lost(self, self.unsent_since(), goodbye=self.goodbye)

    def on_end(self, why: str) -> None:
        self.door.closed(self)
        log.debug("{stream}: gone ({why})", stream=self, why=why)

    def our_header(self) -> bytes:
        if not self.id:
            self.id = secrets.token_hex(8)
        self.header_sent = True
        sender = self.host.jid if self.host else next(iter(self.door.hosts), "")  # RFC 6120 §4.9.1.3
        to = self.to or ""
        return stream.header(ns.CLIENT, sender=sender, to=to, id=self.id, version=self.version)

    def on_header(self, header: Header) -> Deferred[None] | None:
        self.to = _bare(header.sender)  # RFC 6120 §4.7.2
        host = self._host_for(header.to)
        if host is None:
            raise StreamError("host-unknown")
        if self.to and self.to.domainpart != host.jid and self.security.encrypted:
            raise StreamError("invalid-from")  # XEP-0388 §2.1
        if self.client is not None and host is not self.host:
            raise StreamError("not-authorized", "you are logged in to another domain")
        self.host = host
        if self.client is None:
            self.authentication = Authentication(self, host)
        self.id = ""
        self.version = stream.version_for(header.version)
        self.write(self.our_header())
        if self.version != stream.VERSION:
            raise StreamError("unsupported-version")
        if self.client is None and self.security.peer_chain and host.policy.named is not None:
            return Deferred.fromCoroutine(self._offer_after_looking(host))
        self._offer(host)
        return None

    async def _offer_after_looking(self, host: SessionHost) -> None:
        assert self.authentication is not None
        await self.authentication.look_at_certificate()
        self._offer(host)

    def _offer(self, host: SessionHost) -> None:
        """Offer what there is."""
        if self.client is not None or self.authentication is None:
            kind = self._kind_after(host)
        else:
            self.authentication.choose_mechanisms()
            kind = self._kind(host, self.authentication.offered)
        self.write(self._written(host, kind, stream.features))

    def _written(self, host: SessionHost, kind: object, write: Callable[[list[Element]], bytes]) -> bytes:
        """The features as they are written: that is the same for all of a kind, and done once."""
        offer = host.offers.get(kind)
        if offer is None:
            if len(host.offers) >= _MOST_OFFERS:
                host.offers.clear()
            offer = host.offers[kind] = write(self._features(host))
        return offer

    def _left(self, host: SessionHost, done: frozenset[str]) -> bytes:
        """What is offered behind a login in one round trip, but for what was done with it."""
        kind = *self._kind_after(host), done
        return self._written(host, kind, lambda offered: sasl2.features(offered, done))

    def _kind_after(self, host: SessionHost) -> tuple[object, ...]:
        """All that `_features` after login depend on; what modules offer changes as programs come and go."""
        settings = self.settings
        return self.session is None, settings.after.size, settings.idle, *host.stream_features

    def _kind(self, host: SessionHost, mechanisms: tuple[str, ...]) -> tuple[object, ...]:
        """All that `_features` before login depend on beside the host's modules."""
        settings, security = self.settings, self.security
        protection = security.version, tuple(security.bindings), bool(self.door.creator(host.jid))
        return settings.before.size, settings.idle, *protection, host.policy.require_tls, mechanisms

    def _host_for(self, to: str) -> SessionHost | None:
        try:
            return self.door.host(JID.parse(to).domainpart if to else "")
        except InvalidJID:
            return None

    def _features(self, host: SessionHost) -> list[Element]:
        """What is offered, with the limits that hold from now on (XEP-0478)."""
        settings = self.settings
        if self.client is not None:
            bind = [E(ns.BIND, "bind")] if self.session is None else []
            return [*bind, *host.stream_features, stream.limits(settings.after.size, settings.idle)]
        offer: list[Element] = []
        if not self.security.encrypted and self.door.creator(host.jid):
            required = [E(ns.TLS, "required")] if host.policy.require_tls else []
            offer.append(E(ns.TLS, "starttls", None, *required))
        if self.security.encrypted or not host.policy.require_tls:
            assert self.authentication is not None
            offer += [*self.authentication.offer(), stream.limits(settings.before.size, settings.idle)]
        offer += host.newcomer_features(self.security)
        return offer

    # -- negotiation --------------------------------------------------------------------------------

    def on_nonza(self, nonza: Nonza) -> Deferred[None] | None:
        if nonza.name in SASL:
            if self.authentication is None:
                raise StreamError("policy-violation", "already logged in")
            return self.authentication.take(nonza)
        if self.authentication is not None and self.authentication.undivided:
            raise StreamError("policy-violation", "you are logging in")  # XEP-0388 §2.4
        negotiate = _NEGOTIATED.get(nonza.name)
        if negotiate is not None:
            return negotiate(self, nonza)
        if self.session is not None:
            return self.session.nonza(nonza)
        if self.host is None:
            raise StreamError("unsupported-stanza-type")
        return Deferred.fromCoroutine(self._unbound(self.host, nonza))

    async def _unbound(self, host: SessionHost, nonza: Nonza) -> None:
        """Whoever has not logged in can only be refused, and has failed once more."""
        client = self.client
        session = await host.unbound(client.username if client else "", self, nonza)
        if client is None:
            self.count_failure()
            return
        if session is None:
            return
        if self.ended:  # the client left meanwhile
            session.lost(self)
            return
        self._established(session)

    def _starttls(self, _: Nonza) -> None:
        host = self.host
        assert host is not None
        creator = self.door.creator(host.jid)
        if self.security.encrypted or creator is None or self.client is not None:
            self.write(serialize(E(ns.TLS, "failure")))
            self.close()  # RFC 6120 §5.4.2.2
            return
        self.write(serialize(E(ns.TLS, "proceed")))
        self.restart()  # whatever came in the clear behind <starttls/> is thrown away (§5.4.3.3)
        self.transport.startTLS(creator)

    def _error(self, nonza: Nonza) -> None:
        log.info("{stream}: the peer reports {condition}", stream=self, condition=stream.condition_of(nonza))
        self.close()  # RFC 6120 §4.9.1.1

    def _compress(self, _: Nonza) -> None:
        self.write(serialize(E(_COMPRESS, "failure", None, E(_COMPRESS, "setup-failed"))))
        self.count_failure()

    def count_failure(self) -> None:
        """Whoever fails too often has to come again (RFC 6120 §6.4.5)."""
        self._failures += 1
        if self._failures >= self.door.attempts:
            self.close(StreamError("policy-violation", "too many failures"))

    # -- logging in ---------------------------------------------------------------------------------

    def log_in(self, client: Identity, success: Element) -> None:
        """The client is who it says, and opens a new stream."""
        self.client = client
        self.settings.traffic.logins["success"] += 1
        self.say(success)
        self.restart()

    async def log_in_at_once(self, login: Login, data: str | None) -> None:
        """Do all that the client asked for, and then tell it; there is no new stream (XEP-0388 §2.6.1).

        :param data: the mechanism's additional data, in base64.
        """
        assert self.host is not None
        self.client = login.client
        self.settings.traffic.logins["success"] += 1
        self.hold_back()
        try:
            answers = await self.host.logged_in(login)
        finally:
            self.session = login.session  # whatever happens: it ends with this stream
        if self.ended:  # the client left meanwhile
            self.on_over()
            return
        jid = JID.of(login.client.username, self.host.jid)
        if self.session is not None:
            jid = self.session.jid
            self._established(self.session)
        resumed = self.session is not None and login.bound is None  # then none follow (XEP-0198 §9.2)
        left = b"" if resumed else self._left(self.host, sasl2.done(answers))
        self.release(sasl2.success(jid, data, answers) + left)
        if login.bound is not None:
            log.info("{stream}: {jid!r} is bound", stream=self, jid=jid)
            login.bound.opened()

    # -- stanzas ------------------------------------------------------------------------------------

    def on_stanza(self, stanza: Stanza) -> Deferred[None] | None:
        if self.session is not None:
            return self.session.receive(stanza)
        if self.client is None or self.host is None:
            return newcomers.asked(self, stanza)
        if stanza.name == "iq" and stanza.type == "set" and _BIND in stanza.children:
            return Deferred.fromCoroutine(self._bind(stanza))
        raise StreamError("not-authorized", "bind a resource first")  # RFC 6120 §7.1

    async def _bind(self, request: Stanza) -> None:
        """RFC 6120 §7.6, §7.7."""
        assert self.host is not None
        assert self.client is not None
        try:
            check_iq(request)
            resource = _asked_for(request)
            session = await self.host.open(self.client, resource, self)
        except StanzaError as error:
            self._refuse_binding(request, error)
            return
        except Exception:  # noqa: BLE001  # such as a storage that is away: the client may try again
            log.failure("{stream}: cannot bind", stream=self)
            self._refuse_binding(request, StanzaError("internal-server-error"))
            return
        if self.ended:  # the client left while it was bound
            session.lost(self)
            return
        self._established(session)
        bound = E(ns.BIND, "bind", None, E(ns.BIND, "jid", None, session.jid))
        self.write(request.reply(bound).to_bytes())
        log.info("{stream}: {jid!r} is bound", stream=self, jid=session.jid)
        session.opened()

    def _refuse_binding(self, request: Stanza, error: StanzaError) -> None:
        self.write(request.error(error).to_bytes())
        self._refused += 1
        if self._refused >= _MOST_BINDINGS:
            self.close(StreamError("policy-violation", "too many attempts to bind a resource"))

    def _established(self, session: Session) -> None:
        self.session = session
        self.authentication = None
        self.negotiated()
        self.allow(self.settings.after)

    def send(self, stanza: Stanza) -> None:
        """See `jabberd.interfaces.Outlet`."""
        self.settings.traffic.sent[stanza.name] += 1
        self.write(stanza.to_bytes(), stanza)

    def say(self, element: Element | Sealed) -> None:
        """See `jabberd.interfaces.Outlet`."""
        self.write(element.data if isinstance(element, Sealed) else serialize(element))


#: What a client may say beside stanzas.
_NEGOTIATED: Final[dict[str, Callable[[C2SStream, Nonza], Deferred[None] | None]]] = {
    f"{{{ns.TLS}}}starttls": C2SStream._starttls,  # noqa: SLF001  # the class's own table
    f"{{{_COMPRESS}}}compress": C2SStream._compress,  # noqa: SLF001
    stream.ERROR: C2SStream._error,  # noqa: SLF001
}


def _bare(address: str) -> JID | None:
    """The bare JID; None for what is none."""
    try:
        return JID.parse(address).bare
    except InvalidJID:
        return None


def _asked_for(request: Stanza) -> str:
    bind = request.child(_BIND)
    resource = (bind.findtext(f"{{{ns.BIND}}}resource") or "") if bind is not None else ""
    if not resource:
        return ""
    try:
        return prepare_resourcepart(resource)
    except InvalidJID as why:
        raise StanzaError("bad-request", str(why)) from None
