"""Copies of one stanza reach whomever as many stanzas would, in the same way."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING

import pytest

from jabberd.api import JID, Account, Module, Session, Stage, Stanza, filters
from jabberd.jsm.trace import Watch
from jabberd.loader import DEFAULT
from jabberd.modules.sid import STANZA_ID
from jabberd.testing import Network
from jabberd.testing.client import written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import LoggedErrors

ROMEO = JID.parse("romeo@capulet.lit/orchard")
RECIPIENTS = [
    JID.parse(text)
    for text in (
        "juliet@montague.lit/balcony",
        "juliet@montague.lit",
        "juliet@montague.lit/elsewhere",
        "nurse@montague.lit/chamber",
        "nurse@montague.lit",
        "benvolio@montague.lit/street",
        "benvolio@montague.lit",
        "mercutio@montague.lit/street",
        "tybalt@montague.lit",
        "nobody@montague.lit/nowhere",
        "montague.lit",
        "elsewhere.example",
    )
]
BODY = "<body>But soft, what light</body>"
FORGED = "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@montague.lit' id='1'/>"
STATE = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
CHANCE = re.compile(r"[0-9]{12,}|stamp=.[^'\"]*")
SAID = [
    f"<message type='groupchat' id='a' xmlns='jabber:client'>{BODY}</message>",
    f"<message type='groupchat' id='b' xmlns='jabber:client'>{BODY}{FORGED}</message>",
    f"<message type='chat' id='c' xmlns='jabber:client'>{BODY}</message>",
    f"<message type='chat' id='d' xmlns='jabber:client'>{STATE}</message>",
    f"<message type='error' id='e' xmlns='jabber:client'>{BODY}</message>",
    "<presence xmlns='jabber:client'><show>away</show></presence>",
    "<presence type='unavailable' xmlns='jabber:client'/>",
    "<presence type='subscribe' xmlns='jabber:client'/>",
    "<iq type='get' id='f' xmlns='jabber:client'><ping xmlns='urn:xmpp:ping'/></iq>",
]


class Witness(Module):
    """Sees messages with an id of an archive, which they have since another filter gave it to them."""

    async def start(self) -> None:
        self.seen: list[tuple[str, str]] = []

    @filters(Stage.COPY, "message", children=[STANZA_ID])
    def copied(self, stanza: Stanza, account: Account, recipients: list[Session]) -> Stanza:
        self.seen.append((stanza.id, account.jid))
        return stanza

    @filters(Stage.SENDING, "message", children=[STANZA_ID])
    def sent(self, stanza: Stanza, session: Session) -> Stanza:
        self.seen.append((stanza.id, session.jid))
        return stanza


class Verona:
    """People of two domains, who have asked for all that changes what becomes of a stanza."""

    def __init__(self) -> None:
        self.network = Network()
        self.network.clock.rightNow = 1_000
        modules: dict[str, dict[str, object]] = {name: {} for name in (*DEFAULT, "archive")}
        modules["witness"] = {}
        server = self.network.serve("montague.lit", modules=modules, classes={"witness": Witness})
        self.manager = server.hosts["montague.lit"].manager
        self.people = {
            name: self.network.client(name, presence)
            for name, presence in {
                str(ROMEO): "<presence/>",
                "juliet@montague.lit/balcony": "<presence/>",
                "juliet@montague.lit/garden": "<presence/>",
                "nurse@montague.lit/chamber": "<presence/>",
                "benvolio@montague.lit/street": "",
                "mercutio@montague.lit/street": "<presence/>",
            }.items()
        }
        self.tell(
            "juliet@montague.lit/garden", "<iq type='set' id='x'><enable xmlns='urn:xmpp:carbons:2'/></iq>"
        )
        block = f"<block xmlns='urn:xmpp:blocking'><item jid='{ROMEO.bare}'/></block>"
        self.tell("mercutio@montague.lit/street", f"<iq type='set' id='x'>{block}</iq>")
        self.tell("nurse@montague.lit/chamber", "<enable xmlns='urn:xmpp:sm:3'/>")
        self.tell("juliet@montague.lit/balcony", "<inactive xmlns='urn:xmpp:csi:0'/>")
        self.network.connected("tybalt@montague.lit/tomb").drop()

    def tell(self, who: str, xml: str) -> None:
        self.people[who].send(xml)
        self.people[who].forget()

    @property
    def seen(self) -> list[tuple[str, str]]:
        """What the `Witness` saw."""
        witness = self.manager.module("witness")
        assert isinstance(witness, Witness)
        return witness.seen

    def heard(self) -> dict[str, list[str]]:
        """What each has heard, but for what chance has given it."""
        self.network.flush()
        self.people["juliet@montague.lit/balcony"].send("<active xmlns='urn:xmpp:csi:0'/>")
        return {
            who: [CHANCE.sub("", written(each)) for each in client.heard]
            for who, client in self.people.items()
        }


@pytest.fixture
def cities() -> Iterator[tuple[Verona, Verona]]:
    """Two in which the same has happened."""
    made = Verona(), Verona()
    yield made
    for each in made:
        each.network.close()


def copies(xml: str, *recipients: str) -> Iterator[Stanza]:
    to = list(map(JID.parse, recipients)) or RECIPIENTS
    return Stanza.from_standalone(xml.encode()).copies(ROMEO, to)


def test_each_hears_of_copies_what_it_would_of_as_many_stanzas(cities: tuple[Verona, Verona]) -> None:
    one, other = cities
    for alike in (*((xml,) for xml in SAID), SAID[:2], SAID[2:4]):  # also where their children differ
        for copy in chain(*map(copies, alike)):
            one.manager.route(copy)
        other.manager.spread(chain(*map(copies, alike)))
    heard = one.heard()
    assert heard == other.heard()
    assert one.seen == other.seen
    assert ("c", "benvolio@montague.lit/street") in one.seen
    silent = {who for who, said in heard.items() if not said}
    assert silent == {"mercutio@montague.lit/street"}  # the play is about something


def test_whoever_leaves_need_not_learn_of_the_end_of_those_it_left(cities: tuple[Verona, Verona]) -> None:
    [one, _] = cities
    one.tell("benvolio@montague.lit/street", f"<presence to='{ROMEO}'/>")
    account = one.manager.accounts.get("benvolio@montague.lit")
    assert account is not None
    [session] = account.sessions.values()
    assert session.directed == {ROMEO}
    one.manager.spread(copies(SAID[6], "benvolio@montague.lit/street"))
    assert session.directed == set()


def test_whoever_watches_an_account_sees_its_copies(cities: tuple[Verona, Verona]) -> None:
    seen: list[str] = []
    [one, _] = cities
    one.manager.watch = Watch(((JID.parse("nurse@montague.lit"), lambda what, *_: seen.append(what)),))
    one.manager.spread(copies(SAID[0]))
    assert seen[:3] == ["comes", "planned", "sent"]


def test_what_an_archive_holds_back_is_no_matter_of_the_next_stanza(cities: tuple[Verona, Verona]) -> None:
    [one, _] = cities
    one.manager.spread(copies(SAID[2], "benvolio@montague.lit/street"))
    assert one.manager.held.settled(None) is None


def test_one_copy_that_fails_spares_the_others(
    cities: tuple[Verona, Verona], monkeypatch: pytest.MonkeyPatch, logged_errors: LoggedErrors
) -> None:
    [one, _] = cities
    [broken] = one.manager.accounts.get("nurse@montague.lit").sessions.values()  # type: ignore[union-attr]  # it is
    monkeypatch.setattr(broken.outlet, "send", lambda _: 1 / 0)
    one.manager.spread(copies(SAID[0]))
    assert len(logged_errors.take(ZeroDivisionError)) == 1
    heard = one.heard()
    assert "message" in "".join(heard["benvolio@montague.lit/street"])
    assert "internal-server-error" in "".join(heard[str(ROMEO)])
