"""A module of somebody else: a package that is installed beside the server, and found by its entry point."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.rehearsal import Rehearsal
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALLED = Path(__file__).parent / "thirdparty"
QUESTION = "<iq type='get' to='montague.lit'><question xmlns='urn:example:oracle'/></iq>"
PROPHECY = "<prophecy xmlns='urn:example:oracle'>Some consequence, yet hanging in the stars</prophecy>"


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    monkeypatch.syspath_prepend(INSTALLED)
    with Rehearsal({"disco": {}, "oracle": {"sayings": ["Aye.", "No."]}}) as stage:
        yield stage


def test_it_answers_each_with_settings_and_a_store_of_its_own(stage: Rehearsal) -> None:
    romeo, benvolio = (stage.login(f"{name}@montague.lit/street") for name in ("romeo", "benvolio"))
    said = [client.ask(QUESTION).element()[0].text for client in (romeo, romeo, benvolio, romeo)]
    assert said == ["Aye.", "No.", "Aye.", "Aye."]


def test_its_features_are_in_the_answer_of_disco(stage: Rehearsal) -> None:
    query = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
    romeo = stage.login("romeo@montague.lit/orchard")
    for to in ("montague.lit", "romeo@montague.lit"):
        answer = romeo.ask(f"<iq type='get' to='{to}'>{query}</iq>")
        assert b"<feature var='urn:example:oracle'/>" in answer.payload


def test_its_filter_sees_what_one_session_sends_to_another(stage: Rehearsal) -> None:
    romeo = stage.login("romeo@montague.lit/orchard")
    benvolio = stage.login("benvolio@montague.lit/square")
    romeo.say("<presence/>")
    romeo.hear()
    message = f"<message to='romeo@montague.lit' id='m1'>{PROPHECY}</message>"
    benvolio.say(message)
    assert len(romeo.hear()) == 1
    assert romeo.ask("<iq type='set'><spare xmlns='urn:example:oracle'/></iq>").type == "result"
    benvolio.say(message)
    assert romeo.hear() == []
    [bounced] = benvolio.hear()
    assert "<not-acceptable" in bounced
    benvolio.say("<message to='romeo@montague.lit'><body>hi!</body></message>")
    assert len(romeo.hear()) == 1


def test_it_listens(stage: Rehearsal) -> None:
    romeo = stage.login("romeo@montague.lit/orchard")
    romeo.ask(QUESTION)
    romeo.say("<presence/>")
    assert "The oracle remembers you." in romeo.hear()[-1]


def test_its_verb_is_there_for_operators(stage: Rehearsal) -> None:
    stage.login("romeo@montague.lit/orchard").ask(QUESTION)
    assert stage.operate("oracle", "count", "romeo@montague.lit") == 1


# -- in a real server ---------------------------------------------------------------------------------

CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[domains."montague.lit"]
anonymous = true
require_tls = false
[domains."montague.lit".modules.oracle]
sayings = ["Seek happy nights to happy days."]
[storage]
url = "memory"
"""


async def first_saying(port: int) -> str | None:
    """What a client that nobody here wrote is answered."""
    slixmpp = pytest.importorskip("slixmpp", reason="pip install slixmpp")
    client = slixmpp.ClientXMPP("montague.lit", "", sasl_mech="ANONYMOUS")
    client.enable_direct_tls = client.enable_starttls = False
    client.enable_plaintext = True
    client.connect("127.0.0.1", port)
    await client.wait_until("session_start", 10)
    question = client.make_iq_get(queryxmlns=None, ito="montague.lit")
    question.append(slixmpp.ET.Element("{urn:example:oracle}question"))
    answer = await question.send(timeout=10)
    await client.disconnect()
    text: str | None = answer.xml.findtext("{urn:example:oracle}answer")
    return text


@pytest.mark.process
def test_a_real_server_finds_it_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(INSTALLED))
    config = tmp_path / "montague.toml"
    config.write_text(CONFIG)
    with running(config) as server:
        assert asyncio.run(first_saying(server.port("c2s"))) == "Seek happy nights to happy days."


@pytest.mark.process
def test_where_it_is_not_installed_its_table_is_a_mistake(tmp_path: Path) -> None:
    config = tmp_path / "montague.toml"
    config.write_text(CONFIG)
    with pytest.raises(AssertionError, match=r"modules\.oracle: there is no such module"), running(config):
        pass
