"""XEP-0202: what time it is there."""

from __future__ import annotations

from typing import Final

from jabberd.api import ANYONE, DOMAIN, IQ, E, Element, Module, answers
from jabberd.xmpp.timestamp import to_stamp

NS: Final = "urn:xmpp:time"


class Time(Module, xep=202, version="2.0"):
    """Tells anyone the server's time.

    Its time zone is always UTC: nobody needs to learn where the machine stands (§6).
    """

    features = (NS,)

    @answers.get(NS, "time", to=DOMAIN, by=ANYONE)
    def time(self, request: IQ) -> Element:
        """Time zone and time (§2)."""
        return E(NS, "time", {}, E(NS, "tzo", {}, "Z"), E(NS, "utc", {}, to_stamp(self.now())))
