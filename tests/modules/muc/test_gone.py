"""An account that is deleted belongs to no room any more, and whoever gets its name does not either."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.modules.muc.approval import ask_for_membership
from jabberd.testing.outcome import done
from tests.modules.muc import test_hats as hats
from tests.modules.muc.play import ROOM, affiliate, ask, create, find
from tests.modules.muc.test_tokens import listed, token_for

if TYPE_CHECKING:
    from jabberd.testing import Network
    from jabberd.testing.client import Client


def delete(network: Network, who: Client) -> None:
    manager = network.server(who.jid.domainpart).hosts[who.jid.domainpart].manager
    done(manager.registrar.delete(who.jid.bare))


def members(who: Client, affiliation: str) -> list[str]:
    answer = ask(who, f"<item affiliation='{affiliation}'/>", kind="get")
    return [each.get("jid", "") for each in find(answer, "a:query/a:item")]


def test_who_is_deleted_belongs_to_no_room_whoever_gets_the_name(
    network: Network, romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo", persistentroom="1", membersonly="1")
    affiliate(romeo, juliet.jid.bare, "owner")
    affiliate(romeo, "nurse@capulet.lit", "member")
    delete(network, romeo)
    assert members(juliet, "owner") == ["juliet@capulet.lit"]
    assert members(juliet, "member") == ["nurse@capulet.lit"]
    successor = network.client("romeo@montague.lit/street")
    answer = ask(successor, "<item affiliation='owner'/>", kind="get")
    assert answer.get("type") == "error"


def test_a_room_whose_only_owner_is_gone_is_its_services_admins(network: Network, romeo: Client) -> None:
    create(romeo, "Romeo", persistentroom="1")
    delete(network, romeo)
    friar = network.client("friar@montague.lit/cell")
    assert members(friar, "owner") == []
    affiliate(friar, "juliet@capulet.lit", "owner")
    assert members(friar, "owner") == ["juliet@capulet.lit"]


def test_who_is_deleted_and_in_the_room_leaves_it(network: Network, romeo: Client) -> None:
    create(romeo, "Romeo", persistentroom="1")
    delete(network, romeo)
    rooms = network.server("montague.lit").hosts["rooms.montague.lit"].manager.module("muc")
    assert rooms.service.rooms.resident == {}  # type: ignore[attr-defined]
    assert ROOM.endswith(rooms.domain.jid)


@pytest.mark.parametrize("modules", [{"muc_hats": {}, "muc_tokens": {}}])
def test_who_gets_the_name_wears_no_hat_and_has_made_no_token(
    network: Network, romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo", persistentroom="1", membersonly="1", allowinvites="1")
    affiliate(romeo, juliet.jid.bare, "member")
    hats.make(romeo)
    for jid in (juliet.jid.bare, "nurse@capulet.lit"):
        assert hats.status(hats.run(romeo, "assign", jid=jid, uri=hats.TEACHER)) == "completed"
    assert token_for(juliet)
    delete(network, juliet)
    wearers = [row["hats#jid"] for row in hats.rows(hats.run(romeo, "list-assigned"))]
    assert wearers == ["nurse@capulet.lit"]
    heir = network.client("juliet@capulet.lit/heir")
    affiliate(romeo, "juliet@capulet.lit", "member")
    assert listed(heir) == {}


def test_who_gets_the_name_does_not_get_what_the_other_asked_for(
    network: Network, romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo", persistentroom="1")
    muc = network.server("montague.lit").hosts["rooms.montague.lit"].manager.module("muc")
    [room] = muc.service.rooms.resident.values()  # type: ignore[attr-defined]
    ask_for_membership(room, juliet.jid.bare, "Capulet")
    delete(network, juliet)
    assert room.wanted == {}
