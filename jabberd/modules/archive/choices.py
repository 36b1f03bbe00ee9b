"""What an account wants archived (XEP-0441)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast, get_args

from jabberd.api import JID, E, Element, StanzaError
from jabberd.archive.pages import NS
from jabberd.xmpp.jid import InvalidJID

if TYPE_CHECKING:
    from jabberd.api import Account

__all__ = ["Choices", "Default"]

Default = Literal["always", "never", "roster"]
_MOST: Final = 1000  # addresses in both lists


@dataclass(frozen=True)
class Choices:
    """An account's preferences (§2.1); who is on both lists is not archived."""

    default: Default
    always: tuple[str, ...] = ()
    never: tuple[str, ...] = ()

    @classmethod
    def read(cls, prefs: Element) -> Choices:
        """From a ``<prefs/>``.

        :raises StanzaError: ``bad-request``, or ``resource-constraint`` for too many addresses.
        """
        default = prefs.get("default")
        if default not in get_args(Default):
            raise StanzaError("bad-request", "the default is always, never or roster")
        always, never = (_listed(prefs, name) for name in ("always", "never"))
        if len(always) + len(never) > _MOST:
            raise StanzaError("resource-constraint", f"at most {_MOST} addresses")
        return cls(cast("Default", default), always, never)

    def element(self) -> Element:
        """The ``<prefs/>``."""
        lists = (
            E(NS, name, None, *(E(NS, "jid", None, jid) for jid in jids))
            for name, jids in (("always", self.always), ("never", self.never))
        )
        return E(NS, "prefs", {"default": self.default}, *lists)

    def want(self, account: Account, peer: JID) -> bool:
        """Whether messages from or to that address are archived (§2.3)."""
        if peer in self.never or peer.bare in self.never:
            return False
        if peer in self.always or peer.bare in self.always or self.default == "always":
            return True
        return self.default == "roster" and (account.knows(peer) or peer.bare == account.jid)


def _listed(prefs: Element, name: str) -> tuple[str, ...]:
    try:
        jids = [
            JID.parse((each.text or "").strip()) for each in prefs.iterfind(f"{{{NS}}}{name}/{{{NS}}}jid")
        ]
    except InvalidJID:
        raise StanzaError("bad-request", "not an address") from None
    return tuple(dict.fromkeys(map(str, jids)))
