"""Python reads the text of an expression; what it says against it is put in our words."""

from __future__ import annotations

import ast
import warnings

from catcher.watching.errors import ExpressionError

LONGEST_TEXT = 4_000


def syntax(text: str) -> tuple[ast.expr, int]:
    """Python's tree of a text, and how many blanks came before it."""
    if len(text) > LONGEST_TEXT:
        raise ExpressionError(
            f"the expression has {len(text)} characters, {LONGEST_TEXT} are allowed",
            "name its parts with `let`",
        )
    line = text.translate({10: " ", 13: " ", 9: " "})
    shift = len(line) - len(line.lstrip(" "))
    if not line.strip():
        raise ExpressionError("the expression is empty", "write a condition such as speed > 10")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(line[shift:], mode="eval").body
    except SyntaxError as error:
        raise _syntax_error(line, error, shift) from None
    except (ValueError, RecursionError, MemoryError, OverflowError):
        raise ExpressionError(
            "the expression cannot be read", "it nests too deeply or holds odd characters"
        ) from None
    if "#" in line and not _hash_is_quoted(body, line):
        raise ExpressionError(
            "a # starts a comment, which an expression cannot hold",
            "leave it out, or put the text in quotes",
            line.index("#"),
        )
    return body, shift


def _hash_is_quoted(body: ast.expr, line: str) -> bool:
    quoted = sum(
        node.value.count("#")
        for node in ast.walk(body)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return quoted >= line.count("#")


def _syntax_error(line: str, error: SyntaxError, shift: int) -> ExpressionError:
    end = max(len(line) - 1, 0)
    offset = min(error.offset - 1 + shift, end) if error.offset else end
    for sign, meant in (("&&", "and"), ("||", "or")):
        if sign in line:
            return ExpressionError(f"{sign} is no operator", f"write {meant}", line.index(sign))
    rest = line[offset:].lstrip()
    if rest.startswith("=") or "=" in (error.msg or ""):
        return ExpressionError("= does not compare", "write ==", offset)
    if rest.startswith("!"):
        return ExpressionError("! is no operator", "write not", offset)
    message = (error.msg or "it cannot be read").rstrip(".")
    if len(line) > 60 and "nested" in message:
        return ExpressionError("the expression nests too deeply", "name its parts with `let`", 0)
    return ExpressionError(
        f"this is no expression: {message}", "docs/functions.md shows the language", offset
    )
