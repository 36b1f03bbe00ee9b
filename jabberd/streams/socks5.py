"""What a client of a bytestream says before its first byte (RFC 1928, as XEP-0065 §6.3.2 uses it)."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["Handshake", "NotWantedError"]

_VERSION: Final = 5
_NO_AUTHENTICATION: Final = 0
_NOTHING_ACCEPTABLE: Final = b"\x05\xff"
_CONNECT: Final = 1
_DOMAIN_NAME: Final = 3
_GREETED: Final = b"\x05\x00"
#: RFC 1928 §6: the codes of refusals, each with an address that says nothing.
_REFUSED: Final = "05{:02x}000100000000" + "0000"
_NOT_ALLOWED, _NO_SUCH_COMMAND, _NO_SUCH_ADDRESS = 2, 7, 8
_DIGEST: Final = re.compile(rb"[0-9a-f]{40}")
_REQUEST: Final = 5  # octets, up to the length of the name


class NotWantedError(Exception):
    """It asks for something else; the argument is what it is told before the connection ends."""


class Handshake:
    """The proxy's side, without input or output: octets in, octets out.

    :ivar digest: what the client wants to be connected for, in hexadecimal; empty until it has said it.
    """

    def __init__(self) -> None:
        self.digest = ""
        self._greeted = False
        self._read = b""

    def feed(self, data: bytes) -> bytes:
        """Take what the client says, and give what it is told; what comes behind its request is ignored.

        :raises NotWantedError: it wants something else than to be half of a bytestream.
        """
        self._read += data
        told = b"" if self._greeted else self._greet()
        if self._greeted and not self.digest:
            try:
                self._connect()
            except NotWantedError as refusal:
                raise NotWantedError(told + refusal.args[0]) from None
        return told

    def accepted(self) -> bytes:
        """The answer to a request that can be granted: its own address and port (§6.3.2)."""
        return b"\x05\x00\x00\x03" + bytes([len(self.digest)]) + self.digest.encode() + b"\x00\x00"

    def refused(self) -> bytes:
        """The answer to one that cannot."""
        return _refusal(_NOT_ALLOWED)

    def _greet(self) -> bytes:
        """RFC 1928 §3."""
        if self._read[:1] not in (b"", b"\x05"):
            raise NotWantedError(b"")
        end = 2 + self._read[1] if len(self._read) > 1 else len(self._read) + 1
        if len(self._read) < end:
            return b""
        if _NO_AUTHENTICATION not in self._read[2:end]:
            raise NotWantedError(_NOTHING_ACCEPTABLE)
        self._greeted, self._read = True, self._read[end:]
        return _GREETED

    def _connect(self) -> None:
        """RFC 1928 §4."""
        read = self._read
        if len(read) < _REQUEST:
            return
        version, command, _, kind, length = read[:_REQUEST]
        if version != _VERSION or command != _CONNECT:
            raise NotWantedError(_refusal(_NO_SUCH_COMMAND))
        if kind != _DOMAIN_NAME:
            raise NotWantedError(_refusal(_NO_SUCH_ADDRESS))
        end = _REQUEST + length + 2
        if len(read) < end:
            return
        name, port = read[_REQUEST : end - 2].lower(), read[end - 2 : end]
        if not _DIGEST.fullmatch(name) or port != b"\x00\x00":
            raise NotWantedError(_refusal(_NOT_ALLOWED))
        self.digest, self._read = name.decode(), b""


def _refusal(code: int) -> bytes:
    return bytes.fromhex(_REFUSED.format(code))
