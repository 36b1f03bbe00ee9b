"""What a component may do in the name of a domain and its accounts, and how it learns that (XEP-0356)."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Final, Literal

from jabberd.api import E, Mistake, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jabberd.api import Element

__all__ = ["NOTHING", "NS", "Grant", "advertised"]

NS: Final = "urn:xmpp:privilege:2"

Access = Literal["none", "get", "set", "both"]


class Grant(Settings):
    """What one component may do; without a line it may do nothing.

    :ivar roster: read (``get``) and change (``set``) the roster of every account (§4.1).
    :ivar push: whether it is told of changes in rosters, where it may read them.
    :ivar message: send messages from the domain and from the bare JID of every account (§5.1).
    :ivar presence: hear when accounts come and go (``managed_entity``, §7.1), and their contacts as well
        (``roster``, §7.4), for which it has to be allowed to read rosters.
    :ivar iq: by namespace, the kind of questions that it may ask in the name of every account (§6.1).
    """

    roster: Access = "none"
    push: bool = True
    message: Literal["none", "outgoing"] = "none"
    presence: Literal["none", "managed_entity", "roster"] = "none"
    iq: dict[str, Access] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.presence == "roster" and not self.reads:
            said = 'is for those who may read rosters; write roster = "get" or "both" as well'
            raise Mistake(said, "presence")

    @property
    def reads(self) -> bool:
        """Whether it may read rosters."""
        return self.roster in ("get", "both")

    @property
    def pushed(self) -> bool:
        """Whether it is told of changes in rosters."""
        return self.push and self.reads

    def may_ask(self, namespace: str, type: str) -> bool:
        """Whether it may ask that in the name of an account; a ``type`` is ``get`` or ``set``."""
        return self.iq.get(namespace, "none") in (type, "both")


NOTHING: Final = Grant()


def advertised(grant: Grant, before: Grant = NOTHING) -> Element | None:
    """What a component is told of what it may do (§4.2); None if that is nothing, and always was.

    :param before: what it was told last: what was taken back is ``none`` now.
    """
    perms = [*_perms(grant, before)]
    return E(NS, "privilege", None, *perms) if perms else None


def _perms(grant: Grant, before: Grant) -> Iterator[Element]:
    if (grant.roster, before.roster) != ("none", "none"):
        push = "true" if grant.pushed else "false"
        yield E(NS, "perm", {"access": "roster", "type": grant.roster, "push": push})
    if (grant.message, before.message) != ("none", "none"):
        yield E(NS, "perm", {"access": "message", "type": grant.message})
    if asked := dict.fromkeys(before.iq, "none") | grant.iq:
        each = (E(NS, "namespace", {"ns": namespace, "type": type}) for namespace, type in asked.items())
        yield E(NS, "perm", {"access": "iq"}, *each)
    if (grant.presence, before.presence) != ("none", "none"):
        yield E(NS, "perm", {"access": "presence", "type": grant.presence})
