"""slixmpp makes accounts: with the answer to a question (XEP-0158)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import slixmpp

from tests.interop.actor import PASSWORD, PATIENCE, Actor
from tests.interop.logins import DOMAIN, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running import Running

pytestmark = [pytest.mark.process, pytest.mark.foreign]

MORE = """
[[domains."montague.lit".modules.registration.questions]]
ask = "How many houses are there in fair Verona?"
answers = ["two"]
[[domains."montague.lit".modules.registration.questions]]
lang = "it"
ask = "Quante casate ci sono nella bella Verona?"
answers = ["due"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("montague"), MORE) as server:
        yield server


class Newcomer(Actor):
    """Somebody without an account, who does something before the login."""

    def __init__(self, server: Running, name: str) -> None:
        super().__init__(
            f"{name}@{DOMAIN}/piazza", server.port("c2s"), server.log.with_name("ca.crt"), register=False
        )
        self.register_plugin("xep_0077")
        self.came = asyncio.Event()
        self.left = asyncio.Event()
        self.add_event_handler("register", self._wait)

    async def _wait(self, _: object) -> None:
        """Log in when all else is done."""
        self.came.set()
        await self.left.wait()

    async def form(self) -> Any:
        """The form."""
        return (await self._ask(self.Iq(stype="get")))["register"]["form"]

    async def register(self, form: Any, **filled: str) -> str:
        """The condition of the refusal; empty: it was done."""
        iq = self.Iq(stype="set")
        mine = {"username": self.boundjid.user, "password": PASSWORD, **filled}
        form.set_type("submit")
        form.set_values({**form.get_values(), **mine})
        iq["register"].append(form)
        try:
            await iq.send(timeout=PATIENCE)  # type: ignore[no-untyped-call]  # slixmpp's
        except slixmpp.exceptions.IqError as error:
            return str(error.condition)
        return ""

    async def _ask(self, iq: Any) -> Any:
        iq.enable("register")
        return await iq.send(timeout=PATIENCE)


async def meet(newcomer: Newcomer) -> None:
    newcomer.connect("127.0.0.1", newcomer._port)
    async with asyncio.timeout(PATIENCE):
        await newcomer.came.wait()


async def enter(newcomer: Newcomer) -> None:
    newcomer.left.set()
    await newcomer.until("the start of its session", lambda: newcomer.sessionstarted)


def test_a_newcomer_answers_and_comes_in(server: Running) -> None:
    async def play() -> None:
        peter = Newcomer(server, "peter")
        await meet(peter)
        form = await peter.form()
        assert form.get_fields(use_dict=True)["qa"]["label"].endswith("in fair Verona?")
        assert await peter.register(form, qa="three") == "not-acceptable"
        assert await peter.register(await peter.form(), qa="Two") == ""
        await enter(peter)
        await peter.disconnect(wait=1.0)

    asyncio.run(play())
    assert "two" not in server.log.read_text().lower().split()
