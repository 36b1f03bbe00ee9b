"""XEP-0377."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from jabberd.api import Refused
from jabberd.testing.outcome import done

if TYPE_CHECKING:
    from jabberd.modules.reports import Reports
    from jabberd.testing import Client, Network

SPAM = "urn:xmpp:reporting:spam"
REPORT = (
    "<report xmlns='urn:xmpp:reporting:1' reason='{}'><stanza-id xmlns='urn:xmpp:sid:0' "
    "by='romeo@montague.lit' id='28482'/><text xml:lang='en'>Never came trouble to my house like this.</text>"
    "<third-party/></report>"
)


@pytest.fixture
def romeo(network: Network) -> Client:
    modules: dict[str, dict[str, object]] = {"blocking": {}, "reports": {"most": 2}, "disco": {}}
    network.serve("montague.lit", modules=modules, admins=["escalus@montague.lit"])
    return network.client("romeo@montague.lit/orchard")


def reports(network: Network) -> Reports:
    return cast("Reports", network.server("montague.lit").hosts["montague.lit"].manager.module("reports"))


def block(client: Client, *jids: str, report: str = REPORT.format(SPAM)) -> str | None:
    items = "".join(f"<item jid='{jid}'>{report}</item>" for jid in jids)
    return client.ask(f"<iq type='set'><block xmlns='urn:xmpp:blocking'>{items}</block></iq>").get("type")


def test_who_blocks_somebody_can_report_them(romeo: Client, network: Network) -> None:
    escalus = network.client("escalus@montague.lit/square")
    assert block(romeo, "tybalt@evil.example") == "result"
    [shown] = done(reports(network).list())
    assert shown == {
        "id": shown["id"],
        "time": "1970-01-01T00:00:00Z",
        "by": "romeo@montague.lit",
        "reported": "tybalt@evil.example",
        "reason": "spam",
        "messages": "28482",
        "text": "Never came trouble to my house like this.",
    }
    told = escalus.next().findtext("{*}body") or ""
    assert told.startswith("romeo@montague.lit reports tybalt@evil.example")
    assert done(reports(network).remove(shown["id"])) == f"report {shown['id']} is removed"
    assert done(reports(network).list()) == []


def test_each_of_several_has_a_report_of_its_own_and_the_oldest_goes(romeo: Client, network: Network) -> None:
    assert block(romeo, "a@evil.example", "b@evil.example", "c@evil.example") == "result"
    assert [each["reported"] for each in done(reports(network).list())] == [
        "b@evil.example",
        "c@evil.example",
    ]


def test_of_many_the_newest_are_listed(
    romeo: Client, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jabberd.modules.reports._SHOWN", 1)
    assert block(romeo, "a@evil.example", "b@evil.example") == "result"
    assert [each["reported"] for each in done(reports(network).list())] == ["b@evil.example"]


@pytest.mark.parametrize("report", ["", "<report xmlns='urn:xmpp:reporting:1'/>", "<report xmlns='urn:x'/>"])
def test_without_a_reason_it_is_no_report_but_blocks(romeo: Client, network: Network, report: str) -> None:
    assert block(romeo, "tybalt@evil.example", report=report) == "result"
    assert done(reports(network).list()) == []
    listed = romeo.ask("<iq type='get'><blocklist xmlns='urn:xmpp:blocking'/></iq>")
    assert len(listed[0]) == 1


def test_the_domain_says_that_it_takes_reports(romeo: Client) -> None:
    info = "<iq type='get' to='montague.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    assert "urn:xmpp:reporting:1" in romeo.ask(info).xpath(".//@var")


def test_what_was_not_reported_cannot_be_removed(romeo: Client, network: Network) -> None:
    with pytest.raises(Refused):
        done(reports(network).remove("1"))
