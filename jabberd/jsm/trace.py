"""Watching the stanzas of one account as they come and go: the operators' ``trace``."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from jabberd.api import JID, Live, Refused, operator
from jabberd.jsm.session_verbs import managers_of
from jabberd.xmpp import ns
from jabberd.xmpp.errors import StanzaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jabberd.jsm.manager import SessionManager
    from jabberd.xmpp.stanza import Stanza

    #: Takes what happened, the stanza, and a remark.
    Tell = Callable[[str, Stanza, str], None]

__all__ = ["Tracing", "Watch"]

_LONGEST: Final = 4096  # characters of a payload that are shown
_MOST: Final = 100_000  # rows, and seconds


class Watch:
    """Who watches which accounts of one domain.

    What happens to a stanza: it is *said* by a client, *routed* in the account's name, it *comes* to
    the account, is *dropped* or *refused*, or *planned* (`jabberd.jsm.delivery`) and *sent* to clients.
    """

    def __init__(self, watched: tuple[tuple[JID, Tell], ...]) -> None:
        self.watched = watched

    def __call__(self, account: JID, what: str, stanza: Stanza, remark: str = "") -> None:
        """Tell those who watch this account (by its bare JID)."""
        for jid, tell in self.watched:
            if jid == account:
                tell(what, stanza, remark)

    def routed(self, stanza: Stanza) -> None:
        """A stanza is on its way, in the name of whoever it is from."""
        if stanza.sender is not None:
            self(stanza.sender.bare, "routed", stanza)

    @contextmanager
    def coming(self, account: JID, stanza: Stanza) -> Iterator[None]:
        """A stanza comes to the account, and may be refused."""
        self(account, "comes", stanza)
        try:
            yield
        except StanzaError as error:
            self(account, "refused", stanza, error.condition)
            raise


class Tracing:
    """``trace ...``.

    :param managers: by domain.
    """

    def __init__(self, managers: Mapping[str, SessionManager]) -> None:
        self._managers = managers

    @operator("watch the stanzas of an account, as they come and go")
    def trace(
        self,
        jid: JID,
        payloads: Literal["hidden", "payloads"] = "hidden",
        count: int = 1000,
        seconds: int = 600,
    ) -> Live:
        """Until so many stanzas were seen, so much time is up, or nobody looks any more.

        :param payloads: ``payloads`` shows what is in the stanzas, message bodies too.
        """
        [manager] = managers_of(self._managers, jid)
        if not jid.localpart:
            raise Refused(f"{jid} is not an account; write it like romeo@montague.lit")
        if not (0 < count <= _MOST and 0 < seconds <= _MOST):
            raise Refused(f"COUNT and SECONDS must be between 1 and {_MOST}")
        shown = _LONGEST if payloads == "payloads" else 0

        def begin(tell: Callable[[object], None]) -> Callable[[], None]:
            def told(what: str, stanza: Stanza, remark: str) -> None:
                tell(_row(manager.clock.seconds(), what, stanza, remark, shown))

            return _watch(manager, jid.bare, told)

        return Live(manager.clock, begin, rows=count, seconds=seconds)


def _watch(manager: SessionManager, account: JID, tell: Tell) -> Callable[[], None]:
    """Watch from now on; returns what ends it."""
    mine = (account, tell)
    manager.watch = Watch((*(manager.watch.watched if manager.watch else ()), mine))

    def end() -> None:
        left = tuple(each for each in manager.watch.watched if each is not mine) if manager.watch else ()
        manager.watch = Watch(left) if left else None

    return end


def _row(now: float, what: str, stanza: Stanza, remark: str, shown: int) -> dict[str, object]:
    moment = datetime.fromtimestamp(now, UTC).replace(tzinfo=None)
    row: dict[str, object] = {
        "at": moment.isoformat(timespec="milliseconds") + "Z",
        "what": what,
        "stanza": stanza.name,
        "type": stanza.type or None,
        "from": stanza.attrs.get("from"),
        "to": stanza.attrs.get("to"),
        "id": stanza.id or None,
        "children": [child.removeprefix(f"{{{ns.CLIENT}}}") for child in stanza.children],
        "bytes": len(stanza.payload),
        "remark": remark or None,
    }
    if shown:
        row["payload"] = stanza.payload.decode(errors="replace")[:shown]
    return row
