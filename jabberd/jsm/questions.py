"""Questions that a domain asks others: each is answered, refused, or given up."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, TypeVar

from twisted.internet.defer import Deferred, fail

from jabberd.xmpp.element import E, split
from jabberd.xmpp.errors import STANZA_CONDITIONS, StanzaError
from jabberd.xmpp.ns import CLIENT, STANZA_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from jabberd.xmpp.jid import JID
    from jabberd.xmpp.stanza import Stanza

T = TypeVar("T")

_MOST: Final = 5_000  #: that wait for an answer
_TYPES: Final = frozenset({"auth", "cancel", "continue", "modify", "wait"})
_PREFIX: Final = f"{{{STANZA_ERRORS}}}"


class Questions:
    """Those of one domain that wait for an answer.

    :param route: sends a question on its way.
    """

    def __init__(self, clock: IReactorTime, route: Callable[[Stanza], object]) -> None:
        self._clock = clock
        self._route = route
        self._waiting: dict[tuple[str, JID | None], Deferred[Stanza]] = {}

    def ask(self, question: Stanza, seconds: float) -> Deferred[Stanza]:
        """See `jabberd.api.Domain.ask`."""
        if len(self._waiting) >= _MOST:
            return fail(StanzaError("resource-constraint", "too many questions wait for their answers"))
        key = secrets.token_hex(8), question.to
        answer: Deferred[Stanza] = Deferred()
        self._waiting[key] = answer
        timer = self._clock.callLater(seconds, self._give_up, key)
        self._route(question.with_attrs(id=key[0]))
        return answer.addBoth(_stopped, timer)

    def answered(self, stanza: Stanza) -> None:
        """An iq came that answers something: perhaps one of these; only whom we asked can answer it."""
        answer = self._waiting.pop((stanza.id, stanza.sender), None)
        if answer is None:
            return
        if stanza.type == "result":
            answer.callback(stanza)
        else:
            answer.errback(_error(stanza))

    def _give_up(self, key: tuple[str, JID | None]) -> None:
        self._waiting.pop(key).errback(StanzaError("remote-server-timeout"))

    def end(self) -> None:
        """Give all up."""
        for key in list(self._waiting):
            self._give_up(key)


def _stopped(outcome: T, timer: IDelayedCall) -> T:
    if timer.active():
        timer.cancel()
    return outcome


def _error(stanza: Stanza) -> StanzaError:
    """What an error stanza says (RFC 6120 §8.3); an unknown condition is an undefined one."""
    found = stanza.child(f"{{{CLIENT}}}error")
    error = E(CLIENT, "error") if found is None else found
    known = [name for child in error if (name := child.tag.removeprefix(_PREFIX)) in STANZA_CONDITIONS]
    own = next((child for child in error if not child.tag.startswith(_PREFIX)), None)  # §8.3.4
    return StanzaError(
        known[0] if known else "undefined-condition",
        error.findtext(f"{_PREFIX}text", ""),
        type=error.get("type") if error.get("type") in _TYPES else None,
        application=None if own is None else split(own.tag),
        details=None if own is None else own.attrib,
    )
