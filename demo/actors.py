"""The clients of the play: slixmpp, with everything shown that goes over their streams."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeVar

import slixmpp
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.xmlstream import tostring

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from xml.etree.ElementTree import Element

    from stage import Stage

T = TypeVar("T")

PATIENCE: Final = 10.0  # seconds that anything may take
PLUGINS: Final = ("xep_0012", "xep_0203")  # last activity; delayed delivery


class MissedError(Exception):
    """Something that had to be seen was not; the text says what, and by whom."""


class Actor(slixmpp.ClientXMPP):
    """One client.

    :param port: of its server, on this machine.
    :param authority: the file with the CA that the server's certificate must come from.
    :param stage: where its stanzas are shown; None: nowhere.
    :ivar who: its localpart.
    :ivar subscriptions: what the server says of each contact in the roster: ``both``, ``to``, ...
    """

    def __init__(self, jid: str, password: str, port: int, authority: Path, stage: Stage | None) -> None:
        super().__init__(jid, password)
        self.who = self.boundjid.local
        self.stage = stage
        self.subscriptions: dict[str, str] = {}
        self._port = port
        self._left = False
        self._ids = count(1)
        self._seen: list[Any] = []
        self._trouble = ""
        self._news = asyncio.Event()
        self.ca_certs = authority
        self.enable_direct_tls = False
        self.whitespace_keepalive = False
        self.auto_subscribe = False
        for plugin in PLUGINS:
            self.register_plugin(plugin)
        self.add_filter("in", self._see)
        self.add_event_handler("session_start", self._wake)
        self.add_event_handler("roster_update", self._read_roster)
        self.add_event_handler("stream_error", lambda error: self._fail("stream error", error["condition"]))
        for event in ("connection_failed", "failed_all_auth", "ssl_invalid_chain", "disconnected"):
            self.add_event_handler(event, lambda why, event=event: self._fail(event, why))

    # -- what it does -------------------------------------------------------------------------------

    async def enter(self) -> None:
        """Log in.

        :raises MissedError: it cannot.
        """
        self.connect("127.0.0.1", self._port)
        await self.until("the start of its session", lambda: self.sessionstarted)

    async def leave(self) -> None:
        """Say goodbye and end the connection; nothing that happens from now on is shown, or is trouble."""
        self._left = True
        self.stage = None
        if self.is_connected():
            await self.disconnect()
        else:
            self.cancel_connection_attempt()

    def new_id(self) -> str:
        """Count, which is easier to read than slixmpp's own ids."""
        return f"{self.who}-{next(self._ids)}"

    # -- what it sees -------------------------------------------------------------------------------

    async def receives(self, name: str, **wanted: str) -> Any:
        """The first stanza of that name with these values, such as ``from_=...`` and ``body=...``.

        :raises MissedError: none comes in time.
        """
        values = {key.rstrip("_"): value for key, value in wanted.items()}
        said = " and ".join(f"{key} {value!r}" for key, value in values.items())

        def found() -> Any:
            matching = (stanza for stanza in self._seen if stanza.name == name)
            return next((s for s in matching if all(str(s[k]) == v for k, v in values.items())), None)

        return await self.until(f"a <{name}/> with {said}", found)

    async def subscribed(self, jid: str) -> None:
        """Wait until this client and that contact see each other's presence."""
        await self.until(f"a subscription of both with {jid}", lambda: self.subscriptions.get(jid) == "both")

    async def answer(self, asked: Awaitable[Any]) -> Any:
        """The result of an iq.

        :raises MissedError: there is an error instead, or nothing.
        """
        asking = asyncio.ensure_future(asked)
        asking.add_done_callback(self._wake)
        try:
            await self.until("an answer", asking.done)
            return asking.result()
        except (IqError, IqTimeout) as error:
            raise MissedError(f"{self.who} got {error.condition} for {error.iq}") from None
        finally:
            asking.cancel()

    async def until(self, what: str, true: Callable[[], T | None]) -> T:
        """Wait until something is true, looking again whenever something has come.

        :raises MissedError: it is not in time, or cannot become so any more.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                while not (found := true()):
                    if self._trouble:
                        raise MissedError(f"{self.who} did not see {what}: {self._trouble}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise MissedError(f"{self.who} did not see {what} within {PATIENCE:.0f} s") from None
        return found

    def _see(self, stanza: Any) -> Any:
        self._seen.append(stanza)
        self._wake()
        return stanza

    def _wake(self, _: object = None) -> None:
        self._news.set()

    def _read_roster(self, iq: Any) -> None:
        for jid, item in iq["roster"]["items"].items():
            self.subscriptions[str(jid)] = item["subscription"]
        self._wake()

    def _fail(self, event: str, why: object) -> None:
        if not self._left:
            self._trouble = self._trouble or f"{event.replace('_', ' ')} {why or ''}".rstrip()
            self._wake()

    # -- what is shown ------------------------------------------------------------------------------

    def send_raw(self, data: str | bytes) -> None:
        """Show it on its way out (see slixmpp)."""
        self._show(data if isinstance(data, str) else data.decode(), sent=True)
        super().send_raw(data)

    def start_stream_handler(self, xml: Element) -> None:
        """Show the stream header of the server (see slixmpp)."""
        self._show(self._written(xml, open_only=True))
        super().start_stream_handler(xml)  # type: ignore[no-untyped-call]  # slixmpp's

    def incoming_filter(self, xml: Element) -> Element:
        """Show each element that came (see slixmpp)."""
        self._show(self._written(xml))
        return xml

    def _written(self, xml: Element, *, open_only: bool = False) -> str:
        text = tostring(xml, xmlns=self.default_ns, stream=self, top_level=True, open_only=open_only)
        return text.replace("stream:stream:", "stream:")  # slixmpp writes the prefix twice

    def _show(self, xml: str, *, sent: bool = False) -> None:
        if self.stage is not None:
            self.stage.stanza(self.who, xml, sent=sent)
