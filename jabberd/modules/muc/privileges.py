"""Who may do what: roles and affiliations (XEP-0045 §5), as tables."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from jabberd.api import StanzaError

__all__ = ["Affiliation", "Role", "check_affiliation", "check_role", "default_role", "role_after"]


class Role(IntEnum):
    """What an occupant may do during a visit (§5.1), from the least to the most."""

    none = 0
    visitor = 1
    participant = 2
    moderator = 3


class Affiliation(IntEnum):
    """How somebody belongs to a room (§5.2), from the least to the most."""

    outcast = 0
    none = 1
    member = 2
    admin = 3
    owner = 4


_VISITOR, _PARTICIPANT, _MODERATOR = Role.visitor, Role.participant, Role.moderator

#: §5.1.2: with which role somebody enters; the columns are the affiliations from outcast to owner.
_ENTERS: Final = {
    #                outcast    none          member        admin       owner
    "moderated":    (Role.none, _VISITOR,     _PARTICIPANT, _MODERATOR, _MODERATOR),
    "unmoderated":  (Role.none, _PARTICIPANT, _PARTICIPANT, _MODERATOR, _MODERATOR),
    "members-only": (Role.none, Role.none,    _PARTICIPANT, _MODERATOR, _MODERATOR),
}  # fmt: skip


def default_role(affiliation: Affiliation, *, moderated: bool, members_only: bool) -> Role:
    """With which role somebody enters (§5.1.2); none: that one may not enter."""
    kind = "members-only" if members_only else "moderated" if moderated else "unmoderated"
    return _ENTERS[kind][affiliation]


def role_after(before: Affiliation, role: Role, default: Role) -> Role:
    """What becomes of an occupant's role with another affiliation (§5.1.3).

    Who gains keeps what was granted before; admins and owners lose what came with it.

    :param default: the role with which that one would enter now.
    """
    if default is Role.none or before >= Affiliation.admin:
        return default
    return max(role, default)


def check_role(actor: tuple[Role, Affiliation], target: tuple[Role, Affiliation], role: Role) -> None:
    """Whether one occupant may give that role to another (§8.2 to §8.5, §9.6 to §9.8).

    :raises StanzaError: ``forbidden``: that is for moderators, or for admins; ``not-allowed``: the other
        one is above that.
    """
    their_role, affiliation = actor
    if their_role is not Role.moderator:
        raise StanzaError("forbidden", "only moderators change roles")
    if role is Role.moderator:
        if affiliation < Affiliation.admin:
            raise StanzaError("forbidden", "only admins make moderators")
        return
    if target[1] > affiliation or (target[0] is Role.moderator and affiliation < Affiliation.admin):
        raise StanzaError("not-allowed", "that occupant is above you")
    if role is not Role.none and target[1] >= Affiliation.admin:
        raise StanzaError("not-allowed", "admins and owners are moderators")


def check_affiliation(actor: Affiliation, before: Affiliation, after: Affiliation) -> None:
    """Whether somebody may give another one that affiliation (§9.1 to §9.5, §10.3 to §10.8).

    :raises StanzaError: ``forbidden``: that is for admins, or for owners; ``not-allowed``: an admin or owner
        is to be banned by an admin.
    """
    if actor >= Affiliation.owner:
        return
    if actor < Affiliation.admin:
        raise StanzaError("forbidden", "only admins and owners change affiliations")
    if after is Affiliation.outcast and before >= Affiliation.admin:
        raise StanzaError("not-allowed", "only owners ban admins, and nobody else owners")
    if max(before, after) >= Affiliation.admin:
        raise StanzaError("forbidden", "only owners make and unmake admins and owners")
