"""Calling a command as a shell does, in this process."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catcher.cli import main


@dataclass(frozen=True)
class CommandResult:
    """What a command left behind: its exit status and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A JSON list on standard output."""
        rows: list[dict[str, Any]] = json.loads(self.out)
        return rows

    @property
    def row(self) -> dict[str, Any]:
        """A JSON object on standard output."""
        row: dict[str, Any] = json.loads(self.out)
        return row


def run_command(*arguments: str | Path) -> CommandResult:
    """Runs `catcher ARGUMENTS`."""
    out, err = io.StringIO(), io.StringIO()
    status = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as exit_error:
            status = (
                exit_error.code
                if isinstance(exit_error.code, int)
                else 0
                if exit_error.code is None
                else 1
            )
    return CommandResult(status, out.getvalue(), err.getvalue())
