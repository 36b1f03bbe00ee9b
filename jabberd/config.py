"""The file that the settings come from.

It is read once: `Config.read`.  Every mistake in it is collected with its line; `Config.check` tells
all of them at once.  Parts with settings of their own, like modules, ask for them with
`Config.validate`, and tell with `Config.problem` of mistakes that only they can see.
"""

from __future__ import annotations

import json
import re
import tomllib
from copy import copy, deepcopy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from jabberd.settings import ServerSettings, Settings
from jabberd.toml import index
from jabberd.typed import read

if TYPE_CHECKING:
    from jabberd.toml import Keys

S = TypeVar("S", bound=Settings)

__all__ = ["Config", "ConfigError"]

#: What to do, by how the standard library's parser begins its complaint.
_REMEDIES: Final = {
    "Invalid value": "write a text in quotes, true and false in small letters",
    "Cannot overwrite": "it stands here for the second time: keep one, or write [[NAME]] over each of many",
    "Cannot declare": "put both tables into one",
    "Illegal character": "end a text with the quote that it began with",
}


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
            source = Path(path).read_bytes().decode("utf-8-sig")
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
        return read(
            cls, self._at(keys), lambda inside, said: self.problem((*keys, *inside), said), self._folder
        )

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
                name: value is not False
                for name, value in _table(_table(inside).get("modules")).items()
                if isinstance(value, bool | dict)
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
        remedy = next((f"; {remedy}" for begin, remedy in _REMEDIES.items() if said.startswith(begin)), "")
        raise ConfigError(
            f"{name}:{line}: is not TOML at column {column}; {said[:1].lower()}{said[1:]}{remedy}"
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
