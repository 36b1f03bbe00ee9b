"""XEP-0494: an account's owner sees which clients have access to it, and takes it from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Final, cast

from msgspec import Meta

from jabberd.api import (
    ACCOUNT,
    IQ,
    JID,
    Account,
    Duration,
    E,
    Element,
    Keyed,
    Module,
    PasswordChanged,
    Session,
    SessionClosed,
    SessionOpened,
    Settings,
    StanzaError,
    answers,
    on,
)
from jabberd.modules.fast import Fast, client_of, fingerprint, is_of
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from jabberd.interfaces import Identity
    from jabberd.xmpp.scram import ScramKeys

NS: Final = "urn:xmpp:cam:0"
_HASH: Final = "SHA-256"
_PASSWORDS: Final = ("SCRAM-", "PLAIN")
_FRESH: Final = timedelta(hours=1)  # what was written so lately is not written again


@dataclass(frozen=True, slots=True)
class Seen:
    """A client that was here, by what `jabberd.modules.fast` calls it.

    :ivar password: tells with which password it was, the last time that it showed one.
    """

    software: str
    device: str
    first: datetime
    last: datetime
    password: bytes = b""


class ClientAccess(Module, xep=494, version="0.1.0"):
    """Lists the clients of an account, and revokes their access."""

    requires = ("fast",)
    account_features = (NS,)

    class Config(Settings):
        """What is kept of clients.

        :ivar remembered: how long after it was here last; longer if it has a token that is valid.
        :ivar clients: of one account at most; one more, and the one that was here longest ago is forgotten,
            and its token void.
        """

        remembered: Duration = 90 * 86400.0
        clients: Annotated[int, Meta(ge=1)] = 50

    config: Config

    seen = Keyed("clients", of=Seen, resident=True)  # each login and each goodbye asks for them

    # -- who is here ----------------------------------------------------------------------------------

    @on(SessionOpened)
    def came(self, event: SessionOpened) -> Awaitable[None] | None:
        """Remember a client that tells who it is."""
        return self._write(event.account.jid, event.session.client, now=True)

    @on(SessionClosed)
    def left(self, event: SessionClosed) -> Awaitable[None] | None:
        """Remember until when it was here."""
        if not event.account.exists:
            return None
        return self._write(event.account.jid, event.session.client, now=False)

    @on(PasswordChanged)
    async def knows(self, event: PasswordChanged) -> None:
        """Who has set the password knows it, with whatever it had logged in."""
        owner, name = event.account.jid, client_of(event.session.client.agent)
        known = await self.seen.get(owner, name)
        if known is not None:
            await self.seen.put(owner, name, replace(known, password=fingerprint(await self._keys(owner))))

    def _write(self, owner: JID, client: Identity, *, now: bool) -> Awaitable[None] | None:
        name = client_of(client.agent)
        return self._written(owner, client, name, now=now) if name and not client.anonymous else None

    async def _written(self, owner: JID, client: Identity, name: str, *, now: bool) -> None:
        agent = client.agent
        moment = self.now()
        known = await self.seen.get(owner, name)
        if known is None and not now:  # it was revoked meanwhile
            return
        password = known.password if known else b""
        if now and client.mechanism.startswith(_PASSWORDS):  # at its goodbye the password may be another
            password = fingerprint(await self._keys(owner))
        first = known.first if known else moment
        fresh = Seen(agent.software, agent.device, first, moment, password)
        if known is None:
            await self._make_room(owner)
        if known is None or replace(known, last=moment) != fresh or moment - known.last >= _FRESH:
            await self.seen.put(owner, name, fresh)

    async def _make_room(self, owner: JID) -> None:
        known = await self._known(owner)
        oldest = sorted(known, key=lambda each: known[each].last)
        gone = oldest[: max(0, len(known) + 1 - self.config.clients)]
        for each in gone:  # who is not listed has no access (§6)
            await self._fast.withdraw(owner, each)
        await self.seen.change(owner, dict.fromkeys(gone))

    async def _known(self, owner: JID) -> dict[str, Seen]:
        """The clients that are remembered; the others are forgotten by this, unless they have tokens (§6)."""
        known = await self.seen.all(owner)
        since = self.now() - timedelta(seconds=self.config.remembered)
        old = {each for each, seen in known.items() if seen.last < since}
        gone = old - await self._fast.holders(owner) if old else old
        if gone:
            await self.seen.change(owner, dict.fromkeys(gone))
        return {each: seen for each, seen in known.items() if each not in gone}

    async def _keys(self, owner: JID) -> ScramKeys:
        return await self.domain.credentials.keys(owner.localpart, _HASH)

    # -- what the owner asks ----------------------------------------------------------------------------

    @answers.get(NS, "list", to=ACCOUNT)
    async def clients(self, request: IQ) -> Element:
        """Who has access (§4.1)."""
        account = _account(request)
        known = await self._known(account.jid)
        keys = await self._keys(account.jid)
        tokens = await self._fast.holders(account.jid)
        here = {client_of(session.client.agent): session for session in account.sessions.values()}
        listed = [
            _client(id, seen, here.get(id), password=is_of(seen.password, keys), token=id in tokens)
            for id, seen in sorted(known.items(), key=lambda each: each[1].last, reverse=True)
        ]
        return E(NS, "clients", None, *listed, *self._nameless(account))

    def _nameless(self, account: Account) -> list[Element]:
        """Those who are here and did not tell their id."""
        nameless = [each for each in account.sessions.values() if not each.client.agent.id]
        return [
            _client(
                _name(each),
                Seen("", "", since := datetime.fromtimestamp(each.since, UTC), since),
                each,
                password=each.client.mechanism.startswith(_PASSWORDS),
                token=False,
            )
            for each in nameless
        ]

    @answers.set(NS, "revoke", to=ACCOUNT)
    async def revoke(self, request: IQ) -> None:
        """Take the access from a client: its sessions end, its tokens are void (§4.2).

        Who knows the password may come again: that is told, as an error.
        """
        account = _account(request)
        wanted = request.payload.get("id", "")
        known = await self._known(account.jid)
        sessions = [each for each in account.sessions.values() if _name(each) == wanted]
        if wanted not in known and not sessions:
            raise StanzaError("item-not-found")
        knows = any(each.client.mechanism.startswith(_PASSWORDS) for each in sessions)
        if wanted in known:
            knows = is_of(known[wanted].password, await self._keys(account.jid))
            await self._fast.withdraw(account.jid, wanted)
            if not knows:
                await self.seen.change(account.jid, {wanted: None})
        for session in sessions:
            if session.jid != request.sender:  # which hears the answer, and may leave then
                session.close(StreamError("not-authorized", "your access was revoked"))
        if knows:
            raise StanzaError("service-unavailable", application=(NS, "password-reset-required"))

    @property
    def _fast(self) -> Fast:
        return cast("Fast", self.domain.module("fast"))


def _account(request: IQ) -> Account:
    assert request.account is not None
    if request.account.anonymous:
        raise StanzaError("service-unavailable")
    return request.account


def _name(session: Session) -> str:
    """What a client is called in the list: something of its own, if it does not tell its id."""
    return client_of(session.client.agent) or sha256(session.jid.encode()).hexdigest()[:24]


def _client(id: str, seen: Seen, session: Session | None, *, password: bool, token: bool) -> Element:
    told = {"software": seen.software, "device": seen.device}
    agent = [E(NS, name, None, text) for name, text in told.items() if text]
    auth = [E(NS, name) for name, holds in (("password", password), ("fast", token)) if holds]
    return E(
        NS,
        "client",
        {"connected": "false" if session is None else "true", "id": id, "type": "session"},
        E(NS, "first-seen", None, to_stamp(seen.first)),
        E(NS, "last-seen", None, to_stamp(seen.last)),
        E(NS, "auth", None, *auth),
        E(NS, "permission", {"status": "unrestricted"}),
        *([E(NS, "user-agent", None, *agent)] if agent else []),
    )
