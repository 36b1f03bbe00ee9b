"""All that a module imports: declarations, and what it sees of the domain it serves.

A module adds one feature to one domain.  It is a class whose *declarations* say what it answers,
filters, listens to and stores; they are collected when the class is made and bound to an instance
when a domain starts (`jabberd.loader`)::

    class Ping(Module, xep=199, version="2.0.1"):
        \"\"\"Answers pings.\"\"\"

        features = (NS,)

        @answers.get(NS, "ping", to=DOMAIN, by=ANYONE)
        def ping(self, request: IQ) -> None: ...

``docs/modules.md`` is the tutorial.
"""

from jabberd.api.declarations import (
    ACCOUNT,
    ANYONE,
    BINDING,
    DOMAIN,
    HIDDEN,
    LOCAL,
    LOGIN,
    OWNER,
    SUBSCRIBER,
    Live,
    Refused,
    Secret,
    Stage,
    answers,
    bound,
    diverts,
    filters,
    inline,
    newcomers,
    nonza,
    on,
    operator,
    page,
    serves,
    told,
    undelivered,
)
from jabberd.api.domain import IQ, Account, Answer, Apart, Domain, Login, Newcomer, Registrar, Session
from jabberd.api.events import (
    AccountCreated,
    AccountDeleted,
    BecameAvailable,
    BecameUnavailable,
    ComponentConnected,
    MessageStored,
    PasswordChanged,
    PresenceSent,
    RosterChanged,
    SessionClosed,
    SessionOpened,
    SessionResumed,
)
from jabberd.api.module import Module
from jabberd.api.relay import BytestreamTerms
from jabberd.api.stores import Archive, Keyed, Ordered, Resident
from jabberd.api.turns import Turns
from jabberd.interfaces import ArchiveRow, Span, StorageError
from jabberd.settings import DomainName, Duration, FilePath, Settings, Size
from jabberd.typed import Mistake, checked
from jabberd.xmpp.element import E, Element, Sealed
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza

__all__ = [
    "ACCOUNT",
    "ANYONE",
    "BINDING",
    "DOMAIN",
    "HIDDEN",
    "IQ",
    "JID",
    "LOCAL",
    "LOGIN",
    "OWNER",
    "SUBSCRIBER",
    "Account",
    "AccountCreated",
    "AccountDeleted",
    "Answer",
    "Apart",
    "Archive",
    "ArchiveRow",
    "BecameAvailable",
    "BecameUnavailable",
    "BytestreamTerms",
    "ComponentConnected",
    "Domain",
    "DomainName",
    "Duration",
    "E",
    "Element",
    "FilePath",
    "Keyed",
    "Live",
    "Login",
    "MessageStored",
    "Mistake",
    "Module",
    "Newcomer",
    "Ordered",
    "PasswordChanged",
    "PresenceSent",
    "Refused",
    "Registrar",
    "Resident",
    "RosterChanged",
    "Sealed",
    "Secret",
    "Session",
    "SessionClosed",
    "SessionOpened",
    "SessionResumed",
    "Settings",
    "Size",
    "Span",
    "Stage",
    "Stanza",
    "StanzaError",
    "StorageError",
    "Turns",
    "answers",
    "bound",
    "checked",
    "diverts",
    "filters",
    "inline",
    "newcomers",
    "nonza",
    "on",
    "operator",
    "page",
    "serves",
    "told",
    "undelivered",
]
