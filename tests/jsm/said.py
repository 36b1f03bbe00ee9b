"""What clients say to each other, and what they hear back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail

from jabberd.interfaces import StorageError
from jabberd.storage.memory import MemoryStorage
from jabberd.testing.client import condition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jabberd.testing import Client

HI = "<message to='{}' type='{}' id='m1'><body>hi</body></message>"


FROM_JULIET = "<message from='juliet@capulet.lit/balcony' to='{}' type='{}' id='m1'><body>hi</body></message>"


UNKNOWN = "<iq to='{}' type='{}' id='q1'><unknown xmlns='urn:x'/></iq>"


STANZAS = [
    "<message to='{}' id='m1'/>",
    "<presence to='{}' id='m1'/>",
    "<iq type='get' to='{}' id='m1'><x xmlns='urn:x'/></iq>",
]


def refused(client: Client, id: str = "m1") -> str:
    """The condition of the error that the client got for that stanza, and nothing more."""
    error = client.next()
    assert (error.get("type"), error.get("id")) == ("error", id)
    assert client.hears_nothing()
    return condition(error)


class Counting(MemoryStorage):
    """Counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.broken = False

    def load(self, owner: str, stores: Iterable[str]) -> Deferred[dict[str, dict[str, object]]]:
        self.loads.append(owner)
        return fail(StorageError("the disk is gone")) if self.broken else super().load(owner, stores)
