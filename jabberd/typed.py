"""A table of a configuration becomes an object with typed fields; every mistake in it is told in words.

The types are read by msgspec, which stops at the first mistake; so the table is walked here.
"""

from __future__ import annotations

import operator
import os.path
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast, dataclass_transform

from msgspec import Meta, inspect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jabberd.toml import Keys

    #: Is told of a mistake: the way to it, and ``what is wrong (what it got); what to do``.
    Told = Callable[[Keys, str], None]

__all__ = ["Mistake", "Settings", "beside", "checked", "example", "is_secret", "read", "reads"]


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
class Settings:
    """The base of all settings: frozen, and a key that nobody reads is refused.

    In a module every field has a default; they stand in ``[domains."DOMAIN".modules.NAME]``.
    A field may be a ``bool``, ``int``, ``float``, ``str``, ``Literal``, ``Path``, `JID` or other settings,
    a ``tuple[X, ...]``, ``list``, ``set``, ``frozenset`` or ``dict`` of them, one of several or None, within
    the bounds of a ``msgspec.Meta``.  `checked`, `reads` and ``__post_init__`` may raise `Mistake`.
    """

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)


class Mistake(ValueError):  # noqa: N818  # it is the operator's, not an error of ours
    """``what is wrong; what to do``; what it got is put in by the reader.

    :param key: what it is about, where a whole table is looked at; empty: the table.
    """

    def __init__(self, said: str, key: str = "") -> None:
        super().__init__(said)
        self.key = key


S = TypeVar("S", bound=Settings)


def checked(check: Callable[[Any], object]) -> Meta:
    """In an ``Annotated`` type: a function gets the value as typed, and gives the one to take.

    It may raise `Mistake`.
    """
    return Meta(extra={"checked": check})


def reads(form: Callable[[Any, Path | None], object]) -> Meta:
    """In an ``Annotated`` type: a function gets the value as it is written, and gives one of the type.

    It may raise `Mistake`.  Its second argument is the folder of the file; None: a program gives the value.
    """
    return Meta(extra={"reads": form})


def example(text: str) -> Meta:
    """In an ``Annotated`` type: what to add where the value is missing or empty."""
    return Meta(extra={"example": text})


def beside(path: Path, folder: Path | None) -> Path:
    """The path, from the folder of the file in which it stands."""
    if "\0" in str(path):
        raise Mistake("has a NUL character, which no path has; take it out")
    if folder is None:
        return path
    return Path(os.path.normpath(folder / path.expanduser()))  # the folder has no symbolic links


def read(cls: type[S], table: object, told: Told, folder: Path | None = None) -> S | None:
    """The settings in a table; None after mistakes, all of which were told.

    :param folder: where its relative paths start; None: the table comes from a program, and may have
        values of the fields' own types.
    """
    found = _Reader(told, folder).value(inspect.type_info(cls), table, ())
    return None if found is _WRONG else cast("S", found)


# --- the walk ------------------------------------------------------------------------------------

_WRONG: Final = object()
_ITEMS: Final[dict[type, type]] = {
    inspect.VarTupleType: tuple,
    inspect.ListType: list,
    inspect.SetType: set,
    inspect.FrozenSetType: frozenset,
}
_TEXT: Final = "is not a text; put it in quotes"
_SCALARS: Final[dict[type, tuple[tuple[type, ...], str]]] = {
    inspect.BoolType: ((bool,), "is neither true nor false; write one of them, without quotes"),
    inspect.IntType: ((int,), "is not a whole number; write only digits, without quotes"),
    inspect.FloatType: ((float, int), "is not a number; write it without quotes"),
    inspect.StrType: ((str,), _TEXT),
}


class _Bound(NamedTuple):
    """What a ``msgspec.Meta`` may ask for."""

    holds: Callable[[Any, Any], object]
    wrong: str


_BOUNDS: Final = {
    "gt": _Bound(operator.gt, "is too small; use more than {}"),
    "ge": _Bound(operator.ge, "is too small; use {} or more"),
    "lt": _Bound(operator.lt, "is too large; use less than {}"),
    "le": _Bound(operator.le, "is too large; use {} or less"),
    "multiple_of": _Bound(lambda value, of: value % of == 0, "is not right; use a multiple of {}"),
    "min_length": _Bound(lambda value, least: len(value) >= least, "is too short; its length is {} or more"),
    "max_length": _Bound(lambda value, most: len(value) <= most, "is too long; its length is {} or less"),
    "pattern": _Bound(lambda value, form: re.search(form, value), "is not right; it has the form {}"),
}


class _Reader:
    def __init__(self, told: Told, folder: Path | None) -> None:
        self._told = told
        self._folder = folder

    def value(self, kind: inspect.Type, value: object, keys: Keys) -> object:
        """What the value means; `_WRONG` after mistakes, which were told."""
        try:
            found = self._typed(kind, value, keys)
            return found if found is _WRONG else _bounded(kind, found)
        except ValueError as error:
            if isinstance(error, Mistake) and error.key and isinstance(value, Mapping):
                keys, value = (*keys, error.key), value.get(error.key)
            self._tell(keys, value, str(error))
            return _WRONG

    def _tell(self, keys: Keys, got: object, said: str) -> None:
        what, semicolon, remedy = said.partition("; ")
        self._told(keys, f"{what} (got {_shown(got, keys)}){semicolon}{remedy}")

    def _typed(self, kind: inspect.Type, value: object, keys: Keys) -> object:
        if walk := _WALKS.get(type(kind)):
            return walk(self, kind, value, keys)
        if isinstance(kind, inspect.LiteralType):
            return _literal(kind, value)
        return _scalar(kind, value)

    def annotated(self, kind: inspect.Metadata, value: object, keys: Keys) -> object:
        extra = kind.extra or {}
        if "reads" in extra:
            value = extra["reads"](value, self._folder)
        found = self._typed(kind.type, value, keys)
        if found is _WRONG:
            return _WRONG
        if "example" in extra and not found:
            self._told(keys, f"is missing; add {extra['example']}")
            return _WRONG
        found = _bounded(kind.type, found)
        return extra["checked"](found) if "checked" in extra else found

    def table(self, kind: inspect.DataclassType, value: object, keys: Keys) -> object:
        table = vars(value) if isinstance(value, Settings) else value
        if not isinstance(table, Mapping):
            raise Mistake("is not a table; give it keys of its own")
        known = {each.name: each for each in kind.fields}
        unknown = [key for key in table if key not in known]
        for key in unknown:
            remedy = _quoted(keys, key, table[key]) or _suggestion(key, sorted(known))
            self._tell((*keys, key), table[key], f"is not a setting here; {remedy}")
        missing = [each for each in kind.fields if each.required and each.name not in table]
        for each in missing:
            self._told((*keys, each.name), f"is missing; add {_example(each.type)}")
        found = {
            name: self.value(each.type, table[name], (*keys, name))
            for name, each in known.items()
            if name in table
        }
        if unknown or missing or _WRONG in found.values():
            return _WRONG
        return self._whole(kind.cls, found, keys)

    def _whole(self, cls: type, found: dict[str, object], keys: Keys) -> object:
        try:
            return cls(**found)
        except ValueError as error:
            if isinstance(error, Mistake) and error.key:
                raise
            self._told(keys, str(error))
            return _WRONG

    def mapping(self, kind: inspect.DictType, value: object, keys: Keys) -> object:
        if not isinstance(value, Mapping):
            raise Mistake("is not a table; give it keys of its own")
        found = {}
        wrong = False
        for key, inside in value.items():
            name = self.value(kind.key_type, key, (*keys, key))
            what = self.value(kind.value_type, inside, (*keys, key))
            wrong = wrong or _WRONG in (name, what)
            found[name] = what
        return _WRONG if wrong else found

    def items(self, kind: Any, value: object, keys: Keys) -> object:
        if not isinstance(value, list | tuple | set | frozenset):
            raise Mistake("is not a list; put it in [ and ]")
        found = [self.value(kind.item_type, item, (*keys, place)) for place, item in enumerate(value)]
        return _WRONG if _WRONG in found else _ITEMS[type(kind)](found)

    def one_of(self, kind: inspect.UnionType, value: object, keys: Keys) -> object:
        """The first that it is; else the mistakes as each of them."""
        if value is None:
            return None
        kinds = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
        told: list[tuple[Keys, str]] = []
        for each in kinds:
            found = _Reader(lambda *mistake: told.append(mistake), self._folder).value(each, value, keys)
            if found is not _WRONG:
                return found
        for mistake in told:
            self._told(*mistake)
        return _WRONG

    def made(self, kind: Any, value: object, _: Keys) -> object:
        """Of a class of its own, which is made from a text."""
        if not isinstance(value, kind.cls):
            if not isinstance(value, str):
                raise Mistake(_TEXT)
            try:
                value = kind.cls(value)
            except ValueError as error:
                raise Mistake(f"is not right; {error}") from None
        return beside(value, self._folder) if isinstance(value, Path) else value


_WALKS: Final[dict[type, Callable[[_Reader, Any, object, Keys], object]]] = {
    inspect.Metadata: _Reader.annotated,
    inspect.DataclassType: _Reader.table,
    inspect.DictType: _Reader.mapping,
    inspect.UnionType: _Reader.one_of,
    inspect.CustomType: _Reader.made,
    inspect.NamedTupleType: _Reader.made,
    **dict.fromkeys(_ITEMS, _Reader.items),
}


def _literal(kind: inspect.LiteralType, value: object) -> object:
    if any(value == each and type(value) is type(each) for each in kind.values):
        return value
    *others, last = map(repr, kind.values)
    raise Mistake(f"is not known here; use {', '.join(others)}{' or ' * bool(others)}{last}")


def _scalar(kind: inspect.Type, value: object) -> object:
    if type(kind) not in _SCALARS:
        raise TypeError(f"a setting cannot be of the type {kind}")
    types, wrong = _SCALARS[type(kind)]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise Mistake(wrong)
    return float(cast("float", value)) if isinstance(kind, inspect.FloatType) else value


def _bounded(kind: inspect.Type, value: object) -> object:
    for name, bound in _BOUNDS.items():
        limit = getattr(kind, name, None)
        if limit is not None and not bound.holds(value, limit):
            raise Mistake(bound.wrong.format(limit))
    return value


# --- how a mistake is told -----------------------------------------------------------------------

_SECRET = re.compile(r"password|secret|answers", re.IGNORECASE)
_LOGIN_IN_URL = re.compile(r"(?<=//)[^/@]*@")
_LONGEST_SHOWN = 60


def is_secret(key: object) -> bool:
    """Whether what is called so must not be shown to anybody."""
    return _SECRET.search(str(key)) is not None


def _shown(value: object, keys: Keys) -> str:
    if any(map(is_secret, keys)):
        return "something secret"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        text = _LOGIN_IN_URL.sub("***@", value)
        return '"' + text[:_LONGEST_SHOWN].encode("unicode_escape").decode() + '"'
    return str(value).lower() if isinstance(value, bool) else str(value)[:_LONGEST_SHOWN]


def _example(kind: inspect.Type) -> str:
    return str((kind.extra or {}).get("example", "it")) if isinstance(kind, inspect.Metadata) else "it"


def _quoted(keys: Keys, key: str, value: object) -> str:
    """What to do where a table was to be called by a domain, such as ``[domains.montague.lit]``."""
    name = keys[-1] if len(keys) > 1 and isinstance(value, Mapping) else 0
    return f'a name with dots stands in quotes, like "{name}.{key}"' if isinstance(name, str) else ""


def _suggestion(key: str, known: Sequence[str]) -> str:
    import difflib  # noqa: PLC0415 - only where there is a mistake

    near = difflib.get_close_matches(key, known, n=1)
    return (
        f"did you mean {near[0]}?" if near else f"the settings here are {', '.join(sorted(known)) or 'none'}"
    )
