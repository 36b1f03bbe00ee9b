"""One stanza for many: what the roads of its copies have in common is looked up once.

What somebody says in a room, or that they are there, goes to hundreds, and costs what a copy costs.  A copy
goes the road of any stanza (`SessionManager.deliver`): the filters of each stage, what RFC 6121 §8.5 says of
whom it is addressed to, the client's stream.  Here is its plain case, to accounts in memory and resources
that are there; all others take the session manager's own steps, from where they are no plain case any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jabberd.api import Stage
from jabberd.jsm import delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jabberd.jsm.account import Account
    from jabberd.jsm.manager import SessionManager
    from jabberd.jsm.session import Session
    from jabberd.xmpp.jid import JID
    from jabberd.xmpp.stanza import Stanza

__all__ = ["Road"]


class Road:
    """The road of copies to the people of one domain, as long as a turn of the reactor.

    :param pattern: one of them, whose name and type the others have, and mostly its children's names.
    """

    __slots__ = (
        "_children",
        "_copying",
        "_leaves",
        "_manager",
        "_name",
        "_reaches",
        "_refusing",
        "_rewriting",
        "_sending",
        "_type",
    )

    def __init__(self, manager: SessionManager, pattern: Stanza) -> None:
        self._manager = manager
        self._children = pattern.children
        self._refusing = self._concerned(Stage.REFUSE, pattern)
        self._rewriting = self._concerned(Stage.REWRITE, pattern)
        self._copying = self._concerned(Stage.COPY, pattern)
        self._sending = self._concerned(Stage.SENDING, pattern)
        self._name, self._type = pattern.name, pattern.type
        self._reaches = delivery.reaches(pattern.name, pattern.type)
        self._leaves = pattern.name == "presence" and pattern.type in ("unavailable", "error")

    def _concerned(self, stage: Stage, stanza: Stanza) -> Sequence[Callable[..., Any]]:
        filters = self._manager.registry.filters.get((stage, stanza.name))
        return () if filters is None else filters.concerned(stanza)

    def deliver(self, copy: Stanza) -> None:
        """Give it to the one it is addressed to; see `jabberd.interfaces.Route`."""
        to, manager = copy.to, self._manager
        assert to is not None  # the router looked at it
        account = manager.accounts.get(to.bare)
        if account is None:
            manager.deliver(copy)
            return
        stanza = copy
        same = copy.children == self._children
        for refuse in self._refusing if same else self._concerned(Stage.REFUSE, copy):
            stanza = refuse(stanza, account)
            if stanza is None:
                return
        recipients = self._recipients(account, to) if account.exists else None
        if not recipients:
            manager.settle(manager.place(account, stanza, to), stanza)
            return
        if self._leaves:
            manager.presence.left(account, stanza)
        self._send(account, recipients, stanza)
        manager.settle(None, stanza)

    def _recipients(self, account: Account, to: JID) -> list[Session] | None:
        """To whom it is delivered (RFC 6121 §8.5.2.1, §8.5.3.1); None or nobody: the plan is another."""
        sessions, resource = account.sessions, to.resourcepart
        if resource:
            session = sessions.get(resource) if self._reaches else None
            return None if session is None else [session]
        return delivery.recipients(delivery.plan(self._name, self._type, sessions), sessions)

    def _send(self, account: Account, recipients: list[Session], stanza: Stanza) -> None:
        """`SessionManager.place` and `Session.send`; what a filter has changed may concern others."""
        children = self._children
        same = stanza.children == children
        for rewrite in self._rewriting if same else self._concerned(Stage.REWRITE, stanza):
            stanza = rewrite(stanza, account)
            if stanza is None:
                return
        same = stanza.children == children
        for copy in self._copying if same else self._concerned(Stage.COPY, stanza):
            stanza = copy(stanza, account, recipients)
            if stanza is None:
                return
        sending = self._sending if stanza.children == children else self._concerned(Stage.SENDING, stanza)
        for session in recipients:
            passed = stanza
            for hold in sending:
                passed = hold(passed, session)
                if passed is None:
                    break
            else:
                session.outlet.send(passed)
