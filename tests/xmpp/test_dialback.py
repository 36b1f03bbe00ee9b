from __future__ import annotations

import pytest

from jabberd.xmpp import ns
from jabberd.xmpp.dialback import Dialback, is_key, make_key
from jabberd.xmpp.element import E, Element, parse_document
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.jid import JID

MONTAGUE, CAPULET = JID("montague.lit"), JID("capulet.lit")
RESULT = Dialback("result", MONTAGUE, CAPULET, key="b4835385f37fe2895af6c196b59097b1")
VERIFY = Dialback("verify", CAPULET, MONTAGUE, id="417GAF25", key="b4835385f37fe2895af6c196b59097b1")


def received(data: bytes) -> Element:
    """What a peer's parser makes of the bytes inside a stream."""
    return parse_document(b"<s xmlns='jabber:server' xmlns:db='jabber:server:dialback'>%s</s>" % data)[0]


@pytest.mark.parametrize(
    ("secret", "receiving", "originating", "stream_id", "key"),
    [
        (  # XEP-0185 §3
            "s3cr3tf0rd14lb4ck",
            "xmpp.example.com",
            "example.org",
            "D60000229F",
            "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643",
        ),
        (  # XEP-0220 §2.2.2
            "d14lb4ck43v3r",
            "capulet.example",
            "montague.example",
            "417GAF25",
            "225cc5aa6a071133249d25fef42ae516fc7a86c523aa1c6980a7f73e784c972d",
        ),
    ],
)
def test_the_keys_of_the_specifications(
    secret: str, receiving: str, originating: str, stream_id: str, key: str
) -> None:
    assert make_key(secret, receiving, originating, stream_id) == key
    assert is_key(key, secret, receiving, originating, stream_id)


@pytest.mark.parametrize(
    ("receiving", "originating", "stream_id"),
    [
        ("evil.example", "montague.lit", "1"),
        ("capulet.lit", "evil.example", "1"),
        ("capulet.lit", "montague.lit", "2"),
    ],
)
def test_d5_a_key_is_good_for_one_pair_and_one_stream_only(
    receiving: str, originating: str, stream_id: str
) -> None:
    key = make_key("secret", "capulet.lit", "montague.lit", "1")
    assert not is_key(key, "secret", receiving, originating, stream_id)


@pytest.mark.parametrize("key", ["", "nonsense", "ключ"])
def test_d5_what_is_no_key_at_all_is_no_key(key: str) -> None:
    assert not is_key(key, "secret", "capulet.lit", "montague.lit", "1")


def test_elements_are_written_with_the_prefix_that_old_servers_insist_on() -> None:
    assert RESULT.to_bytes() == (
        b"<db:result from='montague.lit' to='capulet.lit'>b4835385f37fe2895af6c196b59097b1</db:result>"
    )
    assert VERIFY.answer("valid").to_bytes() == (
        b"<db:verify from='montague.lit' to='capulet.lit' id='417GAF25' type='valid'></db:verify>"
    )


@pytest.mark.parametrize(
    "sent",
    [
        RESULT,
        VERIFY,
        RESULT.answer("valid"),
        VERIFY.answer("invalid"),
        RESULT.answer("error", "item-not-found"),
        VERIFY.answer("error", "remote-connection-failed"),
        Dialback("verify", CAPULET, JID("bücher.example"), id="<'&\">", key="<&>"),
    ],
    ids=repr,
)
def test_what_is_written_is_what_is_read(sent: Dialback) -> None:
    assert Dialback.read(received(sent.to_bytes())) == sent


def test_an_error_stands_in_the_content_namespace_with_its_recommended_type() -> None:
    element = received(RESULT.answer("error", "remote-server-timeout").to_bytes())
    error = element.find(f"{{{ns.SERVER}}}error")
    assert error is not None
    assert error.get("type") == "wait"
    assert error.find(f"{{{ns.STANZA_ERRORS}}}remote-server-timeout") is not None


def test_an_error_without_a_condition_is_undefined() -> None:
    bare = E(ns.DIALBACK, "result", {"from": "capulet.lit", "to": "montague.lit", "type": "error"})
    assert Dialback.read(bare).condition == "undefined-condition"


def test_white_space_around_a_key_is_not_part_of_it() -> None:
    attrs = {"from": "montague.lit", "to": "capulet.lit"}
    assert Dialback.read(E(ns.DIALBACK, "result", attrs, "\n  37c69b\n")).key == "37c69b"


@pytest.mark.parametrize("missing", ["from", "to"])
@pytest.mark.parametrize("instead", [None, "", "romeo@montague.lit", "montague.lit/orchard", "@@"])
def test_d3_both_addresses_must_be_domains(missing: str, instead: str | None) -> None:
    attrs: dict[str, str | None] = {"from": "montague.lit", "to": "capulet.lit"}
    attrs[missing] = instead
    with pytest.raises(StreamError) as raised:
        Dialback.read(E(ns.DIALBACK, "result", attrs, "key"))
    assert raised.value.condition == "improper-addressing"


@pytest.mark.parametrize(("name", "type_"), [("results", None), ("verify", "maybe")])
def test_other_elements_and_types_are_bad_format(name: str, type_: str | None) -> None:
    attrs = {"from": "montague.lit", "to": "capulet.lit", "type": type_}
    with pytest.raises(StreamError) as raised:
        Dialback.read(E(ns.DIALBACK, name, attrs))
    assert raised.value.condition == "bad-format"


def test_d6_only_the_answer_to_what_was_asked_counts() -> None:
    assert VERIFY.answer("valid").is_answer_to(VERIFY)
    assert VERIFY.answer("error", "item-not-found").is_answer_to(VERIFY)
    assert not RESULT.answer("valid").is_answer_to(VERIFY)
    assert not VERIFY.is_answer_to(VERIFY)
    other_stream = Dialback("verify", CAPULET, MONTAGUE, id="other", key=VERIFY.key)
    assert not other_stream.answer("valid").is_answer_to(VERIFY)
    other_domain = Dialback("verify", CAPULET, JID("evil.example"), id=VERIFY.id, key=VERIFY.key)
    assert not other_domain.answer("valid").is_answer_to(VERIFY)
