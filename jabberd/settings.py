"""What may stand in a configuration file: the server's tables, and what a module's own are made of."""

from __future__ import annotations

import ipaddress
import os.path
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    model_validator,
)

from jabberd.xmpp.jid import JID, InvalidJID

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "TLS",
    "Address",
    "Control",
    "Domain",
    "Duration",
    "Federation",
    "FilePath",
    "Limits",
    "Listener",
    "Log",
    "Manhole",
    "ServerSettings",
    "Settings",
    "Size",
    "Storage",
]


class Settings(BaseModel):
    """The base of all settings: frozen, and a key that nobody reads is refused.

    In a module every field has a default; they stand in ``[domains."DOMAIN".modules.NAME]``.
    A validator may raise ``ValueError("what is wrong; what to do")``: what it got is put in by `explain`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


def _measure(units: Mapping[str, float], wrong: str) -> BeforeValidator:
    """Read ``"8 KiB"`` where it comes from a file; a program gives the number itself."""
    form = re.compile(rf"([1-9][0-9]{{0,8}}) ?({'|'.join(units)})")

    def measure(value: object, info: ValidationInfo) -> object:
        if info.mode == "python":
            return value
        found = form.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise ValueError(wrong)
        return int(found[1]) * units[found[2]]

    return BeforeValidator(measure)


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    """The path, from the folder of the file that is being validated."""
    if not info.context:
        return path
    folder: Path = info.context["folder"]  # has no symbolic links: ".." means what it seems to mean
    return Path(os.path.normpath(folder / path.expanduser()))


#: Seconds; in a file a text like ``"500 ms"``, ``"60 s"``, ``"5 min"``, ``"2 h"`` or ``"7 d"``.
Duration = Annotated[
    float,
    Field(gt=0),
    _measure(
        {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86400},
        'is not a duration; write it like "500 ms", "60 s", "5 min" or "7 d"',
    ),
]

#: Bytes; in a file a text like ``"100 B"``, ``"8 KiB"`` or ``"2 MiB"``.
Size = Annotated[
    int,
    Field(gt=0),
    _measure(
        {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20},
        'is not a size; write it like "100 B", "8 KiB" or "2 MiB"',
    ),
]

#: A path; in a file it starts from the folder that the file is in.
FilePath = Annotated[Path, AfterValidator(_beside_the_file)]


# --- single values -------------------------------------------------------------------------------


class Address(NamedTuple):
    """An IP address and a port; in a file ``"127.0.0.1:5369"`` or ``"[::1]:5369"``."""

    host: str
    port: int


def _address(value: object) -> Address:
    if isinstance(value, Address):
        return value
    host, _, port = str(value).rpartition(":")
    try:
        return Address(_ip(host.removeprefix("[").removesuffix("]")), int(port))
    except ValueError:
        raise ValueError('is not an address; write it like "127.0.0.1:5369" or "[::1]:5369"') from None


def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError('is not an IP address; write it like "127.0.0.1" or "::"') from None


def _authority(value: object, info: ValidationInfo) -> Path | str:
    if value == "system":
        return "system"
    try:
        path = Path(value)  # type: ignore[arg-type]  # which is what is being found out
    except TypeError:
        raise ValueError('is not a text; name a PEM file or "system"') from None
    return _beside_the_file(path, info)


def _domain(text: str) -> JID:
    try:
        jid = JID.parse(text)
    except InvalidJID as error:
        raise ValueError(f"is not a domain; {error}") from None
    if jid != text or jid != jid.domain:
        raise ValueError(f'is not a domain as it is spelt in addresses; write "{jid.domain}"')
    return jid


def _account(text: object) -> JID:
    try:
        jid = JID.parse(str(text))
    except InvalidJID as error:
        raise ValueError(f"is not an address; {error}") from None
    if not jid.localpart or jid.resourcepart:
        raise ValueError('is not an account; write it like "romeo@montague.lit"')
    return jid


def _storage(url: str, info: ValidationInfo) -> str:
    if url == "memory" or url.startswith("postgresql://"):
        return url
    path = url.removeprefix("sqlite:").removeprefix("///")
    if url.startswith("sqlite:") and path:
        return f"sqlite:///{_beside_the_file(Path(path), info)}"
    raise ValueError('is not a storage; use "memory", "sqlite:FILE" or "postgresql://USER@HOST/NAME"')


def _socket(path: Path) -> Path:
    if len(bytes(path)) > 100:  # sun_path has 108 bytes, and Twisted's lock file has a longer name
        raise ValueError("is too long for a Unix socket; choose one of at most 100 bytes")
    return path


def _near(address: str, info: ValidationInfo) -> str:
    if not info.data.get("allow_remote") and not ipaddress.ip_address(address).is_loopback:
        raise ValueError("lets other machines in; keep to 127.0.0.1 or ::1, or add allow_remote = true")
    return address


def _switch(value: object) -> object:
    """A module's table switches it on."""
    return True if isinstance(value, dict) else value


def _some(wanted: str) -> AfterValidator:
    def some(value: Any) -> Any:
        if not value:
            raise ValueError(wanted)
        return value

    return AfterValidator(some)


IP = Annotated[str, AfterValidator(_ip)]
HostAndPort = Annotated[Address, PlainValidator(_address)]
Authority = Annotated[Path | Literal["system"], PlainValidator(_authority)]
DomainName = Annotated[JID, PlainValidator(_domain)]
AccountName = Annotated[JID, PlainValidator(_account)]
Count = Annotated[int, Field(ge=1)]
Level = Literal["debug", "info", "warn", "error", "critical"]
Scram = Literal["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"]


# --- tables --------------------------------------------------------------------------------------


class Listener(Settings):
    """``[[listeners]]``: an address and port where others connect.

    :ivar kind: ``c2s`` for clients, ``s2s`` for servers, ``http`` for operators: ``/metrics`` and
        ``/healthz``, for whoever can connect.
    :ivar direct_tls: TLS from the first byte (XEP-0368), not after STARTTLS.
    :ivar port: 0 lets the system choose one.
    """

    kind: Literal["c2s", "s2s", "http"]
    address: IP
    port: Annotated[int, Field(ge=0, le=65535)]
    direct_tls: bool = False


class TLS(Settings):
    """``[tls]``.

    :ivar certificates: the folder from which each domain takes the certificate that names it.
    """

    certificates: FilePath | None = None
    minimum: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2"


class Federation(Settings):
    """``[federation]``: links to other servers.

    :ivar authorities: PEM files of the trusted CAs, and ``"system"`` for those that the platform trusts.
    :ivar resolver: the name server to ask; None: the system's.
    :ivar hosts: where a domain's server is, instead of asking DNS.
    :ivar queue: most stanzas that wait for one link, ``queue_size`` together.
    :ivar queue_age: how long they wait before they are bounced.
    :ivar idle_timeout: after which a link without traffic is closed.
    """

    authorities: tuple[Authority, ...] = ("system",)
    resolver: HostAndPort | None = None
    hosts: dict[DomainName, HostAndPort] = Field(default={})
    connect_timeout: Duration = 30.0
    idle_timeout: Duration = 600.0
    queue: Count = 500
    queue_size: Size = 1 << 20
    queue_age: Duration = 120.0


class Storage(Settings):
    """``[storage]``.

    :ivar url: ``memory``, ``postgresql://...`` or ``sqlite:///PATH``; in a file ``sqlite:PATH`` will do.
    """

    url: Annotated[str, AfterValidator(_storage)]


class Control(Settings):
    """``[control]``: the Unix socket on which ``jabberctl`` reaches the server; None: there is none."""

    socket: Annotated[FilePath, AfterValidator(_socket)] | None = None


class Manhole(Settings):
    """``[manhole]``: a prompt inside the server over SSH, for operators.

    :ivar authorized_keys: whose keys let them in, as OpenSSH writes them; read at every log-in.
    :ivar host_key: the server's own key, made at the first start.
    :ivar allow_remote: whether ``address`` may be one that other machines can reach.
    :ivar socket: a Unix socket, instead of address and port.
    """

    authorized_keys: FilePath
    host_key: FilePath
    allow_remote: bool = False
    address: Annotated[IP, AfterValidator(_near)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 5022
    socket: Annotated[FilePath, AfterValidator(_socket)] | None = None

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        if self.socket is not None and self.model_fields_set & {"address", "port", "allow_remote"}:
            raise ValueError("has a socket and an address or port; take one of them away")
        return self


class Log(Settings):
    """``[log]``.

    :ivar levels: other levels for namespaces (a Python module with all below it).
    :ivar format: lines of text, or a JSON object a line.
    :ivar file: None: where twistd logs to.
    """

    level: Level = "info"
    levels: dict[str, Level] = Field(default={})
    format: Literal["text", "json"] = "text"
    file: FilePath | None = None


class Limits(Settings):
    """``[limits]``: what one peer may take.

    :ivar stanza: bytes; ``stanza_before_login`` until the peer has authenticated.
    :ivar elements: in one stanza, at any depth; ``elements_before_login`` until the peer has authenticated.
    :ivar depth: of elements in a stanza, itself included.
    :ivar start_tag: bytes of one start tag with its attributes.
    :ivar unread: bytes that may wait for a peer that does not read, before it is dropped.
    :ivar negotiation_timeout: from the connection until a resource is bound or a server authenticated.
    :ivar idle_timeout: silence after which a client is asked, and dropped ``answer_timeout`` later.
    :ivar login_attempts: failures before a stream is closed.
    :ivar connections: of one IP address at a time, those of clients and those of servers counted apart.
    :ivar resources: of one account at a time.
    """

    stanza_before_login: Size = 8 << 10
    stanza: Annotated[Size, Field(ge=10_000)] = 256 << 10  # the floor is RFC 6120 §13.12's
    elements_before_login: Count = 32
    elements: Count = 10_000
    depth: Count = 128
    start_tag: Size = 16 << 10
    unread: Size = 1 << 20
    negotiation_timeout: Duration = 60.0
    idle_timeout: Duration = 600.0
    answer_timeout: Duration = 60.0
    login_attempts: Count = 3
    connections: Count = 100
    resources: Count = 10


class Domain(Settings):
    """``[domains."montague.lit"]``: a domain that is hosted here.

    :ivar federation: what proves that another server speaks for its domain; ``off``: no other server.
    :ivar require_tls: for clients and for servers.
    :ivar scram: the mechanisms offered, each with its ``-PLUS`` where the connection allows it.
    :ivar plain: whether PLAIN is offered as well, under TLS only.
    :ivar anonymous: whether clients without an account are let in (XEP-0175).
    :ivar certificates: a folder of its own, instead of the one in ``[tls]``.
    :ivar admins: accounts, here or at other servers, that may administer it by ad-hoc commands.
    :ivar modules: by name, whether each is wanted; their settings: see `Config.validate`.
    """

    federation: Literal["certificate", "dialback", "either", "off"] = "certificate"
    require_tls: bool = True
    scram: tuple[Scram, ...] = ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1")
    plain: bool = True
    anonymous: bool = False
    certificates: FilePath | None = None
    admins: tuple[AccountName, ...] = ()
    modules: dict[str, Annotated[bool, BeforeValidator(_switch)]] = Field(default={})


class ServerSettings(Settings):
    """The whole file."""

    listeners: Annotated[tuple[Listener, ...], _some("has no listeners; add [[listeners]]")] = Field(
        default=(), validate_default=True
    )
    domains: Annotated[
        dict[DomainName, Domain], _some('has no domains; add a table like [domains."montague.lit"]')
    ] = Field(default={}, validate_default=True)
    storage: Storage
    tls: TLS = TLS()
    federation: Federation = Federation()
    limits: Limits = Limits()
    control: Control = Control()
    manhole: Manhole | None = None
    log: Log = Log()
