"""Streams that we open to other servers: find out who they are, prove who we are, then send.

What proves *them* is the policy of our domain.  What proves *us* is theirs to choose: the
certificate that we show in the TLS handshake (SASL EXTERNAL, XEP-0178) if they take it, else
dialback (XEP-0220), where they ask our own server whether the key is ours.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger

from jabberd.streams import vouch
from jabberd.streams.acks import Acks, count_of
from jabberd.streams.intake import Intake
from jabberd.streams.managed import ManagedStream
from jabberd.streams.proof import NOT_ENCRYPTED, LinkError, Offered, next_step
from jabberd.streams.s2s import Terms, Timer
from jabberd.xmpp import ns, stream
from jabberd.xmpp.dialback import Dialback, make_key
from jabberd.xmpp.element import E, serialize
from jabberd.xmpp.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from jabberd.streams.intake import Inside
    from jabberd.streams.proof import Pair, Policy, Step
    from jabberd.xmpp.parser import Header, Nonza
    from jabberd.xmpp.stanza import Stanza

__all__ = ["OutgoingStream"]

log = Logger()

#: The peer says that it serves no such domain, now or any more (RFC 6120 §4.9.3.5, §4.9.3.6).
_NOT_THERE: Final = {"host-unknown", "host-gone"}
#: It might do better in a minute.
_PASSING: Final = {
    "conflict",
    "connection-timeout",
    "internal-server-error",
    "remote-connection-failed",
    "reset",
    "resource-constraint",
    "system-shutdown",
}


class OutgoingStream(ManagedStream):
    """One stream that we open to another server.

    :ivar secured: fires when the peer has offered what follows on a stream as safe as the policy
        wants; fails with `LinkError`, or with what the connection was lost for.
    :ivar pairs: its own, once stanzas may come in on it (XEP-0288), with what proves the peer.
    """

    receiving: ClassVar[bool] = False
    kind: ClassVar[str] = "s2s-out"

    def __init__(self, terms: Terms, pair: Pair, policy: Policy, *, direct: bool, patience: float) -> None:
        super().__init__(terms)
        self.pair = pair
        self.policy = policy
        self.secured: Deferred[None] = Deferred()
        self._direct = direct
        self._patience = patience
        self._stalled = Timer(self.clock, self._stall)
        self._offered = Offered()
        self._waiting: Deferred[None] | None = self.secured
        self._request: Dialback | None = None
        self._said: Dialback | None = None
        self._before: Acks | None = None
        self._unoffered = False  # TLS, which was asked for though the peer does not offer it
        self._intake: Intake | None = None
        self.pairs: dict[tuple[str, str], str] = {}
        self._nonzas: dict[str, Callable[[Nonza], None]] = {
            f"{{{ns.STREAM}}}features": self._features,
            f"{{{ns.TLS}}}proceed": self._proceed,
            f"{{{ns.TLS}}}failure": self._tls_failed,
            f"{{{ns.SASL}}}success": self._success,
            f"{{{ns.SASL}}}failure": self._sasl_failed,
            f"{{{ns.DIALBACK}}}result": self._dialback,
            f"{{{ns.DIALBACK}}}verify": self._dialback,
            f"{{{ns.SM}}}enabled": self._enabled,
            f"{{{ns.SM}}}resumed": self._resumed,
            f"{{{ns.SM}}}failed": self._not_managed,
            f"{{{ns.SM}}}a": self.on_a,
            f"{{{ns.SM}}}r": self.on_r,
            stream.ERROR: self._error,
        }

    # -- the stream's life --------------------------------------------------------------------------

    def connectionMade(self) -> None:
        super().connectionMade()
        self.address = getattr(self.transport.getPeer(), "host", "")
        if not self._direct:
            self.write(self.our_header())

    def handshakeCompleted(self) -> None:
        super().handshakeCompleted()
        self.write(self.our_header())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        waiting, self._waiting = self._waiting, None
        self.failure = self._no_tls() or self.failure
        super().connectionLost(reason)
        if waiting is not None and not waiting.called:
            waiting.errback(self.failure or reason)

    def on_end(self, why: str) -> None:
        self._stalled.stop()
        log.debug("{stream}: gone ({why})", stream=self, why=why)
        super().on_end(why)

    def our_header(self) -> bytes:
        self.header_sent = True
        return stream.header(ns.SERVER, sender=self.pair.ours, to=self.pair.theirs)

    def on_header(self, header: Header) -> None:
        self.id = header.id
        if stream.version_for(header.version) != stream.VERSION:
            self._give_up(
                LinkError("remote-server-timeout", "it does not speak XMPP 1.0"), "unsupported-version"
            )
        self._offered = Offered(dialback=ns.DIALBACK in header.prefixes.values())  # XEP-0220 §2.4.1

    def on_nonza(self, nonza: Nonza) -> None:
        act = self._nonzas.get(nonza.name)
        if act is None:
            raise StreamError("unsupported-stanza-type")
        act(nonza)

    def on_stanza(self, stanza: Stanza) -> Deferred[None] | None:
        if self._intake is None:
            raise StreamError("not-authorized", "stanzas go one way on this stream")
        return self.count(self._intake.take(stanza))

    def _error(self, nonza: Nonza) -> None:
        condition = stream.condition_of(nonza)
        log.info(
            "{stream}: {theirs!r} reports {condition}",
            stream=self,
            theirs=self.pair.theirs,
            condition=condition,
        )
        reason = "remote-server-not-found" if condition in _NOT_THERE else "remote-server-timeout"
        self._give_up(LinkError(reason, f"it says {condition}", passing=condition in _PASSING))

    def _too_slow(self) -> None:
        self._timer = None
        why = f"it took longer than {self.settings.negotiation:g} s to come to terms"
        self._give_up(LinkError("remote-server-timeout", why, passing=True), "connection-timeout")

    def _give_up(self, error: LinkError, condition: str = "") -> None:
        """The stream is of no use: end it, and tell whoever waits for it."""
        self.failure = error = self._no_tls() or error
        waiting, self._waiting = self._waiting, None
        self.close(StreamError(condition) if condition else None)
        if waiting is not None and not waiting.called:
            waiting.errback(error)

    def _done(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    # -- TLS ----------------------------------------------------------------------------------------

    def _features(self, nonza: Nonza) -> None:
        offered = Offered.read(nonza.element())
        dialback = offered.dialback or self._offered.dialback
        self._offered = replace(offered, dialback=dialback)
        if self.proof:
            self._done()
            return
        try:
            step = self._next_step()
        except LinkError as error:
            encrypted = self.security.encrypted
            self._give_up(error, "not-authorized" if encrypted else "policy-violation")
            return
        if step == "starttls":
            self._unoffered = not offered.starttls
            self.write(serialize(E(ns.TLS, "starttls")))
        else:
            self._done()

    def _next_step(self) -> Step:
        objection = ""
        if not self.policy.dialback:
            objection = vouch.judge(self.security.peer_chain, self.pair.theirs, self.terms.trust).objection
        return next_step(
            self.policy,
            self._offered,
            encrypted=self.security.encrypted,
            can_encrypt=self.terms.contexts is not None,
            objection=objection,
        )

    def _proceed(self, _: Nonza) -> None:
        if self.security.encrypted or self.terms.contexts is None:
            raise StreamError("policy-violation")
        self._unoffered = False
        self.restart()
        self.transport.startTLS(self.terms.contexts.initiator(self.pair.ours, self.pair.theirs, direct=False))

    def _no_tls(self) -> LinkError | None:
        """What it means when a stream ends on which TLS was asked for uninvited."""
        return LinkError("remote-server-timeout", NOT_ENCRYPTED) if self._unoffered else None

    def _tls_failed(self, _: Nonza) -> None:
        self._give_up(LinkError("remote-server-timeout", "it could not start TLS", passing=True))

    # -- proving ourselves --------------------------------------------------------------------------

    def authenticate(self, inside: Inside | None = None) -> Deferred[None]:
        """Prove that we speak for our domain, once the stream is `secured`.

        :param inside: where the peer's stanzas go, if they may come on this stream (XEP-0288): it is the
            server that was looked for, by its certificate or, as dialback has it, by DNS.
        :raises LinkError: the peer does not take it.
        """
        if inside is not None and self.terms.bidi and self._offered.bidi and not self.ended:
            self._intake, self.bidi = Intake(inside, self.pairs, self), True
            self.write(serialize(E(ns.BIDI, "bidi")))
        waiting: Deferred[None] = Deferred()
        self._waiting = waiting
        if self.ended:
            self._waiting = None
            waiting.errback(self.failure or LinkError("remote-server-timeout", "it left", passing=True))
        elif self._offered.external:
            authzid = b64encode(self.pair.ours.encode()).decode()  # XEP-0178 §3: SHOULD be there
            self.write(serialize(E(ns.SASL, "auth", {"mechanism": "EXTERNAL"}, authzid)))
        else:
            self._dial_back()
        return waiting

    def _dial_back(self, why: str = "it takes neither our certificate nor dialback") -> None:
        if not self._offered.dialback:
            self._give_up(LinkError("remote-server-timeout", why))
            return
        ours, theirs = self.pair
        key = make_key(self.terms.secret, receiving=theirs, originating=ours, stream_id=self.id)
        self._request = Dialback("result", sender=ours, to=theirs, key=key)
        self.say(self._request)

    def _success(self, _: Nonza) -> None:
        if not self._offered.external or self.proof:
            raise StreamError("policy-violation")
        self._proved("certificate")
        self.restart(self.settings.after)
        self.write(self.our_header())

    def _proved(self, proof: str) -> None:
        self.proof = proof
        if self.bidi:
            certified = not self.policy.dialback or self.vouched(self.pair.theirs)
            self.pairs[self.pair] = "certificate" if certified else "dialback"
            self.allow(self.settings.after)

    def _sasl_failed(self, nonza: Nonza) -> None:
        condition = stream.condition_of(nonza)
        log.info(
            "{stream}: {theirs!r} does not take our certificate: {condition}",
            stream=self,
            theirs=self.pair.theirs,
            condition=condition,
        )
        self._dial_back(f"it does not take our certificate: {condition}")

    # -- dialback -----------------------------------------------------------------------------------

    async def verify(self, stream_id: str, key: str) -> bool:
        """Ask the peer as authoritative server whether it sent that key (XEP-0220 §2.1.2).

        :param stream_id: of the stream on which the key came.
        :raises LinkError: it does not say.
        """
        ours, theirs = self.pair
        self._request = Dialback("verify", sender=ours, to=theirs, id=stream_id, key=key)
        waiting: Deferred[None] = Deferred()
        self._waiting = waiting
        self.say(self._request)
        await waiting
        assert self._said is not None
        if self._said.type == "error":
            raise LinkError(
                "remote-server-not-found", f"it does not verify: {stream.shown(self._said.condition)}"
            )
        return self._said.type == "valid"

    def _dialback(self, nonza: Nonza) -> None:
        said = Dialback.read(nonza.element())
        if self.bidi and not said.type:  # they would be more than one domain, or we ourselves (XEP-0288 §2)
            self.say(said.answer("error", "not-allowed"))
            return
        if self._request is None or not said.is_answer_to(self._request):
            log.debug("{stream}: an answer that nobody asked for", stream=self)  # XEP-0220 §3.1
            return
        self._request, self._said = None, said
        if said.name == "verify":
            self._done()
        elif said.type == "valid":
            self._proved("dialback")
            self._done()
        elif said.type == "invalid":
            self._give_up(LinkError("internal-server-error", "it says that our key is wrong"))
        else:
            self._give_up(
                LinkError("remote-server-timeout", f"it could not verify us: {stream.shown(said.condition)}")
            )

    # -- acknowledgements ---------------------------------------------------------------------------

    async def manage(self, before: Acks | None) -> None:
        """Have what is sent acknowledged, once the stream is authenticated, if the peer offers that.

        :param before: the counts of the stream that was lost, to go on with if the peer still knows them.
        :raises LinkError: the peer does not answer.
        """
        if not self._offered.sm:
            return
        if before is not None and before.resumable:
            await self.homes(before)
        if self.ended:
            raise LinkError("remote-server-timeout", "it left", passing=True)
        waiting: Deferred[None] = Deferred()
        self._waiting = waiting
        if before is not None and before.resumable:  # nothing of it was sent back meanwhile
            before.resumed()
            self._before = before
            self.write(serialize(E(ns.SM, "resume", {"previd": before.id, "h": str(before.handled)})))
        else:
            self.write(serialize(E(ns.SM, "enable", {"resume": "true"})))
        await waiting

    def _enabled(self, nonza: Nonza) -> None:
        if self._waiting is None or self.acks is not None or not self.proof:
            raise StreamError("policy-violation", "that was not asked for")
        resumable = nonza.attrs.get("resume") in ("true", "1")
        self.acks = Acks(nonza.attrs.get("id", "") if resumable else "")
        self._done()

    def _resumed(self, nonza: Nonza) -> None:
        before = self._before
        if self._waiting is None or before is None or nonza.attrs.get("previd") != before.id:
            raise StreamError("policy-violation", "that was not asked for")
        before.acknowledged(count_of(nonza.element()))
        self.acks, self._before = before, None
        self.say_again()
        self._done()

    def _not_managed(self, nonza: Nonza) -> None:
        """Without the old counts then, but with new ones; or without any.

        The peer may still tell how much it had got (§5).
        """
        before, self._before = self._before, None
        if before is not None and before.id:
            if "h" in nonza.attrs:
                before.acknowledged(count_of(nonza.element()))
            self.write(serialize(E(ns.SM, "enable", {"resume": "true"})))
        elif self._waiting is not None:
            self._done()

    # -- sending ------------------------------------------------------------------------------------

    def too_large(self, stanza: Stanza) -> int:
        """How many bytes the peer takes at most, if the stanza is larger; else 0 (XEP-0478 §4)."""
        most = self._offered.most  # of whoever was connected to
        return most if most is not None and len(stanza.to_scope(ns.SERVER)) > most else 0

    def pauseProducing(self) -> None:
        super().pauseProducing()
        self._stalled.start(self._patience)

    def resumeProducing(self) -> None:
        self._stalled.stop()
        super().resumeProducing()

    def _stall(self) -> None:
        log.info("{stream}: {theirs!r} does not read", stream=self, theirs=self.pair.theirs)
        self.abort()
