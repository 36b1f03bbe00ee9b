"""What tests of the archive have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jabberd.modules.archive import MessageArchive
from jabberd.xmpp import ns

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing import Client, Network

MAM = "urn:xmpp:mam:2"
RSM = "http://jabber.org/protocol/rsm"
ROMEO = "romeo@montague.lit"
JULIET = "juliet@capulet.lit/balcony"
NURSE = "nurse@capulet.lit/gate"
MODULES: dict[str, dict[str, Any]] = {name: {} for name in ("sid", "archive", "offline", "carbons", "disco")}


def serve(network: Network, now: float = 0, **settings: Any) -> None:
    network.clock.rightNow = now
    network.serve("montague.lit", modules={**MODULES, "archive": settings})


def archive_of(network: Network) -> MessageArchive:
    """The module itself."""
    found = network.server("montague.lit").hosts["montague.lit"].manager.module("archive")
    assert isinstance(found, MessageArchive)
    return found


def says(
    network: Network, sender: str, body: str, to: str = ROMEO, type: str = "chat", inside: str = ""
) -> None:
    """Somebody at another server writes."""
    content = f"<body>{body}</body>{inside}" if body else inside
    message = f"<message xmlns='{ns.CLIENT}' type='{type}' id='{body or 1}' to='{to}'>{content}</message>"
    network.stranger(sender).send(message)


def form(**values: str | list[str]) -> str:
    """A filled-in form; underscores in names stand for hyphens."""
    fields = "".join(
        f"<field var='{name.rstrip('_').replace('_', '-')}'>"
        + "".join(f"<value>{value}</value>" for value in ([given] if isinstance(given, str) else given))
        + "</field>"
        for name, given in {"FORM_TYPE": MAM, **values}.items()
    )
    return f"<x xmlns='jabber:x:data' type='submit'>{fields}</x>".replace("FORM-TYPE", "FORM_TYPE")


def paging(**asked: str) -> str:
    inside = "".join(f"<{name.rstrip('_')}>{text}</{name.rstrip('_')}>" for name, text in asked.items())
    return f"<set xmlns='{RSM}'>{inside}</set>"


class Answer:
    """What came back.

    :ivar results: the ``<result/>`` elements, in the order in which they came.
    """

    def __init__(self, client: Client, inside: str, attributes: str) -> None:
        client.forget()
        self.iq = client.ask(f"<iq type='set'><query xmlns='{MAM}'{attributes}>{inside}</query></iq>")
        self.results = [
            found for each in client.heard if (found := each.find(f"{{{MAM}}}result")) is not None
        ]
        self.messages = list(client.heard)
        client.forget()

    @property
    def bodies(self) -> list[str]:
        return [each.findtext(".//{*}message/{*}body") or "" for each in self.results]

    @property
    def ids(self) -> list[str]:
        return [each.get("id") or "" for each in self.results]

    @property
    def fin(self) -> _Element:
        found = self.iq.find(f"{{{MAM}}}fin")
        assert found is not None
        return found

    @property
    def complete(self) -> bool:
        return self.fin.get("complete") == "true"

    def rsm(self, name: str) -> str | None:
        return self.fin.findtext(f"{{{RSM}}}set/{{{RSM}}}{name}")


def read(client: Client, inside: str = "", attributes: str = "") -> Answer:
    """Ask for a page."""
    return Answer(client, inside, attributes)
