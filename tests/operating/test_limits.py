"""What operators see of the limits, and that parts without a configuration have the same ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.address import IPv4Address

from jabberd.hosting import _limits
from jabberd.jsm import roster
from jabberd.jsm.account import Account
from jabberd.jsm.limits import Limits
from jabberd.measure import Traffic
from jabberd.operating.limits import _is_limit
from jabberd.operating.terms import client_streams
from jabberd.settings import ServerSettings
from jabberd.streams.protocol import StreamSettings
from jabberd.xmpp.jid import JID

if TYPE_CHECKING:
    from tests.operating.conftest import Scene

EVIL = IPv4Address("TCP", "192.0.2.66", 49152)
ROMEO = JID.parse("romeo@montague.lit")


def row(scene: Scene, limit: str) -> dict[str, Any]:
    [found] = [each for each in scene.operate("limits", "show") if each["limit"] == limit]
    return dict(found)


def test_every_limit_is_shown_with_what_is_in_force(scene: Scene) -> None:
    shown = {each["limit"]: each["value"] for each in scene.operate("limits", "show")}
    limits = vars(scene.reload.config.settings.limits)
    assert {f"limits.{name}" for name in limits} <= set(shown)
    assert shown["limits.stanza"] == "262144"
    assert shown["limits.login_failures"] == "10 per 300 s"
    assert shown["federation.queue"] == "500"
    assert shown['domains."montague.lit".modules.offline.limit'] == "500"
    assert shown["log.budget"] == "131072"
    assert "federation.resolver" not in shown
    assert int(shown["connections in all"]) > 100
    scene.write("limits", "connections = 7")
    scene.operate("config", "reload")
    assert row(scene, "limits.connections")["value"] == "7"


def test_limits_of_modules_and_of_links_are_shown_and_can_be_picked_out(scene: Scene) -> None:
    shown = {each["limit"]: each["value"] for each in scene.operate("limits", "show")}
    modules = 'domains."montague.lit".modules'
    assert shown[f"{modules}.sm.queue"] == "1000"
    assert shown[f"{modules}.pep.size"] == "10485760"
    assert shown[f"{modules}.fast.lifetime"] == "1814400.0"
    assert shown["federation.unacknowledged"] == "10000"
    assert shown["federation.verifications"] == "200"
    assert f"{modules}.disco" not in shown
    picked = [each["limit"] for each in scene.operate("limits", "show", "sm.queue")]
    assert picked == [f"{modules}.sm.queue", f"{modules}.sm.queue_size"]


def test_a_port_is_no_limit() -> None:
    assert not _is_limit('domains."p.lit".modules.bytestreams.port', "7625")
    assert _is_limit('domains."p.lit".modules.bytestreams.size', "7625")


def test_nobody_is_held_back_at_the_beginning(scene: Scene) -> None:
    assert scene.operate("limits", "held") == []
    assert {each["held"] for each in scene.operate("limits", "show")} == {None}
    assert row(scene, "limits.connections")["met"] == 0
    assert row(scene, "limits.stanza")["met"] is None


def test_what_modules_count_is_shown(scene: Scene) -> None:
    modules = 'domains."montague.lit".modules'
    module = scene.reload.parts.hosts["montague.lit"].manager.module("offline")
    assert row(scene, f"{modules}.offline.limit")["met"] == 0
    module.met["limit"] += 2
    assert row(scene, f"{modules}.offline.limit")["met"] == 2
    assert row(scene, f"{modules}.offline.size")["met"] == 0
    assert row(scene, f"{modules}.sm.resumable")["met"] is None  # a time holds nobody back


def test_addresses_that_are_held_back_are_shown(scene: Scene) -> None:
    scene.write("limits", 'connections = 1\nlogin_failures = "1 per 1 h"')
    scene.operate("config", "reload")
    clients = scene.reload.parts.clients
    stream: Any = clients.buildProtocol(EVIL)
    clients.addresses.most = 1
    assert not clients.addresses.admit("192.0.2.1")
    clients.addresses.most = None
    refused: Any = scene.reload.parts.servers.buildProtocol(EVIL)  # all listeners count together
    clients.failed("192.0.2.66", ROMEO)
    assert not clients.may_try("192.0.2.66", ROMEO)
    assert scene.operate("limits", "held") == [
        {"limit": "connections", "who": "192.0.2.66", "how": "1 of 1"},
        {"limit": "login_failures", "who": "romeo@montague.lit from 192.0.2.66", "how": "for 3600 s"},
    ]
    shown = row(scene, "limits.connections")
    assert (shown["held"], shown["met"]) == (1, 1)
    assert row(scene, "limits.login_failures")["met"] == 1
    assert row(scene, "connections in all") == {
        "limit": "connections in all",
        "value": "any number",
        "held": None,
        "met": 1,
    }
    assert refused not in scene.reload.parts.servers.streams
    clients.closed(stream)


def test_streams_that_send_too_much_are_shown(scene: Scene) -> None:
    clients = scene.reload.parts.clients
    stream: Any = clients.buildProtocol(EVIL)
    stream._rest = scene.reactor.callLater(2.5, lambda: None)
    assert scene.operate("limits", "held") == [{"limit": "rate", "who": str(stream), "how": "for 2.5 s"}]
    stream._rest.cancel()
    clients.closed(stream)


def test_accounts_that_have_as_much_as_they_may_are_shown(scene: Scene) -> None:
    scene.write("limits", 'roster = 2\npresence = "1 per min"\nsubscriptions = "1 per min"')
    scene.operate("config", "reload")
    manager = scene.reload.parts.hosts["montague.lit"].manager
    account = Account(ROMEO, exists=True)
    account.stored["roster"] = {jid: roster.RosterItem(jid) for jid in ("a@b.example", "c@d.example")}
    manager.accounts.add(account)
    for meter in (manager.presence.changes, *manager.contacts.meters):
        for _ in range(2):
            meter.take(ROMEO, scene.reactor.seconds())
    assert scene.operate("limits", "held") == [
        {"limit": "presence", "who": ROMEO, "how": "for 60 s"},
        {"limit": "subscriptions", "who": ROMEO, "how": "for 60 s"},
        {"limit": "roster", "who": ROMEO, "how": "2 of 2"},
    ]
    assert row(scene, "limits.subscriptions")["met"] == 1
    assert len(scene.operate("limits", "held", "2")) == 2


def test_without_a_configuration_the_limits_are_the_same() -> None:
    settings = ServerSettings.__new__(ServerSettings)  # nothing but its defaults
    traffic = Traffic()
    assert client_streams(settings, traffic) == StreamSettings(traffic=traffic)
    assert _limits(settings) == Limits()


@pytest.mark.parametrize("name", ["servers", "clients"])
def test_both_doors_have_one_count(scene: Scene, name: str) -> None:
    assert getattr(scene.reload.parts, name).addresses is scene.reload.parts.clients.addresses
