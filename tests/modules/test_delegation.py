"""XEP-0355: what a component answers in the place of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jabberd.loader import DEFAULT, LoadError, Modules
from jabberd.modules.delegation import Delegation
from jabberd.testing.client import condition

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing import Client, Component, Network

PEP, FILTER = "pep.montague.lit", "filter.montague.lit"
NS = "urn:xmpp:delegation:2"
PUBSUB, INFO = "http://jabber.org/protocol/pubsub", "http://jabber.org/protocol/disco#info"
ITEMS, MAM = "http://jabber.org/protocol/disco#items", "urn:xmpp:mam:2"
ALL = {
    PUBSUB: {"entity": PEP},
    MAM: {"entity": PEP, "attributes": ["node"]},
    "jabber:iq:roster": {"entity": FILTER},
    f"{NS}:bare:disco#info:*": {"entity": PEP},
    f"{NS}:bare:disco#items:*": {"entity": PEP},
}
PUBLISH = f"<pubsub xmlns='{PUBSUB}'><publish node='urn:x'/></pubsub>"


class Stage:
    """montague.lit, whose publish-subscribe is a component's business; and romeo."""

    def __init__(self, network: Network, namespaces: dict[str, Any]) -> None:
        self.network = network
        modules: dict[str, Any] = {name: {} for name in DEFAULT}
        modules |= {"archive": {}, "delegation": {"namespaces": namespaces}}
        modules["privilege"] = {"entities": {FILTER: {"roster": "both"}}}
        self.server = network.serve("montague.lit", modules=modules, components=[PEP, FILTER])
        self.romeo: Client = network.client("romeo@montague.lit/orchard")

    def component(self, name: str = PEP, info: str = "") -> Component:
        """One that has been told what is delegated to it, and has told what it can do."""
        component = self.network.component(name)
        while component.heard:
            said = component.next()
            if said.get("type") == "get":
                node = said[0].get("node")
                query = f"<query xmlns='{INFO}' node='{node}'>{info if ':bare:' in str(node) else ''}</query>"
                component.send(answer(said, query))
        return component

    @property
    def module(self) -> Delegation:
        found = self.server.hosts["montague.lit"].manager.module("delegation")
        assert isinstance(found, Delegation)
        return found

    def change(self, namespaces: dict[str, Any]) -> None:
        """As a reload does it."""
        manager, module = self.server.hosts["montague.lit"].manager, self.module
        other = Modules(manager, {"disco": {}, "delegation": {"namespaces": namespaces}})
        before, module.config = module.config, other.registry.modules["delegation"].config  # type: ignore[assignment]  # it is one
        module.reconfigured(before)
        self.network.flush()


@pytest.fixture
def stage(network: Network) -> Stage:
    return Stage(network, ALL)


def answer(asked: _Element, payload: str = "") -> str:
    """The result of an iq that a component was asked."""
    return (
        f"<iq type='result' from='{asked.get('to')}' to='{asked.get('from')}' id='{asked.get('id')}'>"
        f"{payload}</iq>"
    )


def inside(asked: _Element) -> _Element:
    """The question that was forwarded."""
    assert (asked.get("type"), asked.get("from")) == ("set", "montague.lit")
    [found] = asked.findall(f"{{{NS}}}delegation/{{urn:xmpp:forward:0}}forwarded/{{jabber:client}}iq")
    return found


def wrapped(payload: str = "", **attrs: str) -> str:
    given = " ".join(f"{name.rstrip('_')}='{value}'" for name, value in attrs.items())
    return (
        f"<delegation xmlns='{NS}'><forwarded xmlns='urn:xmpp:forward:0'>"
        f"<iq xmlns='jabber:client' {given}>{payload}</iq></forwarded></delegation>"
    )


def right(asked: _Element, payload: str = "") -> str:
    """The answer of a component that does as it should."""
    question = inside(asked)
    attrs = {"to": question.get("from"), "id": question.get("id"), "type": "result"}
    return answer(asked, wrapped(payload, **{name: str(value) for name, value in attrs.items()}))


def asks(client: Client, payload: str, type: str = "set", to: str = "") -> None:
    client.send(f"<iq type='{type}' id='q1'{f' to={to!r}' if to else ''}>{payload}</iq>")


# -- what it is told -------------------------------------------------------------------------------------


def test_a_component_learns_what_is_delegated_to_it_when_it_connects(stage: Stage) -> None:
    assert stage.network.component(PEP).receives(
        f"""<message from='montague.lit' to='{PEP}' id='*'><delegation xmlns='{NS}'>
            <delegated namespace='{PUBSUB}'/>
            <delegated namespace='{MAM}'><attribute name='node'/></delegated>
            <delegated namespace='{NS}:bare:disco#info:*'/><delegated namespace='{NS}:bare:disco#items:*'/>
        </delegation></message>""",
        *(
            f"<iq from='montague.lit' to='{PEP}' type='get' id='*'><query xmlns='{INFO}' node='{node}'/></iq>"
            for namespace in (PUBSUB, MAM)
            for node in (f"{NS}::{namespace}", f"{NS}:bare:{namespace}")
        ),
    )
    stage.network.advance(31)  # it does not answer


def test_it_learns_what_has_changed(stage: Stage) -> None:
    pep = stage.component()
    stage.change({PUBSUB: {"entity": FILTER}})
    assert pep.receives(
        f"<message from='montague.lit' to='{PEP}' id='*'><delegation xmlns='{NS}'/></message>"
    )
    asks(stage.romeo, PUBLISH)
    assert condition(stage.romeo.next()) == "service-unavailable"
    assert pep.hears_nothing()


@pytest.mark.parametrize("namespace", [NS, f"{NS}:bare:everything"])
def test_delegation_itself_is_not_delegated(network: Network, namespace: str) -> None:
    with pytest.raises(LoadError, match=f"has {namespace}, which cannot be delegated"):
        Stage(network, {namespace: {"entity": PEP}})


# -- questions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["", "romeo@montague.lit", "montague.lit"])
def test_what_is_delegated_is_answered_by_the_component(stage: Stage, to: str) -> None:
    pep = stage.component()
    asks(stage.romeo, PUBLISH, to=to)
    asked = pep.next()
    question = inside(asked)
    assert dict(question.attrib) == {
        "type": "set",
        "id": "q1",
        "from": "romeo@montague.lit/orchard",
        "to": to or "romeo@montague.lit",
    }
    assert question.find(f"{{{PUBSUB}}}pubsub/{{{PUBSUB}}}publish") is not None
    pep.send(right(asked, f"<pubsub xmlns='{PUBSUB}'/>"))
    assert stage.romeo.receives(
        f"<iq type='result' id='q1' from='{to or 'romeo@montague.lit'}' to='romeo@montague.lit/orchard'>"
        f"<pubsub xmlns='{PUBSUB}'/></iq>"
    )


def test_a_question_from_afar_to_an_account_is_delegated_too(stage: Stage) -> None:
    pep = stage.component()
    juliet = stage.network.client("juliet@capulet.lit/balcony")
    asks(juliet, PUBLISH, to="romeo@montague.lit")
    pep.send(right(pep.next()))
    assert juliet.next().get("type") == "result"


def test_what_comes_meanwhile_does_not_wait(stage: Stage) -> None:
    pep = stage.component()
    asks(stage.romeo, PUBLISH)
    assert stage.romeo.ask("<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>").get("type") == "result"
    pep.send(right(pep.next()))
    assert stage.romeo.next().get("id") == "q1"


def test_what_lacks_an_attribute_is_answered_here(stage: Stage) -> None:
    pep = stage.component()
    answered = stage.romeo.ask(f"<iq type='set'><query xmlns='{MAM}'/></iq>")
    assert answered.get("type") == "result"
    assert pep.hears_nothing()
    stage.romeo.forget()
    asks(stage.romeo, f"<query xmlns='{MAM}' node='urn:x'/>")
    pep.send(right(pep.next()))
    assert stage.romeo.next().get("type") == "result"


def test_what_the_component_itself_asks_is_answered_here(stage: Stage) -> None:
    """The example of §4.3.1: a filter that lets in, and then does it with its privilege."""
    filter = stage.component(FILTER)
    query = "<query xmlns='jabber:iq:roster'>{}</query>"
    asks(stage.romeo, query.format("<item jid='mercutio@montague.lit'/>"))
    filter.send(right(filter.next()))
    assert stage.romeo.next().get("type") == "result"
    item = "<item jid='mercutio@montague.lit'><group>Rivals</group></item>"
    set_roster = f"<iq from='{FILTER}' to='romeo@montague.lit' type='set'>{query.format(item)}</iq>"
    assert filter.ask(set_roster).get("type") == "result"
    get_roster = f"<iq from='{FILTER}' to='romeo@montague.lit' type='get'>{query.format('')}</iq>"
    assert filter.ask(get_roster).findtext(".//{jabber:iq:roster}group") == "Rivals"


def test_without_the_component_nobody_answers(stage: Stage) -> None:
    asks(stage.romeo, PUBLISH)
    assert condition(stage.romeo.next()) == "service-unavailable"


def test_a_component_that_keeps_silent_is_given_up(stage: Stage) -> None:
    pep = stage.component()
    asks(stage.romeo, PUBLISH)
    asked = pep.next()
    stage.network.advance(31)
    assert condition(stage.romeo.next()) == "service-unavailable"
    pep.send(right(asked))
    assert stage.romeo.hears_nothing()


def test_a_refusal_of_the_component_says_no_more_than_that(stage: Stage) -> None:
    pep = stage.component()
    asks(stage.romeo, PUBLISH)
    asked = pep.next()
    error = "<error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    pep.send(answer(asked, error).replace("'result'", "'error'"))
    assert condition(stage.romeo.next()) == "service-unavailable"


TO = "romeo@montague.lit/orchard"


@pytest.mark.parametrize(
    "payload",
    [
        "",
        f"<delegation xmlns='{NS}'/>",
        wrapped(to="juliet@montague.lit/balcony", id="q1", type="result"),
        wrapped(to="romeo@montague.lit", id="q1", type="result"),
        wrapped(to=TO, id="q2", type="result"),
        wrapped(to=TO, id="q1", type="error"),
        wrapped(to=TO, id="q1", type="set"),
        wrapped(to=TO, id="q1", type="result", from_="juliet@montague.lit"),
        wrapped(to="@", id="q1", type="result"),
        wrapped("<a xmlns='urn:a'/><b xmlns='urn:b'/>", to=TO, id="q1", type="result"),
        wrapped(to=TO, id="q1", type="result").replace("jabber:client", "jabber:server"),
    ],
)
def test_an_answer_that_is_none_is_not_handed_on(stage: Stage, payload: str) -> None:
    pep = stage.component()
    juliet = stage.network.client("juliet@montague.lit/balcony")
    asks(stage.romeo, PUBLISH)
    pep.send(answer(pep.next(), payload))
    assert condition(stage.romeo.next()) == "service-unavailable"
    assert juliet.hears_nothing()
    assert pep.connected


def test_nobody_else_answers_in_its_place(stage: Stage) -> None:
    pep, filter = stage.component(), stage.component(FILTER)
    asks(stage.romeo, PUBLISH)
    asked = pep.next()
    filter.send(right(asked).replace(f"from='{PEP}'", f"from='{FILTER}'", 1))
    assert stage.romeo.hears_nothing()
    pep.send(right(asked))
    assert stage.romeo.next().get("type") == "result"


def test_one_account_has_only_so_many_questions_waiting(stage: Stage) -> None:
    pep = stage.component()
    for _ in range(51):
        asks(stage.romeo, PUBLISH)
    refused = stage.romeo.next()
    assert condition(refused) == "resource-constraint"
    assert stage.romeo.hears_nothing()
    assert len(pep.heard) == 50
    stage.network.advance(31)
    assert {condition(each) for each in stage.romeo.heard} == {"service-unavailable"}
    assert len(stage.module._turns) == 0


def test_another_server_has_only_so_many_whoever_asks_there(stage: Stage) -> None:
    pep = stage.component()
    for number in range(51):
        evil = stage.network.stranger(f"tybalt{number}@capulet.lit/street")
        evil.send(f"<iq type='get' id='q' to='montague.lit'>{PUBLISH}</iq>")
    assert condition(evil.next()) == "resource-constraint"
    assert len(pep.heard) == 50
    asks(stage.romeo, PUBLISH)
    for _ in range(50):
        pep.next()
    pep.send(right(pep.next()))
    assert stage.romeo.next().get("type") == "result"


# -- what is told of the domain and its accounts -------------------------------------------------------------


CLIENT_IDENTITY = "<identity category='pubsub' type='pep' name='theirs'/>"
THEIRS = f"{CLIENT_IDENTITY}<feature var='{PUBSUB}#publish'/><feature var='urn:theirs'/>"


def info(stage: Stage, to: str, node: str = "") -> _Element:
    shown = f" node='{node}'" if node else ""
    return stage.romeo.ask(f"<iq type='get' to='{to}'><query xmlns='{INFO}'{shown}/></iq>")


def features(found: _Element) -> set[str]:
    return {str(each.get("var")) for each in found.iter(f"{{{INFO}}}feature")}


def test_an_account_can_do_what_the_component_says_and_not_what_the_server_could(stage: Stage) -> None:
    before = features(info(stage, "romeo@montague.lit"))
    assert not any(each.startswith(PUBSUB) for each in before)  # it is delegated, and nobody is there
    stage.component(info=THEIRS)
    found = info(stage, "romeo@montague.lit")
    assert features(found) - before == {f"{PUBSUB}#publish", "urn:theirs"}
    identities = [(each.get("type"), each.get("name")) for each in found.iter(f"{{{INFO}}}identity")]
    assert identities == [("registered", None), ("pep", "theirs")]


def test_the_domain_says_that_it_delegates_and_its_hash_follows(stage: Stage) -> None:
    assert NS in features(info(stage, "montague.lit"))
    before = own_hash(stage)
    pep = stage.network.component(PEP)
    pep.next()
    asked = pep.next()
    pep.send(answer(asked, f"<query xmlns='{INFO}'><feature var='urn:theirs'/></query>"))
    assert "urn:theirs" in features(info(stage, "montague.lit"))
    assert own_hash(stage) != before
    stage.network.advance(31)


def own_hash(stage: Stage) -> str:
    """What stands for what the server can do, in the features of a stream (XEP-0115)."""
    client = stage.network.connected("juliet@montague.lit/balcony")
    client.open()
    client.login()
    [caps] = client.open().iter("{http://jabber.org/protocol/caps}c")
    return str(caps.get("ver"))


def test_nodes_that_nobody_here_knows_are_the_components(stage: Stage) -> None:
    pep = stage.component()
    stage.romeo.send(
        f"<iq type='get' id='q1' to='romeo@montague.lit'><query xmlns='{INFO}' node='urn:x'/></iq>"
    )
    pep.send(right(pep.next(), f"<query xmlns='{INFO}' node='urn:x'><feature var='urn:y'/></query>"))
    assert features(stage.romeo.next()) == {"urn:y"}


@pytest.mark.parametrize("node", ["", " node='urn:x'"])
def test_what_belongs_to_an_account_is_the_components_to_tell(stage: Stage, node: str) -> None:
    pep = stage.component()
    stage.romeo.send(f"<iq type='get' id='q1' to='romeo@montague.lit'><query xmlns='{ITEMS}'{node}/></iq>")
    item = "<item jid='romeo@montague.lit' node='urn:x'/>"
    pep.send(right(pep.next(), f"<query xmlns='{ITEMS}'>{item}</query>"))
    assert [each.get("node") for each in stage.romeo.next()[0]] == ["urn:x"]


def test_who_may_not_see_an_account_does_not_come_to_the_component(stage: Stage) -> None:
    pep = stage.component()
    tybalt = stage.network.client("tybalt@capulet.lit/alley")
    asks(tybalt, f"<query xmlns='{INFO}' node='urn:x'/>", "get", "romeo@montague.lit")
    assert condition(tybalt.next()) == "service-unavailable"
    assert pep.hears_nothing()
