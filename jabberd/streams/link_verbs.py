"""What operators can do with the links to and from other servers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jabberd.api import JID, Refused, operator
from jabberd.streams.connect import RemoteServerError
from jabberd.streams.outgoing import OutgoingStream
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jabberd.streams.federation import Federation
    from jabberd.streams.incoming import IncomingStream
    from jabberd.streams.link import Link, Setback
    from jabberd.streams.managed import ManagedStream
    from jabberd.streams.servers import ServerFactory

__all__ = ["LinkVerbs", "outlook"]

Rows = list[dict[str, object]]


class LinkVerbs:
    """``links ...``.  A domain of theirs says which links are meant, both ways and of all our domains."""

    def __init__(self, federation: Federation, servers: ServerFactory) -> None:
        self._federation = federation
        self._servers = servers

    @operator("list the links to and from other servers, or those with one domain")
    def list(self, domain: JID | None = None) -> Rows:
        """A row for each pair of domains and direction.

        ``state`` of a link ``out`` is `jabberd.streams.link`'s; ``in`` it is ``up``, or ``opening`` before
        the other server has proved who it is.  ``proof`` is how we proved ourselves (out) or they did (in).
        ``queue`` counts the stanzas that wait for a link.  ``bidi``: stanzas go both ways on that stream, and
        so it is listed twice (XEP-0288).
        """
        rows = [*map(_out, self._links(domain)), *self._incoming(domain)]
        return sorted(rows, key=lambda row: (str(row["theirs"]), str(row["ours"]), str(row["way"])))

    @operator("close the links with a domain, both ways; what waits goes back")
    def close(self, domain: JID) -> str:
        """The next stanza opens a new one.

        :raises Refused: there is none.
        """
        links, streams = list(self._links(domain)), list(self._streams(domain))
        if not links and not streams:
            raise Refused(f"there is no link with {domain}")
        for link in links:
            link.close(StreamError("reset"))
            if link.stream is None:
                link.cut()
        for stream in streams:
            stream.close(StreamError("reset"))
        return f"closed {len(links)} out, {len(streams)} in"

    @operator("open a link that rests after a failure, now")
    def retry(self, domain: JID) -> str:
        """What came of it, `list` and `why` will tell.

        :raises Refused: there is none.
        """
        links = list(self._links(domain))
        if not links:
            raise Refused(f"there is no link to {domain}; the next stanza makes one")
        for link in links:
            link.retry()
        return ", ".join(f"{link} is {link.state}" for link in links)

    @operator("show what links may hold, and what they do")
    def limits(self) -> Rows:
        """A row for each of these settings in ``[federation]``, and how near the fullest link is to it.

        Ages are in seconds, sizes in bytes.
        """
        federation, links = self._federation, [*self._federation.links.values()]
        clock = federation.clock.seconds()
        now = {
            "queue": max((link.waiting for link in links), default=0),
            "queue_size": max((link.waiting_size for link in links), default=0),
            "queue_age": round(
                max((clock - link.oldest for link in links if link.oldest is not None), default=0)
            ),
            "unacknowledged": max((link.unacknowledged for link in links), default=0),
            "homeless_size": federation.homeless_size,
            "links": len(links),
            "unfinished": federation.most_unfinished,
            "verifications": federation.verifying,
        }
        allowed = federation.settings
        return [{"limit": name, "allowed": getattr(allowed, name), "now": now[name]} for name in now]

    @operator("tell why the last link to a domain failed, and what was tried")
    def why(self, domain: JID) -> Rows:
        """For each pair that failed: when, how often in a row, the reason, all places that were tried.

        :raises Refused: none has failed, as far as is remembered.
        """
        known: dict[tuple[str, str], Setback] = {**self._federation.setbacks}
        known |= {pair: link.setback for pair, link in self._federation.links.items() if link.setback}
        rows = [self._reason(pair, known[pair]) for pair in sorted(known) if pair[1] == domain]
        if not rows:
            raise Refused(f"no failure of a link to {domain} is remembered")
        return rows

    def _reason(self, pair: tuple[str, str], setback: Setback) -> dict[str, object]:
        link = self._federation.links.get(pair)
        error, cause = setback.error, setback.error.__cause__
        tried = [str(each) for each in cause.attempts] if isinstance(cause, RemoteServerError) else []
        why = (
            (cause.why or "nothing that was tried works")
            if isinstance(cause, RemoteServerError)
            else error.why
        )
        return {
            "ours": pair[0],
            "theirs": pair[1],
            "at": _stamp(setback.at),
            "failures in a row": setback.count,
            "condition": error.condition,
            "why": why,
            "tried": tried,
            "now": link.state if link else "no link",
            "next attempt in": round(link.rest, 1) if link and link.rest else None,
        }

    def _links(self, domain: JID | None) -> Iterator[Link]:
        for (_, theirs), link in [*self._federation.links.items()]:
            if domain in (None, theirs):
                yield link

    def _streams(self, domain: JID) -> Iterator[IncomingStream]:
        for stream in [*self._servers.streams]:
            if any(theirs == domain for _, theirs in stream.pairs):
                yield stream

    def _incoming(self, domain: JID | None) -> Iterator[dict[str, object]]:
        for stream in self._servers.streams:
            for (ours, theirs), proof in stream.pairs.items():
                if domain in (None, theirs):
                    yield _in(stream, ours, theirs, proof)
            if not stream.pairs and domain is None:
                yield _in(stream, None, None, None)
        for link in self._links(domain):
            if isinstance(link.stream, OutgoingStream):
                for (ours, theirs), proof in link.stream.pairs.items():
                    yield _in(link.stream, ours, theirs, proof)


def outlook(federation: Federation, ours: JID, theirs: JID) -> str:
    """What would become of a stanza between these domains now, in one line."""
    link = federation.links.get((ours, theirs))
    if not federation.terms.rules.allow(ours, theirs):
        return f"answered with not-allowed: an operator keeps {ours} from talking to {theirs}"
    if link is None:
        return "there is no link yet; the stanza opens one"
    if link.state == "resting" and link.failure is not None:
        wait = f"it waits {link.rest:.1f} s" if link.failure.passing else "it goes back at once"
        return f"the {link} rests after a failure ({link.failure.why}); {wait}"
    return f"the {link} is {link.state}, and {link.waiting} stanzas wait for it"


def _out(link: Link) -> dict[str, object]:
    stream = link.stream
    return {
        "theirs": link.pair.theirs,
        "way": "out",
        "ours": link.pair.ours,
        "state": link.state,
        "proof": stream and stream.proof,
        "queue": link.waiting,
        **_connection(stream),
        "since": _stamp(link.since),
    }


def _in(stream: ManagedStream, ours: str | None, theirs: str | None, proof: str | None) -> dict[str, object]:
    return {
        "theirs": theirs,
        "way": "in",
        "ours": ours,
        "state": "closing" if stream.ended else "up" if proof else "opening",
        "proof": proof,
        "queue": None,
        **_connection(stream),
        "since": _stamp(stream.since),
    }


def _connection(stream: ManagedStream | None) -> dict[str, object]:
    if stream is None:
        return {"bidi": None, "address": None, "tls": None, "cipher": None}
    security = stream.security
    return {
        "bidi": stream.bidi,
        "address": stream.address,
        "tls": security.version or None,
        "cipher": security.cipher or None,
    }


def _stamp(seconds: float) -> str:
    return to_stamp(datetime.fromtimestamp(seconds, UTC))
