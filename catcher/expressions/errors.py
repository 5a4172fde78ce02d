"""Errors in an expression, with their position in its text."""

from __future__ import annotations


class ExpressionError(Exception):
    """An expression that does not compile. `offset` counts characters of its text from 0."""

    def __init__(self, message: str, hint: str = "", offset: int = 0) -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint
        self.offset = offset
