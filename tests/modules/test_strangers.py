"""The switch against messages from strangers."""

from __future__ import annotations

import pytest

from jabberd.api import Refused
from jabberd.storage import open_storage
from jabberd.xmpp.jid import JID
from tests.rehearsal import Player, Rehearsal

ROMEO, TYBALT = "romeo@montague.lit", "tybalt@evil.example"
ITEM = "<iq type='set'><query xmlns='jabber:iq:roster'><item jid='{}'/></query></iq>"


def stage(*, refuse: bool = True) -> Rehearsal:
    return Rehearsal({"strangers": {"refuse": refuse}})


def enter(scene: Rehearsal, jid: str = f"{ROMEO}/orchard") -> Player:
    player = scene.login(jid)
    player.say("<presence/>")
    player.hear()
    return player


def gets(scene: Rehearsal, romeo: Player, sender: str = TYBALT, type: str = "chat") -> bool:
    """Whether Romeo gets a message; if not, what its sender is told does not tell that he is there."""
    romeo.hear()
    scene.abroad.clear()
    message = "<message from='{}' to='{}' type='{}' id='m1'><body>Turn, villain!</body></message>"
    scene.receive(message.format(sender, ROMEO, type))
    if romeo.hear():
        return True
    scene.receive(message.format(sender, "nobody@montague.lit", type))
    here, nowhere = [[each.payload for each in scene.abroad[i::2]] for i in (0, 1)]
    assert here == nowhere
    assert type == "headline" or here
    return False


def test_strangers_are_refused_as_if_there_were_no_such_account() -> None:
    with stage() as scene:
        romeo = enter(scene)
        assert not gets(scene, romeo)
        assert not gets(scene, romeo, type="normal")
        assert not gets(scene, romeo, type="headline")


def test_without_the_switch_strangers_are_heard() -> None:
    with stage(refuse=False) as scene:
        assert gets(scene, enter(scene))


def test_contacts_are_no_strangers_whatever_the_subscription() -> None:
    with stage() as scene:
        romeo = enter(scene)
        romeo.ask(ITEM.format(TYBALT))
        assert gets(scene, romeo, f"{TYBALT}/alley")


def test_whoever_asks_for_a_subscription_is_heard_asking_and_remains_a_stranger() -> None:
    with stage() as scene:
        romeo = enter(scene)
        scene.receive(f"<presence type='subscribe' from='{TYBALT}' to='{ROMEO}'/>")
        assert len(romeo.hear()) == 1
        assert not gets(scene, romeo)


@pytest.mark.parametrize("said", ["<message to='{}'><body>hi!</body></message>", "<presence to='{}/nick'/>"])
def test_whom_the_account_addressed_is_no_stranger(said: str) -> None:
    with stage() as scene:
        romeo = enter(scene)
        romeo.say(said.format(TYBALT))
        assert gets(scene, romeo)


def test_errors_the_domain_and_the_accounts_own_messages_come_through() -> None:
    with stage() as scene:
        romeo = enter(scene)
        scene.receive(f"<message type='error' from='{TYBALT}' to='{ROMEO}/orchard' id='e1'/>")
        scene.receive(f"<message from='montague.lit' to='{ROMEO}' id='d1'/>")
        enter(scene, f"{ROMEO}/phone").say(f"<message to='{ROMEO}/orchard' id='o1'/>")
        assert [stanza.id for stanza in romeo.heard if stanza.name == "message"] == ["e1", "d1", "o1"]


def test_only_so_many_addressees_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jabberd.modules.strangers._MOST_ADDRESSED", 2)
    with stage() as scene:
        romeo = enter(scene)
        for to in ("a@b.example", TYBALT, "c@d.example", TYBALT, "e@f.example"):
            romeo.say(f"<message to='{to}'/>")
        assert gets(scene, romeo)
        assert not gets(scene, romeo, "a@b.example")


def test_an_operator_chooses_for_an_account_and_it_is_kept() -> None:
    storage = open_storage("memory", None)
    with Rehearsal({"strangers": {}}, storage=storage) as first:
        romeo = enter(first)
        assert first.operate("strangers", "show", ROMEO) == {
            "jid": ROMEO,
            "strangers": "admitted",
            "by": "the default of montague.lit",
        }
        assert first.operate("strangers", "refuse", ROMEO) == f"{ROMEO} gets no messages from strangers"
        assert not gets(first, romeo)
    with Rehearsal({"strangers": {}}, storage=storage) as second:
        romeo = enter(second)
        assert not gets(second, romeo)
        assert second.operate("strangers", "show", ROMEO)["by"] == "its own choice"
        assert second.operate("strangers", "admit", ROMEO) == f"{ROMEO} gets messages from strangers"
        assert gets(second, romeo)


def test_an_own_choice_counts_more_than_the_domains() -> None:
    with stage() as scene:
        romeo = enter(scene)
        scene.operate("strangers", "admit", ROMEO)
        assert gets(scene, romeo)


@pytest.mark.parametrize("verb", ["refuse", "admit", "show"])
def test_for_nobody_nothing_is_chosen(verb: str) -> None:
    with stage() as scene, pytest.raises(Refused, match=r"^there is no account nobody@montague\.lit$"):
        scene.operate("strangers", verb, JID.parse("nobody@montague.lit"))
