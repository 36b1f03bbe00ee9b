"""The session manager of one domain: it delivers what is for its accounts, and speaks for them.

It implements three seams: `interfaces.Route` for the router, `interfaces.SessionHost` for
client streams, and `api.Domain` for modules (most of it in `HostedDomain`).
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from jabberd.api import MessageStored, SessionClosed, Stage
from jabberd.interfaces import LoginPolicy, StorageError
from jabberd.jsm import delivery, roster
from jabberd.jsm import login as logins
from jabberd.jsm.account import ROSTER, Account, Residents
from jabberd.jsm.answers import Answers
from jabberd.jsm.contacts import Contacts
from jabberd.jsm.copies import Road
from jabberd.jsm.delivery import Plan
from jabberd.jsm.domain import HostedDomain
from jabberd.jsm.homes import Held, first, others_have
from jabberd.jsm.limits import Limits
from jabberd.jsm.presence import Presence
from jabberd.jsm.session import Session, spoken
from jabberd.jsm.unstored import Unstored
from jabberd.xmpp import ns
from jabberd.xmpp.element import E, Element
from jabberd.xmpp.errors import StanzaError, StreamError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.timestamp import delayed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from datetime import datetime

    from twisted.internet.interfaces import IReactorTime

    from jabberd import api, interfaces
    from jabberd.jsm.unstored import Again
    from jabberd.router import Router
    from jabberd.xmpp.parser import Nonza
    from jabberd.xmpp.sasl import Mechanism
    from jabberd.xmpp.stanza import Stanza

log = Logger()

_OWN_FEATURES: Final = E(ns.ROSTER_VER, "ver"), E(ns.PRE_APPROVAL, "sub")  # RFC 6121 §2.6.1, §3.4.1


class SessionManager(HostedDomain):
    """What a domain does for its users (RFC 6121).

    :ivar held: what the stanza that is on its road just now has to wait for before it has a home.
    """

    def __init__(
        self,
        jid: JID,
        router: Router,
        storage: interfaces.Storage,
        clock: IReactorTime,
        credentials: interfaces.Credentials,
        *,
        policy: LoginPolicy | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        super().__init__(jid, router, storage, clock, credentials, self.limits.cached)
        self.policy = policy or LoginPolicy()
        self.offers: dict[Any, bytes] = {}
        self.held = Held()
        self.hold = self.held.add
        self.say = partial(spoken, self)
        rosters = Residents(self.accounts, storage.keyed(ROSTER, roster.RosterItem), ROSTER)
        self.contacts = Contacts(self, rosters)
        self.presence = Presence(self)
        self._answers = Answers(self)
        self._unstored = Unstored(clock, self._put_off)

    def use(self, limits: Limits) -> None:
        """Have other limits from now on."""
        self.limits = limits
        self.presence.use(limits)
        self.contacts.use(limits)

    # -- api.Domain, as far as it delivers -----------------------------------------------------------

    def redeliver(self, stanza: Stanza) -> Deferred[None]:
        """See `jabberd.api.Domain`."""
        return Deferred.fromCoroutine(self._caught_but_storage(stanza, self._redelivered(stanza)))

    def others_have(
        self, stanza: Stanza, receiver: api.Session, since: float, *, alone: bool | None = None
    ) -> bool:
        """See `jabberd.api.Domain`."""
        account = self.accounts.get(receiver.jid.bare)
        return account is not None and others_have(account, stanza, since, alone=alone)

    async def _redelivered(self, stanza: Stanza) -> None:
        assert stanza.to is not None  # it was delivered before
        home = self.held.settled(self.place(await self.accounts.load(stanza.to.bare), stanza, stanza.to))
        if home is not None:
            await home

    # -- interfaces.SessionHost ---------------------------------------------------------------------

    @property
    def stream_features(self) -> Sequence[Element]:
        """See `jabberd.interfaces.SessionHost`."""
        return (*_OWN_FEATURES, *self.registry.stream_features)

    async def admits(self, username: str) -> bool:
        """See `jabberd.interfaces.SessionHost`."""
        account = await self.accounts.load(JID.of(username, self.jid))
        return account.exists and not account.disabled

    async def open(self, client: interfaces.Identity, resource: str, outlet: interfaces.Outlet) -> Session:
        """See `jabberd.interfaces.SessionHost`."""
        jid = JID.of(client.username, self.jid)
        if client.anonymous:
            account = Account(jid, exists=True, anonymous=True)
            self.accounts.add(account)
            return self._open(account, "", outlet, client)
        account = await self.accounts.load(jid)
        if not account.exists or account.disabled:
            raise StanzaError("not-allowed", "nobody can log in to this account")
        return self._open(account, resource, outlet, client)

    def newcomer_features(self, security: interfaces.Security) -> Sequence[Element]:
        """See `jabberd.interfaces.SessionHost`."""
        return [each for module in self.modules for each in module.newcomer_features(security)]

    def newcomer(self, stanza: Stanza) -> Callable[[interfaces.Outlet], Deferred[Stanza]] | None:
        """See `jabberd.interfaces.SessionHost`."""
        return logins.newcomer(self.registry, stanza)

    def inline(self, security: interfaces.Security) -> Sequence[Element]:
        """See `jabberd.interfaces.SessionHost`."""
        return [each for module in self.modules for each in module.inline_features(security)]

    def mechanism(self, name: str, login: interfaces.Login) -> Mechanism | None:
        """See `jabberd.interfaces.SessionHost`."""
        return logins.mechanism(self.registry, name, cast("api.Login", login))

    async def logged_in(self, login: interfaces.Login) -> Sequence[Element]:
        """See `jabberd.interfaces.SessionHost`."""
        return await logins.logged_in(self.registry, cast("api.Login", login))  # the session is one of ours

    async def unbound(self, username: str, outlet: interfaces.Outlet, nonza: Nonza) -> Session | None:
        """See `jabberd.interfaces.SessionHost`."""
        found = await logins.unbound(self.registry, username, outlet, nonza)
        return cast("Session | None", found)

    def close_all(self, error: StreamError) -> None:
        """End every session, also those that wait for their client; ask, and try, nothing any more."""
        self.questions.end()
        self._unstored.end()
        for account in self.accounts:
            for session in list(account.sessions.values()):
                session.close(error)

    def _open(
        self, account: Account, resource: str, outlet: interfaces.Outlet, client: interfaces.Identity
    ) -> Session:
        resource = resource or secrets.token_urlsafe(9)
        old = account.sessions.get(resource)
        if old is not None:  # RFC 6120 §7.7.2.2: the new one wins, as after a lost connection
            old.close(StreamError("conflict", "replaced by a new connection"))
        elif len(account.sessions) >= self.limits.sessions:
            self._make_room(account)
        session = Session(self, account, account.jid.with_resource(resource), outlet, client)
        account.sessions[resource] = session
        self.accounts.add(account)  # it may have made room meanwhile
        return session

    def _make_room(self, account: Account) -> None:
        """End the oldest session that waits for its client: whoever lost one must be able to come back."""
        waiting = [session for session in account.sessions.values() if session.outlet.waits]
        if not waiting:
            raise StanzaError(
                "resource-constraint",
                f"an account has at most {self.limits.sessions} resources",
                application=(ns.ERRORS, "resource-limit-exceeded"),  # XEP-0205 §4.4
            )
        waiting[0].close(StreamError("conflict", "replaced by a new connection"))

    def closed(self, session: Session, unsent: Sequence[tuple[Stanza, float]]) -> None:
        """A session has ended: subscribers learn it, and what never left for its client goes elsewhere.

        It goes in the order in which it was to be sent: what modules held back comes last.
        """
        account = session.account
        if account.sessions.get(session.jid.resourcepart) is session:
            del account.sessions[session.jid.resourcepart]
        self.presence.gone(session)
        if account.anonymous:
            self.accounts.drop(account.jid)
        for stanza, since in unsent:
            if not others_have(account, stanza, since):
                self.redeliver(stanza).addErrback(self._undeliverable, stanza, self._redeliver)
        if session.keeper is not None:
            session.keeper.ended()
        self.fire(SessionClosed(account, session, session.goodbye))

    # -- interfaces.Route ---------------------------------------------------------------------------

    def deliver(self, stanza: Stanza) -> Deferred[None] | None:
        """See `jabberd.interfaces.Route`."""
        to = stanza.to
        assert to is not None  # the router looked at it
        if self._unstored.waiting and stanza.name == "message" and to.bare in self._unstored.waiting:
            return self._unstored.keep(stanza, self._retry)
        account = self.accounts.get(to.bare)
        if account is not None:
            return self.settle(self._deliver(account, stanza, to), stanza)
        if self.registry.serves is not None:
            return self._answers.to_service(self.registry.serves, stanza, to)
        if not to.localpart:
            return self._answers.to_domain(stanza, to)
        return self.caught(stanza, self._delivered(stanza, to))

    def settle(self, home: Deferred[None] | None, stanza: Stanza) -> Deferred[None] | None:
        """The home of a stanza that was on its road just now, with all that was held; it never fails."""
        home = self.held.settled(home)
        return None if home is None else home.addErrback(self._undeliverable, stanza)

    def road(self, pattern: Stanza) -> Callable[[Stanza], object]:
        """See `jabberd.router.Wide`."""
        if self.watch is not None or self._unstored.waiting or pattern.name == "iq":
            return self.deliver
        return Road(self, pattern).deliver

    async def _delivered(self, stanza: Stanza, to: JID, since: datetime | None = None) -> None:
        home = self.held.settled(self._deliver(await self.accounts.load(to.bare), stanza, to, since))
        if home is not None:
            await home

    def _retry(self, stanza: Stanza, since: datetime) -> Deferred[None]:
        """Deliver what the storage did not take before."""
        assert stanza.to is not None  # it was delivered before
        delivered = self._delivered(stanza, stanza.to, since)
        return Deferred.fromCoroutine(self._caught_but_storage(stanza, delivered))

    def _redeliver(self, stanza: Stanza, since: datetime) -> Deferred[None]:
        """The same for what was accepted before."""
        return self.redeliver(delayed(stanza, since, self.jid))

    async def _caught_but_storage(self, stanza: Stanza, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # as in `caught`
            if isinstance(error, StorageError):
                raise
            await self._undeliverable(Failure(), stanza)

    def _undeliverable(self, why: Failure, stanza: Stanza, again: Again | None = None) -> Deferred[None]:
        """Send it back; its home is that of its bounce.  What is for an account waits, if that may help."""
        error = why.value
        if not isinstance(error, StanzaError):
            log.failure("cannot deliver a {name} to {to!r}", why, name=stanza.name, to=stanza.to)
            if isinstance(error, StorageError):
                if self.registry.serves is not None:
                    return self._put_off(stanza)
                return self._unstored.refused(stanza, again or self._retry)
            error = StanzaError("internal-server-error")
        return self._router.bounce(stanza, error) or succeed(None)

    def _put_off(self, stanza: Stanza) -> Deferred[None]:
        return self._router.bounce(stanza, StanzaError("resource-constraint")) or succeed(None)

    def _deliver(
        self, account: Account, stanza: Stanza, to: JID, since: datetime | None = None
    ) -> Deferred[None] | None:
        if self.watch is None:
            return self._accept(account, stanza, to, since)
        with self.watch.coming(account.jid, stanza):
            return self._accept(account, stanza, to, since)

    def _accept(
        self, account: Account, stanza: Stanza, to: JID, since: datetime | None
    ) -> Deferred[None] | None:
        filters = self.registry.filters.get((Stage.REFUSE, stanza.name))
        if filters is not None:
            passed = filters.run(stanza, account)
            if passed is None:
                if self.watch is not None:
                    self.watch(account.jid, "dropped", stanza, "by a filter of stage REFUSE")
                return None
            stanza = passed
        if since is not None:
            stanza = delayed(stanza, since, self.jid)
        return self.place(account, stanza, to)

    def place(self, account: Account, stanza: Stanza, to: JID) -> Deferred[None] | None:
        """Give an accepted stanza to whoever is to have it (RFC 6121 §8.5)."""
        if stanza.name == "presence" and stanza.type in ("unavailable", "error"):
            self.presence.left(account, stanza)
        sessions = account.sessions if account.exists else None
        resource = to.resourcepart
        shares = stanza.name == "iq" and self.shares_presence(account, stanza, resource)
        plan = delivery.plan(stanza.name, stanza.type, sessions, resource, shares_presence=shares)
        recipients = delivery.recipients(plan, account.sessions, resource)
        if self.watch is not None:
            self.watch(account.jid, "planned", stanza, plan.value)
        if recipients:
            return self._send(account, stanza, recipients)
        return self._act(plan, account, stanza)

    def _send(self, account: Account, stanza: Stanza, recipients: list[Session]) -> Deferred[None] | None:
        passed: Stanza | None = stanza
        rewrite = self.registry.filters.get((Stage.REWRITE, stanza.name))
        if rewrite is not None:
            passed = rewrite.run(stanza, account)
        copy = self.registry.filters.get((Stage.COPY, stanza.name))
        if copy is not None and passed is not None:
            passed = copy.run(passed, account, recipients)
        if passed is None:
            return None
        if len(recipients) == 1:
            return recipients[0].send(passed)
        return first([session.send(passed) for session in recipients])

    def _act(self, plan: Plan, account: Account, stanza: Stanza) -> Deferred[None] | None:
        """Follow a plan that delivers to nobody."""
        if plan is Plan.ANSWER:
            return self._answers.ask(stanza, account)
        if plan is Plan.SUBSCRIPTION:
            assert stanza.sender is not None  # the stream saw to it
            return self.caught(stanza, self.contacts.inbound(account, stanza, stanza.sender.bare))
        if plan is Plan.PROBE:
            self.presence.probe(account, stanza)
        elif plan is Plan.STORE:
            return self._store(account, stanza)
        elif plan is Plan.BOUNCE:
            return self._answers.refuse(stanza)
        elif plan is Plan.REFUSE:
            raise StanzaError("bad-request")
        elif stanza.name == "iq":
            self.questions.answered(stanza)
        return None

    def _store(self, account: Account, stanza: Stanza) -> Deferred[None] | None:
        if not delivery.worth_storing(stanza):
            return None
        take = self.registry.undelivered
        if take is None or account.anonymous:
            raise StanzaError("service-unavailable")
        stored = take(stanza, account) or succeed(None)
        return stored.addCallback(lambda _: self.fire(MessageStored(account, stanza)))

    def shares_presence(self, account: Account, stanza: Stanza, resource: str) -> bool:
        """Whether the sender may know that this resource is online (RFC 6121 §8.5.3.1)."""
        sender = stanza.sender
        session = account.sessions.get(resource)
        if sender is None or session is None or sender.bare == account.jid:
            return True
        if not sender.localpart and self.is_local(sender):
            return True
        # all who are in a room have its bare JID
        return account.trusts(sender) or any(each.bare == sender.bare for each in session.directed)

    def caught(self, stanza: Stanza, work: Coroutine[Any, Any, None]) -> Deferred[None]:
        """Do asynchronous work for a stanza; an error becomes the answer to it."""
        return Deferred.fromCoroutine(work).addErrback(self._undeliverable, stanza)
