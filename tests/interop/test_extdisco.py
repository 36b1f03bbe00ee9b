"""Relays for calls: coturn lets in whom this server gave credentials, as long as they last."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest
from slixmpp.exceptions import IqError

from jabberd.certificates import development_certificates
from tests.interop.actor import entered
from tests.interop.peers import COTURN, started
from tests.interop.test_pep import CONFIG, JABBERCTL, ROMEO, accounts, client, played
from tests.running import free_ports, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.running import Running

pytestmark = [
    pytest.mark.process,
    pytest.mark.foreign,
    pytest.mark.skipif(COTURN is None, reason="install coturn"),
]
NS = "urn:xmpp:extdisco:2"
SECRET = "a rose by any other name"
SERVICES = """
[control]
socket = "montague.sock"
[domains."montague.lit".modules.extdisco]
lifetime = "{lifetime}"
[[domains."montague.lit".modules.extdisco.services]]
type = "stun"
host = "127.0.0.1"
port = {port}
[[domains."montague.lit".modules.extdisco.services]]
type = "turn"
host = "127.0.0.1"
port = {port}
secret = "{secret}"
"""


class Relay(NamedTuple):
    """A coturn with a secret.

    :ivar config: of our server that knows it.
    """

    port: int
    config: Path

    def configure(self, secret: str = SECRET, lifetime: str = "1 h") -> None:
        self.config.write_text(CONFIG + SERVICES.format(port=self.port, secret=secret, lifetime=lifetime))

    def lets_in(self, username: str, password: str) -> bool:
        """Whether somebody with these credentials gets an allocation, and packets through it."""
        who = ["-u", username, "-w", password, "-p", str(self.port)]
        command = ["turnutils_uclient", *who, "-y", "-c", "-n", "2", "-m", "1", "127.0.0.1"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        said = run.stdout + run.stderr
        assert ("Total lost packets 0 " in said) != ("Cannot complete Allocation" in said), said
        return run.returncode == 0


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    with relaying(tmp_path) as port:
        development_certificates(tmp_path / "certs", ("montague.lit",))
        relay = Relay(port, tmp_path / "montague.toml")
        relay.configure()
        accounts(relay.config)
        yield relay


@contextmanager
def relaying(folder: Path) -> Iterator[int]:
    """Run it; gives its port."""
    [port] = free_ports(1)
    options = {"static-auth-secret": SECRET, "realm": "montague.lit", "listening-port": str(port)}
    options |= {"listening-ip": "127.0.0.1", "relay-ip": "127.0.0.1", "log-file": "stdout"}
    options |= {"pidfile": str(folder / "turn.pid"), "userdb": str(folder / "turn.db")}
    flags = ("-n", "--use-auth-secret", "--no-tls", "--no-dtls", "--no-cli", "--allow-loopback-peers")
    command = [str(COTURN), *flags, *(f"--{key}={value}" for key, value in options.items())]
    with started(command, folder / "turn.log", [port], cwd=folder):
        yield port


async def asked(actor: Any, inside: str) -> list[dict[str, str]]:
    """The services that are told."""
    iq = actor.make_iq_get(ito="montague.lit")
    iq.append(ET.fromstring(inside))  # ours
    answer = await iq.send()
    return [dict(each.attrib) for each in answer.xml.iter(f"{{{NS}}}service")]


async def turn(actor: Any) -> dict[str, str]:
    [found] = await asked(actor, f"<services xmlns='{NS}' type='turn'/>")
    return found


@played
async def test_who_was_given_credentials_is_let_in_and_with_others_nobody(relay: Relay) -> None:
    with running(relay.config) as server:
        romeo = client(server, f"{ROMEO}/orchard")
        async with entered(romeo):
            stun, listed = await asked(romeo, f"<services xmlns='{NS}'/>")
            [named] = await asked(
                romeo, f"<credentials xmlns='{NS}'><service host='127.0.0.1' type='turn'/></credentials>"
            )
            assert (stun["type"], listed) == ("stun", named)
            assert relay.lets_in(named["username"], named["password"])
            assert not relay.lets_in(named["username"], named["password"].swapcase())
            later = str(int(named["username"].partition(":")[0]) + 3600)
            assert not relay.lets_in(f"{later}:romeo", named["password"])
            with pytest.raises(IqError):
                await asked(
                    romeo, f"<credentials xmlns='{NS}'><service host='nowhere' type='turn'/></credentials>"
                )
        assert SECRET not in server.log.read_text()


@played
async def test_credentials_that_have_ended_let_nobody_in(relay: Relay) -> None:
    relay.configure(lifetime="1 s")
    with running(relay.config) as server:
        romeo = client(server, f"{ROMEO}/orchard")
        async with entered(romeo):
            given = await turn(romeo)
            await asyncio.sleep(3)
            assert not relay.lets_in(given["username"], given["password"])


@played
async def test_another_secret_is_followed_without_a_restart_and_pushed_and_shown_to_nobody(
    relay: Relay,
) -> None:
    relay.configure(secret="what was before")
    with running(relay.config) as server:
        romeo = client(server, f"{ROMEO}/orchard")
        async with entered(romeo):
            before = await turn(romeo)
            assert not relay.lets_in(before["username"], before["password"])
            relay.configure()
            said = jabberctl(server, "config", "reload")
            assert "extdisco.services" in said
            push = await pushed(romeo)
            assert (push["action"], push["type"]) == ("modify", "turn")
            assert relay.lets_in(push["username"], push["password"])
            said += server.log.read_text()
            assert SECRET not in said
            assert "what was before" not in said


async def pushed(actor: Any) -> dict[str, str]:
    """The first service of a push."""

    def found() -> dict[str, str]:
        services = (each.xml.find(f"{{{NS}}}services/{{{NS}}}service") for each in actor._seen)
        pushes = (dict(each.attrib) for each in services if each is not None)
        return next((each for each in pushes if "action" in each), {})

    push: dict[str, str] = await actor.until("a push of services", found)
    return push


def jabberctl(server: Running, *words: str) -> str:
    line = [str(JABBERCTL), "--config", str(server.log.with_suffix(".toml")), *words]
    return subprocess.run(line, text=True, check=True, capture_output=True, timeout=90).stdout
