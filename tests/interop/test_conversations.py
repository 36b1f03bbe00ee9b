"""What the compliance tester of Conversations looks at on a server, one test for each of its checks.

What a browser needs (BOSH, WebSocket, and XEP-0156, which leads there) is left out.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from slixmpp.exceptions import IqError

from tests.abuse.wire import Wire, plain
from tests.interop.actor import Actor, entered
from tests.interop.logins import DOMAIN, SECRET, serving
from tests.interop.test_pep import element, played, wanting
from tests.interop.test_upload import Resolver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

    from tests.running import Running

pytestmark = pytest.mark.process
ROMEO = f"romeo@{DOMAIN}"
INFO, ITEMS = (f"{{http://jabber.org/protocol/disco#{name}}}query" for name in ("info", "items"))
OMEMO = "eu.siacs.conversations.axolotl.bundles:31415"
MORE = """
[[listeners]]
kind = "web"
address = "127.0.0.1"
port = 0
direct_tls = true
[[listeners]]
kind = "bytestreams"
address = "127.0.0.1"
port = 0
[domains."montague.lit".modules]
archive = true
contact.abuse = ["mailto:abuse@montague.lit"]
upload.folder = "files"
[[domains."montague.lit".modules.extdisco.services]]
type = "stun"
host = "turn.montague.lit"
[[domains."montague.lit".modules.extdisco.services]]
type = "turn"
host = "turn.montague.lit"
secret = "what coturn knows as well"
[domains."rooms.montague.lit"]
service = "muc"
[domains."proxy.montague.lit"]
service = "bytestreams"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("conversations")
    with serving(folder, MORE, "rooms.montague.lit", "proxy.montague.lit") as server:
        yield server


def client(server: Running) -> Any:  # slixmpp's types are its own
    actor = Actor(f"{ROMEO}/orchard", server.port("c2s"), server.log.with_name("ca.crt"), register=False)
    for plugin in ("xep_0004", "xep_0045", "xep_0060"):
        actor.register_plugin(plugin)
    return actor


def streams(server: Running) -> tuple[Element, Element]:
    """What the stream offers before the login under TLS, and behind it."""
    wire = Wire(socket.create_connection(("127.0.0.1", server.port("c2s")), 10))
    wire.open()
    wire.encrypt()
    before = wire.open()
    wire.say(plain("romeo", SECRET))
    assert wire.next().tag.endswith("}success")
    after = wire.open()
    wire.drop()
    return before, after


async def asked(actor: Any, to: str, query: str) -> Any:
    """The answer to an iq: its child."""
    iq = actor.make_iq_get(ito=to)
    iq.xml.append(element(query))
    return next(iter((await iq.send()).xml))


async def features(actor: Any, of: str) -> set[str]:
    query = await asked(actor, of, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
    return {each.get("var") for each in query.iter() if each.tag.endswith("}feature")}


async def service(actor: Any, feature: str) -> str:
    """Which of the services of the domain has the feature."""
    query = await asked(actor, DOMAIN, "<query xmlns='http://jabber.org/protocol/disco#items'/>")
    for jid in [*(str(each.get("jid")) for each in query), DOMAIN]:
        with suppress(IqError):  # a component that is not connected
            if feature in await features(actor, jid):
                return jid
    raise AssertionError(f"nobody has {feature}")


@pytest.mark.parametrize(
    "feature",
    [
        pytest.param("{urn:xmpp:features:rosterver}ver", id="roster versions (RFC 6121)"),
        pytest.param("{urn:xmpp:csi:0}csi", id="XEP-0352"),
        pytest.param("{http://jabber.org/protocol/caps}c", id="XEP-0115"),
        pytest.param("{urn:xmpp:sm:3}sm", id="XEP-0198"),
    ],
)
def test_the_stream_offers(server: Running, feature: str) -> None:
    assert feature in [each.tag for each in streams(server)[1]]


def test_newcomers_may_register(server: Running) -> None:
    """XEP-0077."""
    before, _ = streams(server)
    assert "{http://jabber.org/features/iq-register}register" in [each.tag for each in before]


def test_direct_tls_shows_the_domains_certificate_and_speaks_xmpp(server: Running) -> None:
    """XEP-0368."""
    context = ssl.create_default_context(cafile=server.log.with_name("ca.crt"))
    context.set_alpn_protocols(["xmpp-client"])
    with (
        socket.create_connection(("127.0.0.1", server.port("c2s-direct")), 10) as sock,
        context.wrap_socket(sock, server_hostname=DOMAIN) as secured,
    ):
        assert secured.selected_alpn_protocol() == "xmpp-client"
        secured.sendall(
            b"<?xml version='1.0'?><stream:stream to='montague.lit' version='1.0' xml:lang='en'"
            b" xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        assert secured.recv(5) == b"<?xml"


@played
async def test_the_domain_has_the_features_that_are_looked_for_there(server: Running) -> None:
    """XEP-0191, XEP-0280, XEP-0160."""
    actor = client(server)
    async with entered(actor):
        assert {"urn:xmpp:blocking", "urn:xmpp:carbons:2", "msgoffline"} <= await features(actor, DOMAIN)


@played
async def test_the_account_has_the_features_that_are_looked_for_there(server: Running) -> None:
    """XEP-0313, XEP-0357, XEP-0398, XEP-0411 (by now XEP-0402)."""
    actor = client(server)
    async with entered(actor):
        found = await features(actor, ROMEO)
        assert {"urn:xmpp:mam:2", "urn:xmpp:push:0", "urn:xmpp:pep-vcard-conversion:0"} <= found
        assert {"urn:xmpp:bookmarks:1#compat", "urn:xmpp:bookmarks:1#compat-pep"} <= found


@played
async def test_abuse_can_be_reported(server: Running) -> None:
    """XEP-0157."""
    actor = client(server)
    async with entered(actor):
        query = await asked(actor, DOMAIN, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
        fields = [each for each in query.iter() if each.get("var") == "abuse-addresses"]
        assert ["".join(each.itertext()) for each in fields] == ["mailto:abuse@montague.lit"]


@played
async def test_keys_for_omemo_can_be_published_for_everybody(server: Running) -> None:
    """XEP-0163, XEP-0384."""
    actor = client(server)
    async with entered(actor):
        query = await asked(actor, ROMEO, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
        assert ("pubsub", "pep") in [(each.get("category"), each.get("type")) for each in query]
        assert "http://jabber.org/protocol/pubsub#publish-options" in await features(actor, ROMEO)
        pubsub, bundle = actor.plugin["xep_0060"], element("<bundle xmlns='eu.siacs.conversations.axolotl'/>")
        options = wanting(actor, access_model="open")
        await pubsub.publish(ROMEO, OMEMO, id="current", payload=bundle, options=options)
        config = await pubsub.get_node_config(ROMEO, OMEMO)
        assert config["pubsub_owner"]["configure"]["form"].get_values()["pubsub#access_model"] == "open"
        await pubsub.delete_node(ROMEO, OMEMO)


@played
async def test_services_for_files_rooms_and_bytestreams_are_found(server: Running) -> None:
    """XEP-0363, XEP-0045, XEP-0065."""
    actor = client(server)
    async with entered(actor):
        assert await service(actor, "urn:xmpp:http:upload:0") == DOMAIN
        assert await service(actor, "http://jabber.org/protocol/muc") == "rooms.montague.lit"
        assert await service(actor, "http://jabber.org/protocol/bytestreams") == "proxy.montague.lit"


@played
async def test_pages_of_others_may_upload(server: Running) -> None:
    """XEP-0363, the headers that browsers want."""
    actor = client(server)
    picture = "filename='hello.png' size='1234' content-type='image/png'"
    request = f"<request xmlns='urn:xmpp:http:upload:0' {picture}/>"
    async with entered(actor):
        slot = await asked(actor, DOMAIN, request)
        url = slot.find("{urn:xmpp:http:upload:0}put").get("url")
    context = ssl.create_default_context(cafile=server.log.with_name("ca.crt"))
    headers = {
        "Origin": "https://compliance.conversations.im",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "content-type",
    }
    connector = aiohttp.TCPConnector(ssl=context, resolver=Resolver())
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.options(url, headers=headers) as got,
    ):
        for name in ("Origin", "Methods", "Headers"):
            assert f"Access-Control-Allow-{name}" in got.headers


@played
async def test_calls_find_their_way(server: Running) -> None:
    """XEP-0215: STUN, and TURN with a name and a password."""
    actor = client(server)
    async with entered(actor):
        services = await asked(actor, DOMAIN, "<services xmlns='urn:xmpp:extdisco:2'/>")
        found = {each.get("type"): each for each in services}
        for each in found.values():
            assert each.get("host") == "turn.montague.lit"
            assert each.get("transport") in ("tcp", "udp")
            assert 0 < int(each.get("port")) < 65536
        assert set(found) == {"stun", "turn"}
        assert found["turn"].get("username")
        assert found["turn"].get("password")


@played
async def test_a_room_has_an_archive_and_may_have_a_picture(server: Running) -> None:
    """XEP-0313 on rooms, and XEP-0486."""
    actor = client(server)
    room = "orchard@rooms.montague.lit"
    async with entered(actor):
        await actor.plugin["xep_0045"].join_muc_wait(room, "test", timeout=20)
        assert {"urn:xmpp:mam:2", "vcard-temp"} <= await features(actor, room)
        form = await actor.plugin["xep_0045"].get_room_config(room)
        assert "muc#roomconfig_enablearchiving" in form.get_fields()
        await actor.plugin["xep_0045"].destroy(room)
