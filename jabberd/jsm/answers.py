"""What a domain and its accounts are asked, and who answers it (RFC 6120 §8.2.3, §10.5.2)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from jabberd.api import ACCOUNT, ANYONE, DOMAIN, HIDDEN, IQ, LOCAL, OWNER, Apart
from jabberd.jsm import delivery
from jabberd.registry import BoundAnswer
from jabberd.xmpp import ns
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.stanza import check_iq

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.internet.defer import Deferred

    from jabberd import api
    from jabberd.jsm.account import Account
    from jabberd.jsm.manager import SessionManager
    from jabberd.xmpp.jid import JID
    from jabberd.xmpp.stanza import Stanza

_ROSTER: Final = f"{{{ns.ROSTER}}}query"


class Answers:
    """The answers of one domain: those of its core, and those that its modules declared."""

    def __init__(self, manager: SessionManager) -> None:
        self._manager = manager
        self._own = {
            ("get", _ROSTER): BoundAnswer(manager.contacts.get, OWNER),
            ("set", _ROSTER): BoundAnswer(manager.contacts.set, OWNER),
        }

    def to_domain(self, stanza: Stanza, to: JID) -> Deferred[None] | None:
        """What is addressed to the domain itself (RFC 6120 §10.5.2)."""
        if stanza.name == "presence":
            self._manager.presence.of_domain(stanza)
            return None
        if stanza.type in ("error", "result"):
            if stanza.name == "iq":
                self._manager.questions.answered(stanza)
            return None
        if to.resourcepart:
            raise StanzaError("service-unavailable")
        return self.ask(stanza, None) if stanza.name == "iq" else self._tell(stanza)

    def _tell(self, message: Stanza) -> Deferred[None] | None:
        """A message for the domain itself goes to the module that declared what it has."""
        told = self._manager.registry.told
        take = next((told[name] for name in message.children if name in told), None)
        if take is None:
            raise StanzaError("service-unavailable")
        return self._taken(message, take(message))

    def to_service(
        self, serves: Callable[[Stanza], Awaitable[None] | None], stanza: Stanza, to: JID
    ) -> Deferred[None] | None:
        """What is addressed to a domain without accounts, or to an address at it: the module's own business.

        What the domain itself is asked goes to whichever module declared that it answers it.
        """
        if stanza.name == "iq" and not to.localpart and not to.resourcepart:
            return self.to_domain(stanza, to)
        return self._taken(stanza, serves(stanza))

    def _taken(self, stanza: Stanza, taken: Awaitable[None] | None) -> Deferred[None] | None:
        return None if taken is None else self._manager.caught(stanza, _awaited(taken))

    def ask(self, stanza: Stanza, account: Account | None) -> Deferred[None] | None:
        """Have a question answered: by a core feature or a module that declared it."""
        check_iq(stanza)  # other servers' have not been
        sender = stanza.sender
        bound = self._bound(stanza, account)
        if bound is None or sender is None or not self._may_ask(bound, sender, account):
            return self.refuse(stanza)
        return self._have(bound, stanza, sender, account)

    def refuse(self, stanza: Stanza) -> Deferred[None] | None:
        """What is said in the name of an account that does not exist, and of one that does not tell.

        :raises StanzaError: `delivery.refusal`, unless a module declared that it says something else.
        """
        sender, to = stanza.sender, stanza.to
        if stanza.name == "iq" and sender is not None and to is not None and to.localpart:
            check_iq(stanza)
            hidden = self._manager.registry.answer(stanza.type, stanza.children[0], HIDDEN)
            if hidden is not None and not to.resourcepart:
                return self._have(hidden, stanza, sender, None)
        raise delivery.refusal(stanza)

    def _have(
        self, bound: BoundAnswer, stanza: Stanza, sender: JID, account: Account | None
    ) -> Deferred[None] | None:
        answer = bound.method(IQ(stanza, sender, account, stanza.element()[0]))
        if isinstance(answer, Apart):
            self._manager.caught(stanza, self._answered(stanza, answer.answer))
            return None
        if inspect.isawaitable(answer):
            return self._manager.caught(stanza, self._answered(stanza, answer))
        return self._reply(stanza, answer)

    def _bound(self, stanza: Stanza, account: Account | None) -> BoundAnswer | None:
        for divert in self._manager.registry.diverts:
            method = divert(stanza, account)
            if method is not None:
                return BoundAnswer(method, ANYONE)
        payload = stanza.children[0]
        if account is not None and (stanza.type, payload) in self._own:
            return self._own[stanza.type, payload]
        return self._manager.registry.answer(stanza.type, payload, DOMAIN if account is None else ACCOUNT)

    def _may_ask(self, bound: BoundAnswer, sender: JID, account: Account | None) -> bool:
        if bound.by is ANYONE or (account is not None and sender.bare == account.jid):
            return True
        if bound.by is LOCAL:
            return sender.domainpart == self._manager.jid
        return bound.by is not OWNER and account is not None and account.trusts(sender)

    async def _answered(self, stanza: Stanza, answer: Any) -> None:
        self._reply(stanza, await answer)

    def _reply(self, stanza: Stanza, answer: api.Answer) -> Deferred[None] | None:
        return self._manager.route(stanza.reply() if answer is None else stanza.reply(answer))


async def _awaited(work: Awaitable[None]) -> None:
    await work
