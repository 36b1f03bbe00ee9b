"""Ours and Debian's Prosody, over real sockets, with certificates as public authorities issue them today."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.ours import served
from tests.interop.peers import PROSODY, Authority, NameServer, prosody
from tests.interop.story import answer, play, play_in_vain
from tests.interop.thief import thief
from tests.running import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.interop.ours import Ours

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.process,
    pytest.mark.skipif(PROSODY is None, reason="no Prosody here: apt install prosody"),
]


class Verona:
    """A place for montague.lit, which is ours, and for capulet.lit, which is Prosody's."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.authority = Authority(folder / "certs")
        for domain in ("montague.lit", "capulet.lit"):
            self.authority.certify(domain)
        self.c2s, self.s2s, self.direct, self.ours = free_ports(4)
        self._folder = folder
        self._stack = stack

    def serve(
        self,
        federation: str,
        *,
        direct: bool = False,
        through: int | None = None,
        services: Mapping[str, str] = {},
        components: Mapping[str, str] = {},
        **options: Any,
    ) -> Ours:
        """Start both.

        :param direct: TLS starts with the connection (XEP-0368), both ways.
        :param through: a port that leads to Prosody's, and is where DNS says that it is.
        :param services: by domain, the modules that serve domains of ours.
        :param components: by domain, the secrets of components of ours.
        :param options: those of `prosody`.
        """
        service, port = ("xmpps-server", self.direct) if direct else ("xmpp-server", self.s2s)
        for domain in (*services, *components):
            self.authority.certify(domain)
        more = "".join(f"[domains.'{domain}']\nservice = '{each}'\n" for domain, each in services.items())
        more += "".join(
            f"[components.'{domain}']\nsecret = '{secret}'\nfederation = '{federation}'\n"
            for domain, secret in components.items()
        )
        if components:
            more += "[[listeners]]\nkind = 'component'\naddress = '127.0.0.1'\nport = 0\n"
        names = NameServer({f"_{service}._tcp.capulet.lit": through or port})
        self._stack.enter_context(
            prosody(
                self._folder / "capulet",
                "capulet.lit",
                self.authority,
                (self.c2s, self.s2s, self.direct),
                {f"{service} {each}": self.ours for each in ("montague.lit", *services, *components)},
                **options,
            )
        )
        return self._stack.enter_context(
            served(self._folder, self.authority, self.ours, names, federation, direct=direct, more=more)
        )


@pytest.fixture
def verona(tmp_path: Path) -> Iterator[Verona]:
    with ExitStack() as stack:
        yield Verona(tmp_path, stack)


@pytest.mark.parametrize("direct", [False, True])
def test_certificates_prove_both(verona: Verona, direct: bool) -> None:
    montague = verona.serve("certificate", direct=direct)
    play(montague.port, verona.c2s, verona.authority.file)
    assert montague.proofs() == {"in": "certificate", "out": "certificate"}


@pytest.mark.rfc7590("3.1-1")
def test_tls_is_started_though_somebody_takes_the_offer_out_on_the_way(verona: Verona) -> None:
    with thief(verona.s2s) as between:
        montague = verona.serve("certificate", through=between.port)
        play(montague.port, verona.c2s, verona.authority.file)
        assert montague.proofs() == {"in": "certificate", "out": "certificate"}
        assert between.taken > 0


@pytest.mark.parametrize("direct", [False, True])
def test_both_acknowledge_what_the_other_sends(verona: Verona, tmp_path: Path, direct: bool) -> None:
    montague = verona.serve("certificate", direct=direct, modules=["smacks"])
    play(montague.port, verona.c2s, verona.authority.file)
    said = (tmp_path / "capulet" / "prosody.log").read_text()
    for way in ("Received[s2sin]", "Sending[s2sin]", "Sending[s2sout]", "Received[s2sout]"):
        asked = "enable" if way in ("Received[s2sin]", "Sending[s2sout]") else "enabled"
        assert f"{way}: <{asked} " in said
        assert f"{way}: <{'r' if asked == 'enable' else 'a'} " in said


@pytest.mark.parametrize("modules", [["s2s_bidi"], ["s2s_bidi", "smacks"]], ids=" ".join)
@pytest.mark.parametrize("speaker", [play, answer], ids=["ours", "theirs"])
def test_one_stream_serves_both_ways_whoever_opens_it(
    verona: Verona, tmp_path: Path, speaker: Callable[..., None], modules: list[str]
) -> None:
    montague = verona.serve("certificate", modules=modules)
    speaker(montague.port, verona.c2s, verona.authority.file)
    said = (tmp_path / "capulet" / "prosody.log").read_text()
    way, other = ("s2sin", "s2sout") if speaker is play else ("s2sout", "s2sin")
    assert f"Sending[{way}]: <message " in said
    assert f"Received[{way}]: <message " in said
    assert f"[{other}" not in said
    if "smacks" in modules:
        assert f"Received[{way}]: <a " in said
        assert f"Sending[{way}]: <a " in said


def test_both_ask_for_both_ways_before_dialback(verona: Verona, tmp_path: Path) -> None:
    """Prosody asks us about our key on a stream that it goes on to use: each has one of its own then."""
    other = Authority(tmp_path / "other")
    verona.authority.certify("capulet.lit", by=other)
    montague = verona.serve("dialback", trusted=other.file, secure=False, modules=["s2s_bidi", "smacks"])
    play(montague.port, verona.c2s, verona.authority.file, other.file)
    said = (tmp_path / "capulet" / "prosody.log").read_text()
    for way, proof in (
        ("Received[s2sin", "Received[s2sin_unauthed]: <result "),
        ("Sending[s2sout", "Sending[s2sout_unauthed]: <db:result "),
    ):
        assert said.index(f"{way}_unauthed]: <bidi ") < said.index(proof)


@pytest.mark.parametrize("policy", ["dialback", "either"])
def test_dialback_proves_both_where_certificates_do_not(verona: Verona, tmp_path: Path, policy: str) -> None:
    other = Authority(tmp_path / "other")
    verona.authority.certify("capulet.lit", by=other)
    montague = verona.serve(policy, trusted=other.file, secure=False)
    play(montague.port, verona.c2s, verona.authority.file, other.file)
    assert montague.proofs() == {"in": "dialback", "out": "dialback"}


def test_a_strict_domain_does_not_talk_to_a_server_that_proves_nothing(
    verona: Verona, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    verona.authority.certify("capulet.lit", by=other)
    montague = verona.serve("certificate", secure=False)
    assert play_in_vain(montague.port, verona.c2s, verona.authority.file, other.file) == {
        "romeo": "remote-server-timeout",
        "juliet": "remote-server-timeout",
    }
    assert montague.proofs() == {}
