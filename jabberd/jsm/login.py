"""What a client asks for before or while it logs in or binds a resource (XEP-0077, XEP-0388, XEP-0386)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from jabberd.api import Newcomer
from jabberd.interfaces import StorageError
from jabberd.xmpp.errors import StanzaError, StreamError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jabberd import api, interfaces
    from jabberd.registry import Registry
    from jabberd.xmpp.element import Element
    from jabberd.xmpp.parser import Nonza
    from jabberd.xmpp.sasl import Mechanism
    from jabberd.xmpp.stanza import Stanza

__all__ = ["inlined", "logged_in", "mechanism", "newcomer", "unbound"]

log = Logger()


def newcomer(registry: Registry, stanza: Stanza) -> Callable[[interfaces.Outlet], Deferred[Stanza]] | None:
    """Who answers an iq of a client that has not logged in; None: no module does."""
    method = registry.newcomers.get((stanza.type, stanza.children[0]))
    if method is None:
        return None
    return lambda outlet: Deferred.fromCoroutine(_told(method, Newcomer(stanza, outlet, stanza.element()[0])))


async def _told(method: Callable[..., Any], asked: Newcomer) -> Stanza:
    try:
        answer = method(asked)
        if inspect.isawaitable(answer):
            answer = await answer
    except StanzaError as error:
        return asked.stanza.error(error)
    except Exception as why:  # noqa: BLE001  # a bug there, or a storage that is away
        log.failure("{method} failed before a login", method=method.__qualname__)
        passing = isinstance(why, StorageError)
        return asked.stanza.error(StanzaError("resource-constraint" if passing else "internal-server-error"))
    return asked.stanza.reply() if answer is None else asked.stanza.reply(answer)


def mechanism(registry: Registry, name: str, login: api.Login) -> Mechanism | None:
    """The mechanism of that name that a module has, if one does."""
    found = (made(name, login) for made in registry.mechanisms)
    return next((each for each in found if each is not None), None)


async def unbound(
    registry: Registry, username: str, outlet: interfaces.Outlet, nonza: Nonza
) -> api.Session | None:
    """Let a module take what is no stanza from a client that has not bound a resource.

    :param username: empty: it has not even logged in.
    :raises StreamError: ``unsupported-stanza-type``: no module takes that then.
    """
    take = registry.unbound.get(nonza.name)
    if take is None or not (username or nonza.name in registry.refused):
        raise StreamError("unsupported-stanza-type")
    found: api.Session | Awaitable[api.Session | None] | None = take(username, outlet, nonza.element())
    return await found if inspect.isawaitable(found) else found


async def logged_in(registry: Registry, login: api.Login) -> list[Element]:
    """Do what the client asked for in ``<authenticate/>``, in the order in which modules were started."""
    answers = []
    for name, method in registry.login.items():
        asked = login.request.find(name)
        if asked is not None:
            answers.append(await _answer(method, login, asked))
    return [answer for answer in answers if answer is not None]


async def inlined(registry: Registry, session: api.Session, request: Element) -> list[Element]:
    """Do what the client asked for in ``<bind/>``, each thing once, then what modules do anyway."""
    answers = []
    for name in dict.fromkeys(asked.tag for asked in request):
        method, asked = registry.binding.get(name), request.find(name)
        if method is not None and asked is not None:
            answers.append(await _answer(method, session, asked))
    answers += [await _answer(method, session) for method in registry.bound]
    return [answer for answer in answers if answer is not None]


async def _answer(method: Callable[..., Any], *asked: object) -> Element | None:
    """What a module's method answers; one that fails costs its answer, and not the login."""
    try:
        answer = method(*asked)
        if inspect.isawaitable(answer):
            answer = await answer
    except StreamError:
        raise
    except Exception:  # noqa: BLE001  # a bug there, or a storage that is away
        log.failure("{method} failed while a client logged in", method=method.__qualname__)
        return None
    found: Element | None = answer
    return found
