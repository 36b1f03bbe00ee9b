"""XEP-0401: links with which others get an account, or become a contact, without being asked again.

``ledger`` has the invitations, ``links`` what people see of them, ``uses`` what comes of them.
"""

from __future__ import annotations

from dataclasses import field
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast
from weakref import WeakKeyDictionary

from msgspec import Meta
from twisted.internet.defer import Deferred

from jabberd.api import (
    JID,
    AccountDeleted,
    Duration,
    E,
    Keyed,
    Module,
    Newcomer,
    Refused,
    Settings,
    Stage,
    Stanza,
    StanzaError,
    filters,
    newcomers,
    on,
    operator,
    page,
)
from jabberd.modules.commands import Command, Result
from jabberd.modules.invitations.ledger import Invitation, Ledger
from jabberd.modules.invitations.links import APPS, Apps, LandingPage, Link
from jabberd.modules.invitations.uses import Uses, Voucher
from jabberd.xmpp.forms import Field, Form, table
from jabberd.xmpp.jid import InvalidJID
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IDelayedCall
    from twisted.web.resource import Resource
    from twisted.web.server import Request

    from jabberd.api import Account, Element
    from jabberd.interfaces import Outlet, Security
    from jabberd.modules.administration import Administration
    from jabberd.web import Visits
    from jabberd.xmpp.forms import Submission

__all__ = ["Invitations"]

Rows = list[dict[str, object]]

INVITE: Final = "urn:xmpp:invite#invite"
CREATE_ACCOUNT: Final = "urn:xmpp:invite#create-account"
LIST: Final = "urn:jabberd:invitations#list"  # no XEP names these two
REVOKE: Final = "urn:jabberd:invitations#revoke"
PARS: Final = "urn:xmpp:pars:0"
_REGISTER: Final = "urn:xmpp:ibr-token:0"
_PREAUTH: Final = f"{{{PARS}}}preauth"
_PATH: Final = "invite"
_MINUTE: Final = 60.0  # seconds
_LISTED: Final = "List your invitations"
_SHOWN: Final = 8  # digits of a key
_MOST_USES: Final = 1000
_UNDER_WAY: Final = 60.0  # seconds that no use of an invitation takes
_FORM: Final = Form(
    CREATE_ACCOUNT,
    (
        Field("username", label="Name of the account; empty: whoever comes chooses it"),
        Field("roster-subscription", "boolean", "Become contacts of each other", values=("true",)),
    ),
    "Invite to an account",
)


class Invitations(Module, xep=401, version="0.6.0"):
    """Makes invitations and lets in whoever has one.

    With an invitation to an account, made by operators, a newcomer makes one in band whether registration is
    open or not (XEP-0445).  One to become a contact, made by a user, grants a subscription to the user's
    presence (XEP-0379) and may give an account as well.  Either way the two become contacts of each other.
    """

    requires = ("commands", "registration", "administration")
    after = ("blocking",)
    counted = ("open",)

    class Config(Settings):
        """Who may invite whom.

        :ivar inviters: who invites contacts with their clients.
        :ivar accounts: whether such a contact may make an account here.
        :ivar lifetime: of an invitation.
        :ivar open: invitations of one user that nobody has used yet; operators have no limit.
        :ivar landing_page: see `LandingPage`.
        :ivar apps: what this server's own page recommends, see `Apps`.
        :ivar visits: of such pages by one address in a minute.
        """

        inviters: Literal["operators", "everybody", "nobody"] = "operators"
        accounts: bool = True
        lifetime: Duration = 7 * 86400.0
        open: Annotated[int, Meta(ge=1)] = 10
        landing_page: LandingPage = ""
        apps: Apps = field(default_factory=APPS.copy)
        visits: Annotated[int, Meta(ge=1)] = 60

    config: Config

    kept = Keyed("invitations", of=Invitation)  # by key, under the domain

    async def start(self) -> None:
        """Read what was kept; nobody has shown a token yet."""
        self._ledger = Ledger(self.domain.jid, self.kept)
        await self._ledger.load()
        self._uses = Uses(self.domain, self._ledger, self.log)
        self._shown: WeakKeyDictionary[Outlet, str] = WeakKeyDictionary()
        self._claims: IDelayedCall | None = None
        self._takes_over = self.succeeds
        self._visits: Visits | None = None

    def reconfigured(self, before: Config) -> None:
        """Count visits anew, by what holds now."""
        self._visits = None

    async def ready(self) -> None:
        """See to what was under way when the server ended, or what the instance before may be about."""
        claims = [(key, who) for key, invitation in self._ledger.items() for who in invitation.claims]
        if not self._takes_over:
            await self._resolved(claims)
        elif claims:
            self._claims = self.domain.clock.callLater(_UNDER_WAY, self._see_to, claims)

    async def stop(self) -> None:
        """The next start sees to it."""
        if self._claims is not None and self._claims.active():
            self._claims.cancel()

    def _see_to(self, claims: list[tuple[str, str]]) -> None:
        seen_to = Deferred.fromCoroutine(self._resolved(claims))
        seen_to.addErrback(
            lambda why: self.log.failure("invitations stay under way until the next start", why)
        )

    async def _resolved(self, claims: list[tuple[str, str]]) -> None:
        for key, who in claims:
            await self._uses.resolve(key, JID.parse(who))

    # -- who comes for an account (XEP-0445) --------------------------------------------------------

    def newcomer_features(self, security: Security) -> tuple[Element, ...]:
        """See `jabberd.api.Module`; XEP-0445 §3."""
        return (E(_REGISTER, "register"),) if security.encrypted else ()

    @newcomers.set(PARS, "preauth")
    def show(self, newcomer: Newcomer) -> None:
        """Take a token; the account comes later on the same stream (XEP-0445 §4).

        :raises StanzaError: ``not-authorized``: there is no TLS; ``item-not-found``: it gives no account.
        """
        if not newcomer.outlet.security.encrypted:
            raise StanzaError("not-authorized", "invitations are taken over TLS only")
        key = self._ledger.valid(newcomer.payload.get("token", ""), self.now())
        invitation = self._ledger.get(key or "")
        if key is None or invitation is None or not invitation.account:
            raise StanzaError("item-not-found", "the provided token is invalid or expired")
        self._shown[newcomer.outlet] = key

    def voucher(self, newcomer: Newcomer) -> Voucher | None:
        """See `jabberd.modules.registration.Vouches`."""
        key = self._shown.get(newcomer.outlet)
        if key is None:
            return None
        known = self._ledger.get(key)
        return Voucher(self._uses, key, known.username if known else "")

    def reserves(self, jid: JID) -> bool:
        """See `jabberd.modules.registration.Reserves`."""
        return self._ledger.reserves(jid.localpart, self.now())

    # -- who comes as a contact (XEP-0379) ----------------------------------------------------------

    @filters(Stage.REFUSE, "presence", children=[_PREAUTH])
    def approve(self, stanza: Stanza, account: Account) -> Stanza | None:
        """Grant a request with a token of this account; any other token changes nothing (§4.1)."""
        sender = stanza.sender
        if stanza.type != "subscribe" or sender is None or account.trusts(sender):
            return stanza
        preauth = stanza.element().find(_PREAUTH)
        assert preauth is not None  # else this filter would not have been asked
        key = self._ledger.valid(preauth.get("token", ""), self.now())
        invitation = self._ledger.get(key or "")
        if key is None or invitation is None or not invitation.contact or invitation.inviter != account.jid:
            return stanza
        welcome = Deferred.fromCoroutine(self._uses.welcome(key, account, stanza, sender.bare))
        said = "{jid!r} was not made a contact"
        self.domain.hold(welcome.addErrback(lambda why: self.log.failure(said, why, jid=sender.bare)))
        return None

    @on(AccountDeleted)
    async def forget(self, event: AccountDeleted) -> None:
        """Who is gone invites nobody."""
        await self._ledger.remove(k for k, each in self._ledger.items() if each.inviter == event.jid)

    # -- who invites --------------------------------------------------------------------------------

    @property
    def commands(self) -> Iterable[Command]:
        """See `jabberd.modules.commands.Offers`; XEP-0401 §3."""
        return (
            Command(INVITE, "Invite a contact", self._invites, self._invite),
            Command(
                CREATE_ACCOUNT, "Invite to an account", self._operates, self._invite_to_account, (_FORM,)
            ),
            Command(LIST, _LISTED, self._has_some, self._list),
            Command(REVOKE, "Revoke invitations", self._has_some, self._revoke, opening=self._choice),
        )

    def _has_some(self, who: JID) -> bool:
        """Also when it may make no more."""
        return self._invites(who) or (who.domainpart == self.domain.jid and bool(self._open(who.bare)))

    def _invites(self, who: JID) -> bool:
        if self.config.inviters == "everybody":
            return who.domainpart == self.domain.jid
        return self.config.inviters == "operators" and self._operates(who)

    def _operates(self, who: JID) -> bool:
        return cast("Administration", self.domain.module("administration")).operates(who)

    async def _invite(self, who: JID, _: Submission) -> Result:
        """Invite somebody to become a contact (XEP-0401 §4.1).

        :raises StanzaError: ``forbidden``: it has no account here that lasts; ``resource-constraint``: it
            has invited so many already.
        """
        account = await self.domain.account(who.bare) if who.domainpart == self.domain.jid else None
        if account is None or account.anonymous or not account.exists:
            raise StanzaError("forbidden", "only accounts of this domain can invite contacts")
        if not self._operates(who) and len(self._open(account.jid)) >= self.config.open:
            raise self.limited("open", f"you have {self.config.open} invitations that nobody has used")
        link = await self._add(inviter=account.jid, contact=True, account=self.config.accounts)
        return Result((link.form(),))

    def _open(self, inviter: str) -> dict[str, Invitation]:
        return self._ledger.open(self.now(), inviter)

    async def _list(self, who: JID, _: Submission) -> Result:
        """A user's own invitations that nobody has used yet."""
        rows = [
            {"id": key[:_SHOWN], "for": _purpose(self.domain.jid, each), "expire": to_stamp(each.expires)}
            for key, each in self._open(who.bare).items()
        ]
        return Result((table(_LISTED, ("id", "for", "expire"), rows),))

    async def _choice(self, who: JID) -> Form:
        """Which of a user's own to revoke.

        :raises StanzaError: ``item-not-found``: there is none.
        """
        mine = self._open(who.bare)
        if not mine:
            raise StanzaError("item-not-found", "you have no invitation that can be used")
        options = {
            key[:_SHOWN]: f"for {_purpose(self.domain.jid, each)}, until {to_stamp(each.expires)}"
            for key, each in mine.items()
        }
        chosen = Field("id", "list-multi", "Nobody can use them any more", required=True, options=options)
        return Form(REVOKE, (chosen,), "Revoke invitations")

    async def _revoke(self, who: JID, filled: Submission) -> Result:
        """At once, also for whoever has shown one and has no account yet."""
        ids = filled.texts("id")
        await self._ledger.remove(key for key in self._open(who.bare) if key[:_SHOWN] in ids)
        return Result(notes=(("info", "Nobody can use them any more."),))

    async def _invite_to_account(self, who: JID, filled: Submission) -> Result:
        """Invite somebody to make an account (XEP-0401 §4.4)."""
        contact = (
            who.bare if filled.flag("roster-subscription") and who.domainpart == self.domain.jid else None
        )
        username = filled.text("username").strip()
        try:
            jid = JID.of(username, self.domain.jid) if username else self.domain.jid
        except InvalidJID as why:
            raise StanzaError("not-acceptable", f"{username} cannot be an account: {why}") from None
        try:
            return Result(((await self._account_link(jid, contact)).form(),))
        except Refused as why:
            raise StanzaError(why.condition, str(why)) from None

    async def _account_link(self, jid: JID, contact: JID | None, uses: int = 1) -> Link:
        """A new invitation to make that account, or any one if it is the domain.

        :raises Refused: with the condition ``conflict``: the name is taken, or kept back.
        """
        if jid.localpart:
            await self.domain.registrar.see_that_it_is_free(jid)
            if self.reserves(jid):
                raise Refused(f"{jid} is promised to somebody who was invited", "conflict")
        return await self._add(inviter=contact or "", account=True, username=jid.localpart, left=uses)

    async def _add(self, **what: Any) -> Link:
        now = self.now()
        invitation = Invitation(now + timedelta(seconds=self.config.lifetime), **what)
        return self._link(invitation, await self._ledger.add(invitation, now))

    def _link(self, invitation: Invitation, token: str) -> Link:
        own = f"{self.domain.url}/{_PATH}/{{token}}" if self.domain.url else ""
        return Link(self.domain.jid, invitation, token, self.config.landing_page or own)

    @page(_PATH, needed=False)
    def landing(self, request: Request) -> Resource:
        """What is behind the link, for those whose browser opens it (XEP-0379 §3.3)."""
        from jabberd.modules.invitations.landing import InvitationPage  # noqa: PLC0415 - 3 MiB, as below
        from jabberd.web import Visits  # noqa: PLC0415

        if self._visits is None:
            self._visits = Visits(self.config.visits, _MINUTE, self.domain.clock)
        token = b"/".join(request.postpath or ()).decode("ascii", "replace")
        known = self._ledger.get(self._ledger.valid(token, self.now()) or "")
        link = None if known is None else self._link(known, token)
        return InvitationPage(link, self.config.apps, self._visits)

    # -- operators ----------------------------------------------------------------------------------

    @operator("invite to an account, of any name if JID is a domain; CONTACT becomes a contact")
    async def create(self, jid: JID, contact: JID | None = None, uses: int = 1) -> dict[str, object]:
        """The link to pass on, which is shown this once.

        :raises Refused: the name is taken, there is no such contact, or it cannot be used so often.
        """
        if jid.resourcepart or not 1 <= uses <= (1 if jid.localpart else _MOST_USES):
            raise Refused(f"one name is used once, and a domain's invitation at most {_MOST_USES} times")
        if contact is not None:
            at_home = contact.domainpart == self.domain.jid
            if not at_home or not (await self.domain.account(contact.bare)).exists:
                raise Refused(f"there is no account {contact} at {self.domain.jid}")
        link = await self._account_link(jid, contact and contact.bare, uses)
        return link.shown()

    @operator("list the invitations of a domain that can be used")
    def list(self, domain: JID) -> Rows:
        """A row for each, the oldest first."""
        return [
            {
                "id": key[:_SHOWN],
                "for": _purpose(domain, each),
                "inviter": each.inviter or None,
                "uses": each.left,
                "expires": to_stamp(each.expires),
            }
            for key, each in self._ledger.open(self.now()).items()
        ]

    @operator("let nobody use an invitation any more; ID is that of the list")
    async def revoke(self, domain: JID, id: str) -> str:
        """At once, for those as well who have shown it and have no account yet.

        :raises Refused: there is none such.
        """
        found = [key for key, _ in self._ledger.items() if key[:_SHOWN] == id]
        if not found:
            raise Refused(f"{domain} has no invitation {id}; see invitations list")
        await self._ledger.remove(found)
        return f"nobody can use {id} any more"


def _purpose(domain: JID, invitation: Invitation) -> str:
    account = f"{invitation.username}@{domain}" if invitation.username else f"an account at {domain}"
    named = [("a contact", invitation.contact), (account, invitation.account)]
    return " or ".join(name for name, holds in named if holds)
