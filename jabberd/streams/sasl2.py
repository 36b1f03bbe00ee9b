"""XEP-0388: logging in, with all that a client wants to do at the same time, in one round trip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from jabberd.interfaces import Identity, UserAgent
from jabberd.xmpp import ns, stream
from jabberd.xmpp.element import E, serialize
from jabberd.xmpp.errors import SASLFailure

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from jabberd.interfaces import Credentials, Outlet, Session, SessionHost
    from jabberd.xmpp import sasl
    from jabberd.xmpp.element import Element
    from jabberd.xmpp.jid import JID

__all__ = ["Login", "done", "feature", "features", "success"]

_MOST_TOLD: Final = 200  # characters that a client can say of itself


def feature(mechanisms: Iterable[str], inline: Sequence[Element]) -> Element:
    """``<authentication/>`` (§2.1)."""
    offered = [E(ns.SASL2, "mechanism", None, name) for name in mechanisms]
    if inline:
        offered.append(E(ns.SASL2, "inline", None, *inline))
    return E(ns.SASL2, "authentication", None, *offered)


class Login:
    """A client's try to log in; see `jabberd.interfaces.Login`.

    :param request: ``<authenticate/>``.
    :ivar bound: the session if it is a new one.
    :raises SASLFailure: what the client says of itself is wrong.
    """

    def __init__(self, outlet: Outlet, host: SessionHost, request: Element, credentials: Credentials) -> None:
        self.request = request
        self.outlet = outlet
        self.credentials = credentials
        self.agent = _agent(request)
        self.session: Session | None = None
        self.bound: Session | None = None
        self._host = host

    def identified(self, by: sasl.Success) -> None:
        """The client has proved who it is."""
        self.client = Identity(by.username, by.mechanism, self.agent)

    async def open(self, resource: str) -> Session:
        """See `jabberd.interfaces.Login`."""
        self.session = self.bound = await self._host.open(self.client, resource, self.outlet)
        return self.session


def _agent(request: Element) -> UserAgent:
    """What the client says of itself (§2.3)."""
    agent = request.find(f"{{{ns.SASL2}}}user-agent")
    if agent is None:
        return UserAgent()
    software, device = (
        (agent.findtext(f"{{{ns.SASL2}}}{name}") or "")[:_MOST_TOLD] for name in ("software", "device")
    )
    return UserAgent(_uuid(agent.get("id", "")), software, device)


def _uuid(text: str) -> str:
    try:
        return str(UUID(text)) if text else ""
    except ValueError:
        raise SASLFailure("malformed-request", "the id of a user-agent is a UUID") from None


def success(jid: JID, data: str | None, answers: Iterable[Element]) -> bytes:
    """``<success/>`` (§2.6.1).

    :param data: the mechanism's additional data, in base64.
    :param answers: to what was asked for with the login.
    """
    parts = [] if data is None else [E(ns.SASL2, "additional-data", None, data)]
    parts.append(E(ns.SASL2, "authorization-identifier", None, jid))
    return serialize(E(ns.SASL2, "success", None, *parts, *answers))


def done(answers: Iterable[Element]) -> frozenset[str]:
    """The namespaces that these answers speak of: features that follow are no longer offered of these."""
    every = (each for answer in answers for each in (answer, *answer))
    return frozenset(_namespace(each) for each in every if not _failed(each))


def features(offered: Iterable[Element], done: Container[str]) -> bytes:
    """The features that follow ``<success/>`` (§2.6.1)."""
    return stream.features([each for each in offered if _namespace(each) not in done])


def _namespace(element: Element) -> str:
    return element.tag.partition("}")[0]


def _failed(element: Element) -> bool:
    return element.tag.endswith("}failed")
