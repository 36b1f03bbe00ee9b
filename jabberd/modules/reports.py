"""XEP-0377: whoever blocks somebody can say that it is for spam or abuse, and operators learn it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import Meta

from jabberd.api import E, Element, Module, Ordered, Refused, Settings, Stanza, on, operator
from jabberd.modules.blocking import Blocked
from jabberd.xmpp import ns
from jabberd.xmpp.timestamp import to_stamp

NS: Final = "urn:xmpp:reporting:1"
_REPORT: Final = f"{{{NS}}}report"
_LIST: Final = "reports"
_LONGEST: Final = 1000  # characters of what somebody says about it
_SHOWN: Final = 100


@dataclass(frozen=True)
class Report:
    """What somebody reported.

    :ivar messages: the ids that the archive of the account gave them (§5).
    :ivar forward: to whom it may be told: ``report-origin``, ``third-party`` (§4.1).
    """

    by: str
    jid: str
    reason: str
    text: str
    messages: tuple[str, ...]
    forward: tuple[str, ...]
    stamp: str


class Reports(Module, xep=377, version="0.4.1"):
    """Keeps reports for the operators, and tells each of the domain's administrators."""

    requires = ("blocking",)
    features = (NS,)

    class Config(Settings):
        """How many reports are kept.

        :ivar most: with one more the oldest goes.
        """

        most: Annotated[int, Meta(ge=1)] = 1000

    config: Config

    reports = Ordered("reports", of=Report)

    @on(Blocked)
    async def take(self, event: Blocked) -> None:
        """Keep what was said of it; what does not follow §4 blocks all the same, and is no report."""
        said = event.item.find(_REPORT)
        if said is None or not said.get("reason"):
            return
        report = _read(said, event, to_stamp(self.now()))
        await self.reports.change(self.domain.jid, _LIST, {secrets.token_hex(4): report})
        await self._make_room()
        self.log.info(
            "{by!r} reports {jid!r}: {reason!r}", by=report.by, jid=report.jid, reason=report.reason
        )
        body = E(ns.CLIENT, "body", {}, f"{report.by} reports {report.jid} ({report.reason}): {report.text}")
        for admin in self.domain.operators.domain:
            self.domain.route(Stanza.of("message", body, sender=self.domain.jid, to=admin, type="headline"))

    async def _make_room(self) -> None:
        page = await self.reports.page(self.domain.jid, _LIST, limit=1)
        if page is not None and page.count > self.config.most:
            await self.reports.change(self.domain.jid, _LIST, {}, [entry.key for entry in page.entries])

    @operator("list the newest reports of spam and abuse")
    async def list(self) -> list[dict[str, str]]:
        """The newest last."""
        page = await self.reports.page(self.domain.jid, _LIST, limit=_SHOWN, last=True)
        entries = page.entries if page else ()
        return [
            {
                "id": entry.key,
                "time": entry.value.stamp,
                "by": entry.value.by,
                "reported": entry.value.jid,
                "reason": entry.value.reason.removeprefix("urn:xmpp:reporting:"),
                "messages": ", ".join(entry.value.messages),
                "text": entry.value.text,
            }
            for entry in entries
        ]

    @operator("remove a report")
    async def remove(self, id: str) -> str:
        """By the id that `list` shows."""
        if not await self.reports.get(self.domain.jid, _LIST, [id]):
            raise Refused(f"there is no report {id}")
        await self.reports.change(self.domain.jid, _LIST, {}, [id])
        return f"report {id} is removed"


def _read(said: Element, event: Blocked, stamp: str) -> Report:
    ids = [each.get("id", "") for each in said.iterfind("{urn:xmpp:sid:0}stanza-id")]
    return Report(
        by=event.account.jid,
        jid=event.jid,
        reason=said.get("reason", "")[:_LONGEST],
        text=(said.findtext(f"{{{NS}}}text") or "").strip()[:_LONGEST],
        messages=tuple(id[:50] for id in ids[:20]),
        forward=tuple(n for n in ("report-origin", "third-party") if said.find(f"{{{NS}}}{n}") is not None),
        stamp=stamp,
    )
