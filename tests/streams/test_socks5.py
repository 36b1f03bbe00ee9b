"""What a client says on a connection for a bytestream, and what it is told (RFC 1928, XEP-0065 §6.3.2)."""

from __future__ import annotations

import pytest

from jabberd.streams.socks5 import Handshake, NotWantedError

DIGEST = "972b7bf47291ca609517f67f86b5081086052dad"
GREETING = b"\x05\x01\x00"


def request(name: str = DIGEST, *, command: int = 1, kind: int = 3, port: int = 0, version: int = 5) -> bytes:
    head = bytes([version, command, 0, kind, len(name)])
    return head + name.encode() + port.to_bytes(2, "big")


def told(*said: bytes) -> bytes:
    """What it is told last, by a refusal."""
    handshake = Handshake()
    for each in said[:-1]:
        handshake.feed(each)
    with pytest.raises(NotWantedError) as refusal:
        handshake.feed(said[-1])
    assert not handshake.digest
    return bytes(refusal.value.args[0])


def test_a_client_says_what_it_is_for() -> None:
    handshake = Handshake()
    assert handshake.feed(GREETING) == b"\x05\x00"
    assert handshake.feed(request()) == b""
    assert handshake.digest == DIGEST
    assert handshake.accepted() == b"\x05\x00\x00\x03\x28" + DIGEST.encode() + b"\x00\x00"  # §6.3.2
    assert handshake.refused()[:2] == b"\x05\x02"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_it_may_say_so_in_any_pieces(size: int) -> None:
    handshake, said = Handshake(), b"\x05\x03\x02\x00\x01" + request(DIGEST.upper())
    answers = [handshake.feed(said[place : place + size]) for place in range(0, len(said), size)]
    assert b"".join(answers) == b"\x05\x00"
    assert handshake.digest == DIGEST


def test_what_comes_too_early_is_ignored() -> None:
    handshake = Handshake()
    assert handshake.feed(GREETING + request() + b"bytes of a file") == b"\x05\x00"
    assert handshake.digest == DIGEST


@pytest.mark.parametrize("greeting", [b"\x04\x01\x00", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01"])
def test_another_protocol_is_told_nothing(greeting: bytes) -> None:
    assert told(greeting) == b""


@pytest.mark.parametrize("methods", [b"\x05\x00", b"\x05\x02\x01\x02"])
def test_who_cannot_do_without_a_password_is_told_so(methods: bytes) -> None:
    assert told(methods) == b"\x05\xff"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (request(command=2), 7),
        (request(command=3), 7),
        (request(version=4), 7),
        (b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50", 8),
        (request(kind=4), 8),
        (request("montague.lit"), 2),
        (request("x" * 40), 2),
        (request(DIGEST + "00"), 2),
        (request(port=80), 2),
        (b"\x05\x01\x00\x03\x00\x00\x00", 2),
    ],
)
def test_nobody_is_connected_to_anywhere(said: bytes, code: int) -> None:
    refusal = bytes([5, code, 0, 1, 0, 0, 0, 0, 0, 0])
    assert told(GREETING, said) == refusal
    assert told(GREETING + said) == b"\x05\x00" + refusal
