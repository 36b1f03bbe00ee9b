"""Carbons, client state and the archive, switched on while a resource is bound (XEP-0386 §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.testing.server import trusting
from tests.modules.archived import JULIET, MAM, MODULES, ROMEO, read, says

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing import Client, Network

ALL = (
    "<bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:xmpp:carbons:2'/>"
    "<inactive xmlns='urn:xmpp:csi:0'/></bind>"
)


@pytest.fixture(autouse=True)
def stage(network: Network) -> None:
    network.serve("montague.lit", tls=True, modules={**MODULES, "bind2": {}, "csi": {}})
    network.client(f"{ROMEO}/orchard").close()


def enter(network: Network) -> tuple[Client, _Element]:
    romeo = network.connected(ROMEO)
    return romeo, romeo.enter_at_once(trusting("montague.lit"), ALL)


def test_the_archive_is_told_and_what_is_in_it_waits_no_more(network: Network) -> None:
    says(network, JULIET, "archived")
    says(network, JULIET, "not archived", inside="<no-permanent-store xmlns='urn:xmpp:hints'/>")
    romeo, success = enter(network)
    [end] = success.iterfind(f".//{{{MAM}}}metadata/{{{MAM}}}end")
    answer = read(romeo)
    assert (answer.bodies, answer.ids) == (["archived"], [end.get("id")])
    romeo.send("<presence/><active xmlns='urn:xmpp:csi:0'/>")
    assert [each.findtext("{*}body") for each in romeo.heard if each.findtext("{*}body")] == ["not archived"]


def test_copies_come_and_what_can_wait_does(network: Network) -> None:
    romeo, _ = enter(network)
    garden = network.client(f"{ROMEO}/garden")
    romeo.forget()
    garden.send("<presence><status>here</status></presence>")
    assert romeo.hears_nothing()
    garden.send(f"<message to='{JULIET}' type='chat'><body>hi!</body></message>")
    assert romeo.heard[-1].find("{urn:xmpp:carbons:2}sent") is not None
