"""Addresses: what RFC 7622 accepts, what it makes of it, what it refuses."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jabberd.xmpp.jid import (
    JID,
    InvalidJID,
    prepare_domainpart,
    prepare_localpart,
    prepare_resourcepart,
)
from jabberd.xmpp.precis import opaque_string, username

if TYPE_CHECKING:
    from collections.abc import Callable

FULL = "romeo@montague.lit/orchard"


def test_a_full_jid_has_three_parts() -> None:
    jid = JID.parse(FULL)
    assert (jid.localpart, jid.domainpart, jid.resourcepart) == ("romeo", "montague.lit", "orchard")
    assert jid == FULL
    assert not jid.is_bare
    assert (jid.bare, jid.domain) == ("romeo@montague.lit", "montague.lit")
    assert type(jid.bare) is type(jid.domain) is JID


def test_a_bare_jid_is_its_own_bare_jid() -> None:
    jid = JID.parse("romeo@montague.lit")
    assert jid.is_bare
    assert jid.bare is jid
    assert jid.resourcepart == ""
    assert jid.domain == "montague.lit"


@pytest.mark.rfc7622("3.2-1")
def test_a_mere_domainpart_is_a_jid() -> None:
    jid = JID.parse("montague.lit")
    assert (jid.localpart, jid.resourcepart, jid.is_bare) == ("", "", True)
    assert jid.domain is jid


@pytest.mark.rfc7622("5-1")
@pytest.mark.parametrize(
    ("text", "parts"),
    [  # RFC 7622 §3.5, table 1, with the cast of this house
        ("juliet@example.com", ("juliet", "example.com", "")),
        ("juliet@example.com/foo", ("juliet", "example.com", "foo")),
        ("juliet@example.com/foo bar", ("juliet", "example.com", "foo bar")),
        ("juliet@example.com/foo@bar", ("juliet", "example.com", "foo@bar")),
        ("foo\\20bar@example.com", ("foo\\20bar", "example.com", "")),
        ("fussball@example.com", ("fussball", "example.com", "")),
        ("fu\u00dfball@example.com", ("fu\u00dfball", "example.com", "")),
        ("\u03c0@example.com", ("\u03c0", "example.com", "")),
        ("\u03a3@example.com/foo", ("\u03c3", "example.com", "foo")),
        ("\u03c3@example.com/foo", ("\u03c3", "example.com", "foo")),
        ("\u03c2@example.com/foo", ("\u03c2", "example.com", "foo")),
        ("king@example.com/\u265a", ("king", "example.com", "\u265a")),
        ("example.com", ("", "example.com", "")),
        ("example.com/foobar", ("", "example.com", "foobar")),
        ("a.example.com/b@example.net", ("", "a.example.com", "b@example.net")),
    ],
)
def test_the_addresses_that_the_rfc_calls_good_are_good(text: str, parts: tuple[str, str, str]) -> None:
    jid = JID.parse(text)
    assert (jid.localpart, jid.domainpart, jid.resourcepart) == parts


@pytest.mark.rfc7622("3.2.1-1", "3.3-2")
@pytest.mark.parametrize(
    "text",
    [
        '"juliet"@example.com',  # RFC 7622 §3.5, table 2
        "foo bar@example.com",
        "juliet@example.com/",
        "@example.com/foobar",
        "henry\u2163@example.com",
        "\u265a@example.com",
        "juliet@",
        "/foobar",
        "",
        "@",
        "@@",
        "/",
        "a@b@example.com",
        "a&b@example.com",
        "o'connor@example.com",
        "a:b@example.com",
        "<a>@example.com",
        "\uff20@example.com",  # width mapping makes '@' of it
        "a\uff0fb@example.com",  # and '/' of this
        "rom\u00e9o\u0000@montague.lit",
        "romeo@montague.lit/\u0007",
        "romeo@montague.lit/\ud800",
        "romeo@montague..lit",
        "romeo@montague.lit..",
        "romeo@.",
        "romeo@-montague.lit",
        "romeo@montague-.lit",
        "romeo@mon_tague.lit",
        "romeo@mon tague.lit",
        "romeo@ab--cd.lit",
        "romeo@xn--.lit",
        "romeo@xn--ls8h.lit",  # a symbol, not a letter
        "romeo@\u265a.lit",
        "romeo@montague.lit\n",
        "romeo\n@montague.lit",
        "romeo@" + "a" * 64 + ".lit",
        "romeo@" + "\u0439" * 63 + ".lit",  # longer than 63 octets as an A-label
        "romeo@[::1",
        "romeo@[::g]",
        "romeo@[127.0.0.1]",
        "romeo@[fe80::1%eth0]",
        "romeo@::1",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidJID):
        JID.parse(text)


@pytest.mark.rfc7622("3.2-1", "3.2-2", "3.2.1-2", "3.2.2-1")
@pytest.mark.parametrize(
    ("text", "domainpart"),
    [
        ("romeo@Montague.LIT", "montague.lit"),
        ("romeo@montague.lit.", "montague.lit"),
        ("romeo@m\u00fcnchen.lit", "m\u00fcnchen.lit"),
        ("romeo@M\u00dcNCHEN.lit", "m\u00fcnchen.lit"),
        ("romeo@mu\u0308nchen.lit", "m\u00fcnchen.lit"),
        ("romeo@xn--mnchen-3ya.lit", "m\u00fcnchen.lit"),
        ("romeo@XN--mnchen-3ya.lit", "m\u00fcnchen.lit"),
        ("romeo@\uff4d\uff4f\uff4e.lit", "mon.lit"),
        ("romeo@\u4f8b\u3048\u3002\u30c6\u30b9\u30c8", "\u4f8b\u3048.\u30c6\u30b9\u30c8"),
        ("romeo@127.0.0.1", "127.0.0.1"),
        ("romeo@[2001:DB8:0:0:0:0:0:1]", "[2001:db8::1]"),
        ("localhost", "localhost"),
    ],
)
def test_every_spelling_of_a_domain_becomes_one(text: str, domainpart: str) -> None:
    assert JID.parse(text).domainpart == domainpart


@pytest.mark.rfc7622("3.3-2")
@pytest.mark.parametrize(
    ("spelling", "prepared"),
    [  # what a peer that still prepares with stringprep (RFC 6122) may send
        ("ROMEO", "romeo"),
        ("Rom\u00c9o", "rom\u00e9o"),
        ("rome\u0301o", "rom\u00e9o"),
        ("\uff52\uff4f\uff4d\uff45\uff4f\uff11\uff12", "romeo12"),
        ("\u0420\u041e\u041c\u0415\u041e", "\u0440\u043e\u043c\u0435\u043e"),
    ],
)
def test_a_localpart_from_a_stringprep_peer_is_folded(spelling: str, prepared: str) -> None:
    assert prepare_localpart(spelling) == prepared
    assert JID.parse(f"{spelling}@montague.lit") == f"{prepared}@montague.lit"


def test_what_only_stringprep_allowed_in_a_localpart_is_refused() -> None:
    with pytest.raises(InvalidJID, match="localpart"):
        prepare_localpart("i\u2665ny")


@pytest.mark.rfc7622("3.4-2")
def test_a_resourcepart_keeps_case_and_width_and_its_odd_spaces_become_plain_ones() -> None:
    assert prepare_resourcepart("Balcony\u00a0\uff21 \u0041\u030a") == "Balcony \uff21 \u00c5"


@pytest.mark.rfc7622("3.3-1", "3.4-1")
@pytest.mark.parametrize("prepare", [prepare_localpart, prepare_resourcepart])
def test_a_part_holds_1023_octets_and_no_more(prepare: Callable[[str], str]) -> None:
    assert len(prepare("a" * 1023)) == 1023
    assert len(prepare("\u00e9" * 511 + "a").encode()) == 1023
    for text in ("a" * 1024, "\u00e9" * 512, "e\u0301" * 512, "\u00e9" * 100_000, "a" * 100_000):
        with pytest.raises(InvalidJID, match="1023"):
            prepare(text)


@pytest.mark.rfc7622("3.2-3")
def test_a_domainpart_holds_1023_octets_and_no_more() -> None:
    labels = ".".join(["a" * 63] * 16)
    assert prepare_domainpart(labels + ".") == labels
    with pytest.raises(InvalidJID, match="1023"):
        prepare_domainpart(labels + ".a")


def test_the_error_names_the_part_and_does_not_repeat_the_text() -> None:
    with pytest.raises(InvalidJID, match="localpart") as refusal:
        JID.parse("evil\x1b[31m@montague.lit")
    assert "evil" not in str(refusal.value)


def test_an_address_is_put_together_from_parts() -> None:
    assert JID.of("Romeo", "Montague.lit.", "orchard") == FULL
    assert JID.of("", "montague.lit") == "montague.lit"
    assert JID.of("", "montague.lit", "a/b").resourcepart == "a/b"
    for parts in (("romeo", ""), ("ro/meo", "montague.lit"), ("a@b", "c"), ("romeo", "a/b")):
        with pytest.raises(InvalidJID):
            JID.of(*parts)


def test_with_resource_changes_nothing_but_the_resourcepart() -> None:
    jid = JID.parse(FULL)
    assert jid.with_resource("garden") == "romeo@montague.lit/garden"
    assert jid.with_resource("") == jid.bare
    assert jid.domain.with_resource("x") == "montague.lit/x"
    with pytest.raises(InvalidJID):
        jid.with_resource("\x00")


def test_a_jid_is_found_by_its_text() -> None:
    by_jid: dict[str, int] = {JID.parse("Romeo@montague.lit"): 1}
    assert by_jid["romeo@montague.lit"] == 1
    by_text = {"romeo@montague.lit": 1}
    assert by_text[JID("ROMEO@montague.lit")] == 1


def test_a_jid_does_not_change() -> None:
    with pytest.raises(AttributeError):
        JID.parse(FULL).localpart = "tybalt"
    assert JID.parse(FULL).localpart == "romeo"


def test_the_same_text_is_prepared_once() -> None:
    assert JID.parse(FULL) is JID.parse(FULL)
    assert JID.parse(FULL).bare is JID.parse("romeo@montague.lit/garden").bare
    long = "romeo@montague.lit/" + "a" * 1000
    assert JID.parse(long) is not JID.parse(long)


def test_a_jid_refers_to_itself_nowhere() -> None:
    jid = JID.parse(FULL)  # so that it goes when the last holder does, not when the collector comes
    for one in (jid, jid.bare, jid.domain):
        assert all(referent is not one for referent in gc.get_referents(one))


def test_a_jid_survives_being_parsed_again() -> None:
    jid = JID.parse(FULL)
    assert JID.parse(jid) is jid


addresses = st.builds(
    "{}{}{}".format,
    st.one_of(st.just(""), st.text(max_size=12).map(lambda text: text + "@")),
    st.one_of(st.text(max_size=12), st.sampled_from(["montague.lit", "m\u00fcnchen.lit", "[::1]"])),
    st.one_of(st.just(""), st.text(max_size=12).map(lambda text: "/" + text)),
)


def test_a_domain_in_cherokee_letters_stays_what_it_is() -> None:
    """IDNA knows their upper case alone."""
    address = JID.parse("xn--bcera.example")
    assert address == "\u13f4\u13f4\u13eb.example"
    assert JID.parse(str(address)) == JID.parse("\u13fc\u13fc\uabbb.example") == address


@given(st.one_of(st.text(), addresses, st.text("ab@/.:-[]\u0660\u05d0\u200d\u00b7\u0345x", max_size=20)))
@example("a@xn--a-0.lit")
@example("\u0345@a")
@example("xn--\u0660")
def test_any_text_is_an_address_or_an_invalid_one(text: str) -> None:
    try:
        jid = JID.parse(text)
    except InvalidJID:
        return
    plain = str.__str__(jid)
    assert JID.parse(plain) == jid
    assert jid.bare.is_bare
    assert jid.bare == (f"{jid.localpart}@{jid.domainpart}" if jid.localpart else jid.domainpart)
    assert JID.of(jid.localpart, jid.domainpart, jid.resourcepart) == jid
    assert jid.bare.with_resource(jid.resourcepart) == jid
    assert all(len(part.encode()) <= 1023 for part in (jid.localpart, jid.domainpart, jid.resourcepart))


@given(st.text(st.characters(max_codepoint=127), max_size=30))
def test_the_short_way_for_ascii_gives_what_the_profiles_give(text: str) -> None:
    for prepare, profile in ((prepare_localpart, username), (prepare_resourcepart, opaque_string)):
        try:
            prepared = prepare(text)
        except InvalidJID:
            continue
        assert prepared == profile(text)
