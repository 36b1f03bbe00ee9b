"""Streams that other servers open to us: they prove who they are, then their stanzas come in.

Who may write to whom is kept as pairs of domains, each proved by itself: by SASL EXTERNAL with the
certificate of the TLS handshake (XEP-0178), or by Server Dialback (XEP-0220), as the policy of *our*
domain has it.  One stream may carry several pairs; where it is turned around (XEP-0288), stanzas of the
first go back on it.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from jabberd.streams.acks import failed
from jabberd.streams.exchange import Exchange
from jabberd.streams.intake import Inside, Intake
from jabberd.streams.managed import ManagedStream
from jabberd.streams.proof import Offer, Pair, offer
from jabberd.streams.s2s import Terms, domain_of
from jabberd.xmpp import ns, sasl, stream
from jabberd.xmpp.dialback import Dialback, is_key
from jabberd.xmpp.element import E, serialize
from jabberd.xmpp.errors import StreamError, XMPPError
from jabberd.xmpp.jid import JID

if TYPE_CHECKING:
    from collections.abc import Callable

    from jabberd.streams.acks import Kept
    from jabberd.streams.proof import Policy
    from jabberd.xmpp.element import Element
    from jabberd.xmpp.errors import SASLFailure
    from jabberd.xmpp.parser import Header, Nonza
    from jabberd.xmpp.stanza import Stanza

__all__ = ["Door", "IncomingStream", "NotVerifiedError"]

log = Logger()

_MOST_PAIRS: Final = 100
_MOST_VERIFICATIONS: Final = 8  # at a time: each makes us connect to a server of the peer's choice
_MOST_FAILURES: Final = 4  # RFC 6120 §6.4.5: between 2 and 5 tries


class NotVerifiedError(XMPPError):
    """The authoritative server did not say whether a dialback key is right.

    :ivar condition: why, for the one who sent the key (XEP-0220 §2.5).
    """

    def __init__(self, condition: str) -> None:
        super().__init__(condition)
        self.condition = condition


class Door(Inside, Protocol):
    """What incoming streams share beside their terms."""

    async def verify(self, pair: Pair, stream_id: str, key: str, address: str) -> bool:
        """Ask the authoritative server of ``pair.theirs`` whether it sent this key (XEP-0220 §2.1.2).

        :raises NotVerifiedError: no answer can be had.
        """

    @property
    def kept(self) -> Kept:
        """What was acknowledged on streams that may be resumed."""

    def turned(self, stream: IncomingStream, pair: Pair) -> None:
        """Stanzas of that pair may go back on that stream (XEP-0288)."""

    def closed(self, stream: IncomingStream) -> None:
        """That stream is gone."""


class IncomingStream(ManagedStream):
    """One stream that another server opened.

    :ivar pairs: those proved on this stream, each with the proof: ``certificate`` or ``dialback``.
    :ivar turned: that one of them which stanzas may go back for, if it is so (XEP-0288).
    """

    receiving: ClassVar[bool] = True
    kind: ClassVar[str] = "s2s-in"

    def __init__(self, door: Door, terms: Terms) -> None:
        super().__init__(terms)
        self.door = door
        self.pairs: dict[tuple[str, str], str] = {}
        self._ours: JID | None = None  # the domains in the peer's stream header
        self._theirs: JID | None = None
        self._offer: Offer | None = None
        self._sasl = Exchange(self)
        self._failures = 0
        self._authenticated = False
        self._verifying: set[Pair] = set()
        self._intake = Intake(door, self.pairs, self)
        self.turned: list[Pair] = []
        self._nonzas: dict[str, Callable[[Nonza], Deferred[None] | None]] = {
            f"{{{ns.TLS}}}starttls": self._starttls,
            f"{{{ns.SASL}}}auth": self._auth,
            f"{{{ns.SASL}}}response": self._sasl.respond,
            f"{{{ns.SASL}}}abort": self._sasl.abort,
            f"{{{ns.DIALBACK}}}result": self._dialback,
            f"{{{ns.DIALBACK}}}verify": self._dialback,
            f"{{{ns.BIDI}}}bidi": self._bidi,
            f"{{{ns.SM}}}enable": self._enable,
            f"{{{ns.SM}}}resume": self._resume,
            f"{{{ns.SM}}}a": self.on_a,
            f"{{{ns.SM}}}r": self.on_r,
            stream.ERROR: self._error,
        }

    # -- the stream's life --------------------------------------------------------------------------

    def on_end(self, why: str) -> None:
        self.door.closed(self)
        if self.acks is not None and self.goodbye:
            self.door.kept.forget(self.acks)
        elif self.acks is not None:
            self.door.kept.lost(self.acks, self, self.clock.seconds())
        super().on_end(why)
        log.debug("{stream}: gone ({why})", stream=self, why=why)

    def our_header(self) -> bytes:
        if not self.id:
            self.id = secrets.token_hex(16)  # RFC 6120 §4.7.3: unpredictable, as dialback needs it
        self.header_sent = True
        ours, theirs = self._ours or "", self._theirs or ""
        return stream.header(ns.SERVER, sender=ours, to=theirs, id=self.id, version=self.version)

    def on_header(self, header: Header) -> None:
        ours, theirs = domain_of(header.to), domain_of(header.sender)
        if self._authenticated and (ours, theirs) != (self._ours, self._theirs):
            raise StreamError("not-authorized", "that is not who you proved to be")
        self._theirs = theirs
        policy = self.terms.hosted(ours) if ours else None
        if policy is None or ours is None:
            raise StreamError("host-unknown")
        self._ours = ours
        self.id = ""
        self.version = stream.version_for(header.version)
        self.write(self.our_header())
        if policy.proof == "off":
            raise StreamError("policy-violation", "this domain talks to no other servers")
        if theirs is not None and not self.terms.rules.allow(ours, theirs):
            raise StreamError("policy-violation", "this domain does not talk to yours")
        if theirs is not None and self.terms.hosted(theirs) is not None:
            raise StreamError("invalid-from", "that domain is hosted here")
        if self.version != stream.VERSION:
            raise StreamError("unsupported-version")
        self._offer = self._make_offer(policy)
        self.write(stream.features([*self._offer.features(), *self._limits()]))

    def _limits(self) -> list[Element]:
        """Those that hold for stanzas (XEP-0478): behind dialback there are no other features."""
        if self._offer is None or self._offer.must_encrypt:
            return []
        return [stream.limits(self.settings.after.size, self.settings.idle)]

    def _make_offer(self, policy: Policy) -> Offer:
        encrypted = self.security.encrypted
        return offer(
            policy,
            encrypted=encrypted,
            can_encrypt=self.terms.contexts is not None,
            vouched=encrypted and self._theirs is not None and self.vouched(self._theirs),
            authenticated=self._authenticated,
            bidi=self.terms.bidi,
        )

    def on_nonza(self, nonza: Nonza) -> Deferred[None] | None:
        act = self._nonzas.get(nonza.name)
        if act is None:
            raise StreamError("unsupported-stanza-type")
        assert self._offer is not None
        if self._offer.must_encrypt and act not in (self._starttls, self._error):
            raise StreamError("policy-violation", "start TLS first")
        return act(nonza)

    def _error(self, nonza: Nonza) -> None:
        log.info("{stream}: the peer reports {condition}", stream=self, condition=stream.condition_of(nonza))
        self.close()

    # -- TLS and SASL -------------------------------------------------------------------------------

    def _starttls(self, _: Nonza) -> None:
        assert self._offer is not None
        assert self._ours is not None
        if not self._offer.starttls or self.terms.contexts is None or self.pairs:
            self.write(serialize(E(ns.TLS, "failure")))
            self.close()  # RFC 6120 §5.4.2.2
            return
        self.bidi = False  # TLS comes first (XEP-0288 §2)
        self.write(serialize(E(ns.TLS, "proceed")))
        self.restart()
        self.transport.startTLS(self.terms.contexts.acceptor(self._ours))

    def _auth(self, nonza: Nonza) -> Deferred[None]:
        if self._authenticated:
            raise StreamError("policy-violation", "already authenticated")
        return self._sasl.begin(
            partial(self._mechanism, nonza.attrs.get("mechanism", "")), nonza.element().text or ""
        )

    def _mechanism(self, name: str) -> sasl.Mechanism:
        assert self._offer is not None
        offered = ("EXTERNAL",) if self._offer.external else ()
        identities = [self._theirs] if self._theirs else []
        return sasl.mechanism(name, offered, security=self.security, identities=identities)

    async def authenticated(self, success: sasl.Success) -> None:  # noqa: ARG002  # it proved its header
        """See `jabberd.streams.exchange`."""
        self._authenticated = True
        self.write(serialize(E(ns.SASL, "success")))
        self.restart(self.settings.after)
        assert self._ours is not None
        assert self._theirs is not None
        self._admit(Pair(self._ours, self._theirs), "certificate")

    def refused(self, failure: SASLFailure) -> None:
        """See `jabberd.streams.exchange`."""
        log.info("{stream}: EXTERNAL refused: {condition}", stream=self, condition=failure.condition)
        self._count_failure()

    def _count_failure(self) -> None:
        self._failures += 1
        if self._failures > _MOST_FAILURES:
            self.close(StreamError("policy-violation", "too many failures"))

    def _admit(self, pair: Pair, proof: str) -> None:
        if not self.pairs:
            self.proof = proof
            self.negotiated()
            self.allow(self.settings.after)
        self.pairs[pair] = proof
        log.info(
            "{stream}: {theirs!r} writes to {ours!r}, proved by {proof}",
            stream=self,
            theirs=pair.theirs,
            ours=pair.ours,
            proof=proof,
        )

    # -- dialback -----------------------------------------------------------------------------------

    def _dialback(self, nonza: Nonza) -> None:
        said = Dialback.read(nonza.element())
        if said.type:
            log.debug("{stream}: an answer that nobody asked for", stream=self)  # XEP-0220 §3.1
        elif said.name == "verify":
            self.say(self._checked(said))
        else:
            self._key_received(said, Pair(ours=said.to, theirs=said.sender))

    def _checked(self, asked: Dialback) -> Dialback:
        """Answer as authoritative server (XEP-0220 §2.2.2): whoever asks, it tells them only what is so."""
        if self.terms.hosted(asked.to) is None:
            return asked.answer("error", "item-not-found")
        right = is_key(
            asked.key, self.terms.secret, receiving=asked.sender, originating=asked.to, stream_id=asked.id
        )
        return asked.answer("valid" if right else "invalid")

    def _key_received(self, asked: Dialback, pair: Pair) -> None:
        """Answer as receiving server (XEP-0220 §2.2.1), at once or when the key has been verified."""
        policy = self.terms.hosted(pair.ours)
        refusal = self._refusal(policy, pair)
        if refusal:
            self.say(asked.answer("error", refusal))
        elif pair in self.pairs:
            self.say(asked.answer("valid"))
        elif policy and policy.certificate and self.vouched(pair.theirs):
            self._admit(pair, "certificate")
            self.say(asked.answer("valid"))
        elif policy and policy.dialback:
            self._verifying.add(pair)
            verifying = Deferred.fromCoroutine(self._verify(asked, pair))
            verifying.addErrback(self._failed)
        else:
            self.say(asked.answer("error", "not-authorized"))
            self._count_failure()

    def _refusal(self, policy: Policy | None, pair: Pair) -> str:
        """Why no proof will do for the pair (XEP-0220 §2.5); empty if one will."""
        if policy is None:
            return "item-not-found"
        if policy.proof == "off" or not self.terms.rules.allow(*pair):
            return "not-allowed"
        if policy.require_tls and not self.security.encrypted:
            return "policy-violation"
        if self.terms.hosted(pair.theirs) is not None:
            return "not-acceptable"
        if pair in self._verifying or len(self._verifying) >= _MOST_VERIFICATIONS:
            return "resource-constraint"
        return "resource-constraint" if len(self.pairs) >= _MOST_PAIRS else ""

    async def _verify(self, asked: Dialback, pair: Pair) -> None:
        stream_id = self.id
        try:
            valid = await self.door.verify(pair, stream_id, asked.key, self.address)
        except NotVerifiedError as error:
            self.say(asked.answer("error", error.condition))
            return
        finally:
            self._verifying.discard(pair)
        if self.ended or self.id != stream_id:
            return
        if valid:
            self._admit(pair, "dialback")
            self.say(asked.answer("valid"))
            return
        log.warn("{stream}: a wrong dialback key for {theirs!r}", stream=self, theirs=pair.theirs)
        if self.pairs:
            self.say(asked.answer("error", "forbidden"))
        else:
            self.say(asked.answer("invalid"))
            self.close()

    # -- acknowledgements ---------------------------------------------------------------------------

    def _enable(self, nonza: Nonza) -> None:
        if self._unproved():
            return
        self.enable(self.door.kept, next(iter(self.pairs)), nonza.element())
        self._turn_around()

    def _resume(self, nonza: Nonza) -> Deferred[None] | None:
        if self._unproved():
            return None
        resuming = Deferred.fromCoroutine(self.resume(self.door.kept, self.pairs, nonza.element()))
        return resuming.addCallback(lambda _: self._turn_around() if self.acks is not None else None)

    def _unproved(self) -> bool:
        """Nothing is counted before the peer has proved who it is (§3)."""
        if not self.pairs:
            self.write(serialize(failed("unexpected-request")))
        return not self.pairs

    # -- stanzas ------------------------------------------------------------------------------------

    def on_stanza(self, stanza: Stanza) -> Deferred[None] | None:
        home = self.count(self._intake.take(stanza))
        if self.bidi:
            self._turn_around()
        return home

    # -- both ways (XEP-0288) -----------------------------------------------------------------------

    def _bidi(self, _: Nonza) -> None:
        assert self._offer is not None
        if not self._offer.bidi or self.pairs:
            raise StreamError("policy-violation", "stanzas go one way on this stream")
        self.bidi = True

    def _turn_around(self) -> None:
        """Let stanzas go back on it: to the domain that was proved first, and to no other (§2).

        Not before its first stanza, or its wish that stanzas be acknowledged, which comes before that.
        """
        if self.bidi and not self.turned and self.pairs:
            pair = next(Pair(*map(JID.parse, pair)) for pair in self.pairs)
            self.turned.append(pair)
            self.door.turned(self, pair)
