"""A running server follows its configuration file, option by option, or not at all."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from twisted.logger import capturedLogs, eventAsText

from jabberd.admin import UsageError
from jabberd.api import Refused
from jabberd.certificates import issue
from jabberd.config import Config
from jabberd.interfaces import Identity
from jabberd.modules.time import Time
from jabberd.operating.options import options
from jabberd.operating.shown import UnusableError
from jabberd.testing.outcome import done
from tests.rehearsal import Ear

if TYPE_CHECKING:
    from tests.conftest import LoggedErrors
    from tests.operating.conftest import Scene


def outcomes(rows: list[dict[str, str]]) -> dict[str, str]:
    return {row["option"]: row["outcome"] for row in rows}


def test_nothing_differs_from_the_file_that_was_read(scene: Scene) -> None:
    assert scene.operate("config", "diff") == []
    assert scene.operate("config", "reload") == []


def test_each_option_tells_whether_it_was_applied_or_needs_a_restart(scene: Scene) -> None:
    scene.write("limits", "login_attempts = 7")
    scene.write("log", 'level = "warn"\nformat = "json"')
    scene.file.write_text(scene.file.read_text().replace("port = 5222", "port = 5333"))
    rows = scene.operate("config", "diff")
    assert scene.reload.parts.clients.attempts == 3
    assert scene.operate("config", "reload") == rows
    assert outcomes(rows) == {
        "limits.login_attempts": "applied",
        "listeners": "needs restart",
        "log.format": "needs restart",
        "log.level": "applied",
    }
    assert rows[0] == {"option": "limits.login_attempts", "now": "3", "then": "7", "outcome": "applied"}
    assert scene.reload.parts.clients.attempts == 7
    assert scene.levels.all() == {"": "warn"}


def test_pages_are_elsewhere_after_a_reload(scene: Scene) -> None:
    manager = scene.reload.parts.hosts["montague.lit"].manager
    scene.write('domains."montague.lit"', 'url = "https://files.example"')
    rows = scene.operate("config", "reload")
    assert outcomes(rows) == {'domains."montague.lit".url': "applied"}
    assert manager.url == ""  # nobody serves them
    parts = scene.reload.parts
    scene.reload.parts = replace(parts, bound=lambda: [*parts.bound(), ("web", "127.0.0.1", 5280)])
    scene.write('domains."montague.lit"', "plain = true")
    scene.operate("config", "reload")
    assert manager.url == "https://files.example/montague.lit"


def test_what_needs_a_restart_goes_on_being_told(scene: Scene) -> None:
    scene.write("log", 'format = "json"')
    scene.operate("config", "reload")
    assert outcomes(scene.operate("config", "diff")) == {"log.format": "needs restart"}


@pytest.mark.parametrize(
    ("table", "line", "said"),
    [
        ("limits", 'depth = "deep"', "limits.depth: is not a whole number"),
        ("federation", 'authorities = ["nowhere.pem"]', "federation.authorities: .*nowhere.pem"),
        ('domains."montague.lit".modules', "pong = true", "did you mean ping"),
        ("tls", "limit = 1", "tls.limit: is not a setting here"),
        ("log", "level =", "is not TOML"),
    ],
)
def test_a_bad_file_leaves_everything_as_it_was(scene: Scene, table: str, line: str, said: str) -> None:
    scene.write("limits", "login_attempts = 7")
    scene.write(table, line)
    for verb in ("check", "diff", "reload"):
        with pytest.raises(Refused, match=f"(?s){said}"):
            scene.operate("config", verb)
    assert scene.reload.parts.clients.attempts == 3


def test_another_file_can_be_examined(scene: Scene) -> None:
    other = scene.folder / "other.toml"
    other.write_text(scene.file.read_text())
    assert scene.operate("config", "check", str(other)) == f"{other} is right"
    other.write_text("[[listeners")
    with pytest.raises(Refused, match=r"other.toml:1: is not TOML"):
        scene.operate("config", "check", str(other))
    with pytest.raises(Refused, match=r"write the whole path"):
        scene.operate("config", "check", "other.toml")


def test_new_streams_have_new_limits_and_what_was_counted_stays(scene: Scene) -> None:
    parts = scene.reload.parts
    before = (
        parts.clients.traffic,
        parts.federation.terms.streams.traffic,
        parts.federation.connector.resolver,
    )
    scene.write("limits", 'stanza = "64 KiB"\nresources = 2\nconnections = 1\nidle_timeout = "40 s"')
    scene.write("federation", 'queue = 7\n[federation.hosts]\n"capulet.lit" = "127.0.0.1:5999"')
    scene.write('domains."montague.lit"', 'federation = "either"')
    assert set(outcomes(scene.operate("config", "reload")).values()) == {"applied"}
    stream = parts.clients.buildProtocol(None)
    assert stream.settings.after.size == 64 << 10  # type: ignore[attr-defined]
    assert type(parts.clients.buildProtocol(None)).__name__ == "Unwelcome"
    assert parts.federation.terms.streams.after.size == 128 << 10
    assert parts.federation.settings.queue == 7
    assert [str(each) for each in done(parts.federation.connector.targets("capulet.lit"))] == [
        "127.0.0.1:5999"
    ]
    assert parts.policies["montague.lit"].proof == "either"
    assert parts.hosts["montague.lit"].manager.limits.sessions == 2
    assert before == (
        parts.clients.traffic,
        parts.federation.terms.streams.traffic,
        parts.federation.connector.resolver,
    )
    parts.clients.closed(stream)  # type: ignore[arg-type]


def test_settings_of_modules_change_in_place(scene: Scene) -> None:
    manager = scene.reload.parts.hosts["montague.lit"].manager
    module = manager.module("offline")
    manager.offers["a stream"] = b"what was offered before"
    scene.write('domains."montague.lit".modules', "offline = { limit = 3 }\nsm = { queue = 5 }")
    rows = outcomes(scene.operate("config", "reload"))
    assert rows == {
        'domains."montague.lit".modules.offline.limit': "applied",
        'domains."montague.lit".modules.sm.queue': "applied",
    }
    assert manager.module("offline") is module
    assert manager.offers == {}
    assert module.config.limit == 3  # type: ignore[attr-defined]


def test_modules_come_and_go_but_for_those_that_hold_sessions(scene: Scene) -> None:
    scene.write('domains."montague.lit".modules', "ping = false\nsm = false")
    rows = outcomes(scene.operate("config", "reload"))
    assert rows['domains."montague.lit".modules.ping'] == "applied"
    assert rows['domains."montague.lit".modules.sm'] == "needs restart: holds sessions"
    names = [row["module"] for row in scene.operate("modules", "list", "montague.lit")]
    assert ("ping" in names, "sm" in names) == (False, True)
    manager = scene.reload.parts.hosts["montague.lit"].manager
    assert manager.registry is scene.reload.parts.hosts["montague.lit"].modules.registry


def test_sighup_does_the_same_and_the_log_tells(scene: Scene) -> None:
    scene.write("limits", "login_attempts = 7")
    with capturedLogs() as events:
        scene.hangup.hung_up()
    texts = [eventAsText(event, includeTimestamp=False, includeSystem=False) for event in events]
    assert "limits.login_attempts: applied" in texts
    scene.file.write_text("[[listeners")
    with capturedLogs() as events:
        scene.hangup.hung_up()
    assert any("nothing was changed" in eventAsText(event) for event in events)
    assert scene.reload.parts.clients.attempts == 7


# -- certificates ---------------------------------------------------------------------------------------


def test_certificates_are_listed_with_their_names_and_days(scene: Scene) -> None:
    [row] = scene.operate("certificates", "list")
    assert (row["domain"], row["names"]) == ("montague.lit", "montague.lit")
    assert row["file"] == str(scene.folder / "certs" / "montague.lit.crt")
    assert 360 < row["days"] <= 365


def test_a_renewed_certificate_is_shown_to_those_who_connect_next(scene: Scene) -> None:
    contexts = scene.reload.parts.federation.terms.contexts
    assert contexts is not None
    before = contexts.connection("montague.lit").get_context()
    shown = scene.reload.parts.shown.table["montague.lit"].leaf
    scene.certify("montague.lit")
    scene.operate("certificates", "reload")
    assert contexts.connection("montague.lit").get_context() is not before
    assert scene.reload.parts.shown.table["montague.lit"].leaf != shown


def test_a_bad_folder_changes_nothing(scene: Scene) -> None:
    shown = scene.reload.parts.shown.table["montague.lit"]
    (scene.folder / "certs" / "montague.lit.key").write_text("nothing")
    with pytest.raises(Refused, match=r"no private key that fits"):
        scene.operate("certificates", "reload")
    assert scene.reload.parts.shown.table["montague.lit"] is shown


# -- domains --------------------------------------------------------------------------------------------


def test_a_domain_comes_with_its_certificate_and_goes_with_its_sessions(scene: Scene) -> None:
    parts = scene.reload.parts
    scene.certify("capulet.lit")
    said = scene.operate("domains", "add", "capulet.lit")
    assert said.startswith("capulet.lit is hosted; the configuration file does not say so")
    assert [row["domain"] for row in scene.operate("domains", "list")] == ["capulet.lit", "montague.lit"]
    assert "capulet.lit" in parts.router.domains
    assert "capulet.lit" in parts.clients.hosts
    manager = parts.hosts["capulet.lit"].manager
    ear = Ear()
    ear.session = done(manager.open(Identity("nobody", "ANONYMOUS"), "", ear))
    assert scene.operate("domains", "remove", "capulet.lit") == (
        "capulet.lit is gone; the configuration file says so, too"
    )
    assert [len(account.sessions) for account in manager.accounts if account.sessions] == []
    assert parts.router.domains == ("montague.lit",)
    assert {*parts.clients.hosts} == {*parts.policies} == {*parts.hosts} == {"montague.lit"}


def test_a_domain_comes_with_its_settings_in_the_file(scene: Scene) -> None:
    scene.certify("capulet.lit")
    scene.file.write_text(
        scene.file.read_text()
        + '[domains."capulet.lit"]\nplain = false\n[domains."capulet.lit".modules]\nping = false\n'
    )
    said = scene.operate("domains", "add", "capulet.lit")
    assert said == "capulet.lit is hosted; the configuration file says so, too"
    host = scene.reload.parts.hosts["capulet.lit"]
    assert (host.manager.policy.plain, "ping" in host.modules.registry.modules) == (False, False)
    assert scene.operate("config", "diff") == []


def test_a_domain_without_a_certificate_does_not_come(scene: Scene) -> None:
    with pytest.raises(Refused, match=r"no certificate for capulet.lit"):
        scene.operate("domains", "add", "capulet.lit")
    assert [*scene.reload.parts.hosts] == ["montague.lit"]


def test_who_is_there_does_not_come_and_who_is_not_does_not_go(scene: Scene) -> None:
    with pytest.raises(Refused, match=r"is hosted already"):
        scene.operate("domains", "add", "montague.lit")
    with pytest.raises(Refused, match=r"is not hosted here"):
        scene.operate("domains", "remove", "capulet.lit")
    with pytest.raises(Refused, match=r"domains: is missing; add a table"):
        scene.operate("domains", "remove", "montague.lit")


# -- modules --------------------------------------------------------------------------------------------


def test_a_module_goes_and_comes_back(scene: Scene) -> None:
    scene.operate("modules", "unload", "montague.lit", "ping")
    registry = scene.reload.parts.hosts["montague.lit"].manager.registry
    assert "ping" not in registry.modules
    said = scene.operate("modules", "load", "montague.lit", "ping")
    assert said.startswith("ping is loaded; ")
    assert "ping" in scene.reload.parts.hosts["montague.lit"].manager.registry.modules


def test_the_code_of_a_module_is_loaded_again(scene: Scene) -> None:
    manager = scene.reload.parts.hosts["montague.lit"].manager
    old = manager.module("last")
    assert scene.operate("modules", "reload", "montague.lit", "last").startswith("loaded again: last")
    fresh = manager.module("last")
    assert type(fresh) is not type(old)
    assert fresh.config == type(fresh).Config()
    assert done(fresh.departures.get("romeo@montague.lit")) is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", ["unload", "reload"])
def test_a_module_that_holds_sessions_needs_a_restart(scene: Scene, verb: str) -> None:
    with pytest.raises(Refused, match=r"needs restart: .*holds sessions"):
        scene.operate("modules", verb, "montague.lit", "sm")
    assert "sm" in scene.reload.parts.hosts["montague.lit"].manager.registry.modules
    assert scene.operate("config", "diff") == []


def test_a_module_that_is_not_there_is_told_with_those_that_are(scene: Scene) -> None:
    with pytest.raises(Refused, match=r"did you mean ping"):
        scene.operate("modules", "load", "montague.lit", "pong")
    with pytest.raises(Refused, match=r"pong is not loaded; loaded are "):
        scene.operate("modules", "unload", "montague.lit", "pong")
    with pytest.raises(Refused, match=r"capulet.lit is not hosted here"):
        scene.operate("modules", "list", "capulet.lit")
    with pytest.raises(UsageError):
        scene.operate("modules", "unload", "montague.lit")


def test_a_module_that_does_not_start_changes_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, logged_errors: LoggedErrors
) -> None:
    async def fail(_: Time) -> None:
        raise ZeroDivisionError

    scene.operate("modules", "unload", "montague.lit", "time")
    monkeypatch.setattr(Time, "start", fail)
    registry = scene.reload.parts.hosts["montague.lit"].manager.registry
    with pytest.raises(Refused, match=r"time: does not start \(ZeroDivisionError"):
        scene.operate("modules", "load", "montague.lit", "time")
    assert scene.reload.parts.hosts["montague.lit"].manager.registry is registry
    assert len(logged_errors.take(ZeroDivisionError)) == 1


def test_a_certificate_that_openssl_does_not_take_changes_nothing(scene: Scene) -> None:
    shown, modules = scene.reload.parts.shown.table["montague.lit"], scene.operate("modules", "list")
    broken = replace(shown, key=issue(scene.ca, "montague.lit").key)  # of another certificate
    with pytest.raises(UnusableError, match="a certificate cannot be used"):
        scene.reload.parts.shown.replace({"montague.lit": broken}, "TLSv1.2")
    assert scene.reload.parts.shown.table["montague.lit"] is shown
    assert scene.operate("certificates", "reload")[0]["domain"] == "montague.lit"
    assert scene.operate("modules", "list") == modules


def test_the_secret_of_a_component_is_not_shown() -> None:
    table = '[components."sms.montague.lit"]\nsecret = "a thing of no great worth"\n'
    text = f'{table}[[listeners]]\nkind = "c2s"\naddress = "::1"\nport = 0\n[domains."montague.lit"]\n'
    config = Config("montague.toml", f'{text}require_tls = false\n[storage]\nurl = "memory"\n', Path("/srv"))
    shown = options(config)
    assert re.fullmatch(r"\*\*\*[0-9a-f]{4}", str(shown['components."sms.montague.lit".secret']))
    assert "worth" not in str(shown)
