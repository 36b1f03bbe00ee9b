"""What may stand in a configuration file: the server's tables, and what a module's own are made of."""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import field
from typing import Annotated, Literal

from msgspec import Meta

from jabberd import rates
from jabberd.typed import Mistake, Settings, example
from jabberd.values import (
    IP,
    AccountName,
    Address,
    Authority,
    Count,
    DomainName,
    Duration,
    FilePath,
    HostAndPort,
    IPNetwork,
    Level,
    Port,
    PublicURL,
    Rate,
    Scram,
    Size,
    Socket,
    StorageURL,
    Switch,
    TimeKept,
)

__all__ = [
    "TLS",
    "Address",
    "Control",
    "Domain",
    "DomainName",
    "Duration",
    "Federation",
    "FilePath",
    "Limits",
    "Listener",
    "Log",
    "Manhole",
    "Rate",
    "ServerSettings",
    "Settings",
    "Size",
    "Storage",
]


class Listener(Settings):
    """``[[listeners]]``: an address and port where others connect.

    :ivar kind: ``c2s`` for clients, ``s2s`` for servers, ``component`` for components (XEP-0114), ``http``
        for operators (``/metrics`` and ``/healthz``), ``web`` with the pages of modules for everybody,
        ``bytestreams`` for clients who cannot connect to each other (XEP-0065).
    :ivar direct_tls: TLS from the first byte (XEP-0368), not after STARTTLS.
    :ivar allow_remote: whether other machines may reach components, or pages without TLS: in the clear.
    :ivar port: 0 lets the system choose one.
    """

    kind: Literal["c2s", "s2s", "component", "http", "web", "bytestreams"]
    address: IP
    port: Port
    direct_tls: bool = False
    allow_remote: bool = False

    @property
    def full_kind(self) -> str:
        """The kind, and whether it is behind TLS."""
        return f"{self.kind}-direct" if self.direct_tls else self.kind

    def __post_init__(self) -> None:
        if self.direct_tls and self.kind in ("component", "bytestreams"):
            raise Mistake(f"is not there for {self.kind.rstrip('s')}s; take it away", "direct_tls")
        if self.kind != "component" and (self.kind != "web" or self.direct_tls):
            return
        if not self.allow_remote and not ipaddress.ip_address(self.address).is_loopback:
            said = "lets other machines in; keep to 127.0.0.1 or ::1, or add allow_remote = true"
            if self.kind == "web":
                said += ", or direct_tls = true"
            raise Mistake(said, "address")


class TLS(Settings):
    """``[tls]``.

    :ivar certificates: the folder from which each domain takes the certificate that names it.
    :ivar client_authorities: PEM files of the CAs whose certificates clients may log in with (XEP-0178).
    """

    certificates: FilePath | None = None
    client_authorities: tuple[FilePath, ...] = ()
    minimum: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2"


class Federation(Settings):
    """``[federation]``: links to other servers.

    :ivar authorities: PEM files of the trusted CAs, and ``"system"`` for those that the platform trusts.
    :ivar resolver: the name server to ask; None: the system's.  ``hosts``: where servers are, without asking.
    :ivar queue: most stanzas that wait for one link, ``queue_size`` together.
    :ivar queue_age: how long they wait before they are bounced.
    :ivar idle_timeout: after which a link without traffic is closed; ``bidi``: one may serve both directions.
    :ivar unacknowledged: most stanzas that another server may leave so, ``unacknowledged_size`` together.
    :ivar links: at a time, those included whose failure is remembered.
    :ivar unfinished: links that one account has begun and that do not stand yet.
    :ivar homeless_size: of all stanzas together that wait for other servers, or for what they acknowledge.
    :ivar resumable: how long another server's lost stream is remembered.
    :ivar verifications: dialback keys asked about at a time, for one address ``address_verifications``.
    """

    authorities: tuple[Authority, ...] = ("system",)
    resolver: HostAndPort | None = None
    hosts: dict[DomainName, HostAndPort] = field(default_factory=dict)
    connect_timeout: Duration = 30.0
    idle_timeout: Duration = 600.0
    bidi: bool = True
    queue: Count = 500
    queue_size: Size = 1 << 20
    queue_age: Duration = 120.0
    unacknowledged: Count = 10_000
    unacknowledged_size: Size = 16 << 20
    links: Count = 10_000
    unfinished: Count = 200
    homeless_size: Size = 64 << 20
    resumable: Duration = 600.0
    verifications: Count = 200
    address_verifications: Count = 20


class Storage(Settings):
    """``[storage]``.

    :ivar url: ``memory``, ``postgresql://...`` or ``sqlite:///PATH``; in a file ``sqlite:PATH`` will do.
    """

    url: StorageURL


class Control(Settings):
    """``[control]``: the Unix socket on which ``jabberctl`` reaches the server; None: there is none."""

    socket: Socket | None = None


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
    address: IP = "127.0.0.1"
    port: Port = 5022
    socket: Socket | None = None

    def __post_init__(self) -> None:
        place = (self.address, self.port, self.allow_remote)
        if self.socket is not None and place != (Manhole.address, Manhole.port, Manhole.allow_remote):
            raise Mistake("has a socket and an address or port; take one of them away")
        if not self.allow_remote and not ipaddress.ip_address(self.address).is_loopback:
            said = "lets other machines in; keep to 127.0.0.1 or ::1, or add allow_remote = true"
            raise Mistake(said, "address")


class Log(Settings):
    """``[log]``.

    :ivar levels: other levels for namespaces (a Python module with all below it).
    :ivar format: lines of text, or a JSON object a line.
    :ivar file: None: where twistd logs to.
    :ivar budget: characters a minute for each kind of line; what is beyond is counted, and told.
    """

    level: Level = "info"
    levels: dict[str, Level] = field(default_factory=dict)
    format: Literal["text", "json"] = "text"
    file: FilePath | None = None
    budget: Size = 128 << 10


class Limits(Settings):
    """``[limits]``: what one peer may take.

    :ivar stanza: bytes, twice as many from servers; ``stanza_before_login`` until the peer has authenticated.
    :ivar elements: in one stanza, at any depth; ``elements_before_login`` until the peer has authenticated.
    :ivar depth: of elements in a stanza, itself included; ``depth_before_login`` likewise.
    :ivar start_tag: bytes of one start tag with its attributes.
    :ivar rate: bytes that one client may send in a second, and ``burst`` of them at once; then reading from
        it pauses.  ``server_rate`` and ``server_burst`` hold for another server's stream.
    :ivar unread: bytes that may wait for a peer that does not read, before it is dropped.
    :ivar negotiation_timeout: from the connection until a resource is bound or a server authenticated.
    :ivar idle_timeout: silence after which a client is asked, and dropped ``answer_timeout`` later.
    :ivar server_idle_timeout: silence after which another server's stream is closed.
    :ivar login_attempts: failures before a stream is closed.
    :ivar login_failures: wrong passwords for one account from one IP address; then that address, and nobody
        else, has to wait before it may log in to that account.
    :ivar address_failures: wrong passwords for all accounts together from one IP address.
    :ivar registrations: accounts that clients from one IP address try to make, where a domain lets them.
    :ivar connections: of one IP address at a time, clients and servers together.
    :ivar connection_attempts: of one IP address.
    :ivar exempt: addresses and networks whose connections, attempts and failures together nobody counts.
    :ivar http_connections: to the pages for operators at a time, from everywhere.
    :ivar resources: of one account at a time.
    :ivar roster: contacts of one account.
    :ivar presence: how often one account may tell its contacts of another presence.
    :ivar directed_presence: addresses at a time to which one session has sent presence directly.
    :ivar subscriptions: requests for a subscription that one account may send.
    :ivar server_subscriptions: such requests from one other domain, to all accounts of one of ours.
    """

    stanza_before_login: Size = 8 << 10
    stanza: Annotated[Size, Meta(ge=10_000)] = 256 << 10  # the floor is RFC 6120 §13.12's
    elements_before_login: Count = 32
    elements: Count = 10_000
    depth_before_login: Count = 16
    depth: Count = 128
    start_tag: Size = 16 << 10
    rate: Size = 1 << 20
    burst: Size = 4 << 20
    server_rate: Size = 8 << 20
    server_burst: Size = 32 << 20
    unread: Size = 1 << 20
    negotiation_timeout: Duration = 60.0
    idle_timeout: Duration = 600.0
    answer_timeout: Duration = 60.0
    server_idle_timeout: Duration = 3600.0
    login_attempts: Count = 3
    login_failures: Rate = rates.Rate(10, 300)
    address_failures: Rate = rates.Rate(100, 300)
    registrations: Rate = rates.Rate(10, 3600)
    connections: Count = 100
    connection_attempts: Rate = rates.Rate(600, 60)
    exempt: tuple[IPNetwork, ...] = ()
    http_connections: Count = 100
    resources: Count = 10
    roster: Count = 1000
    presence: Rate = rates.Rate(60, 60)
    directed_presence: Count = 1000
    subscriptions: Rate = rates.Rate(200, 3600)
    server_subscriptions: Rate = rates.Rate(1000, 3600)


class Domain(Settings):
    """``[domains."montague.lit"]``: a domain that is hosted here.

    :ivar federation: what proves that another server speaks for its domain; ``off``: no other server.
    :ivar require_tls: for clients and for servers.
    :ivar scram: the mechanisms offered, each with its ``-PLUS`` where the connection allows it.
    :ivar downgrade_protection: whether SCRAM says what was offered (XEP-0474): old clients may not bear it.
    :ivar plain: whether PLAIN is offered as well, under TLS only.
    :ivar anonymous: whether clients without an account are let in (XEP-0175).
    :ivar deleted_names: seconds for which nobody gets the name of an account that was deleted.
    :ivar certificates: a folder of its own, instead of the one in ``[tls]``.
    :ivar client_authorities: files of its own, instead of those in ``[tls]``.
    :ivar admins: accounts, here or at other servers, that may administer it by ad-hoc commands.
    :ivar url: the host where others reach its pages; empty: its own, on the first ``web`` listener with TLS.
    :ivar service: the module that serves it, instead of accounts: ``pubsub``.
    :ivar modules: by name, whether each is wanted; their settings: see `Config.validate`.
    """

    federation: Literal["certificate", "dialback", "either", "off"] = "certificate"
    require_tls: bool = True
    scram: tuple[Scram, ...] = ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1")
    downgrade_protection: bool = True
    plain: bool = True
    anonymous: bool = False
    deleted_names: TimeKept = 60 * 86400.0
    certificates: FilePath | None = None
    client_authorities: tuple[FilePath, ...] | None = None
    admins: tuple[AccountName, ...] = ()
    url: PublicURL = ""
    service: str = ""
    modules: dict[str, Switch] = field(default_factory=dict)


class Component(Settings):
    """``[components."sms.montague.lit"]``: a domain that a program of its own serves (XEP-0114).

    :ivar secret: what the program shows that it has; the others are those of a domain.
    """

    secret: Annotated[str, Meta(min_length=16)]
    federation: Literal["certificate", "dialback", "either", "off"] = "certificate"
    require_tls: bool = True
    certificates: FilePath | None = None


class ServerSettings(Settings):
    """The whole file."""

    listeners: Annotated[tuple[Listener, ...], example("[[listeners]]")]
    domains: Annotated[dict[DomainName, Domain], example('a table like [domains."montague.lit"]')]
    storage: Storage
    components: dict[DomainName, Component] = field(default_factory=dict)
    tls: TLS = TLS()
    federation: Federation = Federation()
    limits: Limits = Limits()
    control: Control = Control()
    manhole: Manhole | None = None
    log: Log = Log()

    def __post_init__(self) -> None:
        places = Counter((each.address, each.port) for each in self.listeners if each.port)
        for (address, port), listeners in places.items():
            if listeners > 1:
                raise Mistake(f"has two at {address} port {port}; give each a port of its own", "listeners")
        if both := self.components.keys() & self.domains.keys():
            raise Mistake(f"has {min(both)}, which is one of the domains; name another", "components")
