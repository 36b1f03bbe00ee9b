"""What comes back of notifications (XEP-0060 §12.4)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from jabberd.xmpp import ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from jabberd.xmpp.jid import JID
    from jabberd.xmpp.stanza import Stanza

_ERROR: Final = f"{{{ns.CLIENT}}}error"
_GONE: Final = frozenset(f"{{{ns.STANZA_ERRORS}}}{each}" for each in ("gone", "item-not-found"))
_ENOUGH: Final = 20  #: that came back, the last of them
_LONG: Final = 7 * 86_400  #: seconds after the first of them
_REMEMBERED: Final = 10_000  #: addresses


def says_gone(stanza: Stanza) -> bool:
    """Whether an error says that nobody of that name is there any more."""
    error = stanza.child(_ERROR)
    return error is not None and any(each.tag in _GONE for each in error)


class Bounces:
    """How often something came back from whom, since they gave a sign of life.

    Servers say the same, ``service-unavailable``, of an account that does not exist and of somebody who
    cannot be reached just now, and a server that cannot be reached may be back tomorrow: only time tells.
    It is kept in memory alone, so that each start gives everybody another week.

    :param now: seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._known: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def came(self, who: JID) -> bool:
        """Something came back from that address; returns whether to send no more."""
        count, since = self._known.pop(who, (0, self._now()))
        if count + 1 >= _ENOUGH and self._now() >= since + _LONG:
            return True
        self._known[who] = (count + 1, since)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return False

    def lives(self, who: JID) -> None:
        """Somebody is there."""
        if self._known:
            self._known.pop(who, None)
            self._known.pop(who.bare, None)
