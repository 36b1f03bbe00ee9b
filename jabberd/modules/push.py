"""XEP-0357: a push service wakes the device of somebody who is not there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from jabberd.api import (
    ACCOUNT,
    IQ,
    JID,
    Account,
    E,
    Element,
    Keyed,
    MessageStored,
    Module,
    Session,
    Settings,
    Stage,
    Stanza,
    StanzaError,
    answers,
    filters,
    on,
)
from jabberd.xmpp.content import treatment
from jabberd.xmpp.element import parse, serialize
from jabberd.xmpp.forms import NS as FORMS
from jabberd.xmpp.forms import X
from jabberd.xmpp.forward import unwrapped
from jabberd.xmpp.jid import InvalidJID

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

NS: Final = "urn:xmpp:push:0"
_PUBSUB: Final = "http://jabber.org/protocol/pubsub"
_OPTIONS: Final = f"{_PUBSUB}#publish-options"
_SUMMARY: Final = "urn:xmpp:push:summary"
_RECEIVED: Final = "{urn:xmpp:carbons:2}received"
_LONGEST: Final = 4096  # bytes of what a service wants to be given back
_PASSING: Final = frozenset(
    {"remote-server-timeout", "remote-server-not-found"}
)  # the type of others says so


@dataclass(frozen=True)
class Service:
    """A push service that an account uses.

    :ivar client: the resourcepart of the client that enabled it.
    :ivar options: the form that goes with every notification, as XML; empty: none (§5).
    :ivar failures: in a row.
    """

    jid: str
    node: str
    client: str
    options: str = ""
    failures: int = 0


class Push(Module, xep=357, version="0.4.1"):
    """Notifies the push services of an account when a message comes that says something and nobody is there.

    Nobody is there where a message has to wait for the account, or comes for a client whose connection was
    lost.  Only that there is something is told, never what it is or from whom (§11).
    """

    after = ("csi", "carbons")
    account_features = (NS,)
    counted = ("services",)

    class Config(Settings):
        """How much is pushed.

        :ivar services: push services of one account.
        :ivar failures: a service that fails so often in a row for reasons that may pass is not asked again.
        """

        services: Annotated[int, Meta(ge=1)] = 10
        failures: Annotated[int, Meta(ge=1)] = 5

    config: Config

    services = Keyed("push", of=Service, resident=True)  # by address and node

    # -- what clients ask for -----------------------------------------------------------------------

    @answers.set(NS, "enable", to=ACCOUNT)
    async def enable(self, request: IQ) -> None:
        """Notify that service from now on (§5)."""
        account, payload = request.account, request.payload
        assert account is not None
        jid, node = _service(payload), payload.get("node", "")
        options = _options(payload)
        known = self.services.of(account)
        key = _key(jid, node)
        if key not in known and len(known) >= self.config.services:
            raise self.limited("services", f"at most {self.config.services} services")
        service = Service(jid, node, request.sender.resourcepart, options)
        await self.services.put(account.jid, key, service)

    @answers.set(NS, "disable", to=ACCOUNT)
    async def disable(self, request: IQ) -> None:
        """Do not notify that service, or that node of it, any more (§6)."""
        account = request.account
        assert account is not None
        jid, node = _service(request.payload), request.payload.get("node")
        gone = [
            key
            for key, service in self.services.of(account).items()
            if service.jid == jid and node in (None, service.node)
        ]
        await self.services.change(account.jid, dict.fromkeys(gone))

    # -- when a message comes -----------------------------------------------------------------------

    @on(MessageStored)
    def wake(self, event: MessageStored) -> None:
        """A message has to wait for the account."""
        if treatment(event.stanza).speaks:
            self._notify(event.account, self.services.of(event.account).values())

    @filters(Stage.SENDING, "message")
    def wake_client(self, stanza: Stanza, session: Session) -> Stanza:
        """A message comes for a client whose connection was lost."""
        if session.outlet.waits:
            services = self.services.of(session.account).values()
            own = [service for service in services if service.client == session.jid.resourcepart]
            if own and treatment(unwrapped(stanza, _RECEIVED) or stanza).speaks:
                self._notify(session.account, own)
        return stanza

    def _notify(self, account: Account, services: Iterable[Service]) -> None:
        for service in list(services):
            asked = self.domain.ask(_notification(account.jid, service))
            asked.addCallbacks(
                self._taken, self._refused, callbackArgs=(account, service), errbackArgs=(account, service)
            )
            asked.addErrback(lambda why: self.log.failure("a push service cannot be changed", why))

    def _taken(self, _: Stanza, account: Account, service: Service) -> Deferred[None] | None:
        return self._count(account, service, 0) if service.failures else None

    def _refused(self, why: Failure, account: Account, service: Service) -> Deferred[None] | None:
        """Ask it no more, unless the reason may pass (§7.1)."""
        error = why.value
        if not isinstance(error, StanzaError):
            return why  # type: ignore[return-value]  # goes on to be logged
        failures = service.failures + 1
        if (error.type == "wait" or error.condition in _PASSING) and failures < self.config.failures:
            return self._count(account, service, failures)
        self.log.info(
            "{jid!r} uses {service!r} no more: {why}", jid=account.jid, service=service.jid, why=error
        )
        return self._change(account, service, None)

    def _count(self, account: Account, service: Service, failures: int) -> Deferred[None] | None:
        return self._change(account, service, replace(service, failures=failures))

    def _change(self, account: Account, service: Service, new: Service | None) -> Deferred[None] | None:
        """Unless the client has changed it meanwhile."""
        key = _key(service.jid, service.node)
        if self.services.of(account).get(key) != service:
            return None
        return self.services.change(account.jid, {key: new})


def _notification(sender: JID, service: Service) -> Stanza:
    """§7: that there is one message."""
    values = (("FORM_TYPE", _SUMMARY), ("message-count", "1"))
    fields = (E(FORMS, "field", {"var": var}, E(FORMS, "value", None, value)) for var, value in values)
    told = E(NS, "notification", None, E(FORMS, "x", {"type": "submit"}, *fields))
    publish = E(_PUBSUB, "publish", {"node": service.node or None}, E(_PUBSUB, "item", None, told))
    options = (
        [E(_PUBSUB, "publish-options", None, parse(service.options.encode()))] if service.options else []
    )
    inside = E(_PUBSUB, "pubsub", None, publish, *options)
    return Stanza.of("iq", inside, sender=sender, to=JID.parse(service.jid), type="set")


def _service(payload: Element) -> JID:
    try:
        return JID.parse(payload.get("jid", ""))
    except InvalidJID:
        raise StanzaError("bad-request", "the push service has no address") from None


def _options(payload: Element) -> str:
    form = payload.find(X)
    if form is None:
        return ""
    kinds = [field.findtext(f"{{{FORMS}}}value") for field in form if field.get("var") == "FORM_TYPE"]
    if kinds != [_OPTIONS]:
        raise StanzaError("bad-request", "expected a form of publish options")
    written = serialize(form)
    if len(written) > _LONGEST:
        raise StanzaError("not-acceptable", "the form is too long")
    return written.decode()


def _key(jid: str, node: str) -> str:
    return f"{jid} {sha256(node.encode()).hexdigest()}" if node else jid
