"""Secrets are compared in a time that does not tell how much of them is right."""

from __future__ import annotations

import ast
import hmac
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import jabberd
from jabberd.xmpp.dialback import is_key, make_key
from jabberd.xmpp.errors import SASLFailure
from jabberd.xmpp.scram import ScramExchange, derive, verify_password

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRETS = {
    "stored_key",
    "server_key",
    "client_key",
    "proof",
    "signature",
    "password",
    "secret",
    "token",
    "digest",
}


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, bytes]]:
    """What `hmac.compare_digest` was asked."""
    asked: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        asked.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    return asked


@pytest.mark.parametrize("password", ["secret", "secreu", "wrong"])
def test_a_password_is(compared: list[tuple[bytes, bytes]], password: str) -> None:
    keys = derive("secret", "SHA-256", iterations=4096)
    assert verify_password(keys, password) == (password == "secret")
    [(_, stored)] = compared
    assert stored == keys.stored_key


def test_a_proof_is(compared: list[tuple[bytes, bytes]]) -> None:
    keys = derive("secret", "SHA-256", iterations=4096)
    exchange = ScramExchange(bindings={}, plus=False, plus_offered=False)
    exchange.receive_first(b"n,,n=romeo,r=abc")
    first = exchange.challenge(keys).decode()
    nonce = first.split(",")[0]
    with pytest.raises(SASLFailure, match="not-authorized"):
        exchange.receive_final(f"c=biws,{nonce},p={b64encode(bytes(32)).decode()}".encode())
    assert keys.stored_key in [right for _, right in compared]


def test_a_dialback_key_is(compared: list[tuple[bytes, bytes]]) -> None:
    key = make_key("s3cr3t", "xmpp.example.com", "example.org", "D60000229F")
    assert not is_key(key[:-1] + "x", "s3cr3t", "xmpp.example.com", "example.org", "D60000229F")
    [(_, right)] = compared
    assert right == key.encode()


def comparisons(file: Path) -> Iterator[str]:
    """Where something that is called like a secret is compared as other things are."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            sides = (node.left, *node.comparators)
            names = {getattr(side, "attr", getattr(side, "id", "")) for side in sides}
            if names & SECRETS and not any(isinstance(side, ast.Constant) for side in sides):
                yield ast.unparse(node)


def test_nothing_that_is_called_a_secret_is_compared_otherwise() -> None:
    found = [each for file in Path(jabberd.__file__).parent.rglob("*.py") for each in comparisons(file)]
    harmless = {
        "password != filled.text(_AGAIN.var)",  # both were typed by the same person
    }
    assert set(found) <= harmless
