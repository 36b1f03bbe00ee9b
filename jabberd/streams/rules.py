"""Which other domains ours talk to: allowed and denied by operators, live, and kept in the storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from jabberd.api import JID, Refused, operator
from jabberd.streams.s2s import domain_of
from jabberd.xmpp.errors import StreamError

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from jabberd.interfaces import Keyed, Storage
    from jabberd.streams.federation import Federation
    from jabberd.streams.servers import ServerFactory

__all__ = ["RuleVerbs", "load", "store_of"]

Rows = list[dict[str, str]]

_OWNER: Final = "localhost"  # of all rules, which must be known before anybody connects


class RuleVerbs:
    """``federation ...``: rules, each for a domain of ours and others' domains.

    The others are one domain, ``*.example.org`` for all below it, or ``*``.  The rule that says most
    holds: that for the domain itself, then those for what it is below, then ``*``; without any they talk.
    """

    def __init__(self, federation: Federation, servers: ServerFactory, store: Keyed[bool]) -> None:
        self._federation = federation
        self._servers = servers
        self._rules = federation.terms.rules
        self._store = store

    @operator("let a domain of ours talk to another domain, *.DOMAIN or *")
    async def allow(self, domain: JID, peer: str) -> str:
        """From now on, and after a restart."""
        return await self._set(domain, peer, "allow")

    @operator("keep a domain of ours from talking to another domain, *.DOMAIN or *")
    async def deny(self, domain: JID, peer: str) -> str:
        """From now on, and after a restart.  What links there are end; what waits goes back."""
        return await self._set(domain, peer, "deny")

    @operator("take back an allow or a deny")
    async def forget(self, domain: JID, peer: str) -> str:
        """What then holds, `list` tells.

        :raises Refused: there is no such rule.
        """
        pattern = _pattern(peer)
        if (domain, pattern) not in self._rules.table:
            raise Refused(f"there is no rule of {domain} for {pattern}")
        await self._store.change(_OWNER, {f"{domain} {pattern}": None})
        del self._rules.table[domain, pattern]
        self._end_what_is_denied()
        return f"{domain} has no rule for {pattern} any more"

    @operator("list what was allowed and denied, for all our domains or one")
    def list(self, domain: JID | None = None) -> Rows:
        """A row for each rule."""
        return [
            {"domain": ours, "peer": pattern, "rule": "allow" if allowed else "deny"}
            for (ours, pattern), allowed in sorted(self._rules.table.items())
            if domain in (None, ours)
        ]

    async def _set(self, domain: JID, peer: str, rule: Literal["allow", "deny"]) -> str:
        if self._federation.terms.hosted(domain) is None:
            raise Refused(f"{domain} is not hosted here")
        pattern, allowed = _pattern(peer), rule == "allow"
        await self._store.put(_OWNER, f"{domain} {pattern}", allowed)
        self._rules.table[domain, pattern] = allowed
        ended = self._end_what_is_denied()
        return f"{domain} {'talks' if allowed else 'does not talk'} to {pattern}" + (
            f"; {ended} link{'' if ended == 1 else 's'} ended" if ended else ""
        )

    def _end_what_is_denied(self) -> int:
        """Both ways; how many links that were."""
        links = [link for pair, link in self._federation.links.items() if not self._rules.allow(*pair)]
        streams = [
            stream
            for stream in self._servers.streams
            if not all(self._rules.allow(*pair) for pair in stream.pairs)
        ]
        for link in links:
            link.close(StreamError("policy-violation"))
            if link.stream is None:
                link.cut()
        for stream in streams:
            stream.close(StreamError("policy-violation", "this domain does not talk to yours"))
        return len(links) + len(streams)


def store_of(storage: Storage) -> Keyed[bool]:
    """Where rules are kept."""
    return storage.keyed("federation", bool)


def load(store: Keyed[bool]) -> Deferred[dict[tuple[str, str], bool]]:
    """What is kept, as `jabberd.streams.proof.Rules` takes it."""
    return store.all(_OWNER).addCallback(
        lambda rules: {
            (ours, pattern): allowed
            for key, allowed in rules.items()
            for ours, _, pattern in [key.partition(" ")]
        }
    )


def _pattern(text: str) -> str:
    """As it is kept.

    :raises Refused: it is none.
    """
    if text == "*":
        return text
    below = "*." if text.startswith("*.") else ""
    domain = domain_of(text.removeprefix("*."))
    if domain is None:
        raise Refused(f"{text!r} is not a domain; write it like evil.example, *.evil.example or *")
    return below + domain
