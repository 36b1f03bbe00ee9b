"""What clients say before they are bound, and how they get that far."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from lxml import etree

from jabberd.testing.client import condition
from jabberd.testing.server import trusting
from jabberd.xmpp import ns
from jabberd.xmpp.sasl import Challenge

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing import Client, Network
    from tests.xmpp.test_sasl import HandMade

ROMEO = "romeo@montague.lit/orchard"


SCRAM = ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"]


PLUS = [f"{name}-PLUS" for name in SCRAM]


BIND = "<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{}</bind></iq>"


STARTTLS = f"<starttls xmlns='{ns.TLS}'/>"


def base64(data: bytes | str) -> str:
    return b64encode(data.encode() if isinstance(data, str) else data).decode() or "="


def auth(mechanism: str, data: bytes | str) -> str:
    return f"<auth xmlns='{ns.SASL}' mechanism='{mechanism}'>{base64(data)}</auth>"


def response(data: bytes | str) -> str:
    return f"<response xmlns='{ns.SASL}'>{base64(data)}</response>"


def failure(condition: str) -> str:
    return f"<failure xmlns='{ns.SASL}'><{condition}/></failure>"


def mechanisms(features: _Element) -> list[str | None]:
    return [each.text for each in features.iter(f"{{{ns.SASL}}}mechanism")]


def connected(network: Network, jid: str = ROMEO, **how: Any) -> Client:
    """A client with an open stream that has not authenticated."""
    client = network.connected(jid, **how)
    client.open()
    return client


def encrypted(network: Network) -> Client:
    """The same under TLS."""
    client = connected(network)
    client.start_tls(trusting("montague.lit"))
    return client


def scram(client: Client, name: str, made: HandMade) -> str:
    """Say both messages of SCRAM; the name of what the server answered last."""
    client.send(auth(name, made.first()))
    challenge = client.next()
    if etree.QName(challenge).localname != "challenge":
        return condition(challenge)
    client.send(response(made.final(Challenge(decoded(challenge)))))
    answer = client.next()
    if answer.tag == f"{{{ns.SASL}}}success":
        assert decoded(answer) == made.expected
        return "success"
    return condition(answer)


def decoded(element: _Element) -> bytes:
    return b64decode(element.text or "")


def bind(client: Client, resource: str = "") -> _Element:
    client.send(BIND.format(f"<resource>{resource}</resource>" if resource else ""))
    return client.next()


HEAD = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "


def failure_with_text(condition: str) -> str:
    return f"<failure xmlns='{ns.SASL}'><{condition}/><text xml:lang='en'>*</text></failure>"


def ready(network: Network, jid: str = ROMEO, **how: Any) -> Client:
    """A client that is logged in and has bound nothing."""
    client = connected(network, jid, **how)
    client.login()
    client.open()
    return client


# --- XEP-0388 ---


AGENT = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>Tassel</software></user-agent>"


PLAIN = "\0romeo\0secret"


def authenticate(mechanism: str, data: bytes | str | None = None, inside: str = "") -> str:
    initial = "" if data is None else f"<initial-response>{base64(data)}</initial-response>"
    return f"<authenticate xmlns='{ns.SASL2}' mechanism='{mechanism}'>{initial}{inside}</authenticate>"


def response2(data: bytes | str) -> str:
    return response(data).replace(ns.SASL, ns.SASL2)


def failure2(condition: str, text: str = "") -> str:
    text = text and f"<text xml:lang='en'>{text}</text>"
    return f"<failure xmlns='{ns.SASL2}'><{condition} xmlns='{ns.SASL}'/>{text}</failure>"


def secured(network: Network, jid: str = ROMEO, **how: Any) -> Client:
    """A client with an open stream under TLS."""
    if not network.servers:
        network.serve("montague.lit", tls=True)
    client = connected(network, jid, **how)
    client.start_tls(trusting("montague.lit"))
    client.open()
    return client


def at_once(client: Client, inside: str = "", data: str = PLAIN) -> _Element:
    """Log in by PLAIN, with all that is asked for; gives ``<success/>``."""
    client.send(authenticate("PLAIN", data, inside))
    success = client.next()
    assert success.tag == f"{{{ns.SASL2}}}success", etree.tostring(success)
    jid = success.findtext(f"{{{ns.SASL2}}}authorization-identifier")
    assert jid
    client.jid = client.jid.parse(jid)
    return success
