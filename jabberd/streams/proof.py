"""What servers prove to each other, and what they offer and accept for it: no input, no output.

What proves another server's name is the policy of *our* domain in each pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from jabberd.xmpp import ns, stream
from jabberd.xmpp.element import E, Element
from jabberd.xmpp.errors import StanzaError, XMPPError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jabberd.xmpp.jid import JID

__all__ = [
    "NOT_ENCRYPTED",
    "LinkError",
    "Offer",
    "Offered",
    "Pair",
    "Policy",
    "Rules",
    "Step",
    "next_step",
    "offer",
]

#: Why a link fails where TLS is required and the peer has none.
NOT_ENCRYPTED: Final = "it offers no encryption"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a domain of ours asks of other servers.

    :ivar proof: what shows that another server speaks for its domain: a ``certificate``, ``dialback``,
        ``either``; ``off``: this domain talks to no other server.
    :ivar require_tls: nothing is said in the clear but the wish for TLS.
    """

    proof: Literal["certificate", "dialback", "either", "off"] = "certificate"
    require_tls: bool = True

    @property
    def certificate(self) -> bool:
        """Whether a certificate suffices."""
        return self.proof in ("certificate", "either")

    @property
    def dialback(self) -> bool:
        """Whether dialback suffices."""
        return self.proof in ("dialback", "either")


class Pair(NamedTuple):
    """One of our domains and one of theirs: who may write to whom is always said of two."""

    ours: JID
    theirs: JID


class Rules:
    """Which domains of theirs ours talk to, as operators have it; without a rule they do.

    :ivar table: whether it does, by a domain of ours and a domain of theirs, ``*.`` and what theirs is
        below, or ``*``; see `jabberd.streams.rules`.
    """

    def __init__(self, table: dict[tuple[str, str], bool] | None = None) -> None:
        self.table = table if table is not None else {}

    def allow(self, ours: str, theirs: str) -> bool:
        """Whether these two may talk: the rule that says most holds."""
        if not self.table:
            return True
        for pattern in _patterns(theirs):
            rule = self.table.get((ours, pattern))
            if rule is not None:
                return rule
        return True


def _patterns(domain: str) -> Iterator[str]:
    """All that a domain matches, that which says most first."""
    yield domain
    above = domain
    while "." in above:
        above = above.partition(".")[2]
        yield f"*.{above}"
    yield "*"


class LinkError(XMPPError):
    """The other server cannot be reached, or will not do.

    :ivar condition: the stanza error for those who wrote to it (RFC 6120 §8.3.3.16, §8.3.3.17).
    :ivar why: for operators and for the sender; one line, names no user.
    :ivar passing: it may well be better soon: stanzas wait for that.
    """

    def __init__(self, condition: str, why: str, *, passing: bool = False) -> None:
        super().__init__(f"{condition}: {why}")
        self.condition = condition
        self.why = why
        self.passing = passing

    def stanza_error(self) -> StanzaError:
        """What the sender of a stanza is told; to wait only if that may help (RFC 6120 §8.3.3.17)."""
        return StanzaError(self.condition, self.why, type="wait" if self.passing else "cancel")


# --- of streams that others open to us ---


@dataclass(frozen=True, slots=True)
class Offer:
    """What the features of an incoming stream hold, and so what is accepted on it.

    :ivar must_encrypt: STARTTLS and nothing else.
    :ivar sm: stream management (XEP-0198), for when it is authenticated: by dialback features do not change.
    :ivar bidi: stanzas both ways (XEP-0288), to be asked for before it is authenticated.
    """

    starttls: bool
    must_encrypt: bool
    external: bool
    dialback: bool
    sm: bool
    bidi: bool

    def features(self) -> list[Element]:
        """As they are advertised."""
        shown: list[Element] = []
        if self.starttls:
            required = [E(ns.TLS, "required")] if self.must_encrypt else []
            shown.append(E(ns.TLS, "starttls", None, *required))
        if self.external:
            shown.append(E(ns.SASL, "mechanisms", None, E(ns.SASL, "mechanism", None, "EXTERNAL")))
        if self.dialback:
            shown.append(E(ns.DIALBACK_FEATURE, "dialback", None, E(ns.DIALBACK_FEATURE, "errors")))
        if self.sm:
            shown.append(E(ns.SM, "sm"))
        if self.bidi:
            shown.append(E(ns.BIDI_FEATURE, "bidi"))
        return shown


def offer(
    policy: Policy, *, encrypted: bool, can_encrypt: bool, vouched: bool, authenticated: bool, bidi: bool
) -> Offer:
    """What to offer to a peer.

    :param vouched: its certificate vouches for the domain that it says it is.
    :param authenticated: it has proved that by SASL already.
    :param bidi: stanzas may go both ways.
    """
    must_encrypt = policy.require_tls and not encrypted
    external = encrypted and vouched and policy.certificate
    dialback = not must_encrypt and (policy.dialback or external)
    return Offer(
        starttls=can_encrypt and not encrypted,
        must_encrypt=must_encrypt,
        external=external and not authenticated,
        dialback=dialback,
        sm=authenticated or dialback,
        bidi=bidi and not must_encrypt and not authenticated,
    )


# --- of streams that we open ---


@dataclass(frozen=True, slots=True)
class Offered:
    """What a peer's stream features hold (RFC 6120 §4.3.2).

    :ivar most: bytes of the largest stanza that it takes; None if it does not say.
    """

    starttls: bool = False
    external: bool = False
    dialback: bool = False
    sm: bool = False
    bidi: bool = False
    most: int | None = None

    @classmethod
    def read(cls, features: Element) -> Offered:
        """Read ``<stream:features/>``."""
        return cls(
            starttls=features.find(f"{{{ns.TLS}}}starttls") is not None,
            external=any(each.text == "EXTERNAL" for each in features.iter(f"{{{ns.SASL}}}mechanism")),
            dialback=features.find(f"{{{ns.DIALBACK_FEATURE}}}dialback") is not None,
            sm=features.find(f"{{{ns.SM}}}sm") is not None,
            bidi=features.find(f"{{{ns.BIDI_FEATURE}}}bidi") is not None,
            most=stream.most_bytes(features),
        )


Step = Literal["starttls", "secured"]


def next_step(
    policy: Policy, offered: Offered, *, encrypted: bool, can_encrypt: bool, objection: str
) -> Step:
    """What to do about a peer's features before anything else is said.

    Where TLS is required it is tried though nobody offers it: the offer may have been taken out on the way
    (RFC 7590 §3.1).

    :param objection: why its certificate does not vouch for it; empty if it does.
    :raises LinkError: the policy forbids to go on.
    """
    if not encrypted and can_encrypt and (offered.starttls or policy.require_tls):
        return "starttls"
    if not encrypted and policy.require_tls:
        raise LinkError("remote-server-timeout", NOT_ENCRYPTED)
    if not policy.dialback and objection:
        raise LinkError("remote-server-timeout", f"its certificate does not vouch for it: {objection}")
    return "secured"
