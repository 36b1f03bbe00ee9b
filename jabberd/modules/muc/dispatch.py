"""Which stanza for a room means what, and how its refusal looks."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred

from jabberd.api import JID, E, Stanza, StanzaError
from jabberd.archive.pages import NS as MAM
from jabberd.modules.disco import INFO, ITEMS
from jabberd.modules.muc import admin, approval, discovery, owner, reading, registration
from jabberd.modules.muc.doorway import is_goodbye, stand_behind
from jabberd.modules.muc.entering import arrive, made, not_in_room, present
from jabberd.modules.muc.invitations import decline, invite, not_invited
from jabberd.modules.muc.messages import change_subject, is_subject, say, say_privately, without_forged
from jabberd.modules.muc.names import ADMIN, JOIN, MUC, OCCUPANT_ID, OWNER, PING, REGISTER, USER, X_USER
from jabberd.modules.muc.presence import UNAVAILABLE, News, depart
from jabberd.modules.muc.privileges import Affiliation
from jabberd.modules.muc.relay import elsewhere, nameless
from jabberd.modules.muc.seam import RoomAnswer, RoomRequest
from jabberd.xmpp.errors import STANZA_CONDITIONS
from jabberd.xmpp.forms import X
from jabberd.xmpp.ns import CLIENT, STANZA_ERRORS
from jabberd.xmpp.stanza import check_iq

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from jabberd.modules.muc.doorway import Behind
    from jabberd.modules.muc.occupant import Occupant
    from jabberd.modules.muc.relay import Relay
    from jabberd.modules.muc.room import Room
    from jabberd.modules.muc.service import Service

__all__ = ["Dispatch"]

#: §19.1.2 and what a server says of a resource that is gone (RFC 6121 §8.5.3.2.1): whoever's server says so
#: of what the room has sent is not there any more.
_GHOSTLY: Final = frozenset(
    {
        "gone",
        "item-not-found",
        "jid-malformed",
        "recipient-unavailable",
        "redirect",
        "remote-server-not-found",
        "remote-server-timeout",
        "service-unavailable",
    }
)
assert STANZA_CONDITIONS.keys() >= _GHOSTLY


async def _pong(_: RoomRequest) -> RoomAnswer:
    """The room is there (XEP-0199)."""
    return RoomAnswer()


_ANSWERS: Final[dict[tuple[str, str], Callable[[RoomRequest], Awaitable[RoomAnswer]]]] = {
    ("get", f"{{{INFO}}}query"): discovery.info,
    ("get", f"{{{ITEMS}}}query"): discovery.items,
    ("get", f"{{{ADMIN}}}query"): admin.lists,
    ("set", f"{{{ADMIN}}}query"): admin.change,
    ("get", f"{{{OWNER}}}query"): owner.configuration,
    ("set", f"{{{OWNER}}}query"): owner.order,
    ("get", f"{{{REGISTER}}}query"): registration.requirements,
    ("set", f"{{{REGISTER}}}query"): registration.register,
    ("get", f"{{{MAM}}}query"): reading.fields,
    ("set", f"{{{MAM}}}query"): reading.query,
    ("get", f"{{{MAM}}}metadata"): reading.metadata,
    ("get", f"{{{PING}}}ping"): _pong,
}


class Dispatch:
    """Takes what comes for the rooms of a service."""

    def __init__(self, service: Service, relay: Relay) -> None:
        self._service = service
        self._relay = relay

    def take(self, stanza: Stanza) -> Awaitable[Any] | None:
        """Do what a stanza means; what is refused is told to its sender, by the room (RFC 6120 §8.3.1)."""
        to = stanza.to
        assert to is not None  # the router's business
        if not to.localpart:
            if stanza.name == "presence" or stanza.type in ("error", "result"):
                return None
            raise StanzaError("service-unavailable")
        room = self._service.rooms.resident.get(to.bare)
        if room is None:
            return self._taken(stanza, to)
        try:
            work = self._do(room, stanza, to)
        except StanzaError as error:
            self._refuse(stanza, error)
            work = None
        if inspect.iscoroutine(work):
            return self._worked(room, stanza, work)
        if not room.visits:
            return self._service.rooms.leave(room) or work
        return work

    async def _taken(self, stanza: Stanza, to: JID) -> None:
        """The same for a room that is not in memory, or not at all; what came first is done first."""
        rooms = self._service.rooms
        try:
            async with rooms.turn(to.bare):
                room = await rooms.load(to.bare)
                if room is None and stanza.sender is not None and JOIN in stanza.children:
                    await self._service.redirects.check(to.bare, stanza.sender.bare)
                room = room or self._new(stanza, to)
                if room is None:
                    return
                room.users += 1
                work = Deferred.fromCoroutine(_done(self._do, room, stanza, to))
            try:
                await work
            finally:
                await self._left(room)
        except StanzaError as error:
            self._refuse(stanza, error)

    async def _worked(self, room: Room, stanza: Stanza, work: Awaitable[Any]) -> None:
        room.users += 1
        try:
            await work
        except StanzaError as error:
            self._refuse(stanza, error)
        finally:
            await self._left(room)

    @asynccontextmanager
    async def using(self, jid: JID) -> AsyncIterator[Room | None]:
        """A room, in memory for as long as it is used here; None: there is none."""
        rooms = self._service.rooms
        async with rooms.turn(jid):
            room = await rooms.load(jid)
            if room is not None:
                room.users += 1
        try:
            yield room
        finally:
            if room is not None:
                await self._left(room)

    async def _left(self, room: Room) -> None:
        room.users -= 1
        ended = self._service.rooms.leave(room)
        if ended is not None:
            await ended

    def _refuse(self, stanza: Stanza, error: StanzaError) -> None:
        if stanza.type not in ("error", "result") and stanza.sender is not None:
            assert stanza.to is not None
            if stanza.name == "presence":
                error.beside = E(MUC, "x")  # as all examples of §7.2 have it; clients look for it
            self._service.route(stanza.error(error, by=stanza.to.bare))

    def _new(self, stanza: Stanza, to: JID) -> Room | None:
        """The room that somebody makes by entering it; None: nothing is left to do.

        :raises StanzaError: ``item-not-found``: there is no such room; see also `made`.
        """
        assert stanza.sender is not None
        if stanza.name == "presence":
            if stanza.type or not to.resourcepart:
                if JOIN in stanza.children and not stanza.type:
                    raise StanzaError("jid-malformed")
                return None
            if JOIN not in stanza.children:
                not_in_room(self._service, stanza)
                return None
            return made(self._service, to.bare, stanza.sender.bare)
        if stanza.type not in ("error", "result"):
            if stanza.name == "iq" and to.resourcepart:
                raise elsewhere(stanza)
            raise StanzaError("item-not-found")
        return None

    # -- what a stanza means ------------------------------------------------------------------------

    def _do(self, room: Room, stanza: Stanza, to: JID) -> Awaitable[Any] | None:
        behind = room.coming.get(stanza.sender)  # type: ignore[arg-type]  # the router's business
        if behind is not None and stanza.type not in ("error", "result"):
            if behind or not is_goodbye(stanza):
                return stand_behind(behind, stanza)
            del room.coming[stanza.sender]  # type: ignore[arg-type]  # it is gone before its turn
        if stanza.name == "message":
            return self._message(room, stanza, to)
        if stanza.name == "presence":
            return self._presence(room, stanza, to)
        return self._question(room, stanza, to)

    def _message(self, room: Room, stanza: Stanza, to: JID) -> Awaitable[Any] | None:
        sender = stanza.sender
        assert sender is not None
        if stanza.type == "error":
            self._failed(room, stanza, to)
            return None
        if room.locked:
            raise StanzaError("item-not-found")
        if to.resourcepart:
            say_privately(room, stanza, to.resourcepart)
            return None
        if stanza.type == "groupchat":
            occupant = room.speaker(sender)
            return (
                change_subject(room, occupant, stanza) if is_subject(stanza) else say(room, occupant, stanza)
            )
        return self._to_room(room, stanza)

    def _to_room(self, room: Room, stanza: Stanza) -> Awaitable[Any] | None:
        """A message to the room that is not for all: an invitation, a form."""
        x = stanza.child(X_USER)
        if x is not None and x.find(f"{{{USER}}}invite") is not None:
            return invite(room, stanza)
        if x is not None and x.find(f"{{{USER}}}decline") is not None:
            decline(room, stanza)
            return None
        if X in stanza.children:
            return approval.filled_in(room, stanza)
        assert stanza.sender is not None
        room.speaker(stanza.sender)
        raise StanzaError("bad-request", "what is for all has the type groupchat")

    def _presence(self, room: Room, stanza: Stanza, to: JID) -> Awaitable[Any] | None:
        if stanza.type == "error":
            self._failed(room, stanza, to)
        elif stanza.type not in ("", UNAVAILABLE):
            return None  # §18.3: neither a probe nor a subscription comes or goes
        elif not stanza.type and _moves(room, stanza, to):
            return self._arrived(room, stanza, to)
        elif stanza.sender in room.visits:
            present(room, stanza, to)
        elif not stanza.type and to.resourcepart:
            not_in_room(self._service, stanza)
        return None

    async def _arrived(self, room: Room, stanza: Stanza, to: JID) -> None:
        """Have somebody enter, or take another nickname; what they say meanwhile is heard afterwards."""
        sender = stanza.sender
        assert sender is not None
        behind: Behind = []
        room.coming[sender] = behind
        try:
            await arrive(room, stanza, to, lambda: room.coming.get(sender) is behind)
        except StanzaError as error:
            self._refuse(stanza, error)
        finally:
            if room.coming.get(sender) is behind:
                del room.coming[sender]
            for said, home in behind:
                Deferred.fromCoroutine(_done(self.take, said)).chainDeferred(home)

    def _failed(self, room: Room, stanza: Stanza, to: JID) -> None:
        """Somebody did not get what the room has sent: a ghost is put out (§11.1, §19.1.2)."""
        sender = stanza.sender
        assert sender is not None
        occupant = room.visits.get(sender)
        if occupant is None:
            not_invited(room, stanza)
            return
        if stanza.name == "message":
            about = (sender, hash(stanza.id))
            by = {by for jid, id, by in room.whispered if (jid, id) == about}
            if to in by:
                self._tell_failure(room, stanza, occupant, to)
            if by:
                return  # it may be one that does not want to hear
        error = stanza.child(f"{{{CLIENT}}}error")
        found = [] if error is None else [each.tag.removeprefix(f"{{{STANZA_ERRORS}}}") for each in error]
        if not _GHOSTLY.isdisjoint(found):
            depart(room, occupant, occupant.visits[sender], News(UNAVAILABLE, codes=(333,)))

    def _tell_failure(self, room: Room, stanza: Stanza, by: Occupant, to: JID) -> None:
        """Who said something privately learns that it was refused, and by whom (XEP-0421 §4)."""
        target = room.occupant(to.resourcepart)
        if target is not None and target is not by:
            told = nameless(without_forged(room, stanza).without([X_USER]))
            told = told.with_sealed(OCCUPANT_ID, by.mark)
            for jid in tuple(target.visits):
                self._service.route(told.stamped(by.jid, jid))

    # -- questions ----------------------------------------------------------------------------------

    def _question(self, room: Room, stanza: Stanza, to: JID) -> Awaitable[Any] | None:
        if stanza.type in ("result", "error"):
            self._relay.answered(room, stanza)
            return None
        if to.resourcepart:
            self._relay.ask(room, stanza, to.resourcepart)
            return None
        return self._answered(room, stanza)

    async def _answered(self, room: Room, stanza: Stanza) -> None:
        check_iq(stanza)
        sender = stanza.sender
        assert sender is not None
        key = stanza.type, stanza.children[0]
        answer = _ANSWERS.get(key) or self._service.seam.answers.get(key)
        if answer is None:
            raise StanzaError("service-unavailable")
        if room.gone or (room.locked and room.affiliation(sender.bare) is not Affiliation.owner):
            raise StanzaError("item-not-found")
        given = await answer(RoomRequest(room, stanza, sender, stanza.element()[0]))
        self._service.route(stanza.reply() if given.payload is None else stanza.reply(given.payload))
        told = None if given.then is None else given.then()
        if told is not None:
            await told


async def _done(do: Callable[..., Awaitable[Any] | None], *args: Any) -> None:
    """Do something, and what is left of it to wait for."""
    work = do(*args)
    if work is not None:
        await work


def _moves(room: Room, stanza: Stanza, to: JID) -> bool:
    """Whether somebody enters, says so again (§7.2.1) or takes another nickname."""
    occupant = room.visits.get(stanza.sender)  # type: ignore[arg-type]  # the router's business
    return JOIN in stanza.children or (occupant is not None and to.resourcepart != occupant.nick)
