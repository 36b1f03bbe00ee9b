"""What another server says, on whichever stream: only for domains that it has proved, and then routed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.logger import Logger

from jabberd.streams.lanes import Lanes
from jabberd.streams.s2s import domain_of
from jabberd.xmpp.errors import StanzaError, StreamError
from jabberd.xmpp.stanza import check_iq

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.defer import Deferred

    from jabberd.xmpp.jid import JID
    from jabberd.xmpp.stanza import Stanza

__all__ = ["Inside", "Intake"]

log = Logger()


class Inside(Protocol):
    """Where stanzas of other servers go: the router, mostly."""

    def route(self, stanza: Stanza) -> Deferred[None] | None:
        """Hand on what came in; see *Home* in `jabberd.interfaces`."""

    def bounce(self, stanza: Stanza, error: StanzaError) -> Deferred[None] | None:
        """Tell the sender why its stanza goes no further."""


class Intake:
    """The stanzas that come in on one stream.

    :param pairs: one of ours and one of theirs: the peer has proved that it speaks for theirs to ours.
    :param stream: as the log names it.
    """

    def __init__(self, inside: Inside, pairs: Mapping[tuple[str, str], str], stream: object) -> None:
        self._inside = inside
        self._pairs = pairs
        self._stream = stream
        self._lanes = Lanes(inside.route)

    def take(self, stanza: Stanza) -> Deferred[None] | None:
        """Hand a stanza on; see *Home* in `jabberd.interfaces`.

        :raises StreamError: the peer may not say that.
        """
        if not self._pairs:
            raise StreamError("not-authorized")  # RFC 6120 §4.3.5
        if not (stanza.attrs.get("to") and stanza.attrs.get("from")):
            raise StreamError("improper-addressing")  # RFC 6120 §8.1.1.2, §8.1.2.2
        try:
            sender = stanza.sender
        except StanzaError:
            self._from_nowhere(stanza)
            return None
        try:
            to = stanza.to
        except StanzaError as error:
            return self._to_nowhere(stanza, error)
        assert sender is not None
        assert to is not None
        if (to.domainpart, sender.domainpart) not in self._pairs:
            raise self._not_proved(sender)
        if stanza.name == "iq":
            try:
                check_iq(stanza)
            except StanzaError as error:
                return self._inside.bounce(stanza, error)
        return self._lanes.take(stanza)

    def _not_proved(self, sender: JID) -> StreamError:
        """RFC 6120 §8.1.2.2, rule 2; and §8.1.1.2, rule 2, where the sender is proved to another domain."""
        if any(theirs == sender.domainpart for _, theirs in self._pairs):
            return StreamError("host-unknown")
        return StreamError("invalid-from")

    def _from_nowhere(self, stanza: Stanza) -> None:
        """Nobody can be told, and to end the stream would punish all for one: peers know newer characters."""
        log.info(
            "{stream}: a stanza from no address: {sender!r}", stream=self._stream, sender=stanza.attrs["from"]
        )

    def _to_nowhere(self, stanza: Stanza, error: StanzaError) -> Deferred[None] | None:
        """The domain answers, since the one addressed cannot be named."""
        sender = stanza.sender
        assert sender is not None
        ours = next((ours for ours, theirs in self._pairs if theirs == sender.domainpart), None)
        if ours is None:
            raise StreamError("invalid-from")
        named: JID | None = domain_of(ours)
        return self._inside.bounce(stanza.with_attrs(to=named), error)
