"""RFC 6120 §8 to §13 and RFC 6121 as a client meets them: what no other test needed to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.jsm import roster
from jabberd.testing.client import condition, written
from jabberd.xmpp import ns
from jabberd.xmpp.element import E, serialize
from jabberd.xmpp.errors import STANZA_CONDITIONS, StanzaError
from jabberd.xmpp.stanza import Stanza

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing import Client, Network
    from tests.conftest import LoggedErrors

ROMEO, JULIET = "romeo@montague.lit/orchard", "juliet@capulet.lit/balcony"
EVERYTHING: dict[str, dict[str, object]] = {
    "disco": {},
    "last": {},
    "ping": {},
    "time": {},
    "version": {},
    "offline": {},
}


@pytest.fixture
def romeo(network: Network) -> Client:
    network.serve("montague.lit", "capulet.lit", modules=EVERYTHING)
    return network.client(ROMEO)


@pytest.fixture
def juliet(romeo: Client, network: Network) -> Client:
    return network.client(JULIET)


#: RFC 6120 §8.3.3: the types that each condition may have by its section.
TYPES = {
    "bad-request": "modify",
    "conflict": "cancel",
    "feature-not-implemented": "cancel modify",
    "forbidden": "auth",
    "gone": "cancel",
    "internal-server-error": "cancel",
    "item-not-found": "cancel",
    "jid-malformed": "modify",
    "not-acceptable": "modify",
    "not-allowed": "cancel",
    "not-authorized": "auth",
    "policy-violation": "modify wait",
    "recipient-unavailable": "wait",
    "redirect": "modify",
    "registration-required": "auth",
    "remote-server-not-found": "cancel",
    "remote-server-timeout": "wait",
    "resource-constraint": "wait",
    "service-unavailable": "cancel",
    "subscription-required": "auth",
    "undefined-condition": "auth cancel continue modify wait",
    "unexpected-request": "wait modify",
}


@pytest.mark.rfc6120("8.2.3-7", "8.3.1-3", "8.3.2-1")
@pytest.mark.parametrize("condition", TYPES)
def test_each_condition_has_the_type_that_its_section_recommends(condition: str) -> None:
    assert set(STANZA_CONDITIONS) == set(TYPES)
    question = Stanza.of("iq", E("urn:x", "x"), type="get", id="q1")
    answer = question.error(StanzaError(condition)).element()
    assert answer.get("type") == "error"
    [error] = answer
    assert error.tag == f"{{{ns.CLIENT}}}error"
    assert error.get("type") in TYPES[condition].split()
    assert [child.tag for child in error] == [f"{{{ns.STANZA_ERRORS}}}{condition}"]


def odd_attributes(element: _Element) -> list[str]:
    """Attributes that stand in a namespace, which is no place for them but for xml:lang."""
    return [each for each in map(str, element.attrib) if each[0] == "{" and each != f"{{{ns.XML}}}lang"]


def content_inside(answer: _Element) -> list[str]:
    """What stands in an answer in a namespace of the stream's own."""
    inside = [str(each.tag) for each in answer if each.tag != f"{{{ns.CLIENT}}}error"]
    return [tag for tag in inside if tag[1:].partition("}")[0] in (ns.CLIENT, ns.SERVER, ns.STREAM, "")]


@pytest.mark.rfc6120("8.2.3-6", "8.3.1-5", "8.4-4")
def test_what_the_server_answers_has_one_child_at_most_and_an_error_in_errors_only(romeo: Client) -> None:
    for namespace, name in (
        ("jabber:iq:roster", "query"),
        ("http://jabber.org/protocol/disco#info", "query"),
        ("http://jabber.org/protocol/disco#items", "query"),
        ("jabber:iq:last", "query"),
        ("jabber:iq:version", "query"),
        ("urn:xmpp:ping", "ping"),
        ("urn:xmpp:time", "time"),
        ("urn:x", "unknown"),
    ):
        for to in ("", "to='montague.lit'", "to='romeo@montague.lit'"):
            answer = romeo.ask(f"<iq type='get' {to}><{name} xmlns='{namespace}'/></iq>")
            assert len(answer) <= 1
            assert [each for each in answer.iter() if odd_attributes(each)] == []
            assert content_inside(answer) == []
            is_error = answer.get("type") == "error"
            assert [child.tag == f"{{{ns.CLIENT}}}error" for child in answer] == [is_error] * len(answer)


ODD = (
    "<x:unheard xmlns:x='urn:x' x:of='1'><y xmlns='urn:y'>&lt;</y>text</x:unheard>"
    "<body xml:lang='it'>ciao</body><body>hi</body><thread/><thread/>"
)


@pytest.mark.rfc6120("8.4-2")
@pytest.mark.parametrize("name", ["message", "presence", "iq"])
def test_what_the_server_does_not_understand_is_passed_on_as_it_is(
    romeo: Client, juliet: Client, name: str
) -> None:
    romeo.send(f"<presence to='{JULIET}'/>")
    juliet.forget()
    payload = ODD if name != "iq" else ODD[: ODD.index("<body")]
    attributes = "type='get' id='q1'" if name == "iq" else ""
    juliet.send(f"<{name} {attributes} to='{ROMEO}' xmlns:z='urn:z' z:more='1'>{payload}</{name}>")
    assert romeo.receives(
        f"<{name} {attributes} from='{JULIET}' to='{ROMEO}' xmlns:z='urn:z' z:more='1'>{payload}</{name}>"
    )


@pytest.mark.rfc6120("8.4-5")
def test_a_prefix_may_be_any(romeo: Client, juliet: Client) -> None:
    item = "<r:item jid='n@v.lit'/>"
    romeo.ask(f"<iq type='set'><r:query xmlns:r='jabber:iq:roster'>{item}</r:query></iq>")
    answer = romeo.ask("<iq type='get'><jabber:query xmlns:jabber='jabber:iq:roster'/></iq>")
    assert [item.get("jid") for item in answer[0]] == ["n@v.lit"]
    romeo.send("<c:presence xmlns:c='jabber:client'><c:priority>-1</c:priority></c:presence>")
    romeo.next()
    juliet.send("<message to='romeo@montague.lit' type='headline'/>")
    assert romeo.hears_nothing()


@pytest.mark.rfc6120("8.4-6")
@pytest.mark.parametrize("unheard", ["<x xmlns='urn:x'/>", "<priority xmlns='urn:x'>7</priority>", "<new/>"])
def test_what_the_server_does_not_understand_changes_nothing_for_it(
    romeo: Client, juliet: Client, unheard: str
) -> None:
    romeo.send(f"<presence xmlns:z='urn:z' z:type='unavailable' odd='1'>{unheard}</presence>")
    romeo.next()
    juliet.send("<message to='romeo@montague.lit' type='chat' id='m1'/>")
    assert romeo.next().get("id") == "m1"  # available, of priority 0
    romeo.send(f"<presence><priority>-1</priority>{unheard}</presence>")
    romeo.next()
    juliet.send("<message to='romeo@montague.lit' type='headline'/>")
    assert romeo.hears_nothing()


@pytest.mark.rfc6120("10.3.2-1")
def test_presence_without_an_address_is_broadcast(romeo: Client, network: Network) -> None:
    street = network.client("romeo@montague.lit/street")
    romeo.forget()
    street.forget()
    romeo.send("<presence id='p1'/>")
    assert [each.next().get("id") for each in (romeo, street)] == ["p1", "p1"]


@pytest.mark.rfc6120("10.3.3-3")
@pytest.mark.parametrize("type", ["result", "error"])
def test_an_answer_to_nothing_is_ignored(romeo: Client, type: str) -> None:
    romeo.send(f"<iq type='{type}' id='nothing'/>")
    romeo.send(f"<iq type='{type}' id='nothing'><query xmlns='jabber:iq:roster'/></iq>")
    assert romeo.hears_nothing()


@pytest.mark.rfc6120("10.4.3-4")
@pytest.mark.parametrize("to", ["nobody@montague.lit", "romeo@montague.lit/gone"])
def test_what_another_server_sends_and_nobody_gets_comes_back(
    romeo: Client, network: Network, to: str
) -> None:
    tybalt = network.stranger("tybalt@evil.example/street")
    tybalt.send(f"<message to='{to}' id='m1'><body>hi</body></message>")
    error = tybalt.next()
    assert (condition(error), error.get("id"), error.get("from")) == ("service-unavailable", "m1", to)


@pytest.mark.rfc6120("11.1-2", "11.3-2")
@pytest.mark.parametrize("text", ["<!-- c -->", "<?pi?>", "<!DOCTYPE s>", "&nbsp;", "]]>", "<![CDATA[x]]>"])
def test_what_looks_like_restricted_xml_is_written_as_text(text: str) -> None:
    written = serialize(E(ns.CLIENT, "body", {"k": text}, text), ns.CLIENT)
    assert written.count(b"<") == 2
    assert b"&nbsp" not in written
    assert b"]]>" not in written


@pytest.mark.rfc6120("13.10.1-1")
def test_where_a_client_is_nobody_learns(romeo: Client, network: Network) -> None:
    juliet = network.client(JULIET, address="192.0.2.77")
    heard = []
    for to in (JULIET, "juliet@capulet.lit", "capulet.lit"):
        for namespace in ("disco#info", "disco#items"):
            query = f"<query xmlns='http://jabber.org/protocol/{namespace}'/>"
            heard.append(romeo.ask(f"<iq type='get' to='{to}'>{query}</iq>"))
        heard += [romeo.ask(f"<iq type='get' to='{to}'><query xmlns='jabber:iq:last'/></iq>")]
    juliet.send(f"<presence to='{ROMEO}'/><message to='{ROMEO}'/>")
    romeo.flush()
    heard += romeo.heard
    assert len(heard) == 11
    assert "192.0.2" not in "".join(map(written, heard))


@pytest.mark.parametrize(
    "stanza", ["<message {}/>", "<presence {}/>", "<iq type='get' {}><x xmlns='urn:x'/></iq>"]
)
@pytest.mark.parametrize("to", ["@@", "juliet@", "juliet@capulet.lit/", "a@b@c"])
def test_an_error_is_never_from_what_is_no_address(romeo: Client, stanza: str, to: str) -> None:
    """§8.3.1: some clients lose their connection over it."""
    romeo.send(stanza.format(f"id='1' to='{to}'"))
    error = romeo.next()
    assert condition(error) == "jid-malformed"
    assert (error.get("from"), error.get("to")) == ("romeo@montague.lit", ROMEO)


@pytest.mark.rfc6120("10.5.1-1")
def test_the_domain_itself_shows_that_it_is_there(romeo: Client, network: Network) -> None:
    romeo.ask("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>")
    romeo.send("<presence type='subscribe' to='montague.lit' id='s1'/>")
    romeo.next()  # a push
    assert romeo.receives("<presence type='subscribed' from='montague.lit' to='romeo@montague.lit' id='s1'/>")
    romeo.next()
    assert romeo.receives("<presence from='montague.lit' to='romeo@montague.lit'/>")
    tybalt = network.stranger("tybalt@evil.example")
    tybalt.send("<presence type='probe' to='montague.lit' id='p1'/>")
    assert tybalt.receives("<presence from='montague.lit' to='tybalt@evil.example' id='p1'/>")
    for type in ("", "unavailable", "error", "subscribed", "unsubscribe", "unsubscribed"):
        tybalt.send("<presence {} to='montague.lit'/>".format(type and f"type='{type}'"))
    tybalt.send("<presence type='probe' to='montague.lit/resource'/>")
    assert tybalt.hears_nothing()


@pytest.mark.rfc6121("9-1")
@pytest.mark.parametrize("to", ["xmpp:juliet@capulet.lit", "im:juliet@capulet.lit", "xmpp:capulet.lit"])
def test_an_address_is_no_uri(romeo: Client, to: str) -> None:
    romeo.send(f"<message to='{to}' id='m1'/>")
    assert condition(romeo.next()) == "jid-malformed"


@pytest.mark.rfc6121("2.2-2")
def test_a_roster_that_cannot_be_had_is_an_error(
    romeo: Client, monkeypatch: pytest.MonkeyPatch, logged_errors: LoggedErrors
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(roster, "result", fail)
    answer = romeo.ask("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>")
    assert condition(answer) == "internal-server-error"
    assert len(logged_errors.take(ZeroDivisionError)) == 1
