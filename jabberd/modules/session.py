"""RFC 3921 §3: the session that clients had to establish after binding a resource.

RFC 6120 did away with it, but clients written before 2011 still ask.
"""

from __future__ import annotations

from jabberd.api import ACCOUNT, DOMAIN, IQ, LOCAL, E, Module, answers
from jabberd.xmpp import ns


class LegacySession(Module):
    """Grants sessions, which there are anyway, and tells newer clients that they need not ask."""

    stream_features = (E(ns.SESSION, "session", {}, E(ns.SESSION, "optional")),)

    @answers.set(ns.SESSION, "session", to=DOMAIN, by=LOCAL)
    @answers.set(ns.SESSION, "session", to=ACCOUNT)
    def establish(self, request: IQ) -> None:
        """Say nothing: it is established already."""
