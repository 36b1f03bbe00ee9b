"""XEP-0050."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lxml import etree

from jabberd.api import JID, Module, StanzaError
from jabberd.modules.commands import Command, Result
from jabberd.testing.client import Client, condition
from jabberd.xmpp.forms import Field, Form, Submission

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing import Network

NS = "http://jabber.org/protocol/commands"
INFO = "http://jabber.org/protocol/disco#info"
ITEMS = "http://jabber.org/protocol/disco#items"
KIND = "urn:example:duel"


class Duels(Module):
    """Arranges duels; Tybalt may not."""

    requires = ("commands",)
    fought: list[str]

    async def start(self) -> None:
        self.fought = []

    @property
    def commands(self) -> list[Command]:
        forms = (
            Form(KIND, (Field("whom", "jid-single", required=True),), "Whom?"),
            Form(KIND, (Field("place"),), "Where?"),
            Form(KIND, (Field("weapon", "list-single", options={"rapier": "A rapier"}),), "What with?"),
        )

        def allowed(who: JID) -> bool:
            return who.localpart in {"romeo", "mercutio"}

        return [
            Command("duel", "Arrange a duel", allowed, self.fight, forms),
            Command("truce", "Make peace", allowed, self.make_peace),
            Command("flee", "Flee", lambda who: who.localpart == "romeo", self.flee),
        ]

    async def fight(self, who: JID, filled: Submission) -> Result:
        self.fought.append(
            f"{who.localpart} fights {filled.jid('whom')} at {filled.text('place')}, {filled.text('weapon')}"
        )
        return Result((Form(KIND, (Field("winner", values=("nobody",)),)).element("result"),))

    async def make_peace(self, _who: JID, _filled: Submission) -> Result:
        return Result(notes=(("info", "Peace!"), ("warn", "Tybalt hates the word")))

    async def flee(self, _who: JID, _filled: Submission) -> Result:
        raise StanzaError("not-allowed", "to Mantua?")


@pytest.fixture
def duels(network: Network) -> Duels:
    server = network.serve(
        "montague.lit",
        modules={"disco": {}, "commands": {"timeout": 60, "open": 2}, "duels": {}},
        classes={"duels": Duels},
    )
    module = server.hosts["montague.lit"].manager.module("duels")
    assert isinstance(module, Duels)
    return module


@pytest.fixture
def romeo(network: Network, duels: Duels) -> Client:
    return network.client("romeo@montague.lit/orchard")


def run(client: Client, node: str, *content: str, **attrs: str) -> _Element:
    given = "".join(f" {name}='{value}'" for name, value in attrs.items())
    return client.ask(
        f"<iq type='set' to='montague.lit'><command xmlns='{NS}' node='{node}'{given}>"
        f"{''.join(content)}</command></iq>"
    )


def form(var: str, value: str, type: str = "submit") -> str:
    return (
        f"<x xmlns='jabber:x:data' type='{type}'><field var='FORM_TYPE'><value>{KIND}</value></field>"
        f"<field var='{var}'><value>{value}</value></field></x>"
    )


TYBALT = form("whom", "tybalt@capulet.lit")


def state(answer: _Element) -> tuple[str, str, list[str]]:
    """Status, the form's title, and the actions with the default first."""
    assert answer.get("type") == "result", condition(answer)
    [command] = answer
    actions = [etree.QName(each).localname for each in command.iterfind("{*}actions/*")]
    default = [each.get("execute") for each in command.iterfind("{*}actions")]
    assert default == actions[:1]
    return command.get("status", ""), command.findtext("{*}x/{*}title", ""), actions


def session(answer: _Element) -> str:
    id = answer[0].get("sessionid")
    assert id
    return id


def refusal(answer: _Element) -> tuple[str, str]:
    """The condition, and the one of XEP-0050 §4.4."""
    own = answer.find(f"{{*}}error/{{{NS}}}*")
    return condition(answer), "" if own is None else etree.QName(own).localname


# --- discovery -----------------------------------------------------------------------------------


def ask(client: Client, namespace: str, node: str) -> _Element:
    return client.ask(f"<iq type='get' to='montague.lit'><query xmlns='{namespace}' node='{node}'/></iq>")


def test_the_domain_says_that_it_has_commands(romeo: Client) -> None:
    answer = romeo.ask(f"<iq type='get' to='montague.lit'><query xmlns='{INFO}'/></iq>")
    assert NS in answer.xpath(".//@var")


def test_everybody_sees_the_commands_that_they_may_run(romeo: Client, network: Network) -> None:
    mercutio, tybalt = (network.client(f"{name}@montague.lit/street") for name in ("mercutio", "tybalt"))
    assert ask(romeo, ITEMS, NS).xpath(".//@node") == [NS, "duel", "truce", "flee"]
    assert ask(mercutio, ITEMS, NS).xpath(".//@node") == [NS, "duel", "truce"]
    assert ask(tybalt, ITEMS, NS).xpath(".//@node") == [NS]
    items = ask(romeo, ITEMS, NS)[0]
    assert dict(items[0].attrib) == {"jid": "montague.lit", "node": "duel", "name": "Arrange a duel"}


@pytest.mark.parametrize("to", ["", "to='romeo@montague.lit'"])
def test_their_owner_finds_and_runs_the_commands_at_the_own_account(romeo: Client, to: str) -> None:
    items = romeo.ask(f"<iq type='get' {to}><query xmlns='{ITEMS}' node='{NS}'/></iq>")
    assert items.xpath(".//@node") == [NS, "duel", "truce", "flee"]
    assert set(items.xpath(".//@jid")) == {"montague.lit"}
    about = romeo.ask(f"<iq type='get' {to}><query xmlns='{INFO}' node='truce'/></iq>")
    assert "command-node" in about.xpath(".//@type")
    ran = romeo.ask(f"<iq type='set' {to}><command xmlns='{NS}' node='truce'/></iq>")
    assert ran.xpath(".//@status") == ["completed"]


def test_nobody_finds_or_runs_commands_at_the_account_of_somebody_else(
    network: Network, romeo: Client
) -> None:
    mercutio = network.client("mercutio@montague.lit/street")
    romeo.send("<presence type='subscribe' to='mercutio@montague.lit'/>")
    mercutio.send("<presence type='subscribed' to='romeo@montague.lit'/>")
    romeo.forget()
    for inside in (f"<query xmlns='{ITEMS}' node='{NS}'/>", f"<query xmlns='{INFO}' node='truce'/>"):
        answer = romeo.ask(f"<iq type='get' to='mercutio@montague.lit'>{inside}</iq>")
        assert condition(answer) == "item-not-found"
    answer = romeo.ask(f"<iq type='set' to='mercutio@montague.lit'><command xmlns='{NS}' node='truce'/></iq>")
    assert condition(answer) == "service-unavailable"


def test_the_list_of_commands_is_described(romeo: Client) -> None:
    [identity] = ask(romeo, INFO, NS)[0]
    assert dict(identity.attrib) == {"category": "automation", "type": "command-list"}


def test_a_command_is_described_to_those_who_may_run_it(romeo: Client, network: Network) -> None:
    identity, *features = ask(romeo, INFO, "duel")[0]
    expected = {"category": "automation", "type": "command-node", "name": "Arrange a duel"}
    assert dict(identity.attrib) == expected
    assert [each.get("var") for each in features] == [NS, "jabber:x:data"]
    assert list(ask(romeo, ITEMS, "duel")[0]) == []
    tybalt = network.client("tybalt@montague.lit/street")
    assert condition(ask(tybalt, INFO, "duel")) == "forbidden"


@pytest.mark.parametrize("namespace", [INFO, ITEMS])
def test_other_nodes_are_not_there(romeo: Client, namespace: str) -> None:
    assert condition(ask(romeo, namespace, "elope")) == "item-not-found"


# --- running -------------------------------------------------------------------------------------


def test_a_command_without_a_form_runs_at_once(romeo: Client) -> None:
    answer = run(romeo, "truce", action="execute")
    assert state(answer) == ("completed", "", [])
    notes = [(each.get("type"), each.text) for each in answer[0].iterfind("{*}note")]
    assert notes == [("info", "Peace!"), ("warn", "Tybalt hates the word")]


def test_a_command_goes_through_its_forms_back_and_forth(romeo: Client, duels: Duels) -> None:
    first = run(romeo, "duel")
    assert state(first) == ("executing", "Whom?", ["next"])
    id = session(first)
    second = run(romeo, "duel", TYBALT, sessionid=id, action="next")
    assert state(second) == ("executing", "Where?", ["next", "prev"])
    assert session(second) == id
    back = run(romeo, "duel", sessionid=id, action="prev")
    assert state(back) == ("executing", "Whom?", ["next"])
    run(romeo, "duel", form("whom", "paris@verona.lit"), sessionid=id, action="execute")
    third = run(romeo, "duel", form("place", "the square"), sessionid=id)
    assert state(third) == ("executing", "What with?", ["complete", "prev"])
    done = run(romeo, "duel", form("weapon", "rapier"), sessionid=id, action="complete")
    assert state(done)[0] == "completed"
    assert done.xpath("string(.//*[@var='winner'])") == "nobody"
    assert duels.fought == ["romeo fights paris@verona.lit at the square, rapier"]


def test_a_cancelled_form_counts_as_a_submitted_one(romeo: Client) -> None:
    id = session(run(romeo, "duel"))
    answer = run(romeo, "duel", form("whom", "tybalt@capulet.lit", "cancel"), sessionid=id)
    assert state(answer)[1] == "Where?"


def test_a_command_is_cancelled(romeo: Client, duels: Duels) -> None:
    id = session(run(romeo, "duel"))
    answer = run(romeo, "duel", sessionid=id, action="cancel")
    assert state(answer) == ("canceled", "", [])
    assert session(answer) == id
    again = run(romeo, "duel", TYBALT, sessionid=id)
    assert refusal(again) == ("not-allowed", "session-expired")
    assert duels.fought == []


def test_what_a_command_refuses_is_told(romeo: Client) -> None:
    answer = run(romeo, "flee")
    assert refusal(answer) == ("not-allowed", "")


# --- what goes wrong -----------------------------------------------------------------------------


def test_who_may_run_nothing_learns_nothing(network: Network, duels: Duels) -> None:
    tybalt = network.client("tybalt@montague.lit/street")
    assert [condition(run(tybalt, node)) for node in ("duel", "elope")] == ["forbidden", "forbidden"]
    iago = network.stranger("iago@evil.example/street")
    iago.send(f"<iq type='set' id='1' to='montague.lit'><command xmlns='{NS}' node='truce'/></iq>")
    assert condition(iago.next()) == "forbidden"


@pytest.mark.parametrize("node", ["elope", ""])
def test_a_command_that_is_not_there_is_not_found(romeo: Client, node: str) -> None:
    assert condition(run(romeo, node)) == "item-not-found"


def test_a_command_that_others_may_run_is_forbidden(network: Network, duels: Duels) -> None:
    assert condition(run(network.client("mercutio@montague.lit/street"), "flee")) == "forbidden"


@pytest.mark.parametrize(
    ("attrs", "content", "said"),
    [
        ({"action": "fight"}, TYBALT, "malformed-action"),
        ({"action": "complete"}, TYBALT, "bad-action"),
        ({"action": "prev"}, "", "bad-action"),
        ({}, "", "bad-payload"),
        ({}, form("place", "the square"), "bad-payload"),
        ({}, form("whom", "@"), "bad-payload"),
        ({}, form("whom", "tybalt@capulet.lit", "result"), "bad-payload"),
    ],
)
def test_a_mistake_is_told_and_can_be_mended(
    romeo: Client, attrs: dict[str, str], content: str, said: str
) -> None:
    id = session(run(romeo, "duel"))
    assert refusal(run(romeo, "duel", content, sessionid=id, **attrs)) == ("bad-request", said)
    assert state(run(romeo, "duel", TYBALT, sessionid=id))[1] == "Where?"


@pytest.mark.parametrize("action", ["next", "prev", "complete", "cancel"])
def test_nothing_goes_on_that_has_not_begun(romeo: Client, action: str) -> None:
    assert refusal(run(romeo, "duel", action=action)) == ("bad-request", "bad-sessionid")


@pytest.mark.parametrize("ended", [False, True])
def test_nobody_goes_on_with_what_somebody_else_began(romeo: Client, network: Network, ended: bool) -> None:
    id = session(run(romeo, "duel"))
    if ended:
        run(romeo, "duel", sessionid=id, action="cancel")
    for jid in ("mercutio@montague.lit/street", "romeo@montague.lit/phone"):
        other = network.client(jid)
        assert refusal(run(other, "duel", TYBALT, sessionid=id)) == ("bad-request", "bad-sessionid")
        cancelled = run(other, "duel", sessionid=id, action="cancel")
        assert refusal(cancelled) == ("bad-request", "bad-sessionid")
    if not ended:
        assert state(run(romeo, "duel", TYBALT, sessionid=id))[1] == "Where?"


def test_a_session_belongs_to_one_command(romeo: Client) -> None:
    id = session(run(romeo, "duel"))
    assert refusal(run(romeo, "truce", sessionid=id)) == ("bad-request", "bad-sessionid")


def test_a_form_that_does_not_come_back_in_time_is_given_up(romeo: Client, network: Network) -> None:
    id = session(run(romeo, "duel"))
    network.advance(59)
    assert state(run(romeo, "duel", TYBALT, sessionid=id))[1] == "Where?"
    network.advance(60)
    late = run(romeo, "duel", form("place", "the square"), sessionid=id)
    assert refusal(late) == ("not-allowed", "session-expired")


def test_of_commands_that_nobody_ends_the_oldest_is_given_up(romeo: Client, network: Network) -> None:
    mercutio = network.client("mercutio@montague.lit/street")
    his = session(run(mercutio, "duel"))
    first, second, third = (session(run(romeo, "duel")) for _ in range(3))
    assert refusal(run(romeo, "duel", TYBALT, sessionid=first)) == ("not-allowed", "session-expired")
    for client, id in ((romeo, second), (romeo, third), (mercutio, his)):
        assert state(run(client, "duel", TYBALT, sessionid=id))[0] == "executing"


def test_only_so_many_ended_sessions_are_remembered(romeo: Client) -> None:
    ids = []
    for _ in range(1001):
        ids.append(session(run(romeo, "duel")))
        run(romeo, "duel", sessionid=ids[-1], action="cancel")
    assert refusal(run(romeo, "duel", TYBALT, sessionid=ids[0])) == ("bad-request", "bad-sessionid")
    assert refusal(run(romeo, "duel", TYBALT, sessionid=ids[1])) == ("not-allowed", "session-expired")
