"""XEP-0077: accounts that newcomers make for themselves, and what their owners do with them."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, runtime_checkable

from jabberd.api import (
    ACCOUNT,
    DOMAIN,
    IQ,
    JID,
    LOCAL,
    Duration,
    E,
    Element,
    Module,
    Newcomer,
    PasswordChanged,
    Refused,
    Session,
    Settings,
    StanzaError,
    answers,
    newcomers,
)
from jabberd.modules.registration.questions import ANSWER, CHALLENGE, Question, Questions
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.forms import Field, Form, X
from jabberd.xmpp.jid import InvalidJID

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from jabberd.interfaces import Security

NS: Final = "jabber:iq:register"
_FEATURE: Final = "http://jabber.org/features/iq-register"
_CHANGE: Final = f"{NS}:changepassword"
_TAKEN: Final = "that name is taken"
_REMOVE: Final = f"{{{NS}}}remove"

#: Names that people take for the operator's (RFC 2142 among them).
_RESERVED: Final = (
    "abuse",
    "admin",
    "administrator",
    "hostmaster",
    "info",
    "noc",
    "postmaster",
    "root",
    "security",
    "support",
    "webmaster",
    "xmpp",
)


class Filled(NamedTuple):
    """What somebody filled in; empty where they did not."""

    username: str
    password: str
    challenge: str = ""
    answer: str = ""


class Voucher(Protocol):
    """Lets somebody make one account, whether the domain is open or not, and nothing is asked."""

    @property
    def username(self) -> str:
        """The only name that it is for; empty: any."""

    async def create(self, jid: JID, password: str) -> None:
        """Make the account.

        :raises StanzaError: it cannot be made; ``item-not-found``: the voucher does not hold any more.
        """


@runtime_checkable
class Reserves(Protocol):
    """A module that knows for whom some names are."""

    def reserves(self, jid: JID) -> bool:
        """Whether nobody gets that name without a voucher for it."""


@runtime_checkable
class Vouches(Protocol):
    """A module that lets newcomers in."""

    def voucher(self, newcomer: Newcomer) -> Voucher | None:
        """What the newcomer has shown to this module; None: nothing."""


class Registration(Module, xep=77, version="2.4"):
    """Lets owners change their password and remove their account; newcomers make one where that is wanted.

    Passwords are taken over TLS alone.
    """

    features = (NS,)

    class Config(Settings):
        """Who may do what.

        :ivar open: whether newcomers may make an account; ``limits.registrations`` holds them to a rate.
        :ivar changes: whether owners may change their password and remove their account.
        :ivar reserved: localparts that no newcomer gets, beside those of admins of any domain here.
        :ivar instructions: what newcomers are told.
        :ivar questions: each newcomer answers one of them (XEP-0158); none: nothing is asked.
        :ivar answering: how long there is for the answer.
        """

        open: bool = False
        changes: bool = True
        reserved: tuple[str, ...] = _RESERVED
        instructions: str = "Choose a name and a password for your account."
        questions: tuple[Question, ...] = ()
        answering: Duration = 600.0

    config: Config

    async def start(self) -> None:
        """Nobody has been asked yet."""
        self._asking = Questions(self.config.questions, self.config.answering)

    @property
    def _questions(self) -> Questions:
        """Those of the settings of now; with other ones, nobody has been asked yet."""
        if not self._asking.are(self.config.questions, self.config.answering):
            self._asking = Questions(self.config.questions, self.config.answering)
        return self._asking

    # -- newcomers ------------------------------------------------------------------------------------

    def newcomer_features(self, security: Security) -> tuple[Element, ...]:
        """See `jabberd.api.Module`."""
        if not security.encrypted or not (self.config.open or self._vouching):
            return ()
        return (E(_FEATURE, "register"),)

    @newcomers.get(NS, "query")
    def ask(self, newcomer: Newcomer) -> Element:
        """Tell what to fill in: fields and a form (§3.1); with a question the form alone (XEP-0158 §4)."""
        voucher = self._voucher(newcomer)
        if voucher is None and not self.config.open:
            raise StanzaError("service-unavailable")
        told, asked = self.config.instructions, newcomer.stanza
        username = voucher.username if voucher else ""
        challenge: tuple[Field, ...] = ()
        fields = [E(NS, "instructions", {}, told)]
        if self._questions and voucher is None:
            challenge = self._questions.put(asked.lang, asked.id, self.domain.clock.seconds())
        else:
            fields += [E(NS, "username", {}, *filter(None, [username])), E(NS, "password")]
        return E(NS, "query", {}, *fields, _form(told, username, challenge).element())

    @property
    def _vouching(self) -> Sequence[Vouches]:
        return self.domain.having(Vouches)

    def _voucher(self, newcomer: Newcomer) -> Voucher | None:
        shown = (each.voucher(newcomer) for each in self._vouching)
        return next((each for each in shown if each is not None), None)

    @newcomers.set(NS, "query")
    async def register(self, newcomer: Newcomer) -> None:
        """Make an account (§3.1).

        :raises StanzaError: ``not-allowed``, ``not-authorized``: not here, or not without TLS;
            ``not-acceptable``: the name or the password cannot be used; ``conflict``: the name is taken;
            see also `Questions.answered`.
        """
        if newcomer.payload.find(_REMOVE) is not None:
            raise StanzaError("unexpected-request", "log in first")  # §3.2
        voucher = self._voucher(newcomer)
        if voucher is None and not self.config.open:
            raise StanzaError("not-allowed", "nobody can make an account here without an invitation")
        _see_to_tls(newcomer.outlet.security)
        filled = _filled(newcomer.payload, NS)
        jid = self._usable(filled, voucher.username if voucher else "")
        with _one_conflict():
            if voucher is not None:
                await voucher.create(jid, filled.password)
            else:
                with self._answered(filled):
                    await self._create(jid, filled.password)
        self.log.info("{jid!r} was made from {address}", jid=jid, address=newcomer.outlet.address)

    def _usable(self, filled: Filled, reserved: str) -> JID:
        """The address of the account that a newcomer wants.

        :param reserved: the only name that this one can have; empty: any that nobody else can.
        """
        if not filled.username or not filled.password:
            raise StanzaError("not-acceptable", "a name and a password are needed")
        jid = self._named(filled.username)
        if jid is None:
            raise StanzaError("not-acceptable", "that name cannot be used")
        if reserved:
            if jid.localpart != reserved:
                raise StanzaError("not-acceptable", f"the invitation is for {reserved}")
            return jid
        if any(each.reserves(jid) for each in self.domain.having(Reserves)):
            raise StanzaError("conflict", _TAKEN)
        if jid.localpart in self.config.reserved or jid in self.domain.operators.anywhere:
            raise StanzaError("conflict", _TAKEN)
        return jid

    def _answered(self, filled: Filled) -> AbstractContextManager[None]:
        if not self._questions:
            return nullcontext()
        return self._questions.answered(filled.challenge, filled.answer, self.domain.clock.seconds())

    async def _create(self, jid: JID, password: str) -> None:
        try:
            await self.domain.registrar.create(jid, password, registered=True)
        except Refused as why:
            raise StanzaError(why.condition, str(why)) from None

    def _named(self, username: str) -> JID | None:
        try:
            return JID.of(username, self.domain.jid)
        except InvalidJID:
            return None

    # -- owners ---------------------------------------------------------------------------------------

    @answers.get(NS, "query", to=ACCOUNT)
    @answers.get(NS, "query", to=DOMAIN, by=LOCAL)
    async def show(self, request: IQ) -> Element:
        """Tell that there is an account, and what its owner may do with it (§3.1)."""
        session = await self._session(request)
        may = (
            "Fill in another password to change yours."
            if self.config.changes
            else "Nothing can be changed here."
        )
        owner = E(NS, "username", {}, session.jid.localpart)
        return E(
            NS, "query", {}, E(NS, "registered"), E(NS, "instructions", {}, may), owner, E(NS, "password")
        )

    @answers.set(NS, "query", to=ACCOUNT)
    @answers.set(NS, "query", to=DOMAIN, by=LOCAL)
    async def change(self, request: IQ) -> None:
        """Change the password (§3.3), or remove the account (§3.2).

        :raises StanzaError: ``not-allowed``: owners may not; see also the two.
        """
        session = await self._session(request)
        if not self.config.changes:
            raise StanzaError("not-allowed")
        if request.payload.find(_REMOVE) is None:
            await self._change_password(session, request.payload)
        elif len(request.payload) > 1:
            raise StanzaError("bad-request", "<remove/> stands alone")
        else:
            await self._remove(session, request)

    async def _session(self, request: IQ) -> Session:
        """The session that asks.

        :raises StanzaError: ``registration-required``: it has no account that lasts.
        """
        account = await self.domain.account(request.sender.bare)
        session = account.sessions.get(request.sender.resourcepart)
        if session is None or account.anonymous:
            raise StanzaError("registration-required")
        return session

    async def _change_password(self, session: Session, payload: Element) -> None:
        """Replace the password.

        :raises StanzaError: ``not-authorized``: there is no TLS; ``bad-request``: something is missing;
            ``forbidden``: it is somebody else's; ``not-acceptable``: the password cannot be used.
        """
        _see_to_tls(session.outlet.security)
        username, password, *_ = _filled(payload, _CHANGE)
        if not username or not password:
            raise StanzaError("bad-request", "the name and the new password are needed")
        if username != session.jid.bare and self._named(username) != session.jid.bare:
            raise StanzaError("forbidden", "that is not your account")
        try:
            await self.domain.registrar.set_password(session.jid.bare, password)
        except Refused as why:
            raise StanzaError(why.condition, str(why)) from None
        self.domain.fire(PasswordChanged(session.account, session))

    async def _remove(self, session: Session, request: IQ) -> None:
        """Remove the account, tell its client, and end its session."""
        try:
            await self.domain.registrar.delete(session.jid.bare, last=session)
        except Refused as why:
            raise StanzaError(why.condition, str(why)) from None
        session.send(request.stanza.reply())
        session.close(StreamError("not-authorized", "the account was removed"))


@contextmanager
def _one_conflict() -> Iterator[None]:
    """Nobody learns why a name cannot be had: that there is an account, that there was one, or will be."""
    try:
        yield
    except StanzaError as why:
        if why.condition != "conflict":
            raise
        raise StanzaError("conflict", _TAKEN) from None


def _see_to_tls(security: Security) -> None:
    if not security.encrypted:
        raise StanzaError("not-authorized", "passwords are taken over TLS only")


def _form(instructions: str, username: str, challenge: tuple[Field, ...]) -> Form:
    fields = (
        *challenge,
        Field("username", label="Name", values=tuple(filter(None, [username])), required=True),
        Field("password", "text-private", "Password", required=True),
    )
    return Form(NS, fields, "A new account", instructions)


def _filled(query: Element, kind: str) -> Filled:
    """What a form holds that was filled in, or else the fields of old (§5).

    :param kind: of form.
    :raises StanzaError: ``bad-request``: it is another form.
    """
    form = query.find(X)
    if form is None:
        return Filled(*(query.findtext(f"{{{NS}}}{each}") or "" for each in ("username", "password")))
    fields = (Field("username"), Field("password", "text-private"), CHALLENGE, ANSWER)
    read = Form(kind, fields).read(form)
    return Filled(*(read.text(each.var) for each in fields))
