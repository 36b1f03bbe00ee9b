"""A scripted client: it says XML, and a test looks at what it hears."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any

from lxml import etree
from twisted.internet.protocol import Protocol, connectionDone

from jabberd.xmpp import ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from lxml.etree import _Element
    from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
    from twisted.python.failure import Failure

    from jabberd.xmpp.jid import JID

__all__ = ["Client", "Hearer", "condition"]

_STREAM = f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAM}'"
_MECHANISM = "SCRAM-SHA-256"
_NONCE = "fyko+d2lbbFgONRv9qkxdawL"


def read(xml: str) -> _Element:
    """One element as it stands on a client's stream; white space between elements does not count."""
    wrapped = f"{_STREAM}>{xml}</stream:stream>"
    [element] = etree.fromstring(wrapped, etree.XMLParser(remove_blank_text=True, resolve_entities=False))
    return element


def written(element: _Element) -> str:
    """The element in canonical XML (C14N 2.0): equal texts mean equal elements, whatever the prefixes."""
    xml = etree.tostring(element, with_tail=False, encoding="unicode")
    return etree.canonicalize(xml, rewrite_prefixes=True)


def condition(element: _Element) -> str:
    """The condition of a stanza error, a stream error or a failure; empty if it is none of these."""
    error = element.find(f"{{{ns.CLIENT}}}error") if etree.QName(element).namespace == ns.CLIENT else element
    return "" if error is None or not len(error) else etree.QName(error[0]).localname


class Hearer:
    """Whoever hears stanzas.

    :ivar heard: the first-level elements that were heard and not taken yet, as lxml elements.
    """

    def __init__(self, flush: Callable[[], None]) -> None:
        self.heard: list[_Element] = []
        self.flush = flush

    def receives(self, *expected: str) -> bool:
        """Take what was heard next: it must be exactly these elements, in this order.

        They are written as on a client's stream; ``*`` as an attribute's value or as a text stands
        for any.

        :raises AssertionError: it is something else; the message shows both.
        """
        for xml in expected:
            wanted, got = read(xml), self.next()
            for ours, theirs in zip(wanted.iter(), got.iter(), strict=False):
                _fill_in(ours, theirs)
            if written(wanted) != written(got):
                raise AssertionError(f"expected {written(wanted)}\n     got {written(got)}")
        return True

    def hears_nothing(self) -> bool:
        """Whether there is nothing more to take.

        :raises AssertionError: there is; the message shows it.
        """
        self.flush()
        if self.heard:
            raise AssertionError("unexpected: " + "\n".join(map(written, self.heard)))
        return True

    def next(self) -> _Element:
        """Take what was heard next.

        :raises AssertionError: nothing was.
        """
        self.flush()
        if not self.heard:
            raise AssertionError("nothing more was heard")
        return self.heard.pop(0)

    def forget(self) -> None:
        """Take everything that was heard, and do not look at it."""
        self.flush()
        self.heard.clear()


def _fill_in(wanted: _Element, got: _Element) -> None:
    """Put in for each ``*`` what there is."""
    for name, value in wanted.attrib.items():
        if value == "*" and name in got.attrib:
            wanted.set(name, got.attrib[name])
    if wanted.text == "*":
        wanted.text = got.text


class Client(Hearer, Protocol):
    """A client and its connection; `jabberd.testing.Network.client` makes one and logs it in.

    :ivar jid: whom it wants to be, with the resource that it asks for; the full JID once it is bound.
    :ivar header: the attributes of the server's last stream header.
    :ivar said_goodbye: whether the server has closed its stream.
    :ivar connected: whether the connection is open.
    """

    transport: Any  # a `Wire`, or TLS over one

    def __init__(self, jid: JID, password: str, flush: Callable[[], None]) -> None:
        super().__init__(flush)
        self.jid = jid
        self.header: dict[str, str] = {}
        self.said_goodbye = False
        self.connected = False
        self._password = password
        self._ids = count(1)
        self._restart()

    def _restart(self) -> None:
        self._parser = etree.XMLPullParser(("start", "end"), resolve_entities=False)
        self._depth = 0

    # -- from Twisted -------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        self.connected = True

    def dataReceived(self, data: bytes) -> None:
        self._parser.feed(data)
        for event, element in self._parser.read_events():
            if event == "start":
                self._depth += 1
                if self._depth == 1:
                    self.header = {str(name): str(value) for name, value in element.attrib.items()}
                continue
            self._depth -= 1
            if self._depth == 1:
                self.heard.append(element)
            elif self._depth == 0:
                self.said_goodbye = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self.connected = False

    # -- what it says -------------------------------------------------------------------------------

    def send(self, xml: str | bytes) -> None:
        """Write this, whatever it is, and let everybody answer."""
        self.transport.write(xml.encode() if isinstance(xml, str) else xml)
        self.flush()

    def ask(self, xml: str) -> _Element:
        """Send an iq, with an id if it has none, and take its answer.

        :raises AssertionError: there is none.
        """
        question = read(xml)
        if question.get("id") is None:
            question.set("id", f"question-{next(self._ids)}")
        self.send(etree.tostring(question))
        for element in self.heard:
            if element.get("id") == question.get("id") and element.get("type") in ("result", "error"):
                self.heard.remove(element)
                return element
        raise AssertionError(f"no answer to {written(question)}")

    def close(self) -> None:
        """Say goodbye."""
        self.send("</stream:stream>")

    def drop(self) -> None:
        """Lose the connection without a word."""
        self.transport.abortConnection()
        self.flush()

    def is_dismissed_with(self, error: str) -> bool:
        """Whether the server ended the stream with that error (RFC 6120 §4.9), and then the connection.

        :raises AssertionError: it did something else.
        """
        got = self.next()
        if got.tag != f"{{{ns.STREAM}}}error" or condition(got) != error:
            raise AssertionError(f"expected the stream error {error}\n     got {written(got)}")
        if not self.said_goodbye or self.connected:
            raise AssertionError("the stream goes on after its error")
        return self.hears_nothing()

    # -- negotiation --------------------------------------------------------------------------------

    def open(self, to: str | None = None) -> _Element:
        """Open a stream, or restart it; takes and returns the server's features."""
        self._restart()
        domain = self.jid.domainpart if to is None else to
        self.send(f"<?xml version='1.0'?>{_STREAM} to='{domain}' version='1.0'>")
        return self.next()

    def start_tls(self, creator: IOpenSSLClientConnectionCreator) -> None:
        """Ask for TLS and shake hands; the stream is to be opened anew."""
        self.send(f"<starttls xmlns='{ns.TLS}'/>")
        self.receives(f"<proceed xmlns='{ns.TLS}'/>")
        self.transport.startTLS(creator)
        self.flush()

    def enter(self, creator: IOpenSSLClientConnectionCreator) -> None:
        """Do all that comes before the first stanza; with TLS if the server has it."""
        if self.open().find(f"{{{ns.TLS}}}starttls") is not None:
            self.start_tls(creator)
            self.open()
        self.login()
        self.open()
        self.bind()

    def enter_at_once(self, creator: IOpenSSLClientConnectionCreator, inside: str = "") -> _Element:
        """Do all that comes before the first stanza in one request under TLS (XEP-0388).

        :param inside: what ``<authenticate/>`` holds beside the first message, such as a ``<bind/>``.
        :returns: ``<success/>``; the features behind it are forgotten.
        """
        self.open()
        self.start_tls(creator)
        self.open()
        first = f"<initial-response>{_base64(f'n,,{self._first}')}</initial-response>{inside}"
        self.send(f"<authenticate xmlns='{ns.SASL2}' mechanism='{_MECHANISM}'>{first}</authenticate>")
        challenge = self._sasl_answer("challenge", ns.SASL2).text or ""
        final, signature = _proof(self._password, self._first, b64decode(challenge).decode())
        self.send(f"<response xmlns='{ns.SASL2}'>{_base64(final)}</response>")
        success = self._sasl_answer("success", ns.SASL2)
        data = success.findtext(f"{{{ns.SASL2}}}additional-data") or ""
        assert b64decode(data) == b"v=" + b64encode(signature), "an impostor"
        self.jid = self.jid.parse(success.findtext(f"{{{ns.SASL2}}}authorization-identifier") or "")
        self.next()
        return success

    def login(self) -> None:
        """Authenticate by SCRAM-SHA-256; the stream is to be opened anew."""
        first = _base64(f"n,,{self._first}")
        self.send(f"<auth xmlns='{ns.SASL}' mechanism='{_MECHANISM}'>{first}</auth>")
        challenge = b64decode(self._sasl_answer("challenge").text or "")
        final, signature = _proof(self._password, self._first, challenge.decode())
        self.send(f"<response xmlns='{ns.SASL}'>{_base64(final)}</response>")
        success = self._sasl_answer("success").text or ""
        assert b64decode(success) == b"v=" + b64encode(signature), "an impostor"

    @property
    def _first(self) -> str:
        """The client-first-message-bare of SCRAM."""
        return f"n={self.jid.localpart},r={_NONCE}"

    def _sasl_answer(self, name: str, namespace: str = ns.SASL) -> _Element:
        answer = self.next()
        if answer.tag != f"{{{namespace}}}{name}":
            raise AssertionError(f"expected a {name}, got {written(answer)}")
        return answer

    def bind(self) -> _Element:
        """Bind the resource (RFC 6120 §7); returns the answer."""
        resource = f"<resource>{self.jid.resourcepart}</resource>" if self.jid.resourcepart else ""
        answer = self.ask(f"<iq type='set'><bind xmlns='{ns.BIND}'>{resource}</bind></iq>")
        bound = answer.findtext(f"{{{ns.BIND}}}bind/{{{ns.BIND}}}jid")
        if bound:
            self.jid = self.jid.parse(bound)
        return answer


def _base64(data: str) -> str:
    return b64encode(data.encode()).decode()


def _proof(password: str, first_bare: str, challenge: str) -> tuple[str, bytes]:
    """The client-final-message, and the signature that the server must know (RFC 5802 §3)."""
    parts = dict(part.split("=", 1) for part in challenge.split(","))
    final_bare = f"c=biws,r={parts['r']}"
    message = f"{first_bare},{challenge},{final_bare}".encode()
    salted = _salted(password, parts["s"], int(parts["i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return f"{final_bare},p={b64encode(proof).decode()}", hmac.digest(server_key, message, "sha256")


@lru_cache
def _salted(password: str, salt: str, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), b64decode(salt), iterations)
