"""One domain alone: its modules, with players for clients and no streams.

What only whole streams can show is for `jabberd.testing.Network`.

.. code-block:: python

    with Rehearsal({"ping": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        answer = romeo.ask("<iq type='get' to='montague.lit'><ping xmlns='urn:xmpp:ping'/></iq>")
        assert answer.type == "result"

Everything is done when a call returns: there is no reactor, and time stands still until `Rehearsal.clock`
is advanced.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any, Self

from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.task import Clock

from jabberd.admin import Admin
from jabberd.interfaces import Identity, Security
from jabberd.jsm.account import ACCOUNTS
from jabberd.jsm.credentials import AccountRecord, Accounts
from jabberd.jsm.manager import SessionManager
from jabberd.loader import Modules
from jabberd.router import Router
from jabberd.storage import open_storage
from jabberd.testing.outcome import done
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jabberd import interfaces
    from jabberd.api import Module, Settings
    from jabberd.xmpp.element import Element, Sealed
    from jabberd.xmpp.errors import StreamError

__all__ = ["Ear", "Player", "Rehearsal"]

_SECRET = b"not for the stage"


class Ear:
    """A client's end of a session: an `jabberd.interfaces.Outlet` that keeps what is sent.

    :ivar reads: False: it has stopped reading; see `read_on`.
    """

    security = Security()
    address = "127.0.0.1"
    waits = False
    queued: Sequence[Stanza] = ()
    session: interfaces.Session

    def __init__(self) -> None:
        self.heard: list[Stanza] = []
        self.reads = True
        self._draining: list[Deferred[None]] = []

    def send(self, stanza: Stanza) -> Deferred[None] | None:
        self.heard.append(stanza)
        return None

    def say(self, element: Element | Sealed) -> None:
        raise AssertionError(f"unexpected: {element.tag}")

    def drained(self) -> Deferred[None]:
        if self.reads:
            return succeed(None)
        self._draining.append(Deferred())
        return self._draining[-1]

    def read_on(self) -> None:
        """Read again, after ``reads`` was set to False."""
        self.reads = True
        draining, self._draining = self._draining, []
        for each in draining:
            each.callback(None)

    def close(self, error: StreamError | None = None) -> None:
        self.session.lost(self)
        self.read_on()


class Player:
    """A client of the domain: it says XML and looks at what it hears.

    :ivar session: its session.
    """

    def __init__(self, session: interfaces.Session, ear: Ear) -> None:
        self.session = ear.session = session
        self.ear = ear
        session.opened()
        self._ids = count(1)

    @property
    def heard(self) -> list[Stanza]:
        """The stanzas sent to it and not yet taken by `hear`."""
        return self.ear.heard

    def say(self, xml: str) -> None:
        """Send a stanza, written as on a client's stream."""
        self.session.receive(_stanza(xml))

    def ask(self, xml: str) -> Stanza:
        """Send an iq without an id, and take its answer.

        :raises AssertionError: there is none.
        """
        question = _stanza(xml).with_attrs(id=f"question-{next(self._ids)}")
        self.session.receive(question)
        answers = [stanza for stanza in self.heard if stanza.name == "iq" and stanza.id == question.id]
        assert len(answers) == 1, f"{len(answers)} answers to {xml}"
        self.heard.remove(answers[0])
        return answers[0]

    def hear(self) -> list[str]:
        """Take what was heard, as XML."""
        heard, self.ear.heard = self.heard, []
        return [stanza.to_bytes().decode() for stanza in heard]

    def leave(self) -> None:
        """Lose the connection."""
        self.ear.close()


class Rehearsal:
    """One domain; what it sends to other domains is kept in ``abroad``.

    :param modules: for each module's name its settings.
    :param classes: those of them that need not be looked for, by name: ``{"oracle": Oracle}``.
    """

    def __init__(
        self,
        modules: Mapping[str, Settings | Mapping[str, object]],
        classes: Mapping[str, type[Module]] | None = None,
        *,
        domain: str = "montague.lit",
        storage: interfaces.Storage | None = None,
    ) -> None:
        self.clock = Clock()
        self.storage = storage or open_storage("memory", None)
        self.abroad: list[Stanza] = []
        self.router = Router(self)
        jid = JID.parse(domain)
        self._accounts = self.storage.keyed(ACCOUNTS, AccountRecord)
        credentials = Accounts(jid, self.storage, execute, secret=_SECRET)
        self.domain = SessionManager(jid, self.router, self.storage, self.clock, credentials)
        self.domain.secret = _SECRET
        self.modules = Modules(self.domain, modules, classes)
        self.domain.registry = self.modules.registry
        self.router.add(jid, self.domain)

    def __enter__(self) -> Self:
        """Start the modules."""
        done(self.modules.start())
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the modules."""
        done(self.modules.stop())

    def create(self, jid: str) -> None:
        """Make an account."""
        record = AccountRecord(keys=(), created=datetime.fromtimestamp(self.clock.seconds(), UTC))
        self._accounts.put(jid, "", record)
        self.domain.accounts.drop(jid)

    def login(self, jid: str, ear: Ear | None = None) -> Player:
        """Open a session for a full JID, whose account is made if there is none; it is not available yet."""
        full = JID.parse(jid)
        if not done(self.domain.account(full)).exists:
            self.create(full.bare)
        ear = ear or Ear()
        return Player(done(self.domain.open(Identity(full.localpart), full.resourcepart, ear)), ear)

    def let_in(self) -> Player:
        """Open a session without an account (XEP-0175)."""
        ear = Ear()
        return Player(done(self.domain.open(Identity("tybalt", "ANONYMOUS"), "", ear)), ear)

    def receive(self, xml: str) -> None:
        """Another server says this, in the shape of a client's stanza with ``from`` and ``to``."""
        self.router.route(_stanza(xml))

    def operate(self, *words: str, **secrets: str) -> Any:
        """What an operator's verb answers: ``stage.operate("oracle", "count", "romeo@montague.lit")``."""
        verbs = Admin(lambda: ((module.name, self.domain.jid, module) for module in self.domain.modules))
        return done(verbs.run([*words], secrets))

    def deliver(self, stanza: Stanza) -> None:
        """Take what is for other domains; see `jabberd.interfaces.Route`."""
        self.abroad.append(stanza)


def _stanza(xml: str) -> Stanza:
    return Stanza.from_standalone(xml.encode())
