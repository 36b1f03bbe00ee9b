"""XEP-0484: a client that has logged in gets a token, with which it logs in again in one round trip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, Annotated, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from msgspec import Meta
from twisted.internet.defer import DeferredLock

from jabberd.api import (
    JID,
    LOGIN,
    Duration,
    E,
    Element,
    Keyed,
    Login,
    Module,
    Refused,
    Settings,
    inline,
    operator,
)
from jabberd.xmpp import ht
from jabberd.xmpp.errors import SASLFailure
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from jabberd.interfaces import Security, UserAgent
    from jabberd.xmpp.sasl import Mechanism
    from jabberd.xmpp.scram import ScramKeys

NS: Final = "urn:xmpp:fast:0"
_FAST: Final = f"{{{NS}}}fast"
_REQUEST: Final = f"{{{NS}}}request-token"
_TRUE: Final = ("true", "1")
#: Who has no password to spare: one has no account, the other a certificate, which may be taken away.
_WITHOUT: Final = ("ANONYMOUS", "EXTERNAL")
_HASH: Final = "SHA-256"
_DIGITS: Final = 10  # xs:int


@dataclass(frozen=True)
class Token:
    """What is kept of one token.

    :ivar password: tells whether the account's password is still the one of that time.
    :ivar count: the highest number that the client has given to one of its logins.
    """

    keys: ht.TokenKeys
    issued: datetime
    expires: datetime
    password: bytes
    count: int = -1


@dataclass(frozen=True)
class Tokens:
    """The tokens of one client (§6.1).

    :ivar current: the one it used last.
    :ivar new: one that it was given and has not used yet.
    """

    current: Token | None = None
    new: Token | None = None

    def let_in(self, keys: ScramKeys, now: datetime) -> bool:
        """Whether one of them does, with these keys of the account."""
        there = (each for each in (self.current, self.new) if each is not None)
        return any(each.expires > now and is_of(each.password, keys) for each in there)

    @property
    def expires(self) -> datetime:
        """When the last of them does."""
        return max(each.expires for each in (self.current, self.new) if each is not None)


class Fast(Module, xep=484, version="0.2.0"):
    """Gives clients tokens to log in with."""

    class Config(Settings):
        """How long tokens last.

        :ivar lifetime: of a token; who stays away longer logs in with the password again.
        :ivar renewal: after which a client that comes with a token is given another one.
        :ivar clients: of one account that can have tokens at a time; one more, and the oldest loses its own.
        """

        lifetime: Duration = 21 * 86400.0
        renewal: Duration = 86400.0
        clients: Annotated[int, Meta(ge=1)] = 20

    config: Config

    tokens = Keyed("fast-tokens", of=Tokens)

    async def start(self) -> None:
        """Nobody changes the tokens of a client while somebody else does."""
        self._locks: WeakValueDictionary[tuple[str, str], DeferredLock] = WeakValueDictionary()
        self._shown: WeakKeyDictionary[Login, Token] = WeakKeyDictionary()  # with which they log in

    def inline_features(self, security: Security) -> tuple[Element, ...]:
        """Offer tokens for what the connection can (§3.1)."""
        mechanisms = [E(NS, "mechanism", None, name) for name in ht.offered(security.bindings)]
        return (E(NS, "fast", None, *mechanisms),)

    # -- a client comes with a token ----------------------------------------------------------------

    def mechanism(self, name: str, login: Login) -> Mechanism | None:
        """Judge a token (§3.4)."""
        bindings = login.outlet.security.bindings
        if name not in ht.offered(bindings):
            return None
        asked = login.request.find(_FAST)
        if asked is None or not login.agent.id:
            raise SASLFailure("malformed-request", "a token needs <fast/> and the id of a user-agent")
        check = partial(self._check, login, name, _count(asked.get("count")))
        return ht.HashedToken(name, self.domain.jid, bindings, check)

    async def _check(
        self, login: Login, name: str, count: int | None, username: str, proof: bytes, binding: bytes
    ) -> bytes:
        keys = await login.credentials.keys(username, _HASH)
        owner, client = JID.of(username, self.domain.jid), client_of(login.agent)
        seal = login.agent.id.encode()
        async with self._lock(owner, client):
            tokens = await self.tokens.get(owner, client) or Tokens()
            for token in (tokens.new, tokens.current):
                answer = token and token.keys.mechanism == name and token.keys.answer(proof, binding, seal)
                if token and answer:
                    self._see_that_it_holds(token, keys, count)
                    await self._used(owner, client, tokens, token, count)
                    self._shown[login] = token
                    return answer
        raise SASLFailure("not-authorized")

    def _see_that_it_holds(self, token: Token, keys: ScramKeys, count: int | None) -> None:
        if not keys.genuine:
            raise SASLFailure("not-authorized")
        if token.expires <= self.now() or not is_of(token.password, keys):
            raise SASLFailure("credentials-expired")
        if count is not None and count <= token.count:
            raise SASLFailure("not-authorized", "this count was used before")

    async def _used(self, owner: JID, client: str, tokens: Tokens, token: Token, count: int | None) -> None:
        """An older token is invalid from now on, and so is this one with the same count (§3.5)."""
        counted = token if count is None else replace(token, count=count)
        kept = Tokens(counted, None if token is tokens.new else tokens.new)
        if kept != tokens:
            await self.tokens.put(owner, client, kept)

    # -- a client has logged in ---------------------------------------------------------------------

    @inline(NS, "request-token", at=LOGIN)
    async def requested(self, login: Login, asked: Element) -> Element | None:
        """Give a token to a client that wants one (§3.2, §3.3)."""
        if login.request.find(_FAST) is not None:
            return None  # `came` sees to it
        return await self._issue(login, asked.get("mechanism", ""))

    @inline(NS, "fast", at=LOGIN)
    async def came(self, login: Login, asked: Element) -> Element | None:
        """Take the token from a client that does not want it any more, or renew it (§3.5, §3.6)."""
        wanted = login.request.find(_REQUEST)
        mechanism = "" if wanted is None else wanted.get("mechanism", "")
        if login.client.mechanism in ht.BINDINGS:
            owner, client = JID.of(login.client.username, self.domain.jid), client_of(login.agent)
            if asked.get("invalidate") in _TRUE:
                await self.withdraw(owner, client)
            elif wanted is None and await self._is_due(login, owner, client):
                mechanism = login.client.mechanism
        return await self._issue(login, mechanism)

    async def _is_due(self, login: Login, owner: JID, client: str) -> bool:
        """Whether the token that it showed is old, and still its own: it may have been revoked meanwhile."""
        if not self._is_old(self._shown.get(login)):
            return False
        tokens = await self.tokens.get(owner, client)
        return tokens is not None and self._is_old(tokens.current)

    def _is_old(self, token: Token | None) -> bool:
        return token is not None and token.issued + timedelta(seconds=self.config.renewal) <= self.now()

    async def _issue(self, login: Login, mechanism: str) -> Element | None:
        client = client_of(login.agent)
        possible = ht.offered(login.outlet.security.bindings)
        if mechanism not in possible or not client or login.client.mechanism in _WITHOUT:
            return None
        owner, now = JID.of(login.client.username, self.domain.jid), self.now()
        keys_now = await login.credentials.keys(login.client.username, _HASH)
        if not keys_now.genuine:  # meanwhile the account was deleted
            return None
        password = fingerprint(keys_now)
        secret, keys = ht.made(mechanism, login.agent.id.encode())
        token = Token(keys, now, now + timedelta(seconds=self.config.lifetime), password)
        async with self._lock(owner, client):
            known = await self.tokens.all(owner)
            changes = dict.fromkeys(self._too_many(known, client))
            used = known.get(client, Tokens()).current
            await self.tokens.change(owner, {**changes, client: Tokens(used, token)})
        return E(NS, "token", {"token": secret, "expiry": to_stamp(token.expires)})

    def _too_many(self, known: dict[str, Tokens], client: str) -> list[str]:
        """The clients that lose their tokens when this one gets one."""
        others = sorted((each for each in known if each != client), key=lambda each: known[each].expires)
        expired = [each for each in others if known[each].expires <= self.now()]
        return others[: max(len(expired), len(others) + 1 - self.config.clients)]

    def _lock(self, owner: JID, client: str) -> DeferredLock:
        return self._locks.setdefault((owner, client), DeferredLock())

    # -- for others ---------------------------------------------------------------------------------

    async def holders(self, owner: JID) -> set[str]:
        """The clients that have a token with which they can log in."""
        known = await self.tokens.all(owner)
        keys = await self.domain.credentials.keys(owner.localpart, _HASH) if known else None
        return {each for each, tokens in known.items() if keys and tokens.let_in(keys, self.now())}

    async def withdraw(self, owner: JID, client: str) -> None:
        """Make the tokens of a client invalid."""
        async with self._lock(owner, client):
            await self.tokens.change(owner, {client: None})

    @operator("list the clients of an account that have tokens")
    async def clients(self, jid: JID) -> list[dict[str, str]]:
        """By what `client_of` calls them."""
        known = await self.tokens.all(jid.bare)
        return [{"client": each, "expires": to_stamp(known[each].expires)} for each in sorted(known)]

    @operator("make the tokens of one client of an account invalid, or of all")
    async def revoke(self, jid: JID, client: str | None = None) -> str:
        """They log in with their password, if they know it."""
        known = await self.tokens.all(jid.bare)
        gone = [each for each in known if client in (None, each)]
        if not gone:
            raise Refused(f"there is no token of {client or 'any client'} of {jid.bare}")
        for each in gone:
            await self.withdraw(jid.bare, each)
        return f"{len(gone)} clients of {jid.bare} have no token any more"


def client_of(agent: UserAgent) -> str:
    """What an installation is called here; empty if it does not tell its id, which is not kept."""
    return sha256(agent.id.encode()).hexdigest()[:24] if agent.id else ""


def _count(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise SASLFailure("malformed-request", "a count is a number")
    return int(text)


def is_of(known: bytes, keys: ScramKeys) -> bool:
    """Whether what was known of a password, if anything was, is of the one that these keys are of."""
    return compare_digest(known, fingerprint(keys))


def fingerprint(keys: ScramKeys) -> bytes:
    """Tells one password of an account from the next, and nothing else."""
    return sha256(keys.stored_key).digest()
