"""SCRAM: the vectors of the RFCs, the keys, and the grammar of the messages."""

from __future__ import annotations

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.xmpp.errors import SASLFailure
from jabberd.xmpp.scram import (
    HASHES,
    InvalidPassword,
    ScramExchange,
    ScramKeys,
    derive,
    prepare_password,
    stand_in,
    verify_password,
)

SECRET = b"known to montague.lit alone"
KEYS = derive("pencil", "SHA-1", b64decode("QSXCR+Q6sek8bf92"), 4096)


def exchange(nonce: str = "3rfcNHYJY1ZVvWVs7j") -> ScramExchange:
    return ScramExchange(bindings={}, plus=False, plus_offered=False, nonce=nonce)


def test_the_exchange_of_rfc_5802_section_5() -> None:
    server = exchange()
    first = server.receive_first(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL")
    assert (first.username, first.authzid) == ("user", "")
    assert server.challenge(KEYS) == b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"
    final = server.receive_final(
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
    )
    assert final == b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="


def test_an_exchange_judges_one_final_message() -> None:
    server = exchange()
    server.receive_first(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL")
    server.challenge(KEYS)
    final = b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
    server.receive_final(final)
    with pytest.raises(SASLFailure, match="malformed-request"):
        server.receive_final(final)


def test_the_exchange_of_rfc_7677_section_3() -> None:
    keys = derive("pencil", "SHA-256", b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    server = exchange("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    server.receive_first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    assert server.challenge(keys) == (
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    final = server.receive_final(
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert final == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize("hash_name", HASHES)
def test_keys_tell_their_password_from_others(hash_name: str) -> None:
    keys = derive("wherefore", hash_name, iterations=4096)
    assert verify_password(keys, "wherefore")
    assert not verify_password(keys, "Wherefore")
    assert not verify_password(keys, "")
    assert derive("wherefore", hash_name, iterations=4096).salt != keys.salt


def test_keys_do_not_show_in_logs() -> None:
    assert repr(KEYS) == "ScramKeys(hash_name='SHA-1', iterations=4096, genuine=True)"


def test_few_iterations_are_refused() -> None:
    with pytest.raises(ValueError, match="4096"):
        derive("wherefore", "SHA-256", iterations=4095)


def test_a_password_is_prepared_as_an_opaque_string() -> None:
    assert prepare_password("Art\u00a0\u2163 e\u0301") == "Art \u2163 \u00e9"
    for text in ("", "\x00", "a\nb", "\ud800"):
        with pytest.raises(InvalidPassword) as refusal:
            prepare_password(text)
        assert "\nb" not in str(refusal.value)


@pytest.mark.parametrize("hash_name", HASHES)
def test_a_stand_in_stays_the_same_and_looks_like_real_keys(hash_name: str) -> None:
    keys = stand_in(SECRET, "nobody@montague.lit", hash_name)
    assert keys == stand_in(SECRET, "nobody@montague.lit", hash_name)
    real = derive("wherefore", hash_name)
    assert [len(part) for part in (keys.salt, keys.stored_key, keys.server_key)] == [
        len(part) for part in (real.salt, real.stored_key, real.server_key)
    ]
    assert keys.iterations == real.iterations
    others = {
        stand_in(SECRET, "noone@montague.lit", hash_name).salt,
        stand_in(b"another server's secret", "nobody@montague.lit", hash_name).salt,
        *(stand_in(SECRET, "nobody@montague.lit", other).salt for other in HASHES if other != hash_name),
    }
    assert len(others) == 4
    assert keys.salt not in others


def test_a_stand_in_lets_nobody_in_even_with_a_proof_that_fits() -> None:
    real = derive("pencil", "SHA-1", b64decode("QSXCR+Q6sek8bf92"), 4096)
    fake = ScramKeys("SHA-1", real.salt, 4096, real.stored_key, real.server_key, genuine=False)
    assert not verify_password(fake, "pencil")
    server = exchange()
    server.receive_first(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL")
    server.challenge(fake)
    with pytest.raises(SASLFailure, match="not-authorized"):
        server.receive_final(
            b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
        )


def test_names_are_unescaped_once() -> None:
    first = exchange().receive_first(b"n,a=r=2Co=3Dm,n==3D2Cuser,r=abc")
    assert (first.username, first.authzid) == ("=2Cuser", "r,o=m")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff",
        b"n",
        b"n,,",
        b"n,,n=,r=abc",
        b"n,,n=user",
        b"n,,n=user,r=",
        b"n,,n=user,r=a\xc3\xa9",
        b"n,,r=abc,n=user",
        b"n,,n=us=er,r=abc",  # '=' without 2C or 3D (§5.1)
        b"n,,n=us=2cer,r=abc",
        b"n,,n=us\0er,r=abc",
        b"n,a=,n=user,r=abc",
        b"n,b=x,n=user,r=abc",
        b"n,,m=ext,n=user,r=abc",  # reserved for what must be understood
        b"n,,n=user,r=abc,m=ext",
        b"n,,n=user,r=abc,x",
        b"n,,n=user,r=abc,x=",
        b"n,,n=user,r=abc,",
        b"x,,n=user,r=abc",
        b"p=,,n=user,r=abc",
        b"p=tls exporter,,n=user,r=abc",
        b"n,,n=user,r=abc\n",
    ],
)
def test_a_first_message_against_the_grammar_is_malformed(message: bytes) -> None:
    with pytest.raises(SASLFailure, match="malformed-request"):
        exchange().receive_first(message)


def test_unknown_optional_extensions_are_let_pass() -> None:
    assert exchange().receive_first(b"n,,n=user,r=abc,x=1,Y=a=b").username == "user"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff",
        b"c=biws,r=abcdef",
        b"c=biws,r=abcdef,p=a",
        b"c=biws,r=abcdef,p=!!!!",
        b"c=biw,r=abcdef,p=AAAA",
        b"r=abcdef,c=biws,p=AAAA",
        b"c=biws,p=AAAA,r=abcdef",
        b"c=biws,m=ext,r=abcdef,p=AAAA",
        b"c=biws,r=abcdef,m=ext,p=AAAA",
        b"c=biws,r=abcdef,p=AAAA,x=1",
    ],
)
def test_a_final_message_against_the_grammar_is_malformed(message: bytes) -> None:
    server = exchange("def")
    server.receive_first(b"n,,n=user,r=abc")
    server.challenge(KEYS)
    with pytest.raises(SASLFailure, match="malformed-request"):
        server.receive_final(message)


def test_a_final_message_with_nothing_before_it_is_malformed() -> None:
    with pytest.raises(SASLFailure, match="malformed-request"):
        exchange().receive_final(b"c=biws,r=abcdef,p=AAAA")


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_are_answered_or_a_failure(first: bytes, final: bytes) -> None:
    server = exchange()
    with pytest.raises(SASLFailure):
        server.receive_first(first)
    server.receive_first(b"n,,n=user,r=abc")
    server.challenge(KEYS)
    with pytest.raises(SASLFailure):
        server.receive_final(final)
