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
from catcher.model.text import plain

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
LONGEST_CELL = 1_000
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
    """A table for people; cells are plain text, or rich Text where a column makes it.

    In a pipe or a file each row is one line, however wide.
    """
    lines = [[_text(cell(row)) for cell in columns.values()] for row in rows]
    if not rows:
        wide_console().print(Text("none", style="dim"))
    elif sys.stdout.isatty():
        table = Table(box=None, header_style="dim", padding=(0, 1))
        for name in columns:
            table.add_column(name, overflow="fold")
        for line in lines:
            table.add_row(*line)
        Console().print(table)
    else:
        _print_plain([list(columns), *([one.plain for one in line] for line in lines)])


def _text(cell: Any) -> Text:
    """A cell as one plain line: names and messages come from outside."""
    return cell if isinstance(cell, Text) else Text(plain(cell, LONGEST_CELL))


def _print_plain(lines: Sequence[Sequence[str]]) -> None:
    clean = [[" ".join(cell.split()) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*clean, strict=True)]
    for line in clean:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        _write("  ".join(cells).rstrip())


def wide_console() -> Console:
    """The terminal; what goes into a pipe or a file is not folded."""
    return Console(soft_wrap=not sys.stdout.isatty())
