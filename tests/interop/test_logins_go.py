"""Two SASL libraries in Go log in, also bound to the channel; without Go these are not even collected."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.interop.actor import PATIENCE
from tests.interop.conftest import program
from tests.interop.logins import ALL, DOMAIN, SCRAM, SECRET, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running import Running

pytestmark = [pytest.mark.process, pytest.mark.foreign]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("montague")) as server:
        yield server


def went(
    server: Running,
    library: str,
    mechanism: str,
    binding: str = "",
    version: str = "1.3",
    *,
    password: str = SECRET,
) -> str:
    """What came of it: ``success`` or the condition of the failure.

    :param binding: the kind of channel binding.
    :param version: the newest one of TLS.
    """
    address = f"127.0.0.1:{server.port('c2s-direct')}"
    authority = str(server.log.with_name("ca.crt"))
    words = [address, authority, DOMAIN, "romeo", password, library, mechanism, binding, version]
    run = subprocess.run(
        [str(program()), *words], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert run.returncode == 0, run.stderr
    offered, outcome = run.stdout.splitlines()
    assert {each for each in offered.split() if not each.startswith("HT-")} == set(
        ALL
    )  # those are for tokens
    return outcome


@pytest.mark.parametrize(
    ("mechanism", "version"),
    [
        *(
            (each, version)
            for each in ("SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN")
            for version in ("1.3", "1.2")
        ),
        ("SCRAM-SHA-1-PLUS", "1.3"),  # on 1.2 it knows tls-unique alone, which is not offered (RFC 7627)
        ("SCRAM-SHA-256-PLUS", "1.3"),
    ],
)
def test_mellium_logs_in(server: Running, mechanism: str, version: str) -> None:
    """Bound to ``tls-exporter`` where the mechanism is -PLUS."""
    assert went(server, "mellium", mechanism, "", version) == "success"
    assert went(server, "mellium", mechanism, "", version, password="rosaline") == "not-authorized"


@pytest.mark.parametrize(
    ("binding", "version"),
    [("tls-exporter", "1.3"), ("tls-server-end-point", "1.3"), ("tls-server-end-point", "1.2")],
)
@pytest.mark.parametrize("mechanism", SCRAM)
def test_xdg_logs_in_bound_to_the_channel(
    server: Running, mechanism: str, binding: str, version: str
) -> None:
    plus = f"{mechanism}-PLUS"
    assert went(server, "xdg", plus, binding, version) == "success"
    assert went(server, "xdg", plus, binding, version, password="rosaline") == "not-authorized"


@pytest.mark.parametrize("mechanism", SCRAM)
def test_xdg_logs_in_unbound_and_cannot_be_talked_out_of_binding(server: Running, mechanism: str) -> None:
    assert went(server, "xdg", mechanism) == "success"
    assert went(server, "xdg", mechanism, "advertised") == "not-authorized"
    assert went(server, "xdg", f"{mechanism}-PLUS", "another-channel") == "not-authorized"
