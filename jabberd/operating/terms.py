"""From settings to what the parts of a server take."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from jabberd.measure import Traffic
from jabberd.streams.connect import Connector
from jabberd.streams.federation import Federation
from jabberd.streams.proof import Policy
from jabberd.streams.protocol import StreamSettings
from jabberd.streams.s2s import Terms
from jabberd.streams.targets import Names, Target
from jabberd.streams.vouch import Trust, TrustError
from jabberd.xmpp.boundaries import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jabberd.config import Config
    from jabberd.operating.shown import Shown
    from jabberd.settings import Component, Domain, ServerSettings
    from jabberd.streams.spool import Spool
    from jabberd.streams.targets import Resolver
    from jabberd.xmpp.jid import JID

__all__ = [
    "client_streams",
    "client_trust",
    "connector",
    "federation",
    "policies",
    "secrets",
    "server_streams",
    "trust",
]


def client_streams(settings: ServerSettings, traffic: Traffic) -> StreamSettings:
    """For streams with clients, which count their stanzas there."""
    limits = settings.limits
    return StreamSettings(
        before=Limits(
            size=limits.stanza_before_login,
            tag=min(limits.start_tag, limits.stanza_before_login),
            depth=min(limits.depth, limits.depth_before_login),
            elements=limits.elements_before_login,
        ),
        after=Limits(limits.stanza, limits.start_tag, limits.depth, limits.elements),
        rate=limits.rate,
        burst=limits.burst / limits.rate,
        idle=limits.idle_timeout,
        negotiation=limits.negotiation_timeout,
        unread=limits.unread,
        traffic=traffic,
    )


def server_streams(settings: ServerSettings, traffic: Traffic) -> StreamSettings:
    """For streams with servers: what our clients may send grows on its way."""
    streams, limits = client_streams(settings, traffic), settings.limits
    return replace(
        streams,
        after=replace(streams.after, size=2 * streams.after.size),
        rate=limits.server_rate,
        burst=limits.server_burst / limits.server_rate,
        idle=limits.server_idle_timeout,
    )


def policies(settings: ServerSettings) -> dict[str, Policy]:
    """By domain, those of components too, what it asks of other servers."""
    ours: dict[JID, Domain | Component] = {**settings.domains, **settings.components}
    return {name: Policy(each.federation, each.require_tls) for name, each in ours.items()}


def secrets(settings: ServerSettings) -> dict[JID, str]:
    """By domain, what its component shares with us."""
    return {name: each.secret for name, each in settings.components.items()}


def connector(
    settings: ServerSettings,
    reactor: Any,
    bound: Callable[[], Iterable[tuple[str, str, int]]],
    resolver: Resolver | None = None,
) -> Connector:
    """The way to other servers.

    :param bound: kind, address and port of our own listeners.
    :param resolver: None: a new one, which looks after its own configuration for ever.
    """
    return Connector(
        reactor,
        resolver or Names(reactor, settings.federation.resolver),
        hosts={name: Target(at.host, at.port) for name, at in settings.federation.hosts.items()},
        listening=lambda: [(host, port) for kind, host, port in bound() if kind.startswith("s2s")],
        limit=settings.federation.connect_timeout,
    )


def federation(
    settings: ServerSettings,
    shown: Shown,
    policies: dict[str, Policy],
    authorities: Trust,
    secret: bytes,
    reactor: Any,
    bound: Callable[[], Iterable[tuple[str, str, int]]],
    spool: Spool,
) -> Federation:
    """The way to other servers, with what all streams with them share.

    :param bound: kind, address and port of our own listeners.
    """
    shared = Terms(
        hosted=policies.get,
        contexts=shown.contexts("xmpp-server"),
        trust=authorities,
        secret=sha256(b"dialback " + secret).hexdigest(),
        streams=server_streams(settings, Traffic()),
        clock=reactor,
        bidi=settings.federation.bidi,
        unacked=settings.federation.unacknowledged,
        unacked_size=settings.federation.unacknowledged_size,
    )
    return Federation(shared, connector(settings, reactor, bound), settings.federation, spool)


def client_trust(config: Config) -> dict[str, Trust]:
    """By domain, the authorities whose certificates its clients may show; without any it is not there."""
    found: dict[str, Trust] = {}
    for name, domain in config.settings.domains.items():
        own = domain.client_authorities is not None
        files = domain.client_authorities if own else config.settings.tls.client_authorities
        keys = ("domains", name, "client_authorities") if own else ("tls", "client_authorities")
        try:
            if files:
                found[name] = Trust(files)
        except TrustError as error:
            config.problem(keys, f"{error}; name a PEM file of CA certificates")
    return found


def trust(config: Config) -> Trust:
    """The authorities that federation believes; a file that cannot be used is noted in the config."""
    try:
        return Trust(config.settings.federation.authorities)
    except TrustError as error:
        config.problem(("federation", "authorities"), f"{error}; name a PEM file of CA certificates")
        return Trust(())
