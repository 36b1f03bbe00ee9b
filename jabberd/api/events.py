"""What happens in a domain: `jabberd.api.on` declares who is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jabberd.api.domain import Account, Session
    from jabberd.xmpp.element import Sealed
    from jabberd.xmpp.jid import JID
    from jabberd.xmpp.stanza import Stanza


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A resource was bound."""

    account: Account
    session: Session


@dataclass(frozen=True, slots=True)
class SessionResumed:
    """The client of a session whose stream was lost is back on another one (XEP-0198 §5)."""

    account: Account
    session: Session


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """A session has ended; ``status`` is what its last presence said, if it said goodbye."""

    account: Account
    session: Session
    status: str = ""


@dataclass(frozen=True, slots=True)
class BecameAvailable:
    """A session can be sent messages: it is available, with a priority that was negative or none before."""

    account: Account
    session: Session


@dataclass(frozen=True, slots=True)
class PresenceSent:
    """A session has told its subscribers that it is available, for the first time or anew (RFC 6121 §4.4)."""

    account: Account
    session: Session


@dataclass(frozen=True, slots=True)
class BecameUnavailable:
    """An available session said it is not, or was lost (RFC 6121 §4.5)."""

    account: Account
    session: Session
    status: str = ""


@dataclass(frozen=True, slots=True)
class MessageStored:
    """A message came for an account when nobody was there, and waits (XEP-0160)."""

    account: Account
    stanza: Stanza


@dataclass(frozen=True, slots=True)
class RosterChanged:
    """A contact in an account's roster was added, changed or removed.

    :ivar query: what its clients are pushed (RFC 6121 §2.1.6).
    """

    account: Account
    query: Sealed


@dataclass(frozen=True, slots=True)
class ComponentConnected:
    """The component of that domain has connected (XEP-0114): all domains of this server are told."""

    jid: JID


@dataclass(frozen=True, slots=True)
class AccountCreated:
    """An account was made."""

    jid: JID


@dataclass(frozen=True, slots=True)
class AccountDeleted:
    """An account and everything in its stores was removed: all domains of this server are told."""

    jid: JID
