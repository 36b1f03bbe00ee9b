"""What clients ask that have not logged in (XEP-0077 §3.1.1): a domain may answer, with few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jabberd.xmpp.errors import StanzaError, StreamError
from jabberd.xmpp.stanza import check_iq

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from jabberd.streams.c2s import C2SStream
    from jabberd.xmpp.stanza import Stanza

__all__ = ["asked"]


def asked(stream: C2SStream, stanza: Stanza) -> Deferred[None] | None:
    """Have the domain answer an iq that is for it; it is done when that is written.

    :raises StreamError: ``not-authorized`` for everything else (RFC 6120 §4.9.3.12).
    """
    host, login = stream.host, stream.authentication
    if host is None or login is None or login.running or not _is_question(stanza, host.jid):
        raise StreamError("not-authorized")
    answer = host.newcomer(stanza)
    if answer is None:
        raise StreamError("not-authorized")
    if stanza.type == "set" and not stream.door.may_register(stream.address):
        stream.write(stanza.error(StanzaError("resource-constraint", "try again later")).to_bytes())
        return None
    return answer(stream).addCallback(lambda said: stream.write(said.to_bytes()))


def _is_question(stanza: Stanza, domain: str) -> bool:
    """Whether it is an iq that asks the domain something."""
    if stanza.name != "iq" or stanza.type not in ("get", "set"):
        return False
    try:
        check_iq(stanza)
        to = stanza.to
    except StanzaError:
        return False
    return to in (None, domain)
