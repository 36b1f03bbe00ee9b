"""The server's own capabilities (XEP-0115), and the hashes that it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from lxml import etree

from jabberd.testing.client import condition
from jabberd.xmpp import caps
from jabberd.xmpp.element import parse

if TYPE_CHECKING:
    from jabberd.testing import Network

INFO = "<iq type='get' to='montague.lit'><query xmlns='http://jabber.org/protocol/disco#info'{}/></iq>"
SIMPLE = """
<query xmlns='http://jabber.org/protocol/disco#info'>
  <identity category='client' type='pc' name='Exodus 0.9.1'/>
  <feature var='http://jabber.org/protocol/disco#items'/>
  <feature var='http://jabber.org/protocol/caps'/>
  <feature var='http://jabber.org/protocol/disco#info'/>
  <feature var='http://jabber.org/protocol/muc'/>
</query>"""
COMPLEX = """
<query xmlns='http://jabber.org/protocol/disco#info'>
  <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>
  <identity xml:lang='el' category='client' name='\u03a8 0.11' type='pc'/>
  <feature var='http://jabber.org/protocol/caps'/>
  <feature var='http://jabber.org/protocol/disco#info'/>
  <feature var='http://jabber.org/protocol/disco#items'/>
  <feature var='http://jabber.org/protocol/muc'/>
  <x xmlns='jabber:x:data' type='result'>
    <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>
    <field var='ip_version' type='text-multi'><value>ipv6</value><value>ipv4</value></field>
    <field var='os'><value>Mac</value></field>
    <field var='os_version'><value>10.5.1</value></field>
    <field var='software'><value>Psi</value></field>
    <field var='software_version'><value>0.11</value></field>
  </x>
</query>"""


@pytest.mark.parametrize(
    ("info", "ver"), [(SIMPLE, "QgayPKawpkPSDYmwT/WM94uAlu0="), (COMPLEX, "q07IKJEyjvHSyhy//CH0CxmKi8w=")]
)
def test_the_examples_of_the_document_have_the_hashes_that_it_says(info: str, ver: str) -> None:
    assert caps.verification(ET.fromstring(info)) == ver  # ours


@pytest.mark.parametrize(
    "more",
    [
        "<identity category='client' type='pc' name='Exodus 0.9.1'/>",
        "<feature var='http://jabber.org/protocol/muc'/>",
        "<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>a</value></field></x>" * 2,
        (
            "<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>a</value><value>b</value>"
            "</field></x>"
        ),
    ],
)
def test_what_is_there_twice_is_ill_formed(more: str) -> None:
    info = parse(SIMPLE.strip().replace("</query>", f"{more}</query>").encode())
    with pytest.raises(ValueError, match=r"twice|one type"):
        caps.verification(info)


def test_a_form_whose_type_is_not_hidden_does_not_count() -> None:
    more = "<x xmlns='jabber:x:data'><field var='FORM_TYPE'><value>a</value></field></x>"
    info = parse(SIMPLE.strip().replace("</query>", f"{more}</query>").encode())
    assert caps.verification(info) == "QgayPKawpkPSDYmwT/WM94uAlu0="


def test_a_hash_that_nobody_knows_cannot_be_checked() -> None:
    with pytest.raises(ValueError, match="no hash"):
        caps.verification(parse(SIMPLE.strip().encode()), "md2")


def test_the_stream_says_what_the_server_can_do(network: Network) -> None:
    addresses = {"abuse": ("mailto:abuse@montague.lit",)}
    network.serve("montague.lit", modules={"disco": {}, "caps": {}, "ping": {}, "contact": addresses})
    romeo = network.connected("romeo@montague.lit/orchard")
    romeo.open()
    romeo.login()
    told = romeo.open().find(f"{{{caps.NS}}}c")
    assert told is not None
    romeo.bind()
    [query] = romeo.ask(INFO.format(f" node='{told.get('node')}#{told.get('ver')}'"))
    assert caps.verification(parse(etree.tostring(query))) == told.get("ver")
    assert "urn:xmpp:ping" in query.xpath(".//@var")
    assert condition(romeo.ask(INFO.format(f" node='{told.get('node')}#old'"))) == "item-not-found"


def test_the_stream_says_what_the_server_can_do_by_now(network: Network) -> None:
    """It changes while the server runs, as when a component comes that answers for accounts."""
    server = network.serve("montague.lit", modules={"disco": {}, "caps": {}, "ping": {}})

    def told() -> str:
        romeo = network.connected("romeo@montague.lit/orchard")
        romeo.open()
        romeo.login()
        found = romeo.open().find(f"{{{caps.NS}}}c")
        assert found is not None
        return found.get("ver", "")

    before = told()
    assert told() == before
    modules: Any = server.hosts["montague.lit"].manager
    modules.module("ping").features = ("urn:example:new",)
    modules.module("disco").changed()
    assert told() not in ("", before)
