"""What others know an archived message by: an id that nobody can guess (XEP-0313 §3, XEP-0359 §3).

A row's own id is a number that tells when it was archived, so that an archive is read in order; who knows
one nearly knows the next.  What is sent is therefore the number with a code behind it, which this server
alone can make, and another one in each archive.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from hmac import compare_digest
from typing import Final

__all__ = ["Uids"]

_NUMBER: Final = 7  # octets: ids of rows are below 2**53
_CODE: Final = 8  # octets; both together need no padding in base64
_LENGTH: Final = (_NUMBER + _CODE) * 4 // 3


class Uids:
    """Turns ids of rows into what is sent, and back; each has one text in each archive.

    :param key: known to this server alone and kept over restarts, of at most 64 octets.
    """

    __slots__ = ("_started",)

    def __init__(self, key: bytes) -> None:
        # Behind the key stands one octet more, so that every copy has the key's block done already.
        self._started = blake2b(b"\0", key=key, digest_size=_CODE)

    def text(self, owner: str, id: int) -> str:
        """What others know that row of an archive by: 20 letters, digits, ``-`` and ``_``.

        :param owner: of the archive, a bare JID.
        """
        number = id.to_bytes(_NUMBER, "big")
        code = self._started.copy()
        code.update(owner.encode() + number)
        return urlsafe_b64encode(number + code.digest()).decode()

    def id(self, owner: str, text: str) -> int | None:
        """The id of the row; None: nothing in that archive was ever known by that text."""
        if len(text) != _LENGTH or not text.isascii():
            return None
        try:
            id = int.from_bytes(urlsafe_b64decode(text)[:_NUMBER], "big")
        except ValueError:
            return None
        return id if compare_digest(self.text(owner, id), text) else None
