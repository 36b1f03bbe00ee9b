"""slidge, which gateways to many networks are made with, as a privileged component (XEP-0356)."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import slixmpp
from slixmpp.exceptions import IqError

from tests.interop.actor import PATIENCE, Actor, entered
from tests.interop.gateway import DOMAIN, PUBSUB, SECRET, configured, served
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.running import Running

pytestmark = [pytest.mark.process, pytest.mark.foreign]

VERONA = "verona.montague.lit"
MERCUTIO = f"mercutio@{VERONA}"
#: A network of one: whoever registers has a friend there, and has written to him with another program.
NETWORK = """
from slidge import BaseGateway, BaseSession
from slidge.contact import LegacyContact, LegacyRoster


class Friend(LegacyContact):
    async def update_info(self):
        self.name = "Mercutio"
        self.is_friend = True


class Friends(LegacyRoster):
    pass


class Verona(BaseGateway):
    COMPONENT_NAME = "Verona"
    COMPONENT_TYPE = "verona"
    ROSTER_GROUP = "Verona"

    async def validate(self, user_jid, registration_form):
        return {}


class Session(BaseSession):
    async def login(self):
        self.create_task(self.play())

    async def play(self):
        friend = await self.contacts.by_legacy_id("mercutio")
        await friend.add_to_roster()
        friend.send_text("with another program", carbon=True)

    async def logout(self):
        pass
"""
GRANTED = f"""
[domains."{DOMAIN}".modules]
archive = true
[domains."{DOMAIN}".modules.privilege.entities."{VERONA}"]
roster = "both"
message = "outgoing"
iq = {{"{PUBSUB}" = "both", "{PUBSUB}#owner" = "set"}}
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(served(tmp_path, configured(VERONA, more=GRANTED))) as server:
        yield server


@contextmanager
def slidge(folder: Path, port: int) -> Iterator[Path]:
    """Run it, with that network; gives the file that it logs to.

    :param port: of our server, for components.
    """
    log, home, program = folder / "slidge.log", folder / "slidge", shutil.which("slidge")
    assert program  # see conftest.py
    (folder / "verona.py").write_text(NETWORK)
    options = {
        "legacy-module": "verona",
        "jid": VERONA,
        "secret": SECRET,
        "server": "127.0.0.1",
        "port": str(port),
        "home-dir": str(home),
        "user-jid-validator": f".*@{DOMAIN}",
        "upload-service": VERONA,
    }
    command = [program, "--debug", *(f"--{name}={value}" for name, value in options.items())]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    home.mkdir()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=environment
        )
    try:
        yield log
    finally:
        process.terminate()
        process.wait(10)


async def registered(romeo: Actor) -> None:
    """Register with the gateway, as soon as it is there (XEP-0077)."""
    async with asyncio.timeout(PATIENCE):
        while True:
            iq: Any = romeo.make_iq_set(ito=slixmpp.JID(VERONA))
            iq["register"]["username"] = iq["register"]["password"] = "romeo"
            with suppress(IqError):
                await iq.send(timeout=PATIENCE)
                return
            await asyncio.sleep(0.2)


def test_it_makes_contacts_and_copies_what_was_written_elsewhere(server: Running, tmp_path: Path) -> None:
    async def play() -> None:
        authority = tmp_path / "ca.crt"
        romeo = Actor(f"romeo@{DOMAIN}/orchard", server.port("c2s"), authority, register=False)
        for plugin in ("xep_0077", "xep_0280"):
            romeo.register_plugin(plugin)
        async with entered(romeo):
            carbons: Any = romeo.plugin["xep_0280"]
            await carbons.enable()
            await registered(romeo)
            await romeo.until("his friend", lambda: MERCUTIO in romeo.client_roster)
            assert romeo.client_roster[MERCUTIO]["groups"] == ["Verona"]
            copy = await romeo.until("the copy", lambda: sent(romeo))
            assert (str(copy["to"]), copy["body"]) == (MERCUTIO, "with another program")

    with slidge(tmp_path, server.port("component")):
        asyncio.run(play())


def sent(actor: Actor) -> Any:
    """A message of the actor's account that another of its clients has sent."""
    found = [each["carbon_sent"] for each in actor._seen if each.name == "message" and each["carbon_sent"]]
    return found[0] if found else None
