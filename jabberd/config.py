"""The file that the settings come from.

It is read once: `Config.read`.  Every mistake in it is collected with its line; `Config.check` tells
all of them at once.  Parts with settings of their own, like modules, ask for them with
`Config.validate`, and tell with `Config.problem` of mistakes that only they can see.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from copy import copy, deepcopy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from jabberd.settings import ServerSettings, Settings
from jabberd.toml import index

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from jabberd.toml import Keys

S = TypeVar("S", bound=Settings)

__all__ = ["Config", "ConfigError"]


class ConfigError(Exception):
    """The file cannot be used.

    Its text has a line for each mistake: ``file:line: key: what is wrong (what it got); what to do``.
    """


class Config:
    """A configuration file.

    :ivar name: how the file is called in messages.
    :ivar table: all that it says, as the standard library reads it.
    :ivar path: where it was read; None if it was not.
    """

    def __init__(self, name: str, source: str, folder: Path) -> None:
        """Parse a file's text.

        :param folder: where its relative paths start: absolute, without symbolic links.
        :raises ConfigError: it is not TOML.
        """
        self.name = name
        self.table = _parsed(name, source)
        self._lines = index(source)
        self._folder = folder
        self._problems: set[tuple[int, str]] = set()
        self.path: Path | None = None

    @classmethod
    def read(cls, path: str | Path) -> Config:
        """Read a file.

        :raises ConfigError: it cannot be read, or is not TOML.
        """
        try:
            source = Path(path).read_bytes().decode()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise ConfigError(f"{path}:{line}: is not UTF-8; save it as UTF-8") from None
        config = cls(str(path), source, Path(path).resolve().parent)
        config.path = Path(path).absolute()
        return config

    def changed(self, keys: tuple[str, ...] = (), value: object = None) -> Config:
        """The same with another value at those keys (None: without it), and no mistakes found so far."""
        other = copy(self)
        vars(other).pop("settings", None)  # of this one
        vars(other).update(_problems=set(), table=deepcopy(self.table))
        if keys:
            table: dict[str, Any] = other.table
            *above, last = map(str, keys)  # no JIDs, which cannot be copied
            for key in above:
                table = table.setdefault(key, {})
            table.pop(last, None)
            if value is not None:
                table[last] = value
        return other

    @cached_property
    def settings(self) -> ServerSettings:
        """The server's own settings.

        :raises ConfigError: with every mistake found so far, if there is one in them.
        """
        settings = self.validate((), ServerSettings)
        if settings is None:
            self.check()
            raise AssertionError("what did not validate is a problem")
        return settings

    def validate(self, keys: Keys, cls: type[S]) -> S | None:
        """The settings in the table at ``keys``; without that table, what they are by default.

        None after mistakes, which `check` will tell.
        """
        table = self._at(keys)
        try:
            text = json.dumps(table, default=str)  # JSON's strictness: lists make tuples, texts no numbers
            return cls.model_validate_json(text, strict=True, context={"folder": self._folder})
        except ValidationError as error:
            for each in error.errors(include_url=False):
                inside, said = _explain(each, cls, table)
                self.problem((*keys, *inside), said)
        return None

    def problem(self, keys: Keys, said: str) -> None:
        """Note a mistake: ``said`` has the form ``what is wrong (what it got); what to do``."""
        known = keys
        while known not in self._lines:
            known = known[:-1]
        line = self._lines[known]
        self._problems.add((line, f"{self.name}:{line}: {_dotted(keys)}: {said}"))

    def check(self) -> None:
        """Return if no mistake was found so far.

        :raises ConfigError: with all of them, by line.
        """
        if self._problems:
            raise ConfigError("\n".join(text for _, text in sorted(self._problems)))

    def modules(self) -> dict[str, dict[str, bool]]:
        """By domain and name, whether a module is wanted; also while other parts of the file are wrong."""
        domains = _table(self.table.get("domains"))
        return {
            domain: {
                name: value is not False for name, value in _table(_table(inside).get("modules")).items()
            }
            for domain, inside in domains.items()
        }

    def _at(self, keys: Keys) -> object:
        value: Any = self.table
        for key in keys:
            value = _table(value).get(str(key), {})
        return {} if value is True else value


def _parsed(name: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        said, _, where = str(error).partition(" (at ")
        found = re.match(r"line (\d+), column (\d+)", where)
        line, column = (found[1], found[2]) if found else (str(source.count("\n") + 1), "1")
        raise ConfigError(
            f"{name}:{line}: is not TOML at column {column}; {said[:1].lower()}{said[1:]}"
        ) from None


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dotted(keys: Keys) -> str:
    """As TOML spells it, with places in lists counted from 0: ``listeners[0].port``."""
    spelt = ""
    for key in keys:
        if isinstance(key, int):
            spelt += f"[{key}]"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", key)
            spelt += "." * bool(spelt) + (key if bare else json.dumps(key, ensure_ascii=False))
    return spelt or "the file"


# --- how a mistake is told -----------------------------------------------------------------------

_SAID = {
    "missing": "is missing; add it",
    "string_type": "is not a text; put it in quotes",
    "int_type": "is not a whole number; write only digits, without quotes",
    "float_type": "is not a number; write it without quotes",
    "bool_type": "is neither true nor false; write one of them, without quotes",
    "tuple_type": "is not a list; put it in [ and ]",
    "list_type": "is not a list; put it in [ and ]",
    "set_type": "is not a list; put it in [ and ]",
    "frozen_set_type": "is not a list; put it in [ and ]",
    "dict_type": "is not a table; give it keys of its own",
    "model_type": "is not a table; give it keys of its own",
    "literal_error": "is not known here; use {expected}",
    "greater_than": "is too small; use more than {gt}",
    "greater_than_equal": "is too small; use {ge} or more",
    "less_than": "is too large; use less than {lt}",
    "less_than_equal": "is too large; use {le} or less",
    "value_error": "{error}",
}
_SECRET = re.compile(r"password|secret", re.IGNORECASE)
_LOGIN_IN_URL = re.compile(r"(?<=//)[^/@]*@")
_LONGEST_SHOWN = 60


def _explain(error: ErrorDetails, cls: type[Settings], table: object) -> tuple[Keys, str]:
    """The key that pydantic's error is about, and ``what is wrong (what it got); what to do``.

    :param cls: what the table was validated by.
    :param table: what was validated, as it came from the file.
    """
    kind, location = error["type"], error["loc"]
    keys, got = _reached(location, table)
    if location[-1:] == ("[key]",):
        got = location[-2]
    if kind == "missing":
        return (*keys, location[-1]), _SAID[kind]
    if kind == "extra_forbidden":
        said = "is not a setting here; " + _suggestion(cls, location)
    else:
        said = _SAID.get(kind, "is wrong; {message}").format(message=error["msg"], **error.get("ctx", {}))
    if kind == "value_error" and isinstance(got, dict):
        return keys, said  # about the table as a whole
    what, semicolon, remedy = said.partition("; ")
    return keys, f"{what} (got {_shown(got, location)}){semicolon}{remedy}"


def _reached(location: Keys, table: Any) -> tuple[Keys, object]:
    """As far as the table goes along that way: pydantic adds names of its own (``int``, ``[key]``)."""
    for depth, part in enumerate(location):
        inside = isinstance(table, dict) or (isinstance(table, list) and isinstance(part, int))
        if not inside or (isinstance(table, dict) and part not in table):
            return location[:depth], table
        table = table[part]
    return location, table


def _shown(value: object, location: Keys) -> str:
    if any(_SECRET.search(str(part)) for part in location):
        return "something secret"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        text = _LOGIN_IN_URL.sub("***@", value)
        return '"' + text[:_LONGEST_SHOWN].encode("unicode_escape").decode() + '"'
    return str(value).lower() if isinstance(value, bool) else str(value)[:_LONGEST_SHOWN]


def _suggestion(cls: type[Settings], location: Keys) -> str:
    model: type[BaseModel] | None = cls
    for part in location[:-1]:
        if model and part in model.model_fields:
            model = _model_in(model.model_fields[str(part)].annotation)
    known = sorted(model.model_fields) if model else []
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"did you mean {near[0]}?" if near else f"the settings here are {', '.join(known) or 'none'}"


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The settings class in an annotation like ``dict[str, Domain] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
