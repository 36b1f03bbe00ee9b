"""XEP-0356: what a component may do in the name of a domain's accounts, and what it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jabberd.api import JID, E, Stanza, Turns
from jabberd.loader import DEFAULT, LoadError, Modules
from jabberd.modules.privilege import Privilege
from jabberd.modules.privilege.presence import Audience
from jabberd.testing.client import condition, written

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing import Client, Component, Network

PEP, SMS = "pep.montague.lit", "sms.montague.lit"
NS = "urn:xmpp:privilege:2"
PUBSUB = "http://jabber.org/protocol/pubsub"
ROSTER = "<query xmlns='jabber:iq:roster'>{}</query>"
NURSE = ROSTER.format("<item jid='nurse@capulet.lit' name='Nurse'/>")
ALL = {
    "roster": "both",
    "message": "outgoing",
    "presence": "roster",
    "iq": {"urn:xmpp:ping": "get", PUBSUB: "both"},
}


class Stage:
    """montague.lit with two components, the first of which has privileges; and romeo."""

    def __init__(self, network: Network, grant: dict[str, Any]) -> None:
        self.network = network
        modules: dict[str, Any] = {name: {} for name in DEFAULT}
        modules["archive"] = {}
        modules["privilege"] = {"entities": {PEP: grant}}
        self.server = network.serve("montague.lit", modules=modules, components=[PEP, SMS])
        self.romeo: Client = network.client("romeo@montague.lit/orchard")
        self.pep: Component = network.component(PEP)

    @property
    def module(self) -> Privilege:
        found = self.server.hosts["montague.lit"].manager.module("privilege")
        assert isinstance(found, Privilege)
        return found

    def change(self, grant: dict[str, Any]) -> None:
        """As a reload does it."""
        manager, module = self.server.hosts["montague.lit"].manager, self.module
        other = Modules(manager, {"privilege": {"entities": {PEP: grant}}})
        [made] = other.registry.modules.values()
        before, module.config = module.config, made.config  # type: ignore[assignment]  # it is one
        module.reconfigured(before)
        self.network.flush()

    def roster(self) -> list[str]:
        """Whom romeo has in his."""
        answer = self.romeo.ask(f"<iq type='get'>{ROSTER.format('')}</iq>")
        return [str(item.get("jid")) for item in answer[0]]


@pytest.fixture
def stage(network: Network, request: pytest.FixtureRequest) -> Stage:
    stage = Stage(network, getattr(request, "param", ALL))
    stage.pep.forget()
    return stage


def granted(**grant: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("stage", [grant], indirect=True)


def asked(component: Component, type: str, payload: str, to: str = "romeo@montague.lit") -> _Element:
    return component.ask(f"<iq from='{component.jid}' to='{to}' type='{type}'>{payload}</iq>")


# -- what it is told -------------------------------------------------------------------------------------


def test_a_component_learns_what_it_may_do_when_it_connects(network: Network) -> None:
    pep = Stage(network, ALL).pep
    assert pep.receives(
        f"""<message from='montague.lit' to='{PEP}' id='*'><privilege xmlns='{NS}'>
            <perm access='roster' type='both' push='true'/>
            <perm access='message' type='outgoing'/>
            <perm access='iq'>
              <namespace ns='urn:xmpp:ping' type='get'/><namespace ns='{PUBSUB}' type='both'/>
            </perm>
            <perm access='presence' type='roster'/>
        </privilege></message>"""
    )


def test_one_that_may_do_nothing_is_told_nothing(stage: Stage) -> None:
    assert stage.network.component(SMS).hears_nothing()


@granted(roster="get", message="outgoing", push=False)
def test_it_learns_what_has_changed_and_what_was_taken_back(stage: Stage) -> None:
    stage.change({"roster": "get"})
    [privilege] = stage.pep.next()
    assert [dict(perm.attrib) for perm in privilege] == [
        {"access": "roster", "type": "get", "push": "true"},
        {"access": "message", "type": "none"},
    ]
    stage.change({"roster": "get"})
    assert stage.pep.hears_nothing()
    stage.change({"presence": "managed_entity"})
    [privilege] = stage.pep.next()
    assert [(perm.get("access"), perm.get("type")) for perm in privilege] == [
        ("roster", "none"),
        ("presence", "managed_entity"),
    ]
    assert stage.pep.next().get("from") == stage.romeo.jid  # who is there already


def test_contacts_are_heard_only_by_those_who_may_read_rosters(network: Network) -> None:
    with pytest.raises(
        LoadError, match=r'is for those who may read rosters .*; write roster = "get" or "both"'
    ):
        Stage(network, {"presence": "roster", "roster": "set"})


# -- rosters ---------------------------------------------------------------------------------------------


def test_it_changes_and_reads_a_roster(stage: Stage) -> None:
    stage.roster()
    assert asked(stage.pep, "set", NURSE).get("type") == "result"
    push = stage.romeo.next()
    assert (push[0][0].get("jid"), push[0][0].get("subscription")) == ("nurse@capulet.lit", "none")
    stage.pep.forget()
    answer = asked(stage.pep, "get", ROSTER.format(""))
    assert (answer.get("from"), [item.get("name") for item in answer[0]]) == ("romeo@montague.lit", ["Nurse"])


def test_it_cannot_say_who_is_subscribed_as_little_as_a_client_can(stage: Stage) -> None:
    asked(stage.pep, "set", ROSTER.format("<item jid='nurse@capulet.lit' subscription='both'/>"))
    stage.pep.forget()
    assert asked(stage.pep, "get", ROSTER.format(""))[0][0].get("subscription") == "none"


def test_what_is_wrong_is_told_as_a_client_is_told(stage: Stage) -> None:
    assert condition(asked(stage.pep, "set", ROSTER.format("<item jid='@'/>"))) == "jid-malformed"
    assert condition(asked(stage.pep, "set", ROSTER.format(""), "mab@montague.lit")) == "forbidden"


def test_it_is_pushed_what_changes(stage: Stage) -> None:
    stage.romeo.ask(f"<iq type='set'>{NURSE}</iq>")
    push = stage.pep.next()
    assert (push.get("from"), push.get("to"), push.get("type")) == ("romeo@montague.lit", PEP, "set")
    assert push[0][0].get("jid") == "nurse@capulet.lit"
    stage.pep.send(f"<iq from='{PEP}' to='romeo@montague.lit' type='result' id='{push.get('id')}'/>")
    assert stage.romeo.hears_nothing()


@pytest.mark.parametrize("stage", [{"roster": "set"}, {"roster": "both", "push": False}], indirect=True)
def test_it_is_not_pushed_what_it_may_not_read_or_does_not_want(stage: Stage) -> None:
    stage.romeo.ask(f"<iq type='set'>{NURSE}</iq>")
    assert stage.pep.hears_nothing()


@pytest.mark.parametrize(
    ("stage", "type", "payload"),
    [
        ({"roster": "get"}, "set", NURSE),
        ({"roster": "set"}, "get", ROSTER.format("")),
        ({"message": "outgoing"}, "get", ROSTER.format("")),
        ({}, "set", NURSE),
    ],
    indirect=["stage"],
)
def test_e3_a_roster_without_the_grant(stage: Stage, type: str, payload: str) -> None:
    for component in (stage.pep, stage.network.component(SMS)):
        assert condition(asked(component, type, payload)) == "forbidden"
    assert stage.roster() == []


def test_somebody_at_the_component_is_not_the_component(stage: Stage) -> None:
    answer = stage.pep.ask(
        f"<iq from='mab@{PEP}' to='romeo@montague.lit' type='get'>{ROSTER.format('')}</iq>"
    )
    assert condition(answer) == "service-unavailable"


def test_who_is_no_component_of_ours_has_no_privileges_whatever_the_domain(network: Network) -> None:
    modules: dict[str, Any] = {"privilege": {"entities": {"capulet.lit": ALL}}}
    network.serve("montague.lit", modules=modules)
    network.client("romeo@montague.lit/orchard")
    afar = network.stranger("capulet.lit")
    afar.send(f"<iq to='romeo@montague.lit' type='get' id='q'>{ROSTER.format('')}</iq>")
    afar.send(f"<message to='montague.lit' id='m'>{speech('romeo@montague.lit')}</message>")
    assert [condition(afar.next()), condition(afar.next())] == ["service-unavailable"] * 2


# -- messages --------------------------------------------------------------------------------------------


def speech(sender: str, more: str = "to='juliet@montague.lit' id='m1' type='chat'") -> str:
    return (
        f"<privilege xmlns='{NS}'><forwarded xmlns='urn:xmpp:forward:0'>"
        f"<message xmlns='jabber:client' from='{sender}' {more} xml:lang='it'><body>ciao</body></message>"
        "</forwarded></privilege>"
    )


def said(component: Component, payload: str) -> None:
    component.send(f"<message from='{component.jid}' to='montague.lit' id='p1'>{payload}</message>")


@pytest.mark.parametrize("sender", ["romeo@montague.lit", "montague.lit"])
def test_it_speaks_for_an_account_and_for_the_domain(stage: Stage, sender: str) -> None:
    juliet = stage.network.client("juliet@montague.lit/balcony")
    said(stage.pep, speech(sender))
    assert juliet.receives(
        f"<message from='{sender}' to='juliet@montague.lit' id='m1' type='chat' xml:lang='it'>"
        "<body>ciao</body><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@montague.lit' id='*'/></message>"
    )


def test_what_it_says_is_as_if_the_account_had_said_it(stage: Stage) -> None:
    """Its clients have copies (XEP-0280), and its archive has it (XEP-0313)."""
    stage.romeo.ask("<iq type='set'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
    juliet = stage.network.client("juliet@montague.lit/balcony")
    said(stage.pep, speech("romeo@montague.lit"))
    assert juliet.next().findtext("{jabber:client}body") == "ciao"
    copy = stage.romeo.next()
    assert (copy.get("from"), copy[0].tag) == ("romeo@montague.lit", "{urn:xmpp:carbons:2}sent")
    assert copy.findtext(".//{jabber:client}body") == "ciao"
    stage.romeo.ask("<iq type='set'><query xmlns='urn:xmpp:mam:2'/></iq>")
    archived = [each for each in stage.romeo.heard if each.find("{urn:xmpp:mam:2}result") is not None]
    assert [each.findtext(".//{jabber:client}body") for each in archived] == ["ciao"]


def test_nor_does_it_write_to_whom_the_account_blocks(stage: Stage) -> None:
    juliet = stage.network.client("juliet@montague.lit/balcony")
    block = "<block xmlns='urn:xmpp:blocking'><item jid='juliet@montague.lit'/></block>"
    stage.romeo.ask(f"<iq type='set'>{block}</iq>")
    stage.pep.forget()
    said(stage.pep, speech("romeo@montague.lit"))
    assert condition(stage.pep.next()) == "not-acceptable"
    assert juliet.hears_nothing()


@pytest.mark.parametrize(
    "sender", ["romeo@montague.lit/orchard", "romeo@capulet.lit", "mab@montague.lit", PEP, f"x@{PEP}"]
)
def test_e3_it_speaks_for_nobody_else(stage: Stage, sender: str) -> None:
    juliet = stage.network.client("juliet@montague.lit/balcony")
    stage.pep.forget()
    said(stage.pep, speech(sender))
    refused = stage.pep.next()
    assert (refused.get("id"), condition(refused)) == ("p1", "forbidden")
    assert juliet.hears_nothing()


@pytest.mark.parametrize("sender", ["romeo@montague.lit", "montague.lit"])
@pytest.mark.parametrize(
    "element",
    [
        "<received xmlns='urn:xmpp:carbons:2'>{}</received>",
        "<sent xmlns='urn:xmpp:carbons:2'>{}</sent>",
        "<result xmlns='urn:xmpp:mam:2' id='1'>{}</result>",
        "<delegation xmlns='urn:xmpp:delegation:2'/>",
        f"<privilege xmlns='{NS}'><perm access='message' type='outgoing'/></privilege>",
    ],
)
def test_e3_it_does_not_make_clients_believe_what_others_said(
    stage: Stage, sender: str, element: str
) -> None:
    forged = element.format(
        "<forwarded xmlns='urn:xmpp:forward:0'>"
        "<message xmlns='jabber:client' from='juliet@montague.lit/balcony'><body>I do</body></message>"
        "</forwarded>"
    )
    stage.pep.forget()
    said(stage.pep, speech(sender, "to='romeo@montague.lit/orchard'").replace("<body>ciao</body>", forged))
    assert condition(stage.pep.next()) == "forbidden"
    assert stage.romeo.hears_nothing()


@granted(roster="both")
def test_e3_a_message_without_the_grant(stage: Stage) -> None:
    juliet = stage.network.client("juliet@montague.lit/balcony")
    for component in (stage.pep, stage.network.component(SMS)):
        component.forget()
        said(component, speech("romeo@montague.lit"))
        assert condition(component.next()) == "forbidden"
    assert juliet.hears_nothing()


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (f"<privilege xmlns='{NS}'/>", "bad-request"),
        (speech("romeo@montague.lit").replace("jabber:client", "jabber:server"), "bad-request"),
        (speech("romeo@montague.lit", ""), "bad-request"),
        (speech("romeo@montague.lit", "to='@'"), "jid-malformed"),
        (speech("@"), "jid-malformed"),
    ],
)
def test_a_message_that_is_none_comes_back(stage: Stage, payload: str, error: str) -> None:
    said(stage.pep, payload)
    assert condition(stage.pep.next()) == error


def test_a_client_that_tries_is_told_what_it_always_was(stage: Stage) -> None:
    stage.romeo.send(f"<message to='montague.lit' id='p1'>{speech('montague.lit')}</message>")
    assert condition(stage.romeo.next()) == "service-unavailable"


# -- questions -------------------------------------------------------------------------------------------


def question(payload: str = "<ping xmlns='urn:xmpp:ping'/>", attrs: str = "type='get' id='in'") -> str:
    return f"<privileged_iq xmlns='{NS}'><iq xmlns='jabber:client' {attrs}>{payload}</iq></privileged_iq>"


def inside(answer: _Element) -> _Element:
    """What was forwarded in it."""
    assert answer.get("type") == "result", written(answer)
    [found] = answer.findall(f"{{{NS}}}privilege/{{urn:xmpp:forward:0}}forwarded/{{jabber:client}}iq")
    return found


def test_it_asks_somebody_in_the_name_of_an_account_and_gets_the_answer(stage: Stage) -> None:
    juliet = stage.network.client("juliet@capulet.lit/balcony")
    juliet.send("<presence to='romeo@montague.lit'/>")
    stage.romeo.forget()
    asking = question(attrs="type='get' id='in' to='juliet@capulet.lit/balcony'")
    stage.pep.send(f"<iq from='{PEP}' to='romeo@montague.lit' type='get' id='out'>{asking}</iq>")
    asked_of_her = juliet.next()
    assert asked_of_her.get("from") == "romeo@montague.lit"
    juliet.send(f"<iq type='result' to='romeo@montague.lit' id='{asked_of_her.get('id')}'/>")
    answer = stage.pep.next()
    assert (answer.get("id"), answer.get("from")) == ("out", "romeo@montague.lit")
    assert dict(inside(answer).attrib) == {
        "type": "result",
        "from": "juliet@capulet.lit/balcony",
        "to": "romeo@montague.lit",
        "id": "in",
    }
    assert stage.romeo.hears_nothing()


def test_while_it_waits_for_one_answer_it_is_heard_itself(stage: Stage) -> None:
    """The account asks the component itself, in the same lane."""
    attrs = f"type='get' id='in' to='{PEP}' from='romeo@montague.lit'"
    stage.pep.send(
        f"<iq from='{PEP}' to='romeo@montague.lit' type='get' id='out'>{question(attrs=attrs)}</iq>"
    )
    asked_back = stage.pep.next()
    stage.pep.send(f"<iq from='{PEP}' to='romeo@montague.lit' type='result' id='{asked_back.get('id')}'/>")
    assert inside(stage.pep.next()).get("type") == "result"


def test_it_has_only_so_many_questions_waiting_and_others_have_theirs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.module, "_turns", Turns(JID("montague.lit"), 3))
    silent = stage.network.stranger("tybalt@capulet.lit/street").jid
    asking = question(attrs=f"type='get' id='in' to='{silent}'")
    for number in range(4):
        stage.pep.send(f"<iq from='{PEP}' to='romeo@montague.lit' type='get' id='{number}'>{asking}</iq>")
    refused = stage.pep.next()
    assert (refused.get("id"), condition(refused)) == ("3", "resource-constraint")
    stage.network.advance(31)
    assert [each.get("id") for each in stage.pep.heard] == ["0", "1", "2"]
    assert len(stage.module._turns) == 0


def test_what_the_account_itself_is_asked_is_answered_as_to_its_owner(stage: Stage) -> None:
    publish = "<publish node='urn:x'><item id='i'><x xmlns='urn:x'/></item></publish>"
    answer = asked(
        stage.pep,
        "set",
        question(f"<pubsub xmlns='{PUBSUB}'>{publish}</pubsub>", "type='set' id='in'"),
    )
    assert inside(answer).find(f".//{{{PUBSUB}}}publish") is not None


def test_a_refusal_comes_whole(stage: Stage) -> None:
    items = f"<pubsub xmlns='{PUBSUB}'><items node='nowhere'/></pubsub>"
    refused = inside(asked(stage.pep, "get", question(items)))
    assert (refused.get("type"), refused.get("id"), condition(refused)) == ("error", "in", "item-not-found")
    subscribe = f"<pubsub xmlns='{PUBSUB}'><subscribe node='nowhere' jid='mab@montague.lit'/></pubsub>"
    refused = inside(asked(stage.pep, "set", question(subscribe, "type='set' id='in'")))
    assert [each.tag for each in refused.iter("{http://jabber.org/protocol/pubsub#errors}invalid-jid")]


@pytest.mark.parametrize(
    ("payload", "to", "type"),
    [
        (question("<query xmlns='jabber:iq:last'/>"), "romeo@montague.lit", "get"),
        (question(attrs="type='set' id='in'"), "romeo@montague.lit", "set"),
        (question(attrs="type='get' id='in'"), "romeo@montague.lit", "set"),
        (question(attrs="type='get' id='in' from='juliet@montague.lit'"), "romeo@montague.lit", "get"),
        (question(attrs="type='get' id='in' from='romeo@montague.lit/x'"), "romeo@montague.lit", "get"),
        (question().replace("jabber:client", "jabber:server"), "romeo@montague.lit", "get"),
        (f"<privileged_iq xmlns='{NS}'/>", "romeo@montague.lit", "get"),
        (question(), "romeo@montague.lit/orchard", "get"),
        (question(), "mab@montague.lit", "get"),
    ],
)
def test_e3_a_question_that_it_may_not_ask(stage: Stage, payload: str, to: str, type: str) -> None:
    assert condition(asked(stage.pep, type, payload, to)) == "forbidden"
    assert stage.romeo.hears_nothing()


@granted(roster="both")
def test_e3_a_question_without_the_grant(stage: Stage) -> None:
    for component in (stage.pep, stage.network.component(SMS)):
        assert condition(asked(component, "get", question())) == "forbidden"


def test_a_client_does_not_learn_that_there_are_privileges(stage: Stage) -> None:
    assert condition(stage.romeo.ask(f"<iq type='get'>{question()}</iq>")) == "service-unavailable"


# -- presence --------------------------------------------------------------------------------------------


@granted(presence="managed_entity")
def test_it_hears_accounts_come_and_go_and_nothing_between(stage: Stage) -> None:
    stage.romeo.send("<presence><show>away</show></presence>")
    assert stage.pep.hears_nothing()
    juliet = stage.network.client(
        "juliet@montague.lit/balcony", "<presence id='p'><show>chat</show></presence>"
    )
    assert stage.pep.receives(
        f"<presence from='juliet@montague.lit/balcony' to='{PEP}' id='p'><show>chat</show></presence>"
    )
    juliet.send("<presence type='unavailable'><status>asleep</status></presence>")
    assert stage.pep.receives(
        f"<presence from='juliet@montague.lit/balcony' to='{PEP}' type='unavailable'>"
        "<status>asleep</status></presence>"
    )
    stage.romeo.drop()
    assert stage.pep.receives(f"<presence from='romeo@montague.lit/orchard' to='{PEP}' type='unavailable'/>")


@granted(presence="managed_entity")
def test_one_that_comes_late_hears_who_is_there(stage: Stage) -> None:
    stage.pep.drop()
    stage.romeo.send("<presence><show>away</show></presence>")
    late = stage.network.component(PEP)
    assert late.next().find(f"{{{NS}}}privilege") is not None
    assert late.receives(
        f"<presence from='romeo@montague.lit/orchard' to='{PEP}'><show>away</show></presence>"
    )
    assert late.hears_nothing()
    stage.romeo.forget()


def befriended(stage: Stage) -> None:
    """romeo has the nurse, who is elsewhere, in his roster."""
    stage.romeo.ask(f"<iq type='set'>{NURSE}</iq>")
    stage.romeo.forget()
    stage.pep.forget()


def test_it_hears_contacts_whether_the_account_is_there_or_not_and_each_thing_once(stage: Stage) -> None:
    befriended(stage)
    stage.network.client("juliet@montague.lit/balcony").ask(f"<iq type='set'>{NURSE}</iq>")
    stage.romeo.drop()
    stage.pep.forget()
    nurse = stage.network.stranger("nurse@capulet.lit/hall")
    for to in ("romeo@montague.lit", "juliet@montague.lit"):
        nurse.send(f"<presence to='{to}'><show>away</show></presence>")
    assert stage.pep.receives(
        f"<presence from='nurse@capulet.lit/hall' to='{PEP}'><show>away</show></presence>"
    )
    assert stage.pep.hears_nothing()
    stage.pep.drop()
    late = stage.network.component(PEP)
    heard = {each.get("from") for each in late.heard if each.tag == "{jabber:client}presence"}
    assert heard == {"nurse@capulet.lit/hall", "juliet@montague.lit/balcony"}
    late.forget()
    for to in ("romeo@montague.lit", "juliet@montague.lit"):
        nurse.send(f"<presence to='{to}' type='unavailable'/>")
    assert late.receives(f"<presence from='nurse@capulet.lit/hall' to='{PEP}' type='unavailable'/>")
    assert late.hears_nothing()


def test_a_contact_with_much_to_say_of_many_resources_fills_no_memory() -> None:
    told: list[Stanza] = []
    audience = Audience(lambda stanza, _: told.append(stanza), lambda _: [JID(PEP)])
    said = E("jabber:client", "status", None, "r" * (512 << 10))
    for number in range(100):
        sender = JID.parse(f"tybalt@capulet.lit/{number}")
        audience.heard(Stanza.of("presence", said, sender=sender))
    assert len(told) == 100
    told.clear()
    audience.catch_up(JID(PEP), [], contacts=True)
    assert (len(told), str(told[-1].sender)) == (31, "tybalt@capulet.lit/99")
    for number in range(100):
        sender = JID.parse(f"tybalt@capulet.lit/{number}")
        audience.heard(Stanza.of("presence", sender=sender, type="unavailable"))
    assert audience._size == 0


def test_it_does_not_hear_strangers(stage: Stage) -> None:
    stage.network.stranger("tybalt@capulet.lit/alley").send("<presence to='romeo@montague.lit'/>")
    assert stage.pep.hears_nothing()


@granted(roster="both", message="outgoing", iq={PUBSUB: "both"})
def test_e3_presence_without_the_grant(stage: Stage) -> None:
    befriended(stage)
    stage.network.stranger("nurse@capulet.lit/hall").send("<presence to='romeo@montague.lit'/>")
    stage.network.client("juliet@montague.lit/balcony")
    assert stage.pep.hears_nothing()


@granted(presence="managed_entity")
def test_nobody_learns_that_a_component_was_told_of_them_also_when_it_is_lost(stage: Stage) -> None:
    stream = stage.server.components.components[PEP].stream
    assert stream is not None
    stream.pauseProducing()
    juliet = stage.network.client("juliet@montague.lit/balcony", "")
    juliet.send("<presence/>")
    juliet.forget()
    stream.transport.abortConnection()
    stage.network.flush()
    assert juliet.hears_nothing()
