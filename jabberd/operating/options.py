"""All options of a configuration with their values, those of modules and of defaults too."""

from __future__ import annotations

import hmac
import json
import re
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from jabberd import hosting
from jabberd.api import Secret
from jabberd.settings import Settings
from jabberd.typed import is_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jabberd.config import Config

__all__ = ["differences", "only_at_start", "options"]

#: Makes of a secret what tells this process whether it is another one, and nobody what it is.
_KEY: Final = secrets.token_bytes(32)
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_LOGIN_IN_URL: Final = re.compile(r"(?<=//)[^/@]*@")
_HOSTED: Final = "hosted"  #: the value of a domain's table itself
#: What is looked at when the server starts, and not again.
_AT_START: Final = (
    "listeners",
    "storage",
    "control",
    "manhole",
    "log.format",
    "log.file",
    "log.budget",
    "limits.http_connections",
)


def options(config: Config) -> dict[str, str | None]:
    """By name, as TOML spells it, each option's value, as Python shows it, but for secrets and passwords.

    :raises ConfigError: the configuration is wrong.
    """
    found = dict(_leaves("", hosting.settings_of(config)))
    found |= {_below("components", name): _HOSTED for name in config.settings.components}
    for name, domain in config.settings.domains.items():
        table = _below("domains", name)
        found[table] = _HOSTED
        for module, settings in hosting.module_settings(config, name, domain.modules, domain.service).items():
            key = _below(f"{table}.modules", module)
            found |= {key: "True", **dict(_leaves(key, settings))}
    config.check()
    return found


def differences(
    now: Mapping[str, str | None], then: Mapping[str, str | None]
) -> Iterator[tuple[str, str | None, str | None]]:
    """Option, value now and value then, sorted; of a domain that comes or goes only that."""
    whole = [f"{name}." for name in now.keys() ^ then.keys() if (now.get(name) or then.get(name)) == _HOSTED]
    for name in sorted(now.keys() | then.keys()):
        if now.get(name) != then.get(name) and not name.startswith(tuple(whole)):
            yield name, now.get(name), then.get(name)


def only_at_start(option: str) -> bool:
    """Whether the option takes effect with the next start only."""
    return option.startswith(_AT_START)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str | None]]:
    if isinstance(value, Settings):
        value = vars(value)
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from _leaves(_below(path, str(key)), inside)
    else:
        shown = _shown(value, path.rpartition(".")[2])
        yield path, None if value is None else _LOGIN_IN_URL.sub("***@", shown)


def _shown(value: Any, key: str = "") -> str:
    if value and (isinstance(value, Secret) or is_secret(key)):
        return f"***{hmac.new(_KEY, str(value).encode(), sha256).hexdigest()[:4]}"
    if isinstance(value, Settings):
        value = vars(value)
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_shown(inside, key)}" for key, inside in value.items()) + "}"
    return str(value)


def _below(path: str, key: str) -> str:
    spelt = key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)
    return f"{path}.{spelt}" if path else spelt
