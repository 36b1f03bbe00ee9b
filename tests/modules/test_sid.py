"""XEP-0359: forged ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from jabberd.testing import Network

ID = "<stanza-id xmlns='urn:xmpp:sid:0' by='{}' id='1'/>"
ORIGIN = "<origin-id xmlns='urn:xmpp:sid:0' id='o1'/>"
MODULES: dict[str, dict[str, object]] = {"sid": {}, "disco": {}}


@pytest.mark.parametrize(
    "by", ["juliet@capulet.lit", "JULIET@Capulet.lit", "juliet@capulet.lit/balcony", "capulet.lit"]
)
def test_an_id_in_the_name_of_its_reader_or_the_domain_is_taken_away(network: Network, by: str) -> None:
    network.serve("capulet.lit", modules=MODULES)
    juliet = network.client("juliet@capulet.lit/balcony")
    tybalt = network.stranger("tybalt@evil.example/alley")
    tybalt.send(
        f"<message xmlns='jabber:client' to='juliet@capulet.lit'>{ID.format(by)}<body>1</body>"
        f"{ID.format(by)}{ORIGIN}</message>"
    )
    assert juliet.receives(
        f"<message to='juliet@capulet.lit' from='tybalt@evil.example/alley'><body>1</body>{ORIGIN}</message>"
    )


def test_an_id_of_somebody_else_is_left(network: Network) -> None:
    network.serve("capulet.lit", modules=MODULES)
    juliet = network.client("juliet@capulet.lit/balcony")
    room = network.stranger("hall@rooms.example/nurse")
    inside = f"<body>1</body>{ID.format('hall@rooms.example')}{ID.format('no@@address')}"
    room.send(f"<message xmlns='jabber:client' to='juliet@capulet.lit'>{inside}</message>")
    assert juliet.receives(
        f"<message to='juliet@capulet.lit' from='hall@rooms.example/nurse'>{inside}</message>"
    )


def test_a_client_gives_no_ids_in_the_name_of_its_account(network: Network) -> None:
    network.serve("capulet.lit", modules=MODULES)
    juliet = network.client("juliet@capulet.lit/balcony")
    romeo = network.stranger("romeo@montague.lit/orchard")
    others = ID.format("hall@rooms.example")
    juliet.send(f"<message to='{romeo.jid}'>{ID.format('juliet@capulet.lit')}{others}</message>")
    assert romeo.receives(f"<message to='{romeo.jid}' from='{juliet.jid}'>{others}</message>")


def test_everybody_is_told_that_ids_are_true(network: Network) -> None:
    network.serve("capulet.lit", modules=MODULES)
    juliet = network.client("juliet@capulet.lit/balcony")
    for to in ("capulet.lit", "juliet@capulet.lit"):
        answer = juliet.ask(
            f"<iq type='get' to='{to}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
        )
        assert "urn:xmpp:sid:0" in answer.xpath(".//@var")
