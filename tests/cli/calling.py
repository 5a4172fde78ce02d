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
class Answer:
    """What a command left behind: its exit status and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A JSON list on standard output."""
        found: list[dict[str, Any]] = json.loads(self.out)
        return found

    @property
    def row(self) -> dict[str, Any]:
        """A JSON object on standard output."""
        found: dict[str, Any] = json.loads(self.out)
        return found


def call(*arguments: str | Path) -> Answer:
    """Runs `catcher ARGUMENTS`."""
    out, err = io.StringIO(), io.StringIO()
    status = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(one) for one in arguments])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return Answer(status, out.getvalue(), err.getvalue())
