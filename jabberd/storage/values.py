"""Values to JSON and back, and archive ids: what stores in memory and in a database share."""

from __future__ import annotations

from binascii import a2b_base64
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar, cast

from msgspec import MsgspecError
from msgspec.json import Decoder, Encoder

from jabberd.interfaces import StorageError
from jabberd.xmpp.timestamp import EPOCH

T = TypeVar("T")

MICROSECOND: Final = timedelta(microseconds=1)


class Values(Generic[T]):
    """The values of one keyed store, as JSON text."""

    def __init__(self, store: str, of: type[T]) -> None:
        self.of = of
        self._store = store
        self._encoder = Encoder(enc_hook=_plain)
        self._decoder = Decoder(of, dec_hook=_read)

    def dump(self, value: T) -> str:
        """:raises StorageError: the value is of another type, or cannot be written as JSON."""
        try:
            text = self._encoder.encode(value)
            self._decoder.decode(text)  # what could not be read again is not stored
        except (MsgspecError, TypeError, ValueError, OverflowError):
            raise StorageError(f"a value for the store {self._store!r} is no {self.of!r} for JSON") from None
        return text.decode()

    def load(self, key: str, text: str) -> T:
        """:raises StorageError: what is stored under ``key`` is not a value of this store's type."""
        try:
            return self._decoder.decode(text)
        except (MsgspecError, ValueError):  # quotes the value
            raise StorageError(f"the store {self._store!r} holds no {self.of!r} under {key!r}") from None


def _plain(value: object) -> object:
    """What msgspec does not know, as it writes it: subclasses of ``str`` (a JID) and of ``bytes``."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes):
        return bytes(value)
    raise TypeError(f"{type(value)} cannot be stored")


def _read(kind: type, plain: object) -> object:
    if isinstance(plain, str) and issubclass(kind, str):
        return kind(plain)
    if isinstance(plain, str) and issubclass(kind, bytes):
        return kind(a2b_base64(plain.replace("-", "+").replace("_", "/")))
    raise TypeError(f"{kind} cannot be stored")


class Catalogue(dict[str, Values[Any]]):
    """The keyed stores that somebody asked for, by name."""

    def declare(self, name: str, of: type[T]) -> Values[T]:
        """The values of that store.

        :raises ValueError: the store holds another type already.
        """
        if name not in self or _same_name(self[name].of, of):
            self[name] = Values(name, of)
        known = self[name]
        if known.of != of:
            raise ValueError(f"the store {name!r} holds {known.of!r}, not {of!r}")
        return cast("Values[T]", known)


def _same_name(old: Any, new: Any) -> bool:
    """Whether a class comes anew from its file, as that of a module that is loaded again."""
    return isinstance(old, type) and isinstance(new, type) and old is not new and _place(old) == _place(new)


def _place(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


class Ids:
    """Archive ids: microseconds since 1970, increasing even when the clock is set back.

    Made here and not by the database, so that many rows go to it as one statement.

    :param last: the highest id given so far.
    """

    def __init__(self, last: int = 0) -> None:
        self._last = last
        self._stamp, self._moment = EPOCH, 0

    def moment(self, stamp: datetime) -> int:
        """Microseconds from 1970 to then; whoever takes an id ahead asks twice for the same."""
        if stamp is not self._stamp:
            self._stamp, self._moment = stamp, (stamp - EPOCH) // MICROSECOND
        return self._moment

    def next(self, stamp: datetime) -> int:
        """A new id, above all others; that moment, if it can be."""
        moment, above = self.moment(stamp), self._last + 1
        self._last = last = moment if moment > above else above  # noqa: FURB136  # a call would cost more
        return last
