"""What hosting makes of a configuration, without a server."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from twisted.internet.defer import execute
from twisted.internet.task import Clock

from jabberd import hosting
from jabberd.config import Config, ConfigError
from jabberd.operating.examine import examine
from jabberd.router import Router
from jabberd.storage import open_storage
from jabberd.testing import Network

IN_THE_CLEAR = """\
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[[listeners]]
kind = "KIND"
address = "127.0.0.1"
port = 0
direct_tls = true
[domains."montague.lit"]
require_tls = false
[storage]
url = "memory"
"""


def certificates(source: str) -> dict[str, object]:
    """Those that are chosen; raises `ConfigError` with what is missing."""
    config = Config("montague.toml", source, Path("/nowhere"))
    chosen = hosting.certificates(config, config.settings)
    config.check()
    return dict(chosen)


@pytest.mark.parametrize("kind", ["c2s", "s2s", "http"])
def test_a_listener_with_direct_tls_and_no_certificate_is_told_with_its_line(kind: str) -> None:
    with pytest.raises(ConfigError) as told:
        certificates(IN_THE_CLEAR.replace("KIND", kind))
    assert str(told.value) == (
        "montague.toml:9: listeners[1].direct_tls: needs a certificate; name a folder in tls.certificates"
    )


@pytest.mark.parametrize("at", ["iterdir", "is_file", "read_bytes"])
def test_certificates_that_the_server_may_not_read_are_to_be_made_readable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at: str
) -> None:
    (tmp_path / "privkey.pem").touch()
    source = f"{IN_THE_CLEAR.replace('KIND', 's2s')}[tls]\ncertificates = '{tmp_path}'\n"
    with pytest.raises(ConfigError, match=r"there is no certificate at all; put one there$"):
        certificates(source)

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, at, refuse)
    with pytest.raises(ConfigError, match=r": Permission denied; let the user that jabberd runs as read it$"):
        certificates(source)


def test_a_log_in_a_folder_that_the_server_may_not_enter_is_told_with_its_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = IN_THE_CLEAR.replace("KIND", "s2s").replace("direct_tls = true\n", "")
    config = Config("montague.toml", f"{source}[log]\nfile = 'closed/log'\n", Path("/nowhere"))

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(ConfigError, match=r":14: log\.file: cannot be written: Permission denied; choose"):
        examine(config)


def test_without_direct_tls_a_domain_in_the_clear_needs_no_certificate() -> None:
    assert certificates(IN_THE_CLEAR.replace("KIND", "s2s").replace("direct_tls = true\n", "")) == {}


# -- what nobody else may know ----------------------------------------------------------------------


def test_the_keys_of_a_domain_are_the_same_after_a_restart_and_nobody_elses(tmp_path: Path) -> None:
    def keys(name: str) -> list[bytes]:
        secret = hosting.secret_of(f"sqlite:///{tmp_path / name}.db")
        hosts = hosted("service = 'pubsub'", secret)
        domains = [hosts[each].manager for each in ("montague.lit", "post.montague.lit")]
        return [domain.key(use) for domain in domains for use in ("seals", "letters")]

    first = keys("verona")
    assert keys("verona") == first
    assert len({*first, *keys("mantua")}) == 8
    assert {len(key) for key in first} == {32}


# -- domains without accounts -----------------------------------------------------------------------


def hosted(service: str, secret: bytes = b"secret" * 8) -> dict[str, hosting.Host]:
    """What becomes of a domain below another, with these lines in its table."""
    source = IN_THE_CLEAR.replace("KIND", "s2s") + f"[domains.'post.montague.lit']\n{service}\n"
    config = Config("montague.toml", source, Path("/nowhere"))
    storage = open_storage("memory", None)
    return hosting.host_domains(config, storage, Router(Network()), Clock(), execute, secret)


def test_a_domain_may_be_served_by_a_module_and_then_has_no_accounts() -> None:
    hosts = hosted("service = 'pubsub'")
    modules = [each.name for each in hosts["post.montague.lit"].manager.modules]
    assert sorted(modules) == ["commands", "disco", "ping", "pubsub", "time", "version"]
    assert [*hosting.open_hosts(hosts)] == ["montague.lit"]
    assert [*hosts["montague.lit"].manager.services] == ["post.montague.lit"]
    nouns = [(noun, domain) for noun, domain, _ in hosting.verb_groups(hosts)]
    assert ("accounts", "montague.lit") in nouns
    assert ("accounts", "post.montague.lit") not in nouns


@pytest.mark.parametrize(
    ("service", "told"),
    [
        ("service = 'posts'", r'domains\."post\.montague\.lit"\.service: there is no such module'),
        ("service = 'ping'", r'domains\."post\.montague\.lit"\.service: serves no domain; it is no service'),
        (
            "modules = {pubsub = true}",
            'serves a whole domain; write service = "pubsub" for a domain of its own',
        ),
    ],
)
def test_what_serves_a_domain_has_to_be_a_service(service: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        hosted(service)


def test_who_misses_the_verbs_of_a_module_learns_that_nobody_has_it() -> None:
    hosts = hosted("modules = {pubsub = false}")
    assert hosting.lacking(hosts, "upload") == "while no domain has the module upload"
    assert hosting.lacking(hosts, "ping") == ""
    assert hosting.lacking(hosts, "links") == ""
