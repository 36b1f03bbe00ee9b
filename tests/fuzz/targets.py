"""What a fuzzer calls with bytes: each target raises for whatever must not be, and for nothing else."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred

from jabberd.interfaces import Security
from jabberd.xmpp import ns
from jabberd.xmpp.boundaries import Limits
from jabberd.xmpp.errors import SASLFailure, StanzaError, StreamError
from jabberd.xmpp.ht import BINDINGS, HashedToken, made
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.parser import Event, Header, Nonza, StreamEnd, StreamParser
from jabberd.xmpp.sasl import Challenge, Mechanism, Success, decode_base64, mechanism, offered
from jabberd.xmpp.scram import derive, stand_in
from jabberd.xmpp.stanza import Stanza, check_iq

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from jabberd.xmpp.scram import ScramKeys

_LIMITS: Final = Limits(size=2048, tag=512, depth=16, elements=64)
_SECURITY: Final = Security("TLSv1.3", "TLS_AES_128_GCM_SHA256", "", {"tls-exporter": bytes(32)})
_OFFERED: Final = offered(_SECURITY, external=True, anonymous=True)
_SEAL: Final = b"the id of a client"
_TOKENS: Final = {name: made(name, _SEAL)[1] for name in BINDINGS}
_TOKENS_FROM: Final = 0xE0  # the first byte of what is for one of those
_PASSWORD: Final = "secret"
_KEYS: Final = {name: derive(_PASSWORD, name, b"salt" * 4, 4096) for name in ("SHA-1", "SHA-256", "SHA-512")}


# --- the stream parser ---------------------------------------------------------------------------


def stream(data: bytes) -> None:
    """Whatever comes in whatever pieces gives the same events, and every stanza means what it says.

    The first byte says whose stream it is, the second how long the pieces are.
    """
    content_ns = ns.SERVER if data[:1] > b"\x7f" else ns.CLIENT
    size, text = max(1, sum(data[1:2])), data[2:]
    whole, pieces = StreamParser(content_ns, _LIMITS), StreamParser(content_ns, _LIMITS)
    events = whole.feed(text)
    cut = [event for at in range(0, len(text), size) for event in pieces.feed(text[at : at + size])]
    assert _alike(events, cut), (events, cut)
    assert all(not isinstance(event, StreamError | StreamEnd) for event in events[:-1])
    assert len(events) < 2 or all(
        isinstance(event, Header) == (not at) for at, event in enumerate(events[:-1])
    )
    for event in events:
        _look_at(event)


def _alike(events: list[Event], cut: list[Event]) -> bool:
    """Whether these are the same.

    Of two things that are wrong either may be met first, and that a tag gets too big is noticed a little
    later when it comes in pieces.
    """
    both = [events, cut]
    if "policy-violation" in {getattr(each, "condition", "") for some in both for each in some[-1:]}:
        both = [[each for each in some if not isinstance(each, StreamError)] for some in both]
    one, other = ([*map(_shown, some)] for some in both)
    return one == other


def _shown(event: object) -> object:
    if isinstance(event, StreamError):
        return event.condition
    if isinstance(event, Stanza):
        return event.name, dict(event.attrs), event.children, event.payload
    if isinstance(event, Nonza):
        return event.name, event.attrs, event.raw
    return event if isinstance(event, Header) else type(event)


def _look_at(event: object) -> None:
    if isinstance(event, Nonza):
        event.element()
    if isinstance(event, Stanza):
        element = event.element()
        assert tuple(child.tag for child in element) == event.children
        assert b"".join(piece for _, piece in event.pieces()) == event.payload
        assert event.select(()).children == event.without(event.children).children == ()
        for content_ns in (ns.CLIENT, ns.SERVER):
            _forward(event, content_ns)
        try:
            _ = event.to, event.sender
            if event.name == "iq":
                check_iq(event)
        except (InvalidJID, StanzaError):
            pass


def _forward(stanza: Stanza, content_ns: str) -> None:
    """What we write another server reads as the same stanza."""
    opening = f"<stream:stream xmlns='{content_ns}' xmlns:stream='{ns.STREAM}' version='1.0'>".encode()
    reader = StreamParser(content_ns, Limits())
    [_, again] = reader.feed(opening + stanza.to_scope(content_ns))
    assert isinstance(again, Stanza), again
    assert (again.name, dict(again.attrs)) == (stanza.name, dict(stanza.attrs))
    assert again.children == stanza.children


# --- SASL ----------------------------------------------------------------------------------------


class _Accounts:
    """One account: romeo, whose password is in `_PASSWORD`."""

    async def keys(self, username: str, hash_name: str) -> ScramKeys:
        return _KEYS[hash_name] if username == "romeo" else stand_in(b"x" * 16, username, hash_name, 4096)

    async def check(self, username: str, password: str) -> bool:
        return (username, password) == ("romeo", _PASSWORD)


def sasl(data: bytes) -> None:
    """Whatever a client says ends in a challenge, a failure, or a success that it deserves.

    The first byte chooses the mechanism; lines are the messages, in base64 if there is a ``=`` ahead.
    """
    run = _run(sum(data[:1]))
    step: Callable[[Any], Any] = run.begin
    for line in data[1:].split(b"\n")[:4]:
        try:
            said = decode_base64(line[1:].decode("latin-1")) if line[:1] == b"=" else line
        except SASLFailure:
            break
        outcome = _outcome(step(said))
        step = run.respond
        if isinstance(outcome, Success):
            assert outcome.username in {"romeo", "juliet"} or run.name == "ANONYMOUS", outcome
            assert not run.name.startswith(("SCRAM", "HT")), "nobody guesses a proof"
            assert run.name != "PLAIN" or _PASSWORD.encode() in (said or b"")
        if not isinstance(outcome, Challenge):
            break


def _run(number: int) -> Mechanism:
    if number >= _TOKENS_FROM:
        name = [*_TOKENS][number % len(_TOKENS)]
        return HashedToken(name, "montague.lit", _SECURITY.bindings, partial(_checked, name))
    return mechanism(
        _OFFERED[number % len(_OFFERED)],
        _OFFERED,
        security=_SECURITY,
        domain="montague.lit",
        credentials=_Accounts(),
        identities=[JID("romeo@montague.lit"), JID("juliet@montague.lit")],
    )


async def _checked(name: str, username: str, proof: bytes, binding: bytes) -> bytes:
    answer = _TOKENS[name].answer(proof, binding, _SEAL)
    if answer is None or username != "romeo":
        raise SASLFailure("not-authorized")
    return answer


def _outcome(work: Coroutine[Any, Any, Challenge | Success]) -> object:
    outcomes: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(outcomes.append)
    [outcome] = outcomes
    error = getattr(outcome, "value", None)
    if error is not None and not isinstance(error, SASLFailure):
        raise error
    return outcome


# --- addresses -----------------------------------------------------------------------------------


def jid(data: bytes) -> None:
    """Any text is an address, which stays what it is when it is read again, or an invalid one."""
    try:
        text = data.decode()
        address = JID.parse(text)
    except (UnicodeDecodeError, InvalidJID):
        return
    assert JID.parse(str(address)) == address
    assert JID.of(address.localpart, address.domainpart, address.resourcepart) == address
    assert all(
        len(part.encode()) < 1024 for part in (address.localpart, address.domainpart, address.resourcepart)
    )
    assert address.bare.with_resource(address.resourcepart or "x").bare == address.bare


TARGETS: Final = {each.__name__: each for each in (stream, sasl, jid)}
