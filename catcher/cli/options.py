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
from catcher.model.text import sanitize_single_line

SiteOption = Annotated[
    Path | None,
    typer.Option(help="The site's folder; else $CATCHER_SITE, or where catcher.yaml is found."),
]
DataOption = Annotated[
    Path | None, typer.Option(help="Where everything is kept; else $CATCHER_DATA or the site's.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
LimitOption = Annotated[int, typer.Option(help="At most so many.", min=1, max=100_000)]
WhoOption = Annotated[str, typer.Option(help="Your name.", envvar=["CATCHER_USER", "USER"])]

Row = Mapping[str, Any]
MAX_CELL_LENGTH = 1_000
SEVERITY_STYLES = {
    Severity.NONE: "green",
    Severity.WARNING: "yellow",
    Severity.SERIOUS: "dark_orange",
    Severity.CRITICAL: "bold white on red",
}


def print_json_rows(rows: Iterable[Row]) -> None:
    """Prints a JSON list."""
    _write_stdout_line(json.dumps(list(rows), ensure_ascii=False, allow_nan=False, indent=1))


def print_json_row(row: Row) -> None:
    """Prints one JSON object on a line of its own, and flushes it."""
    _write_stdout_line(json.dumps(row, ensure_ascii=False, allow_nan=False))


def _write_stdout_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_table(rows: Sequence[Row], columns: Mapping[str, Callable[[Row], Any]]) -> None:
    """Prints a table for people; cells are plain text, or rich Text if the column returns that.
    In a pipe or a file each row is one line, however wide.
    """
    lines = [[_cell_to_text(get_value(row)) for get_value in columns.values()] for row in rows]
    if not rows:
        create_wide_console().print(Text("none", style="dim"))
    elif sys.stdout.isatty():
        table = Table(box=None, header_style="dim", padding=(0, 1))
        for name in columns:
            table.add_column(name, overflow="fold")
        for line in lines:
            table.add_row(*line)
        Console().print(table)
    else:
        _print_plain_table([list(columns), *([text.plain for text in line] for line in lines)])


def _cell_to_text(value: Any) -> Text:
    """Converts a cell to one plain line: names and messages come from outside."""
    return value if isinstance(value, Text) else Text(sanitize_single_line(value, MAX_CELL_LENGTH))


def _print_plain_table(lines: Sequence[Sequence[str]]) -> None:
    clean = [[" ".join(value.split()) for value in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*clean, strict=True)]
    for line in clean:
        padded = (value.ljust(width) for value, width in zip(line, widths, strict=True))
        _write_stdout_line("  ".join(padded).rstrip())


def create_wide_console() -> Console:
    """Creates a console on the terminal; output to a pipe or a file is not folded."""
    return Console(soft_wrap=not sys.stdout.isatty())
