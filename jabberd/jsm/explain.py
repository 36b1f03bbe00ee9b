"""Where a stanza would go, and why: the operators' ``explain``.  Nothing is sent, and no filter runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

from jabberd.api import JID, Stage, operator
from jabberd.jsm import delivery
from jabberd.jsm.delivery import Plan
from jabberd.xmpp import ns
from jabberd.xmpp.element import E
from jabberd.xmpp.stanza import Stanza

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jabberd.jsm.account import Account
    from jabberd.jsm.manager import SessionManager
    from jabberd.jsm.session import Session

__all__ = ["Explanation", "Kind"]

Kind = Literal[
    "chat", "normal", "groupchat", "headline", "available", "unavailable", "subscribe", "probe", "get", "set"
]
_NAMES: Final = {
    kind: name
    for name, kinds in {
        "message": get_args(Kind)[:4],
        "presence": get_args(Kind)[4:8],
        "iq": ("get", "set"),
    }.items()
    for kind in kinds
}

#: A step of the road and what happens there.
Steps = list[dict[str, str]]


class Explanation:
    """``explain ...``.

    :param managers: by domain.
    :param abroad: tells of a domain of ours and one of theirs what the link between them would do.
    """

    def __init__(self, managers: Mapping[str, SessionManager], abroad: Callable[[JID, JID], str]) -> None:
        self._managers = managers
        self._abroad = abroad

    @operator("tell where a stanza would go, through which filters, to which sessions, and why")
    async def explain(self, sender: JID, to: JID, kind: Kind = "chat") -> Steps:
        """Follow its road as it is now; nothing is sent, and no filter runs.

        :param sender: a client's full JID, or anybody at another server.
        """
        stanza = _example(sender, to, kind)
        steps: list[tuple[str, str]] = []
        if sender.domainpart in self._managers:
            steps += await _from_us(self._managers[sender.domainpart], stanza, sender)
        else:
            steps.append(("from", f"{sender.domainpart}, over federation"))
        if to.domainpart in self._managers:
            steps += await _to_us(self._managers[to.domainpart], stanza, to)
        else:
            steps.append(
                ("route", f"{to.domainpart} is not hosted here: {self._abroad(sender.domain, to.domain)}")
            )
        return [{"step": step, "what": what} for step, what in steps]


def _example(sender: JID, to: JID, kind: Kind) -> Stanza:
    children = [E(ns.CLIENT, "body", None, "example")] if _NAMES[kind] == "message" else []
    type = "" if kind == "available" else kind
    return Stanza.of(_NAMES[kind], *children, sender=sender, to=to, type=type)


async def _from_us(manager: SessionManager, stanza: Stanza, sender: JID) -> list[tuple[str, str]]:
    account = await manager.account(sender)
    steps = [("from", _who(account, sender))]
    return steps + _filters(manager, Stage.SAID, stanza)


def _who(account: Account, sender: JID) -> str:
    if not account.exists:
        return f"{account.jid}, which does not exist: nobody can say this"
    if account.disabled:
        return f"{account.jid}, which is disabled: nobody can say this"
    if sender.resourcepart and sender.resourcepart not in account.sessions:
        return f"{sender}, which is not connected"
    return (
        f"{sender}, connected" if sender.resourcepart else f"{sender}, with {len(account.sessions)} sessions"
    )


async def _to_us(manager: SessionManager, stanza: Stanza, to: JID) -> list[tuple[str, str]]:
    steps = [("route", f"{to.domainpart} is hosted here")]
    if not to.localpart:
        return [*steps, ("plan", _by_the_domain(stanza, to))]
    account = await manager.account(to)
    steps.append(("account", _whose(account)))
    steps += _filters(manager, Stage.REFUSE, stanza)
    resource = to.resourcepart
    shares = stanza.name == "iq" and manager.shares_presence(account, stanza, resource)
    sessions = account.sessions if account.exists else None
    plan = delivery.plan(stanza.name, stanza.type, sessions, resource, shares_presence=shares)
    steps.append(("plan", plan.value))
    recipients = delivery.recipients(plan, account.sessions, resource)
    if not recipients:
        return steps + [("then", what) for what in _instead(manager, plan, account)]
    for stage in (Stage.REWRITE, Stage.COPY):
        steps += _filters(manager, stage, stanza)
    steps += [("session", _share(session, recipients, to)) for session in account.sessions.values()]
    return steps + _filters(manager, Stage.SENDING, stanza)


def _by_the_domain(stanza: Stanza, to: JID) -> str:
    """RFC 6120 §10.5.2, as `SessionManager` does it."""
    if stanza.name == "presence":
        answered = stanza.type in ("probe", "subscribe") and not to.resourcepart
        return f"for the domain itself: {'it says that it is there' if answered else 'it is forgotten'}"
    if stanza.name == "message" or to.resourcepart:
        return "for the domain itself: answered with service-unavailable"
    return "for the domain itself: the module that knows the iq's child answers"


def _whose(account: Account) -> str:
    if not account.exists:
        return f"{account.jid} does not exist"
    state = " (disabled)" if account.disabled else ""
    return (
        f"{account.jid}{state}: {len(account.sessions)} sessions, {len(account.available)} of them available"
    )


def _filters(manager: SessionManager, stage: Stage, stanza: Stanza) -> list[tuple[str, str]]:
    """The filters of that stage; those that want a child may see it, if it has one of these."""
    filters = manager.registry.filters.get((stage, stanza.name))
    return [(f"filter {stage.name}", _named(name, children)) for name, children in filters or ()]


def _named(name: str, children: frozenset[str]) -> str:
    return f"{name}, if it has {' or '.join(sorted(children))}" if children else name


def _share(session: Session, recipients: list[Session], to: JID) -> str:
    priority = "not available" if session.priority is None else f"priority {session.priority}"
    if session in recipients:
        waits = ", kept until its client is back" if session.outlet.waits else ""
        return f"{session.jid} gets it ({priority}{waits})"
    why = "another one is addressed" if to.resourcepart in recipients[0].account.sessions else priority
    return f"{session.jid} does not get it ({why})"


def _instead(manager: SessionManager, plan: Plan, account: Account) -> Iterator[str]:
    """What becomes of it where no session gets it."""
    for session in account.sessions.values():
        priority = "not available" if session.priority is None else f"priority {session.priority}"
        yield f"{session.jid} does not get it ({priority})"
    if plan is Plan.STORE:
        take = manager.registry.undelivered
        if take is None:
            yield "no module keeps messages: answered with service-unavailable"
        else:
            yield f"module {take.__self__.name} takes it, if it is worth keeping"  # type: ignore[attr-defined]  # bound
