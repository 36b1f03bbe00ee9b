"""Debian's ngircd and biboumi, and somebody on IRC: a gateway of others, as a component of ours."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from tests.interop.actor import PATIENCE
from tests.interop.peers import started

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["BIBOUMI", "NGIRCD", "Person", "biboumi", "ngircd"]

BIBOUMI = shutil.which("biboumi")
NGIRCD = shutil.which("ngircd", path=f"{os.environ['PATH']}:/usr/sbin")
NGIRCD_CONFIG = """\
[Global]
Name = irc.verona.example
Info = a play
Listen = 127.0.0.1
Ports = {port}
MotdPhrase = In fair Verona
[Limits]
MaxConnectionsIP = 0
[Options]
DNS = no
Ident = no
PAM = no
"""
BIBOUMI_CONFIG = """\
hostname={domain}
password={secret}
xmpp_server_ip=127.0.0.1
port={port}
db_name={folder}/biboumi.sqlite
identd_port=0
log_level=0
"""


@contextmanager
def ngircd(folder: Path, port: int) -> Iterator[None]:
    """Run an IRC server on that port of loopback."""
    assert NGIRCD
    config = folder / "ngircd.conf"
    config.write_text(NGIRCD_CONFIG.format(port=port))
    with started([NGIRCD, "--nodaemon", "--config", str(config)], folder / "ngircd.log", [port]):
        yield


@contextmanager
def biboumi(folder: Path, domain: str, secret: str, port: int) -> Iterator[Path]:
    """Run biboumi as the component of a domain; gives the file that it logs to.

    :param port: of our server, for components.
    """
    assert BIBOUMI
    config, log = folder / "biboumi.cfg", folder / "biboumi.log"
    config.write_text(BIBOUMI_CONFIG.format(domain=domain, secret=secret, port=port, folder=folder))
    with log.open("wb") as output:
        process = subprocess.Popen([BIBOUMI, str(config)], stdout=output, stderr=subprocess.STDOUT)
    try:
        yield log
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Person:
    """Somebody with an IRC client (RFC 2812)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def joined(cls, port: int, nick: str, channel: str) -> Self:
        """Somebody who has entered a channel."""
        person = cls(*await asyncio.open_connection("127.0.0.1", port))
        person.say(f"NICK {nick}", f"USER {nick} 0 * :{nick}")
        await person.hears(" 001 ")
        person.say(f"JOIN {channel}")
        await person.hears(" 366 ")
        return person

    def say(self, *lines: str) -> None:
        self._writer.write("".join(f"{line}\r\n" for line in lines).encode())

    async def hears(self, wanted: str) -> str:
        """The next line that has this in it; those before it are passed over."""
        async with asyncio.timeout(PATIENCE):
            while line := (await self._reader.readline()).decode():
                if line.startswith("PING"):
                    self.say(line.strip().replace("PING", "PONG", 1))
                if wanted in line:
                    return line.strip()
        raise AssertionError(f"the IRC server hung up before {wanted!r}")

    async def leave(self) -> None:
        self.say("QUIT :farewell")
        self._writer.close()
        await self._writer.wait_closed()
