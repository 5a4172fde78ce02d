"""What is wrong with something that a user wrote, where, and how to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file; `line` and `column` count from 1, 0 where none is known."""

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding of `check`. An error sets its rule aside, a warning does not."""

    place: Place
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"
    rule: str = ""

    def __str__(self) -> str:
        tail = f"; {self.hint}" if self.hint else ""
        return f"{self.place}: {self.message}{tail}"

    def as_json(self) -> dict[str, Any]:
        """The form of `catcher check --json`."""
        row = asdict(self)
        return {**row.pop("place"), **row}


class CatcherError(Exception):
    """An error made for its reader: what is wrong, and what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint


class Rejected(CatcherError):
    """A post that was refused whole; `wrong` says of each of its parts what is wrong with it."""

    def __init__(self, wrong: Sequence[str], hint: str = "") -> None:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        super().__init__(wrong[0] + more, hint)
        self.wrong = tuple(wrong)


class NoEngine(CatcherError):
    """No engine answers where one was looked for."""


class Unknown(CatcherError):
    """What was asked for by name is not there."""
