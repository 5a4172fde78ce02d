"""Errors made for their reader: what is wrong in what a user wrote, where, and how to fix it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from catcher.model.time import Span


@dataclass(frozen=True, slots=True, order=True)
class SourceLocation:
    """A position in a file; `line` and `column` count from 1, 0 if unknown."""

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding of `check`. An error disables its rule, a warning does not."""

    location: SourceLocation
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"
    rule: str = ""

    def __str__(self) -> str:
        suffix = f"; {self.hint}" if self.hint else ""
        return f"{self.location}: {self.message}{suffix}"

    def to_json(self) -> dict[str, Any]:
        """Returns the form of `catcher check --json`."""
        row = asdict(self)
        return {**row.pop("location"), **row}


class CatcherError(Exception):
    """An error made for its reader: what is wrong, and what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint


class BatchRejected(CatcherError):
    """A post that was refused completely; `errors` has one message for each faulty part."""

    def __init__(self, errors: Sequence[str], hint: str = "") -> None:
        suffix = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(errors[0] + suffix, hint)
        self.errors = tuple(errors)


class EngineNotRunning(CatcherError):
    """No engine answers where one was expected."""


class NotFound(CatcherError):
    """What was asked for by name does not exist."""


# Raised while an external system is unavailable.


class StoreUnavailable(CatcherError):
    """A store did not answer or refused to write; the request may be retried later.

    `retry_after` (nanoseconds) is what the store asked for.
    """

    def __init__(self, message: str, hint: str = "", retry_after: Span | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class Fenced(CatcherError):
    """Another engine has taken over the ledger: this one may write nothing more, and ends."""


class ExecutorUnavailable(Exception):
    """The cluster cannot be reached, or was lost before it answered.

    What became of the call is unknown; it may be retried when the cluster is back.
    """
