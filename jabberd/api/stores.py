"""Declarations of stores: on the class they say what is kept, on the instance they keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast, overload

from jabberd import interfaces

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jabberd.api.domain import Account
    from jabberd.api.module import Module

T = TypeVar("T")


def _bound(instance: Module, attribute: str) -> object:
    """The bound store, which from now on is found on the instance itself, without a look at the class."""
    store = vars(instance)[attribute] = instance.stores[attribute]
    return store


class Keyed(Generic[T]):
    """Declare a store of values by owner and key; on the instance it is an `interfaces.Keyed`.

    :param of: a type that msgspec can read and write as JSON: a dataclass, or simpler.
    :param resident: every account's values are in memory while the account is: filters may read
        them, with ``self.NAME.of(account)``.
    """

    def __init__(self, name: str, *, of: type[T], resident: bool = False) -> None:
        self.name = name
        self.type = of
        self.resident = resident

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name

    @overload
    def __get__(self, instance: None, owner: type) -> Keyed[T]: ...

    @overload
    def __get__(self, instance: Module, owner: type) -> Resident[T]: ...

    def __get__(self, instance: Module | None, owner: type) -> Keyed[T] | Resident[T]:
        if instance is None:
            return self
        return cast("Resident[T]", _bound(instance, self.attribute))


class Resident(interfaces.Keyed[T], Protocol[T]):
    """A bound `Keyed` store."""

    def of(self, account: Account) -> Mapping[str, T]:
        """A resident store's values of a loaded account, by key; without waiting."""


class Archive:
    """Declare a store of stanzas in order; on the instance it is an `interfaces.Archive`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name

    @overload
    def __get__(self, instance: None, owner: type) -> Archive: ...

    @overload
    def __get__(self, instance: Module, owner: type) -> interfaces.Archive: ...

    def __get__(self, instance: Module | None, owner: type) -> Archive | interfaces.Archive:
        if instance is None:
            return self
        return cast("interfaces.Archive", _bound(instance, self.attribute))


class Ordered(Generic[T]):
    """Declare a store of lists of values; on the instance it is an `interfaces.Ordered`.

    :param of: as for `Keyed`.
    """

    def __init__(self, name: str, *, of: type[T]) -> None:
        self.name = name
        self.type = of

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name

    @overload
    def __get__(self, instance: None, owner: type) -> Ordered[T]: ...

    @overload
    def __get__(self, instance: Module, owner: type) -> interfaces.Ordered[T]: ...

    def __get__(self, instance: Module | None, owner: type) -> Ordered[T] | interfaces.Ordered[T]:
        if instance is None:
            return self
        return cast("interfaces.Ordered[T]", _bound(instance, self.attribute))
