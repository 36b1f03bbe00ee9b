"""A scripted component (XEP-0114): it says XML, and a test looks at what it hears."""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING

from lxml import etree

from jabberd.testing.client import Client
from jabberd.xmpp import ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from jabberd.xmpp.jid import JID

__all__ = ["SECRET", "Component"]

SECRET = "a thing of no great worth"  # noqa: S105  # everybody's, in a play
_STREAM = f"<stream:stream xmlns='{ns.COMPONENT}' xmlns:stream='{ns.STREAM}'"


class Component(Client):
    """A component and its connection; `jabberd.testing.Network.component` makes one.

    What it hears looks as it does on a client's stream.
    """

    def __init__(self, jid: JID, flush: Callable[[], None], secret: str = SECRET) -> None:
        super().__init__(jid, secret, flush)

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data.replace(ns.COMPONENT.encode(), ns.CLIENT.encode()))

    def send(self, xml: str | bytes) -> None:
        """See `Client`; what `ask` wrote for a client's stream is moved to this one."""
        if isinstance(xml, bytes):
            xml = xml.replace(b'xmlns="jabber:client"', b'xmlns="jabber:component:accept"', 1)
        super().send(xml)

    def greet(self, to: str | None = None) -> None:
        """Open a stream."""
        self._restart()
        self.send(f"{_STREAM} to='{self.jid if to is None else to}'>")

    def shake(self) -> None:
        """Show that it has the secret (XEP-0114 §3)."""
        proof = sha1(f"{self.header['id']}{self._password}".encode(), usedforsecurity=False).hexdigest()
        self.send(f"<handshake>{proof}</handshake>")

    def begin(self) -> None:
        """Do all that comes before the first stanza.

        :raises AssertionError: it was not let in.
        """
        self.greet()
        self.shake()
        answer = self.next()
        if answer.tag != f"{{{ns.CLIENT}}}handshake":
            raise AssertionError(f"not let in: {etree.tostring(answer, encoding='unicode')}")
