"""Registers all commands, and reports errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from catcher.cli import (
    alarm_reports,
    alert_operations,
    checking,
    inspect,
    operate,
    preview,
    querying,
    recording,
    replicating,
    reproduce,
    running,
    tuning,
)  # fmt: skip
from catcher.model.errors import CatcherError
from catcher.model.text import strip_control_characters

app = typer.Typer(
    name="catcher",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
COMMAND_MODULES = (
    running,
    recording,
    replicating,
    checking,
    tuning,
    preview,
    inspect,
    querying,
    reproduce,
    alarm_reports,
    operate,
    alert_operations,
)
for module in COMMAND_MODULES:
    module.register(app)


def _print_version(show_version: bool) -> None:
    if show_version:
        try:
            typer.echo(version("observatory-catcher"))
        except PackageNotFoundError:
            typer.echo("not installed")
        raise typer.Exit


@app.callback()
def describe(
    show_version: Annotated[
        bool, typer.Option("--version", help="The version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Reactive rules on an observatory's event streams.

    Start with `catcher demo`. Each command tells more, with an example: `catcher check --help`
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command, by default that of `sys.argv`.
    Status 0: success; 1: the command found something wrong; 2: it could not run.
    """
    try:
        app(arguments)
    except CatcherError as error:
        typer.secho(f"catcher: {strip_control_characters(error.message)}", fg="red", err=True)
        if error.hint:
            typer.echo(f"  {strip_control_characters(error.hint)}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        # The reader has closed the pipe; the interpreter would report it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
