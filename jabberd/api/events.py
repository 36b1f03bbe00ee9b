"""What happens in a domain: `jabberd.api.on` declares who is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from jabberd.api.domain import Account, Session
    from jabberd.xmpp.element import Sealed
    from jabberd.xmpp.jid import JID
    from jabberd.xmpp.stanza import Stanza


class SessionOpened(Struct, frozen=True):
    """A resource was bound."""

    account: Account
    session: Session


class SessionResumed(Struct, frozen=True):
    """The client of a session whose stream was lost is back on another one (XEP-0198 §5)."""

    account: Account
    session: Session


class SessionClosed(Struct, frozen=True):
    """A session has ended; ``status`` is what its last presence said, if it said goodbye."""

    account: Account
    session: Session
    status: str = ""


class BecameAvailable(Struct, frozen=True):
    """A session can be sent messages: it is available, with a priority that was negative or none before."""

    account: Account
    session: Session


class PresenceSent(Struct, frozen=True):
    """A session has told its subscribers that it is available, for the first time or anew (RFC 6121 §4.4)."""

    account: Account
    session: Session


class BecameUnavailable(Struct, frozen=True):
    """An available session said it is not, or was lost (RFC 6121 §4.5)."""

    account: Account
    session: Session
    status: str = ""


class MessageStored(Struct, frozen=True):
    """A message came for an account when nobody was there, and waits (XEP-0160)."""

    account: Account
    stanza: Stanza


class RosterChanged(Struct, frozen=True):
    """A contact in an account's roster was added, changed or removed.

    :ivar query: what its clients are pushed (RFC 6121 §2.1.6).
    """

    account: Account
    query: Sealed


class ComponentConnected(Struct, frozen=True):
    """The component of that domain has connected (XEP-0114): all domains of this server are told."""

    jid: JID


class PasswordChanged(Struct, frozen=True):
    """The owner of an account has set another password, with the client of that session (XEP-0077 §3.3)."""

    account: Account
    session: Session


class AccountCreated(Struct, frozen=True):
    """An account was made."""

    jid: JID


class AccountDeleted(Struct, frozen=True):
    """An account and everything in its stores was removed: all domains of this server are told."""

    jid: JID
