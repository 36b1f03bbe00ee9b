"""Python at the prompt: when a piece of it is complete, running it, and telling how it failed."""

from __future__ import annotations

import ast
import inspect
import traceback
from codeop import CommandCompiler
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from types import CodeType, TracebackType

__all__ = ["complete", "evaluate", "told"]

_FILE: Final = "<manhole>"
_AWAIT: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def complete(source: str) -> bool:
    """Whether the source is whole; False: another line must follow.

    :raises SyntaxError: it cannot become Python (ValueError, OverflowError: for odder reasons).
    """
    compiler = CommandCompiler()
    compiler.compiler.flags |= _AWAIT
    return compiler(source, _FILE, "single") is not None


async def evaluate(source: str, namespace: dict[str, Any]) -> object:
    """Run the source; returns the value of an expression at its end, waited for if that can be done."""
    tree = compile(source, _FILE, "exec", _AWAIT | ast.PyCF_ONLY_AST, dont_inherit=True)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    await _run(compile(tree, _FILE, "exec", _AWAIT, dont_inherit=True), namespace)
    if not isinstance(last, ast.Expr):
        return None
    expression = ast.Expression(last.value)
    value = await _run(compile(expression, _FILE, "eval", _AWAIT, dont_inherit=True), namespace)
    while inspect.isawaitable(value):
        value = await (_watched(value) if isinstance(value, Deferred) else value)
    return value


def _watched(deferred: Deferred[Any]) -> Deferred[Any]:
    """Its outcome, without taking the result out of it: others may wait for that, too."""

    def tell(result: object) -> object:
        watching.callback(result)
        return result

    watching: Deferred[Any] = Deferred(lambda _: deferred.cancel())
    deferred.addCallbacks(tell, watching.errback)
    return watching


async def _run(code: CodeType, namespace: dict[str, Any]) -> Any:
    value = eval(code, namespace)  # noqa: S307  # which is what a prompt is for
    return await value if code.co_flags & inspect.CO_COROUTINE else value


def told(error: BaseException) -> str:
    """The traceback of an error, from what was typed on."""
    if isinstance(error, SyntaxError):
        return "".join(traceback.format_exception_only(error)).rstrip()
    return "".join(traceback.format_exception(type(error), error, _ours(error.__traceback__))).rstrip()


def _ours(trace: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that begins where the typed source does."""
    typed = trace
    while typed is not None and typed.tb_frame.f_code.co_filename != _FILE:
        typed = typed.tb_next
    return typed or trace
