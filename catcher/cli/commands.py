"""All commands, and how an error leaves the program."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from catcher.cli import (
    acting,
    again,
    alarms,
    checking,
    desk,
    looking,
    querying,
    recording,
    replicating,
    running,
    telling,
    tuning,
)  # fmt: skip
from catcher.model.problem import CatcherError
from catcher.model.text import visible

app = typer.Typer(
    name="catcher",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
PARTS = (
    running, recording, replicating, checking, tuning, telling, looking, querying, again, alarms,
    acting, desk,
)  # fmt: skip
for part in PARTS:
    part.register(app)


def _tell_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(version("observatory-catcher"))
        except PackageNotFoundError:
            typer.echo("not installed")
        raise typer.Exit


@app.callback()
def describe(
    told: Annotated[
        bool, typer.Option("--version", help="The version.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Reactive rules on an observatory's event streams.

    Start with `catcher demo`. Each command tells more, with an example: `catcher check --help`
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command, that of `sys.argv` unless told.

    Status 0: well; 1: it found something wrong; 2: it could not be done.
    """
    try:
        app(arguments)
    except CatcherError as error:
        typer.secho(f"catcher: {visible(error.message)}", fg="red", err=True)
        if error.hint:
            typer.echo(f"  {visible(error.hint)}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        # The reader has had enough; the interpreter would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
