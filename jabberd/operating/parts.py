"""What a running server consists of, as far as it changes while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jabberd import hosting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jabberd.config import Config
    from jabberd.interfaces import Storage
    from jabberd.jsm.credentials import Run
    from jabberd.logs import Levels
    from jabberd.operating.shown import Shown
    from jabberd.router import Router
    from jabberd.settings import ServerSettings, Settings
    from jabberd.streams.clients import ClientFactory
    from jabberd.streams.components import ComponentFactory
    from jabberd.streams.federation import Federation
    from jabberd.streams.proof import Policy
    from jabberd.streams.relay import Relay
    from jabberd.streams.servers import ServerFactory
    from jabberd.xmpp.jid import JID

__all__ = ["Parts"]


@dataclass(frozen=True)
class Parts:
    """The parts of one server.

    :ivar run: where work is done that takes long.
    :ivar hosts: by domain; it changes in place, for those who look at it.  So do ``policies``.
    :ivar relay: where clients connect for bytestreams, if there is such a listener.
    :ivar bound: kind, address and port of each listener.
    :ivar let_operate: lets the admins that the settings name operate the ``hosts``.
    """

    reactor: Any
    storage: Storage
    router: Router
    run: Run
    secret: bytes
    levels: Levels
    shown: Shown
    hosts: dict[str, hosting.Host]
    policies: dict[str, Policy]
    clients: ClientFactory
    servers: ServerFactory
    federation: Federation
    relay: Relay | None
    components: ComponentFactory
    bound: Callable[[], Iterable[tuple[str, str, int]]]
    let_operate: Callable[[ServerSettings], None]

    def host(self, config: Config, name: JID, modules: dict[str, Settings]) -> hosting.Host:
        """Make one more domain; it is not started, and nobody knows it.

        :raises ConfigError: its modules cannot work together.
        """
        made = hosting.host_domain(
            config, name, modules, self.storage, self.router, self.reactor, self.run, self.secret
        )
        made.manager.relay = self.relay
        return made
