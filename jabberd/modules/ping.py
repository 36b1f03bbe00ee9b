"""XEP-0199: whether anybody is there."""

from __future__ import annotations

from typing import Final

from jabberd.api import ACCOUNT, ANYONE, DOMAIN, IQ, Module, answers

NS: Final = "urn:xmpp:ping"


class Ping(Module, xep=199, version="2.0.1"):
    """Answers pings: for the domain anyone's, for an account its owner's (§4.2)."""

    features = (NS,)
    account_features = (NS,)

    @answers.get(NS, "ping", to=DOMAIN, by=ANYONE)
    @answers.get(NS, "ping", to=ACCOUNT)
    def ping(self, request: IQ) -> None:
        """Say nothing: the empty result is the answer."""
