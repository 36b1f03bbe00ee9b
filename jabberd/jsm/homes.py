"""When a stanza has a home that several have to do with; see *Home* in `jabberd.interfaces`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred

from jabberd.xmpp import ns
from jabberd.xmpp.content import COPIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from jabberd.jsm.account import Account
    from jabberd.xmpp.stanza import Stanza

__all__ = ["Held", "first", "others_have"]

_DELAY: Final = f"{{{ns.DELAY}}}delay"


class Held:
    """What the stanza that is on its road just now has to wait for before it has a home."""

    __slots__ = ("_stored",)

    def __init__(self) -> None:
        self._stored: list[tuple[Deferred[Any], Callable[[Failure], object] | None]] = []

    def add(self, stored: Deferred[Any], failed: Callable[[Failure], object] | None = None) -> None:
        """Wait for this, too; see `jabberd.api.Domain.hold`."""
        self._stored.append((stored, failed))

    def settled(self, home: Deferred[None] | None) -> Deferred[None] | None:
        """That home, and all that was added; fails with that home, when all have fired."""
        if not self._stored:
            return home
        stored, self._stored = self._stored, []
        return _all(home, stored)


def _all(
    home: Deferred[None] | None, stored: list[tuple[Deferred[Any], Callable[[Failure], object] | None]]
) -> Deferred[None] | None:
    """One behind the other, the home at last: every archived message comes by here.

    No Deferred is made for that: the first that was added goes on with the next when it has fired.
    """
    for each, failed in reversed(stored):
        each.addCallbacks(_then, _not_stored, callbackArgs=(home,), errbackArgs=(failed, home))
        home = each
    return home


def _then(_: object, home: Deferred[None] | None) -> Deferred[None] | None:
    return home


def _not_stored(
    why: Failure, failed: Callable[[Failure], object] | None, home: Deferred[None] | None
) -> Deferred[None] | None:
    if failed is not None:
        failed(why)
    return home


def first(homes: list[Deferred[None] | None]) -> Deferred[None] | None:
    """A message has a home as soon as one of several resources has taken it."""
    waiting = [home for home in homes if home is not None]
    if len(waiting) < len(homes):
        return None
    first: Deferred[None] = Deferred()
    for home in waiting:
        home.addCallback(lambda _: None if first.called else first.callback(None))
    return first


def others_have(account: Account, stanza: Stanza, since: float, *, alone: bool | None = None) -> bool:
    """Whether a stanza that one session was to be sent went to the account's other ones as well.

    What was for the lost session alone goes the way of all that is for a resource that is not there.  A copy
    (XEP-0280) is of what another one has said or got, and would come back to that.

    :param alone: see `jabberd.api.Domain.others_have`.
    """
    if stanza.name == "presence":
        return True
    if alone:
        return False
    if not COPIES.isdisjoint(stanza.children) and stanza.attrs.get("from") == account.jid:
        return any(each.since <= since for each in account.sessions.values())
    if stanza.to is None or stanza.to.resourcepart:
        return False
    if alone is None and _DELAY in stanza.children:
        return False  # what had waited was for the one session that came
    return any(each.was_reachable(since) for each in account.sessions.values())
