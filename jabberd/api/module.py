"""The class that every module is a subclass of."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from jabberd.api.declarations import AnswerDeclared
from jabberd.settings import Settings
from jabberd.xmpp.errors import StanzaError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twisted.logger import Logger

    from jabberd.api.declarations import Declared, Target
    from jabberd.api.domain import Domain, Login
    from jabberd.interfaces import Security
    from jabberd.xmpp.element import Element
    from jabberd.xmpp.sasl import Mechanism


class Module:
    """A feature of one domain.  Subclass it with ``xep=`` and ``version=`` of what it follows.

    :cvar requires: names of modules that are started before this one.
    :cvar after: names of modules that, where the domain has them, are started before this one: its filters
        run after theirs.
    :cvar features: what disco#info of the domain lists (XEP-0030); an instance may have others.
    :cvar account_features: what disco#info of an account lists.
    :cvar identities: what the domain is beside an instant messaging server, as category and type.
    :cvar account_identities: what an account is beside a registered one.
    :cvar stream_features: what the stream advertises after login (RFC 6120 §4.3.2).
    :cvar replaceable: whether another instance may take its place while clients are connected: False for
        one that holds sessions or stanzas in memory.
    :cvar counted: the settings that hold somebody back, each time of which counts in `met`.
    :cvar noun: what stands before the names of its operators' verbs; empty: the module's name.
    """

    xep: ClassVar[int | None] = None
    version: ClassVar[str] = ""
    requires: ClassVar[tuple[str, ...]] = ()
    after: ClassVar[tuple[str, ...]] = ()
    features: tuple[str, ...] = ()
    account_features: ClassVar[tuple[str, ...]] = ()
    identities: ClassVar[tuple[tuple[str, str], ...]] = ()
    account_identities: ClassVar[tuple[tuple[str, str], ...]] = ()
    stream_features: ClassVar[tuple[Element, ...]] = ()
    counted: ClassVar[tuple[str, ...]] = ()
    noun: ClassVar[str] = ""
    replaceable: ClassVar[bool] = True
    declarations: ClassVar[tuple[tuple[str, Declared], ...]] = ()

    class Config(Settings):
        """No settings."""

    def __init_subclass__(cls, xep: int | None = None, version: str = "", **rest: Any) -> None:
        super().__init_subclass__(**rest)
        cls.xep, cls.version = xep or cls.xep, version or cls.version
        cls.declarations = tuple(_collected(cls))

    def __init__(
        self, name: str, domain: Domain, config: Settings, stores: Mapping[str, object], log: Logger
    ) -> None:
        self.name = name
        self.domain = domain
        self.config = config
        self.stores = stores
        self.log = log
        self.met = Counter(dict.fromkeys(self.counted, 0))

    @property
    def succeeds(self) -> bool:
        """While it starts, whether it takes the place of another instance, which serves the domain still."""
        return any(each.name == self.name for each in self.domain.modules if each is not self)

    @classmethod
    def surroundings(cls, config: Any) -> Iterable[tuple[str, str, str]]:  # noqa: ARG003  # for subclasses
        """What these settings need of the machine: what it is, how it is, and what to do; empty: all is well.

        ``jabberctl check`` tells it; with what is to be done before, nothing starts.
        """
        return ()

    def reconfigured(self, before: Any) -> None:
        """Follow other settings: ``config`` has them already.

        :param before: what it was.
        """

    def inline_features(self, security: Security) -> tuple[Element, ...]:  # noqa: ARG002  # for subclasses
        """What the stream advertises of what a client may ask for while it logs in (XEP-0388 §2.1).

        The answer is kept for all connections with that version of TLS and those types of channel bindings,
        until there are other modules or settings.

        :param security: of the connection.
        """
        return ()

    def newcomer_features(self, security: Security) -> tuple[Element, ...]:  # noqa: ARG002  # for subclasses
        """What the stream advertises before login beside TLS and SASL; kept as `inline_features` are.

        :param security: of the connection.
        """
        return ()

    def mechanism(self, name: str, login: Login) -> Mechanism | None:  # noqa: ARG002  # for subclasses
        """A SASL mechanism of the module's own, for clients that log in by XEP-0388; None: it has none such.

        :param login: the client's try; who it is, is not known yet.
        :raises SASLFailure: it is not for this client.
        """
        return None

    def limited(self, setting: str, text: str) -> StanzaError:
        """The error for somebody whom that setting holds back, which counts (``limits show``)."""
        self.met[setting] += 1
        return StanzaError("resource-constraint", text)

    def now(self) -> datetime:
        """The time of day, in UTC, as the domain's clock has it."""
        return datetime.fromtimestamp(self.domain.clock.seconds(), UTC)

    async def start(self) -> None:
        """Begin to serve: everything declared is bound, no stanza has come yet."""

    async def ready(self) -> None:
        """Do what needs the others: all modules of the domain have started; clients come afterwards."""

    async def stop(self) -> None:
        """End what `start` began; what was declared is undone by itself."""


def _collected(cls: type[Module]) -> Iterable[tuple[str, Declared]]:
    """The declarations of a class and its bases; the same answer twice is a mistake, told at once."""
    answered: dict[tuple[str, str, Target], str] = {}
    for attribute in dir(cls):
        for declared in getattr(getattr(cls, attribute, None), "declared", ()):
            if isinstance(declared, AnswerDeclared):
                key = (declared.type, declared.payload, declared.to)
                if key in answered:
                    raise TypeError(f"{cls.__name__}: {answered[key]} and {attribute} both answer {key}")
                answered[key] = attribute
            yield attribute, declared
