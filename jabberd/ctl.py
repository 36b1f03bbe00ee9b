"""``jabberctl``: the operator's verbs on the command line.

It asks the running server through its Unix socket, with nothing but the standard library; when no
server runs, it works on the storage itself.  Exit status: 0 done, 1 refused, 2 not understood.
"""

from __future__ import annotations

import argparse
import getpass
import json
import socket
import sys
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

DONE: Final = 0
REFUSED: Final = 1
USAGE: Final = 2

_Answer = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="jabberctl",
        description="Operate a jabberd server; `jabberctl --config FILE help` lists the verbs.",
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="the server's configuration file")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_argument(
        "--password-stdin", action="store_true", help="read a password from standard input, not from a prompt"
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="a verb, such as: accounts create JID")
    options = parser.parse_args(arguments)
    if options.words == ["config", "example"]:
        print((files("jabberd") / "example.toml").read_text(), end="")
        return DONE
    if options.config is None:
        parser.error("--config FILE is missing")
    answer = _ask(options.config, options.words, {})
    if "ask" in answer:
        secret = _secret(answer["ask"], options.words, from_stdin=options.password_stdin)
        answer = _ask(options.config, options.words, {answer["ask"]: secret})
    return _show(answer, as_json=options.json)


def _ask(config: Path, words: list[str], secrets: dict[str, str]) -> _Answer:
    request = {"words": words, "secrets": secrets}
    try:
        path = _socket_path(config)
        return _from_server(path, request) if path else _from_storage(config, words, secrets)
    except (FileNotFoundError, ConnectionRefusedError):
        return _from_storage(config, words, secrets)
    except OSError as why:
        return {"refused": f"the server cannot be reached: {why.strerror}"}


def _socket_path(config: Path) -> Path | None:
    """``[control] socket``; anything wrong with the file is told when the storage is to be opened."""
    try:
        table = tomllib.loads(config.read_text())
        return config.resolve().parent / Path(table["control"]["socket"]).expanduser()
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _from_server(path: Path, request: dict[str, Any]) -> _Answer:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as answers:
            line = answers.readline()
    if not line:
        return {"refused": "the server ended the connection without an answer"}
    answer: _Answer = json.loads(line)
    return answer


def _from_storage(config: Path, words: list[str], secrets: dict[str, str]) -> _Answer:
    from jabberd.config import ConfigError  # noqa: PLC0415  # half a second that a running server spares
    from jabberd.direct import run  # noqa: PLC0415
    from jabberd.interfaces import StorageError  # noqa: PLC0415

    try:
        return run(config, words, secrets)
    except (ConfigError, StorageError) as why:
        return {"refused": str(why)}


def _secret(name: str, words: list[str], *, from_stdin: bool) -> str:
    if from_stdin or not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    while True:
        first = getpass.getpass(f"{name} for {words[-1]}: ")
        if first == getpass.getpass("once more: "):
            return first
        print("they differ; again, please", file=sys.stderr)


def _show(answer: _Answer, *, as_json: bool) -> int:
    status = DONE if "done" in answer else REFUSED if "refused" in answer else USAGE
    if as_json:
        print(json.dumps(answer))
    elif status == DONE:
        _print(answer["done"])
    else:
        print(f"jabberctl: {answer.get('refused') or answer.get('usage')}", file=sys.stderr)
    return status


def _print(data: object) -> None:
    """One row a line, its values in columns; nothing for None."""
    if isinstance(data, list):
        for row in data:
            _print(row)
    elif isinstance(data, dict):
        print("  ".join(f"{value!s:<32}" for value in data.values()).rstrip())
    elif data is not None:
        print(data)


if __name__ == "__main__":
    sys.exit(main())
