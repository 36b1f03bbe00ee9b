"""Who may come in, and how the server shows that it is itself: public keys of operators, and its own.

There is no password and no key that comes with the software.
"""

from __future__ import annotations

import os
import stat
from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.keys import Key

from jabberd.table import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["KeyFileError", "Operator", "authorized", "fingerprint", "host_key"]

_LARGEST: Final = 1 << 20  # bytes of a file of keys


class KeyFileError(Exception):
    """A file of keys cannot be used; the text has the form ``what is wrong; what to do``."""


class Operator(NamedTuple):
    """Somebody whose key is known.

    :ivar comment: what stands behind the key in the file, usually ``name@machine``.
    """

    comment: str
    fingerprint: str

    def __str__(self) -> str:
        return escaped(f"{self.comment} {self.fingerprint}".strip())


def fingerprint(blob: bytes) -> str:
    """Of a public key as it goes over the wire; the same as ``ssh-keygen -l`` shows: ``SHA256:...``."""
    return "SHA256:" + b64encode(sha256(blob).digest()).decode().rstrip("=")


def authorized(path: Path) -> dict[bytes, Operator]:
    """The operators in a file like OpenSSH's ``authorized_keys``, by the blobs of their keys.

    Options in front of a key are not understood, and not skipped either: they would restrict it.

    :raises KeyFileError: it cannot be read, others may write to it, or a line is not a key.
    """
    try:
        with path.open("rb") as file:
            _refuse_if_open(path, file.fileno(), 0o022, "others may write to it; chmod go-w it")
            text = file.read(_LARGEST)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}; put public keys there") from None
    return dict(_operators(path, text))


def _operators(path: Path, text: bytes) -> Iterator[tuple[bytes, Operator]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        try:
            key = Key.fromString(line.strip(), type="public_openssh")
        except Exception:  # noqa: BLE001  # Conch's reader fails in many ways, by assertions too
            raise KeyFileError(
                f"{path}:{number} is not a public key; write it as in a .pub file, without options"
            ) from None
        comment = line.split(None, 2)[2:]
        yield (
            key.blob(),
            Operator(b"".join(comment).decode("utf-8", "replace").strip(), fingerprint(key.blob())),
        )


def host_key(path: Path) -> Key:
    """The server's own key, made at the first start with mode 0600.

    :raises KeyFileError: it can neither be read nor made, or others may read it.
    """
    try:
        try:
            return _made(path)
        except FileExistsError:
            with path.open("rb") as file:
                _refuse_if_open(
                    path, file.fileno(), 0o077, "others may read it; chmod 600 it, or have a new one"
                )
                return _private(path, file.read(_LARGEST))
    except OSError as error:
        raise KeyFileError(f"{path} cannot be used: {error.strerror}; choose another place") from None


def _private(path: Path, text: bytes) -> Key:
    try:
        key: Key = Key.fromString(text, type="private_openssh")
    except Exception:  # noqa: BLE001  # as above
        raise KeyFileError(f"{path} is not a private key without a passphrase; remove it") from None
    return key


def _made(path: Path) -> Key:
    key = Key(Ed25519PrivateKey.generate())
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.toString("OPENSSH", subtype="v1", comment=b"jabberd manhole"))
    return key


def _refuse_if_open(path: Path, descriptor: int, bits: int, said: str) -> None:
    if stat.S_IMODE(os.fstat(descriptor).st_mode) & bits:
        raise KeyFileError(f"{path}: {said}")
