"""``make demo``: two servers, one conversation, every stanza to be seen.

With ``--once`` it ends by itself, with status 0 only if everybody received what they had to.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from actors import MissedError
from certificates import DOMAINS, FOLDER, SERVICES
from servers import Server, ServerError, accounts, place, start
from stage import Stage
from story import CAST, Story

from jabberd.certificates import development_certificates
from jabberd.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable

ROOT: Final = Path(__file__).resolve().parent.parent
VAR: Final = ROOT / "var"
CONFIGS: Final = [ROOT / "etc" / f"{domain.removesuffix('.lit')}.toml" for domain in DOMAINS]
AUTHORITY: Final = FOLDER / "ca.crt"
PASSWORD: Final = "by-any-other-name"
LONGEST: Final = 120.0  # seconds that the story may take
GRACE: Final = 1.0  # seconds in which a dying server is noticed


async def main(*, once: bool) -> int:
    """Play it; returns the exit status."""
    stage = Stage(sys.stdout)
    performance = asyncio.ensure_future(perform(stage, once=once))
    loop = asyncio.get_running_loop()

    def asked_to_end() -> None:
        for number in signals:
            loop.add_signal_handler(number, lambda: None)  # once is enough: it ends within seconds
        performance.cancel()

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, asked_to_end)
    try:
        await performance
    except asyncio.CancelledError:
        return int(once)
    except (ConfigError, ServerError) as why:
        print(f"\nThe play has stopped: {why}", file=sys.stderr)
        return 1
    except MissedError as why:
        print(f"\nThe play has stopped: {why} (the logs of the servers are in {VAR})", file=sys.stderr)
        return 1
    return 0


async def perform(stage: Stage, *, once: bool) -> None:
    """Start the servers, tell the story, and end them whatever happens.

    :raises ServerError: a server does not start, or has ended, or must be killed.
    :raises MissedError: somebody did not receive what they had to.
    """
    configs = place(CONFIGS, VAR, stage.say)
    development_certificates(FOLDER, DOMAINS + SERVICES)
    servers: list[Server] = []
    try:
        for config in configs:
            servers.append(await start(config, VAR))
            stage.say(f"The server of {servers[-1].domain} is ready: {servers[-1].places}")
        await while_they_live(servers, asyncio.wait_for(tell(stage, servers), LONGEST))
        if once:
            stage.say("\nEach step was seen by whoever had to see it.")
        else:
            stage.say(invitation(servers))
            await while_they_live(servers, asyncio.Event().wait())
    finally:
        stage.say("\nThe servers end.")
        stubborn = [server.domain for server in servers if not await server.stop()]
    if stubborn:
        raise ServerError(f"the server of {stubborn[0]} did not end when it was told to")


async def tell(stage: Stage, servers: list[Server]) -> None:
    """Make the accounts and play the story.

    :raises MissedError: with the step in which somebody did not receive what they had to.
    """
    for server in servers:
        await accounts(server, cast_of(server), PASSWORD, stage.say)
    story = Story({server.domain: server.port for server in servers}, AUTHORITY, PASSWORD, stage)
    try:
        await story.play()
    except MissedError as why:
        raise MissedError(f"{story.step}: {why}") from None
    finally:
        await story.end()


async def while_they_live(servers: list[Server], doing: Awaitable[object]) -> None:
    """Do it until it is done or a server dies, which is then the better reason for a failure.

    :raises ServerError: one has died.
    """
    task = asyncio.ensure_future(doing)
    deaths = [asyncio.ensure_future(server.died()) for server in servers]
    try:
        await asyncio.wait({task, *deaths}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done() or task.exception():
            await asyncio.wait(deaths, timeout=GRACE, return_when=asyncio.FIRST_COMPLETED)
        for death in deaths:
            if death.done():
                death.result()
        await task
    finally:
        for each in (task, *deaths):
            each.cancel()
        await asyncio.gather(task, *deaths, return_exceptions=True)


def cast_of(server: Server) -> list[str]:
    """Who has an account there."""
    return [name for name, jid in CAST.items() if f"@{server.domain}/" in jid]


def invitation(servers: list[Server]) -> str:
    """How to connect."""
    rows = [
        f"  {server.domain:<14} 127.0.0.1   {server.port:<6} {', '.join(cast_of(server))}"
        for server in servers
    ]
    logs = " ".join(str(server.log) for server in servers)
    return "\n".join(
        (
            "\nThe servers stay up until Ctrl-C. Connect with any client (STARTTLS):\n",
            "  domain         host        port   accounts",
            *rows,
            f"\n  rooms          {', '.join(f'any at {each}' for each in SERVICES)}",
            f"  password       {PASSWORD}",
            f"  authority      {AUTHORITY}  (let the client trust it)",
            f"  logs           {logs}",
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Two servers, one conversation: see every stanza.")
    parser.add_argument(
        "--once", action="store_true", help="end by itself, with status 0 only if all was seen"
    )
    sys.exit(asyncio.run(main(once=parser.parse_args().once)))
