"""XEP-0004."""

from __future__ import annotations

import pytest

from jabberd.xmpp.element import E, Element, parse, serialize
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.forms import NS, Field, Form
from jabberd.xmpp.jid import JID

KIND = "urn:example:gate"
GATE = Form(
    KIND,
    (
        Field("who", "jid-single", "Who comes in", required=True),
        Field("friends", "jid-multi"),
        Field("words", "text-multi", values=("Good", "morrow")),
        Field("gate", "list-single", options={"north": "The north gate", "south": "The south gate"}),
        Field("gifts", "list-multi", options={"ring": "A ring", "rose": "A rose"}),
        Field("masked", "boolean", values=("false",)),
        Field("name"),
    ),
    "The gate",
    "Say who comes in.",
)


def submission(*fields: str, type: str = "submit") -> Element:
    xml = f"<x xmlns='jabber:x:data' type='{type}'>{''.join(fields)}</x>"
    return parse(xml.encode())


def filled(var: str, *values: str) -> str:
    return f"<field var='{var}'>{''.join(f'<value>{value}</value>' for value in values)}</field>"


WHO = filled("who", "romeo@montague.lit")


def test_a_form_says_what_it_is_and_what_it_wants_to_know() -> None:
    form = Form(
        KIND,
        (Field("who", "jid-single", "Who?", required=True), Field("at", "list-single", options={"n": "N"})),
        "The gate",
        "Say who.",
    )
    assert serialize(form.element()).decode() == (
        "<x xmlns='jabber:x:data' type='form'><title>The gate</title><instructions>Say who.</instructions>"
        f"<field type='hidden' var='FORM_TYPE'><value>{KIND}</value></field>"
        "<field type='jid-single' var='who' label='Who?'><required/></field>"
        "<field type='list-single' var='at'><option label='N'><value>n</value></option></field></x>"
    )


def test_a_result_has_the_data() -> None:
    element = Form(KIND, (Field("names", "text-multi", values=("Abram", "Sampson")),)).element("result")
    assert serialize(element).decode() == (
        "<x xmlns='jabber:x:data' type='result'>"
        f"<field type='hidden' var='FORM_TYPE'><value>{KIND}</value></field>"
        "<field type='text-multi' var='names'><value>Abram</value><value>Sampson</value></field></x>"
    )


def test_all_types_are_read() -> None:
    read = GATE.read(
        submission(
            filled("FORM_TYPE", KIND),
            filled("who", " Romeo@Montague.lit "),
            filled("friends", "benvolio@montague.lit", "Benvolio@montague.lit", "", "mercutio@verona.lit"),
            filled("words", "O", "blessed night"),
            filled("gate", "south"),
            filled("gifts", "ring", "rose"),
            filled("masked", "1"),
            filled("name", "Romeo"),
            filled("unheard-of", "ignored"),
        )
    )
    assert read.jid("who") == JID("romeo@montague.lit")
    assert read.jids("friends") == ("benvolio@montague.lit", "mercutio@verona.lit")
    assert read.text("words") == "O\nblessed night"
    assert read.text("gate") == "south"
    assert read.texts("gifts") == ("ring", "rose")
    assert read.flag("masked")
    assert read.text("name") == "Romeo"
    assert "unheard-of" not in read.values


def test_what_was_left_out_keeps_its_value() -> None:
    read = GATE.read(submission(WHO))
    assert read.text("words") == "Good\nmorrow"
    assert not read.flag("masked")
    assert (read.jids("friends"), read.text("gate"), read.text("name")) == ((), "", "")


def test_what_was_emptied_is_empty() -> None:
    assert GATE.read(submission(WHO, "<field var='words'/>", filled("gate", ""))).text("words") == ""


@pytest.mark.parametrize(
    ("fields", "condition", "said"),
    [
        (["<field var='who'/>"], "not-acceptable", "who is missing"),
        ([filled("who", "")], "not-acceptable", "who is missing"),
        ([], "not-acceptable", "who is missing"),
        ([filled("who", "@montague.lit")], "not-acceptable", "who: not an address"),
        ([WHO, filled("friends", "a@b@c")], "not-acceptable", "friends: not an address"),
        ([WHO, filled("gate", "west")], "not-acceptable", "gate is none of north, south"),
        ([WHO, filled("gifts", "ring", "dagger")], "not-acceptable", "gifts is none of ring, rose"),
        ([WHO, filled("masked", "maybe")], "not-acceptable", "masked is none of 0, 1, false, true"),
        ([WHO, filled("name", "Romeo", "Montague")], "bad-request", "name takes one value"),
        ([WHO, WHO], "bad-request", "who is there twice"),
        ([WHO, filled("FORM_TYPE", "urn:example:other")], "bad-request", "another form"),
    ],
)
def test_what_cannot_be_is_refused(fields: list[str], condition: str, said: str) -> None:
    with pytest.raises(StanzaError) as refused:
        GATE.read(submission(*fields))
    assert refused.value.condition == condition
    assert said in refused.value.text


@pytest.mark.parametrize("type", ["form", "result", "cancel"])
def test_only_a_submission_is_read(type: str) -> None:
    with pytest.raises(StanzaError, match="bad-request"):
        GATE.read(submission(WHO, type=type))


def test_another_element_is_no_submission() -> None:
    with pytest.raises(StanzaError, match="bad-request"):
        GATE.read(parse(b"<x xmlns='urn:example:gate' type='submit'/>"))


@pytest.mark.parametrize("given", ["-1", "61", "1.5", "soon", "", "9" * 400])
def test_a_number_is_within_its_bounds(given: str) -> None:
    form = Form(KIND, (Field("pause", values=("7",), within=(0, 60)),))
    [validate] = form.element().iter("{http://jabber.org/protocol/xdata-validate}validate")
    assert validate.get("datatype") == "xs:integer"
    assert [dict(each.attrib) for each in validate] == [{"min": "0", "max": "60"}]

    def read(text: str) -> str:
        value = E(NS, "field", {"var": "pause"}, E(NS, "value", None, text))
        return form.read(E(NS, "x", {"type": "submit"}, value)).text("pause")

    assert [read(text) for text in ("0", "60")] == ["0", "60"]
    with pytest.raises(StanzaError, match="pause is a number from 0 to 60"):
        read(given)
