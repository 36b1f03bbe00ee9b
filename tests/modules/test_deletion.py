"""An account that is deleted takes everything with it: whoever gets its name finds nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from tests.pubsub.play import Held

if TYPE_CHECKING:
    from jabberd.testing import Client, Network

MODULES = ("disco", "caps", "pep", "vcard", "private", "blocking", "archive", "offline", "sid")
TUNE = "http://jabber.org/protocol/tune"
ASKED = {
    "a vCard": "<vCard xmlns='vcard-temp'/>",
    "private XML": "<query xmlns='jabber:iq:private'><e xmlns='urn:example'/></query>",
    "an item": f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{TUNE}'/></pubsub>",
    "who is blocked": "<blocklist xmlns='urn:xmpp:blocking'/>",
    "the archive": "<metadata xmlns='urn:xmpp:mam:2'/>",
    "the roster": "<query xmlns='jabber:iq:roster'/>",
}
KEPT = (
    "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>",
    "<query xmlns='jabber:iq:private'><e xmlns='urn:example'>Romeo</e></query>",
    (
        f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{TUNE}'><item id='current'>"
        f"<tune xmlns='{TUNE}'><title>Romeo</title></tune></item></publish></pubsub>"
    ),
    "<block xmlns='urn:xmpp:blocking'><item jid='romeo@hell.example'/></block>",
    "<query xmlns='jabber:iq:roster'><item jid='juliet@capulet.lit' name='Romeo'/></query>",
)


def found(client: Client) -> dict[str, str]:
    """What is there of each: the answer without what differs from one time to the next."""
    answers = {what: client.ask(f"<iq type='get'>{asked}</iq>") for what, asked in ASKED.items()}
    return {
        what: condition(answer)
        or " ".join(
            [*map(str, answer.itertext())]
            + [str(value) for each in answer.iter() if each is not answer for value in each.attrib.values()]
        )
        for what, answer in answers.items()
    }


def test_an_account_that_is_deleted_leaves_nothing_to_whoever_gets_its_name(network: Network) -> None:
    network.serve("montague.lit", modules={name: {} for name in MODULES})
    before = found(network.client("benvolio@montague.lit/street"))
    romeo = network.client("romeo@montague.lit/orchard")
    for kept in KEPT:
        assert condition(romeo.ask(f"<iq type='set'>{kept}</iq>")) == ""
    romeo.send("<message to='benvolio@montague.lit' type='chat'><body>Romeo</body></message>")
    held = found(romeo)
    assert [what for what in ASKED if held[what] == before[what]] == []
    done(network.server("montague.lit").hosts["montague.lit"].manager.registrar.delete(romeo.jid.bare))
    assert found(network.client("romeo@montague.lit/orchard")) == before


@pytest.mark.parametrize(
    ("module", "store", "method", "kept"),
    [
        ("vcard", "kept", "get", KEPT[0]),
        ("private", "kept", "all", KEPT[1]),
        ("pep", "items", "sizes", KEPT[2]),
        ("pep", "moved", "change", KEPT[2]),
    ],
)
def test_what_is_still_being_kept_when_an_account_is_deleted_is_not_kept(
    network: Network, monkeypatch: pytest.MonkeyPatch, module: str, store: str, method: str, kept: str
) -> None:
    network.serve("montague.lit", modules={name: {} for name in MODULES})
    before = found(network.client("benvolio@montague.lit/street"))
    romeo = network.client("romeo@montague.lit/orchard")
    manager = network.server("montague.lit").hosts["montague.lit"].manager
    held = Held(monkeypatch, getattr(manager.module(module), store), method)
    romeo.send(f"<iq type='set' id='k1'>{kept}</iq>")
    romeo.flush()
    done(manager.registrar.delete(romeo.jid.bare))
    held.let_go()
    assert found(network.client("romeo@montague.lit/orchard")) == before
