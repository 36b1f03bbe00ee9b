"""XEP-0092: what software this is."""

from __future__ import annotations

import platform
from typing import Final

import jabberd
from jabberd.api import ANYONE, DOMAIN, IQ, E, Element, Module, Settings, answers

NS: Final = "jabber:iq:version"


class Version(Module, xep=92, version="1.1"):
    """Tells anyone the server's name and version."""

    features = (NS,)

    class Config(Settings):
        """What else is told.

        :ivar os: the operating system's name and release (§5 wants a way to keep that secret).
        """

        os: bool = False

    config: Config

    @answers.get(NS, "query", to=DOMAIN, by=ANYONE)
    def version_of_server(self, request: IQ) -> Element:
        """Name and version, and the operating system if it is no secret (§2)."""
        answer = E(NS, "query", {}, E(NS, "name", {}, "jabberd"), E(NS, "version", {}, jabberd.__version__))
        if self.config.os:
            answer.append(E(NS, "os", {}, f"{platform.system()} {platform.release()}"))
        return answer
