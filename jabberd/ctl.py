"""``jabberctl``: the operator's verbs on the command line.

It asks the running server through its Unix socket, with nothing but the standard library; when no
server runs, it works on the storage itself.  Exit status: 0 done, 1 refused, 2 not understood, 130 ended
by Ctrl-C.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import socket
import sys
import tomllib
from importlib.resources import files
from pathlib import Path
from shutil import get_terminal_size
from typing import Any, Final

from jabberd import __version__
from jabberd.table import one_line, render

DONE: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130  # as a shell says of what Ctrl-C ended

_Answer = dict[str, Any]

#: Verbs that print a file that comes with the server.
_SHIPPED: Final = {"config example": "example.toml", "completion": "completion.bash"}


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="jabberctl",
        description="Operate a jabberd server; `jabberctl --config FILE help` lists the verbs.",
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="the server's configuration file")
    parser.add_argument("--version", action="version", version=f"jabberd {__version__}")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_argument(
        "--password-stdin", action="store_true", help="read a password from standard input, not from a prompt"
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="a verb, such as: accounts create JID")
    parser.add_argument("--federation", metavar="DOMAIN", help="with check: try the way to that domain")
    options = parser.parse_intermixed_args(arguments)
    if options.federation:
        if options.words != ["check"]:
            parser.error("--federation goes with check")
        options.words.append(options.federation)
    options.words = _with_whole_path(options.words)
    shipped = _SHIPPED.get(" ".join(options.words))
    if shipped:
        text = (files("jabberd") / shipped).read_text().removesuffix("\n")
        return _show({"done": text}, as_json=options.json)
    if options.config is None:
        parser.error("--config FILE is missing")
    try:
        answer = _ask(options, {})
        if "ask" in answer:
            answer = _ask_again(answer["ask"], options)
    except KeyboardInterrupt:  # while the server answers
        return INTERRUPTED
    return _show(answer, as_json=options.json)


def _with_whole_path(words: list[str]) -> list[str]:
    """The words, with a file as the server finds it, which runs in another folder."""
    for verb in (["backup"], ["restore"], ["config", "check"]):
        if words[: len(verb)] == verb and len(words) > len(verb):
            file, *rest = words[len(verb) :]
            return [*verb, str(Path(file).absolute()), *rest]
    return words


def _ask_again(name: str, options: argparse.Namespace) -> _Answer:
    """Ask with the secret of that name, which is needed."""
    if not (options.password_stdin or sys.stdin.isatty()):
        return {"usage": f"there is no terminal to ask for the {name}; use --password-stdin"}
    try:
        secret = _from_stdin() if options.password_stdin else _from_prompt(name, options.words)
    except (EOFError, KeyboardInterrupt):
        return {"refused": f"no {name} was given; nothing was done"}
    except UnicodeDecodeError:
        return {"refused": f"the {name} is not in {sys.stdin.encoding.upper()}"}
    return _ask(options, {name: secret})


def _ask(options: argparse.Namespace, secrets: dict[str, str]) -> _Answer:
    """Ask whoever can answer: the server, or the storage if there is none."""
    config, words = options.config, options.words
    path = _socket_path(config)
    request = {"words": words, "secrets": secrets}
    try:
        answer = _from_server(path, request, as_json=options.json) if path else None
    except OSError as why:
        if why.errno is not None:
            return {"refused": f"the server cannot be reached: {why.strerror}"}
        answer = None  # no socket can be called so, as is told with the line when the file is read
    return answer or _from_storage(config, words, secrets)


def _socket_path(config: Path) -> Path | None:
    """``[control] socket``; anything wrong with the file is told when the storage is to be opened."""
    try:
        table = tomllib.loads(config.read_text())
        return config.resolve().parent / Path(table["control"]["socket"]).expanduser()
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _from_server(path: Path, request: dict[str, Any], *, as_json: bool) -> _Answer | None:
    """What the server answers; None if none runs.  Rows that come before it are shown as they come."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as answers:
            for line in map(json.loads, answers):
                if "row" not in line:
                    answer: _Answer = line
                    return answer
                try:
                    _show_row(line, as_json=as_json)
                except BrokenPipeError:  # whoever read it has seen enough
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                    return {"done": None}
    return {"refused": "the server ended the connection without an answer"}


def _show_row(line: _Answer, *, as_json: bool) -> None:
    """One row of an answer that goes on, at once."""
    print(json.dumps(line) if as_json else one_line(line["row"]), flush=True)


def _from_storage(config: Path, words: list[str], secrets: dict[str, str]) -> _Answer:
    from jabberd.config import ConfigError  # noqa: PLC0415  # half a second that a running server spares
    from jabberd.direct import run  # noqa: PLC0415
    from jabberd.interfaces import StorageError  # noqa: PLC0415

    try:
        return run(config, words, secrets)
    except (ConfigError, StorageError) as why:
        return {"refused": str(why)}


def _from_stdin() -> str:
    """The first line of standard input."""
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")


def _from_prompt(name: str, words: list[str]) -> str:
    """What is typed twice, unseen."""
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
        print(f"jabberctl: {render(answer.get('refused') or answer['usage'])}", file=sys.stderr)
    return status


def _print(data: object) -> None:
    """A table that fits the terminal, or plain lines in a pipe; nothing for None."""
    terminal = sys.stdout.isatty()
    width = get_terminal_size().columns if terminal else None
    text = render(data, width, colour=terminal and "NO_COLOR" not in os.environ)
    if text:
        print(text)


if __name__ == "__main__":
    sys.exit(main())
