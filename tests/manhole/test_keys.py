"""The files of keys: what is understood, what is refused, and how the server's own comes to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from twisted.conch.ssh.keys import Key

from jabberd.manhole.keys import KeyFileError, authorized, fingerprint, host_key

if TYPE_CHECKING:
    from pathlib import Path


def public(kind: str, comment: str = "") -> bytes:
    private: Any = ed25519.Ed25519PrivateKey.generate()
    if kind == "rsa":
        private = rsa.generate_private_key(65537, 2048)
    elif kind == "ecdsa":
        private = ec.generate_private_key(ec.SECP256R1())
    line: bytes = Key(private).public().toString("OPENSSH", comment=comment.encode())
    return line


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "authorized_keys"
    path.touch(0o600)
    return path


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_keys_of_every_kind_are_known_by_their_comment_and_fingerprint(file: Path, kind: str) -> None:
    line = public(kind, "the nurse")
    file.write_bytes(b"# operators\n\n" + line + b"\n" + public("ed25519"))
    blob = Key.fromString(line).blob()
    assert str(authorized(file)[blob]) == f"the nurse {fingerprint(blob)}"
    assert len(authorized(file)) == 2


def test_a_fingerprint_is_written_as_openssh_does() -> None:
    assert fingerprint(b"") == "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"


def test_a_comment_cannot_forge_the_log(file: Path) -> None:
    file.write_bytes(public("ed25519", "nurse\x1b[2J"))
    [operator] = authorized(file).values()
    assert str(operator).startswith("nurse\\x1b[2J SHA256:")


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"ssh-ed25519",
        b"ssh-ed25519 !!!!",
        b"ssh-ed25519 AAAA",
        b"ecdsa-sha2-nistp256 AAAA",
        b"sk-ssh-ed25519@openssh.com AAAA",
        b"\xff\xfe",
        b"{x",
        b"(x",
        b"-----BEGIN OPENSSH PRIVATE KEY-----",
        pytest.param(b'from="10.0.0.1" ' + public("ed25519"), id="options before the key"),
    ],
)
def test_a_line_that_is_no_key_refuses_the_whole_file_and_is_named(file: Path, line: bytes) -> None:
    file.write_bytes(public("ed25519") + b"\n" + line)
    with pytest.raises(KeyFileError, match=r"authorized_keys:2 is not a public key; write it as in a \.pub"):
        authorized(file)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_to_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(KeyFileError, match="others may write to it; chmod go-w it"):
        authorized(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="nowhere cannot be read: No such file or directory; put public"):
        authorized(tmp_path / "nowhere")


def test_the_host_key_is_made_once_for_the_server_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "host_key"
    made = host_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert made.sshType() == b"ssh-ed25519"
    assert host_key(path) == made
    assert host_key(tmp_path / "other") != made


def test_a_host_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    host_key(tmp_path / "host_key")
    (tmp_path / "host_key").chmod(0o640)
    with pytest.raises(KeyFileError, match="others may read it; chmod 600 it"):
        host_key(tmp_path / "host_key")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n",
        pytest.param(public("ed25519"), id="a public key"),
    ],
)
def test_what_is_no_private_key_is_not_overwritten(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "host_key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="is not a private key without a passphrase; remove it"):
        host_key(path)
    assert path.read_bytes() == content


def test_a_place_where_no_key_can_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyFileError, match="cannot be used: Not a directory; choose another place"):
        host_key(tmp_path / "file" / "host_key")
