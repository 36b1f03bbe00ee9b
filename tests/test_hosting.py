"""What hosting makes of a configuration, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from jabberd import hosting
from jabberd.config import Config, ConfigError

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


def test_without_direct_tls_a_domain_in_the_clear_needs_no_certificate() -> None:
    assert certificates(IN_THE_CLEAR.replace("KIND", "s2s").replace("direct_tls = true\n", "")) == {}
