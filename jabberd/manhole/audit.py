"""What of the manhole stands in the log: every line that was typed, without the secrets in it."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import (
    FilteringLogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogPublisher,
)

from jabberd.api import Secret
from jabberd.manhole.nouns import Listing, Sentence
from jabberd.table import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jabberd.admin import Admin
    from jabberd.manhole.nouns import Nouns

__all__ = ["loggable", "masked", "quiet"]

#: For Conch, which says a lot: only what is wrong.
quiet: Final = Logger(
    "twisted.conch",
    observer=FilteringLogObserver(globalLogPublisher, [LogLevelFilterPredicate(LogLevel.warn)]),
)

_MASK: Final = b"***"
_UNKNOWN: Final = object()  # what a name stands for that leads nowhere
_SECRET_NAME: Final = re.compile("passw|secret", re.IGNORECASE)


def masked(source: str, namespace: Mapping[str, Any], nouns: Nouns) -> str:
    """The source with ``***`` for all that may be a secret.

    That is: arguments that a verb wants secret, whatever name the verb goes by in the namespace, and all
    those of a verb that is not known; what is given or assigned to something called a password or secret;
    and all texts in a line that takes such a verb without calling it.  What is not Python is told if it
    mentions nothing of the kind.
    """
    try:
        tree = compile(source, "", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
    except (SyntaxError, ValueError, OverflowError):
        suspicious = _SECRET_NAME.search(source) or any(verb in source for verb in nouns.__secretive__())
        return "(not Python)" if suspicious else source
    text = source.encode()
    lines = [0, *(found.end() for found in re.finditer(b"\n", text))]  # where each begins
    spans = [
        (lines[node.lineno - 1] + node.col_offset, lines[node.end_lineno - 1] + node.end_col_offset)
        for node in _hidden(tree, namespace)
        if node.end_lineno is not None and node.end_col_offset is not None
    ]
    for start, end in reversed(_apart(spans)):
        text = text[:start] + _MASK + text[end:]
    return text.decode()


def loggable(words: list[str], admin: Admin) -> str:
    """The words of a verb, as far as it takes words: a secret must not be among them, but may be."""
    verbs = admin.verbs()
    first, second = (*words, "", "")[:2]
    named = verbs.get((first, second)) or verbs.get(("", first)) or {}
    known = 2
    for verb in named.values():
        types = [type for type, _ in verb.parameters.values()]
        known = len(verb.full_name.split()) + len(types) - types.count(Secret)
    return escaped(" ".join([*words[:known], *["***"] * (len(words) > known)]))


def _hidden(tree: ast.AST, namespace: Mapping[str, Any]) -> Iterator[ast.expr]:
    called = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called.add(node.func)
            yield from _arguments(node, _meant(node.func, namespace))
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(_SECRET_NAME.search(ast.unparse(target)) for target in targets):
                yield node.value
        elif isinstance(node, ast.Attribute | ast.Name) and node not in called:
            meant = _meant(node, namespace)
            if isinstance(meant, Sentence) and meant.secrets:
                yield from _texts(tree)


def _arguments(call: ast.Call, meant: object) -> Iterator[ast.expr]:
    for keyword in call.keywords:
        if keyword.arg is not None and _SECRET_NAME.search(keyword.arg):
            yield keyword.value
    if meant is _UNKNOWN:
        yield from call.args
        yield from (keyword.value for keyword in call.keywords)
    if not isinstance(meant, Sentence) or not meant.secrets:
        return
    takes = list(meant.__signature__.parameters)
    unsure = False  # which parameter an argument is for, behind *several
    for place, argument in enumerate(call.args):
        unsure = unsure or isinstance(argument, ast.Starred) or place >= len(takes)
        if unsure or takes[place] in meant.secrets:
            yield argument
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in meant.secrets:
            yield keyword.value


def _texts(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        ):
            yield node


def _meant(node: ast.expr, namespace: Mapping[str, Any]) -> object:
    """What a name like ``admin.accounts.create`` stands for, found without running anything of others."""
    if isinstance(node, ast.Name):
        return namespace.get(node.id)
    if not isinstance(node, ast.Attribute):
        return None
    owner = _meant(node.value, namespace)
    if isinstance(owner, Listing):
        return getattr(owner, node.attr, _UNKNOWN)
    return _UNKNOWN if owner is _UNKNOWN else None


def _apart(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same stretches of text in order, those that overlap made one."""
    apart: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if apart and start < apart[-1][1]:
            apart[-1] = apart[-1][0], max(end, apart[-1][1])
        else:
            apart.append((start, end))
    return apart
