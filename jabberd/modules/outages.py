"""XEP-0455: an outage is told to programs, at a page that they may read without logging in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from jabberd.api import Keyed, Module, Refused, operator, page
from jabberd.xmpp.forms import Field, Form
from jabberd.xmpp.timestamp import from_stamp, to_stamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.web.resource import Resource
    from twisted.web.server import Request

    from jabberd.api import Element

SOS: Final = "urn:xmpp:sos:0"
ADDRESSES: Final = "external-status-addresses"
_PATH: Final = "outage.json"
_MOST: Final = 2_000  #: characters of a text


@dataclass(frozen=True, slots=True)
class Outage:
    """What is told of an outage; times are seconds since 1970.

    :ivar end: when it is expected to be over; 0: nobody knows.
    :ivar planned: whether it was announced before it began.
    """

    text: str
    beginning: int
    end: int = 0
    planned: bool = False

    def told(self) -> dict[str, object]:
        """As programs read it (§2.2)."""
        end = {"expected_end": _stamp(self.end)} if self.end else {}
        beginning = _stamp(self.beginning)
        return {"planned": self.planned, "beginning": beginning, **end, "message": {"default": self.text}}


class Outages(Module, xep=455, version="0.4.0"):
    """Serves the page, and tells clients where it is, which they keep for the time when they cannot ask.

    It is of use as long as this process answers: before a planned outage, and when something else is
    broken.  A page elsewhere is named in the settings of `contact`.
    """

    kept = Keyed("outages", of=Outage)

    async def start(self) -> None:
        """Remember what was announced."""
        self._outage = await self.kept.get(self.domain.jid)

    @page(_PATH)
    def page(self, request: Request) -> Resource:
        """What is announced, or an empty object (§2.2)."""
        from jabberd.web import Readable  # noqa: PLC0415 - 3 MiB, for those who serve pages

        told = self._outage.told() if self._outage else {}
        return Readable(b"application/json", json.dumps(told, ensure_ascii=False).encode())

    def extensions(self) -> Iterable[Element]:
        """See `jabberd.modules.disco.Extends`: where the page is, if there are pages (§2.1)."""
        if self.domain.url:
            where = Field(ADDRESSES, "list-multi", values=(f"{self.domain.url}/{_PATH}",))
            yield Form(SOS, (where,)).element("result")

    @operator("announce an outage, until when it is expected to last, from when")
    async def announce(self, text: str, until: str = "", since: str = "") -> str:
        """Tell it to programs, instead of what was announced before.

        :param until: a time like 2026-12-31T18:00:00Z; left out: nobody knows.
        :param since: likewise; left out: from now on.
        :raises Refused: that makes no sense.
        """
        where, now = self._where(), int(self.domain.clock.seconds())
        end = _moment(until) if until else 0
        beginning = _moment(since) if since else now
        if not text.strip() or len(text) > _MOST:
            raise Refused(f"the text has to have 1 to {_MOST} characters")
        if end and end <= max(beginning, now):
            raise Refused(f"{until} is over before it begins, or by now; withdraw it when it is over")
        await self._keep(Outage(text, beginning, end, planned=beginning > now))
        return f"{where} tells of it from {_stamp(beginning)} on"

    @operator("withdraw the outage that was announced: it is over")
    async def withdraw(self) -> str:
        """Tell programs that all is well.

        :raises Refused: none was announced.
        """
        if self._outage is None:
            raise Refused(f"no outage of {self.domain.jid} is announced")
        await self._keep(None)
        return f"{self._where()} tells of no outage"

    @operator("show the outage that is announced")
    def show(self) -> list[dict[str, object]]:
        """A row, or none."""
        told = self._outage
        if told is None:
            return []
        end = _stamp(told.end) if told.end else ""
        return [{"begins": _stamp(told.beginning), "ends": end, "planned": told.planned, "text": told.text}]

    async def _keep(self, outage: Outage | None) -> None:
        await self.kept.change(self.domain.jid, {"": outage})
        self._outage = outage

    def _where(self) -> str:
        """The page.

        :raises Refused: there is none.
        """
        if not self.domain.url:
            raise Refused('nobody could read it; add a listener of the kind "web"')
        return f"{self.domain.url}/{_PATH}"


def _stamp(seconds: int) -> str:
    return to_stamp(datetime.fromtimestamp(seconds, UTC))


def _moment(text: str) -> int:
    try:
        return int(from_stamp(text).timestamp())
    except ValueError:
        raise Refused(f"{text} is no time; write it like 2026-12-31T18:00:00Z") from None
