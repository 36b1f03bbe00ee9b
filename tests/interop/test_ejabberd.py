"""Ours and Debian's ejabberd, over real sockets; both ask a name server of the test's own."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from jabberd.certificates import CLIENT_AUTH, SERVER_AUTH
from tests.interop.ours import served
from tests.interop.peers import EJABBERD, ERLANG, Authority, NameServer, ejabberd
from tests.interop.story import play, play_in_vain
from tests.running import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.interop.ours import Ours

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.process,
    pytest.mark.skipif(not (ERLANG and EJABBERD), reason="no ejabberd here: apt install ejabberd"),
]


class Verona:
    """A place for montague.lit, which is ours, and for capulet.lit, which is ejabberd's."""

    def __init__(self, folder: Path, stack: ExitStack, eku: Sequence[Any] = (SERVER_AUTH,)) -> None:
        self.authority = Authority(folder / "certs", eku)
        self.c2s, self.s2s, self.ours = free_ports(3)
        self._folder = folder
        self._stack = stack

    def serve(self, federation: str, **options: Any) -> Ours:
        """Start both; for the options see `ejabberd`."""
        services = {"montague.lit": self.ours, "capulet.lit": self.s2s}
        names = NameServer({f"_xmpp-server._tcp.{domain}": port for domain, port in services.items()})
        montague = self._stack.enter_context(
            served(self._folder, self.authority, self.ours, names, federation)
        )
        self._stack.enter_context(
            ejabberd(
                self._folder / "capulet",
                "capulet.lit",
                self.authority,
                (self.c2s, self.s2s),
                names.port,
                **options,
            )
        )
        return montague


@pytest.fixture
def verona(tmp_path: Path) -> Iterator[Verona]:
    with ExitStack() as stack:
        yield Verona(tmp_path, stack)


@pytest.mark.parametrize("policy", ["certificate", "either"])
def test_certificates_for_both_purposes_prove_both(tmp_path: Path, policy: str) -> None:
    with ExitStack() as stack:
        verona = Verona(tmp_path, stack, (SERVER_AUTH, CLIENT_AUTH))
        prove_both(verona, policy)


def prove_both(verona: Verona, policy: str) -> None:
    for domain in ("montague.lit", "capulet.lit"):
        verona.authority.certify(domain)
    montague = verona.serve(policy)
    play(montague.port, verona.c2s, verona.authority.file)
    assert montague.proofs() == {"in": "certificate", "out": "certificate"}


def test_certificates_for_servers_alone(verona: Verona) -> None:
    for domain in ("montague.lit", "capulet.lit"):
        verona.authority.certify(domain)
    montague = verona.serve("certificate")
    play(montague.port, verona.c2s, verona.authority.file)
    assert montague.proofs() == {"in": "certificate", "out": "dialback"}


def test_dialback_proves_both_where_certificates_do_not(verona: Verona, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    verona.authority.certify("montague.lit")
    verona.authority.certify("capulet.lit", by=other)
    montague = verona.serve("either", trusted=other.file)
    play(montague.port, verona.c2s, verona.authority.file, other.file)
    assert montague.proofs() == {"in": "dialback", "out": "dialback"}


def test_a_strict_domain_does_not_talk_to_a_server_that_proves_nothing(
    verona: Verona, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    verona.authority.certify("montague.lit")
    verona.authority.certify("capulet.lit", by=other)
    montague = verona.serve("certificate")
    assert play_in_vain(montague.port, verona.c2s, verona.authority.file, other.file) == {
        "romeo": "remote-server-timeout",
        "juliet": "remote-server-timeout",
    }
    assert montague.proofs() == {}
