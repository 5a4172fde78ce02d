"""Options that commands share, and how lists are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from catcher.model.alert import Severity

Site = Annotated[
    Path | None,
    typer.Option(help="The site's folder; else $CATCHER_SITE, or where catcher.yaml is found."),
]
Data = Annotated[
    Path | None, typer.Option(help="Where everything is kept; else $CATCHER_DATA or the site's.")
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
Limit = Annotated[int, typer.Option(help="At most so many.", min=1, max=100_000)]
Who = Annotated[str, typer.Option(help="Your name.", envvar=["CATCHER_USER", "USER"])]

Row = Mapping[str, Any]
COLOURS = {
    Severity.NONE: "green",
    Severity.WARNING: "yellow",
    Severity.SERIOUS: "dark_orange",
    Severity.CRITICAL: "bold white on red",
}


def print_rows(rows: Iterable[Row]) -> None:
    """A JSON list."""
    _write(json.dumps(list(rows), ensure_ascii=False, allow_nan=False, indent=1))


def print_row(row: Row) -> None:
    """One JSON object on a line of its own, at once."""
    _write(json.dumps(row, ensure_ascii=False, allow_nan=False))


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_table(rows: Sequence[Row], columns: Mapping[str, Callable[[Row], Any]]) -> None:
    """A table for people; cells are plain text, or rich Text where a column makes it."""
    console = wide_console()
    table = Table(box=None, header_style="dim", padding=(0, 1))
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        cells = [cell(row) for cell in columns.values()]
        table.add_row(*[one if isinstance(one, Text) else Text(str(one)) for one in cells])
    console.print(table if rows else Text("none", style="dim"))


def wide_console() -> Console:
    """The terminal; what goes into a pipe or a file is not folded at 80 characters."""
    return Console() if sys.stdout.isatty() else Console(width=240)
