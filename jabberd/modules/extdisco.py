"""XEP-0215: services outside of XMPP that clients may use, above all STUN and TURN for calls."""

from __future__ import annotations

import hmac
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha1, sha256
from math import ceil
from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta

from jabberd.api import (
    DOMAIN,
    IQ,
    JID,
    LOCAL,
    Duration,
    E,
    Element,
    Mistake,
    Module,
    SessionClosed,
    Settings,
    Stanza,
    StanzaError,
    answers,
    on,
)
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from collections.abc import Iterator

NS: Final = "urn:xmpp:extdisco:2"
_SERVICE: Final = f"{{{NS}}}service"
_PORTS: Final = {"stun": 3478, "turn": 3478, "stuns": 5349, "turns": 5349}  # RFC 8489 §18.6, RFC 8656 §18
_STEPS: Final = 24  # within a lifetime: credentials are the same for so long, and calls share them
_NAME: Final = 16  # hexadecimal digits


class Service(Settings):
    """``[[domains."DOMAIN".modules.extdisco.services]]``.

    :ivar type: such as ``stun``, ``turn`` or ``turns``.
    :ivar port: None: the usual one of the type.
    :ivar secret: what it shares with this server, to let in whoever has credentials made with it (coturn's
        ``static-auth-secret``).
    :ivar username: the same for everybody, with ``password``, instead of a secret.
    """

    type: Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.-]*$")]
    host: Annotated[str, Meta(pattern=r"^[^\s/@]+$")]
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    transport: Literal["udp", "tcp"] = "udp"
    name: str = ""
    secret: str = ""
    username: str = ""
    password: str = ""

    def __post_init__(self) -> None:
        if self.secret and (self.username or self.password):
            raise Mistake("has a secret and a username or password; take one of them away")
        if bool(self.username) != bool(self.password):
            raise Mistake("has a username or a password alone; write both")

    @property
    def place(self) -> tuple[str, str, int | None, str]:
        """What tells it from all others (§3.3)."""
        return self.type, self.host, self.port or _PORTS.get(self.type), self.transport


Services = dict[tuple[str, str, int | None, str], Service]  #: by what tells them apart


class ExternalServices(Module, xep=215, version="1.0.0"):
    """Tells the domain's own people what there is, each with credentials of their own that do not last."""

    features = (NS,)

    class Config(Settings):
        """What there is.

        :ivar lifetime: of credentials that are made with a secret.
        """

        services: tuple[Service, ...] = ()
        lifetime: Duration = 86400.0

    config: Config

    async def start(self) -> None:
        """Nobody has asked."""
        self._asked: dict[JID, str] = {}

    @answers.get(NS, "services", to=DOMAIN, by=LOCAL)
    def all(self, request: IQ) -> Element:
        """All services, or those of one type (§3.1, §3.2)."""
        type = request.payload.get("type", "")
        self._asked[request.sender] = type
        found = (each for each in self.config.services if type in {"", each.type})
        return E(
            NS, "services", {"type": type or None}, *(self._told(each, request.sender) for each in found)
        )

    @answers.get(NS, "credentials", to=DOMAIN, by=LOCAL)
    def credentials(self, request: IQ) -> Element:
        """Credentials for the services that are named (§3.3)."""
        named = request.payload.findall(_SERVICE)
        if not named or not all(each.get("host") and each.get("type") for each in named):
            raise StanzaError("bad-request", "name a service by host and type")
        found = [each for each in self.config.services if any(_is(each, wanted) for wanted in named)]
        if not found:
            raise StanzaError("item-not-found", "there is no such service")
        return E(NS, "credentials", None, *(self._told(each, request.sender) for each in found))

    def _told(self, service: Service, who: JID, action: str | None = None) -> Element:
        type, host, port, transport = service.place
        attrs = {
            "action": action,
            "host": host,
            "name": service.name or None,
            "port": None if port is None else str(port),
            "restricted": "true" if service.secret or service.username else None,
            "transport": transport,
            "type": type,
        }
        proof = {} if action == "delete" else self._credentials(service, who)
        return E(NS, "service", attrs | proof)

    def _credentials(self, service: Service, who: JID) -> dict[str, str]:
        """What lets somebody in, until ``expires``.

        The name is the moment when it ends and a pseudonym, the password its HMAC, as coturn wants it
        (draft-uberti-behave-turn-rest).
        """
        if not service.secret:
            return {"username": service.username, "password": service.password} if service.username else {}
        step = max(1.0, self.config.lifetime / _STEPS)
        expires = ceil(ceil((self.domain.clock.seconds() + self.config.lifetime) / step) * step)
        key = service.secret.encode()
        pseudonym = hmac.new(key, who.bare.encode(), sha256).hexdigest()[:_NAME]
        username = f"{expires}:{pseudonym}"
        password = b64encode(hmac.new(key, username.encode(), sha1).digest()).decode()
        ends = to_stamp(datetime.fromtimestamp(expires, UTC))
        return {"username": username, "password": password, "expires": ends}

    # -- changes ------------------------------------------------------------------------------------

    def reconfigured(self, before: Config) -> None:
        """Push what has changed to whoever has asked and is there (§3.2)."""
        old = {each.place: each for each in before.services}
        new = {each.place: each for each in self.config.services}
        for who, type in self._present():
            changes = [*_changes(old, new, type)]
            if changes:
                told = (self._told(service, who, action) for action, service in changes)
                push = E(NS, "services", {"type": type or None}, *told)
                asked = self.domain.ask(Stanza.of("iq", push, sender=self.domain.jid, to=who, type="set"))
                asked.addErrback(lambda why: why.trap(StanzaError))  # who does not understand, asks anew

    def _present(self) -> Iterator[tuple[JID, str]]:
        """Who has asked, and is available."""
        for account in self.domain.online:
            for session in account.sessions.values():
                if session.jid in self._asked and session.presence is not None:
                    yield session.jid, self._asked[session.jid]

    @on(SessionClosed)
    def left(self, event: SessionClosed) -> None:
        """Push nothing more to that client."""
        self._asked.pop(event.session.jid, None)


def _is(service: Service, wanted: Element) -> bool:
    """Whether it is what somebody names."""
    type, host, port, _ = service.place
    same = (type, host) == (wanted.get("type"), wanted.get("host"))
    return same and wanted.get("port") in {None, str(port)}


def _changes(old: Services, new: Services, type: str) -> Iterator[tuple[str, Service]]:
    """What was added, changed and taken away among the services of a type."""
    for place, service in new.items():
        if type in {"", service.type} and old.get(place) != service:
            yield "modify" if place in old else "add", service
    for place, service in old.items():
        if type in {"", service.type} and place not in new:
            yield "delete", service
