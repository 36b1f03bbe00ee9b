"""The tables of roles and affiliations (XEP-0045 §5), row by row."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from jabberd.api import StanzaError
from jabberd.modules.muc.privileges import (
    Affiliation,
    Role,
    check_affiliation,
    check_role,
    default_role,
    role_after,
)

if TYPE_CHECKING:
    from collections.abc import Callable

OUTCAST, NONE, MEMBER, ADMIN, OWNER = Affiliation
NOBODY, VISITOR, PARTICIPANT, MODERATOR = Role
OK, FORBIDDEN, NOT_ALLOWED = "", "forbidden", "not-allowed"


def outcome(check: Callable[[], None]) -> str:
    try:
        check()
    except StanzaError as error:
        return error.condition
    return OK


@pytest.mark.parametrize(
    ("moderated", "members_only", "roles"),
    [
        (False, False, [NOBODY, PARTICIPANT, PARTICIPANT, MODERATOR, MODERATOR]),
        (True, False, [NOBODY, VISITOR, PARTICIPANT, MODERATOR, MODERATOR]),
        (False, True, [NOBODY, NOBODY, PARTICIPANT, MODERATOR, MODERATOR]),
        (True, True, [NOBODY, NOBODY, PARTICIPANT, MODERATOR, MODERATOR]),
    ],
)
def test_everybody_enters_with_the_role_of_the_affiliation(
    moderated: bool, members_only: bool, roles: list[Role]
) -> None:
    assert [
        default_role(each, moderated=moderated, members_only=members_only) for each in Affiliation
    ] == roles


#: Who (a role and an affiliation) gives which role to whom: §8.2 to §8.4, §9.6, §9.7.
ROLES = [
    ((PARTICIPANT, NONE), (PARTICIPANT, NONE), NOBODY, FORBIDDEN),
    ((VISITOR, NONE), (VISITOR, NONE), PARTICIPANT, FORBIDDEN),
    ((PARTICIPANT, MEMBER), (PARTICIPANT, NONE), MODERATOR, FORBIDDEN),
    ((MODERATOR, NONE), (PARTICIPANT, NONE), NOBODY, OK),
    ((MODERATOR, NONE), (VISITOR, NONE), PARTICIPANT, OK),
    ((MODERATOR, NONE), (PARTICIPANT, NONE), VISITOR, OK),
    ((MODERATOR, NONE), (PARTICIPANT, NONE), MODERATOR, FORBIDDEN),
    ((MODERATOR, MEMBER), (PARTICIPANT, NONE), MODERATOR, FORBIDDEN),
    ((MODERATOR, NONE), (PARTICIPANT, MEMBER), NOBODY, NOT_ALLOWED),
    ((MODERATOR, NONE), (MODERATOR, NONE), PARTICIPANT, NOT_ALLOWED),
    ((MODERATOR, NONE), (MODERATOR, NONE), NOBODY, NOT_ALLOWED),
    ((MODERATOR, MEMBER), (MODERATOR, ADMIN), NOBODY, NOT_ALLOWED),
    ((MODERATOR, MEMBER), (MODERATOR, OWNER), VISITOR, NOT_ALLOWED),
    ((MODERATOR, ADMIN), (PARTICIPANT, MEMBER), MODERATOR, OK),
    ((MODERATOR, ADMIN), (MODERATOR, MEMBER), PARTICIPANT, OK),
    ((MODERATOR, ADMIN), (MODERATOR, ADMIN), PARTICIPANT, NOT_ALLOWED),
    ((MODERATOR, ADMIN), (MODERATOR, ADMIN), NOBODY, OK),
    ((MODERATOR, ADMIN), (MODERATOR, OWNER), NOBODY, NOT_ALLOWED),
    ((MODERATOR, ADMIN), (MODERATOR, OWNER), PARTICIPANT, NOT_ALLOWED),
    ((MODERATOR, OWNER), (MODERATOR, ADMIN), NOBODY, OK),
    ((MODERATOR, OWNER), (MODERATOR, ADMIN), PARTICIPANT, NOT_ALLOWED),
    ((MODERATOR, OWNER), (MODERATOR, OWNER), VISITOR, NOT_ALLOWED),
]


@pytest.mark.parametrize(("actor", "target", "role", "said"), ROLES)
def test_roles_are_given_by_those_who_may(
    actor: tuple[Role, Affiliation], target: tuple[Role, Affiliation], role: Role, said: str
) -> None:
    assert outcome(lambda: check_role(actor, target, role)) == said


def expected(actor: Affiliation, before: Affiliation, after: Affiliation) -> str:
    """The state chart of §5.2.2 and the errors of §9 and §10, once more in other words."""
    if actor is OWNER:
        return OK
    if actor is not ADMIN:
        return FORBIDDEN
    if before in (ADMIN, OWNER):
        return NOT_ALLOWED if after is OUTCAST else FORBIDDEN
    return FORBIDDEN if after in (ADMIN, OWNER) else OK


def test_affiliations_are_given_by_those_who_may() -> None:
    wrong = [
        each
        for each in product(Affiliation, Affiliation, Affiliation)
        if outcome(lambda each=each: check_affiliation(*each)) != expected(*each)  # type: ignore[misc]
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("before", "role", "default", "after"),
    [
        (NONE, VISITOR, PARTICIPANT, PARTICIPANT),
        (NONE, MODERATOR, PARTICIPANT, MODERATOR),
        (MEMBER, PARTICIPANT, VISITOR, PARTICIPANT),
        (MEMBER, PARTICIPANT, NOBODY, NOBODY),
        (MEMBER, PARTICIPANT, MODERATOR, MODERATOR),
        (ADMIN, MODERATOR, PARTICIPANT, PARTICIPANT),
        (OWNER, MODERATOR, MODERATOR, MODERATOR),
        (OWNER, MODERATOR, NOBODY, NOBODY),
    ],
)
def test_who_gains_keeps_the_role_and_who_loses_gets_the_usual_one(
    before: Affiliation, role: Role, default: Role, after: Role
) -> None:
    assert role_after(before, role, default) is after
