"""All commands, and how an error leaves the program."""

from __future__ import annotations

import sys

import typer

from catcher.cli import acting, checking, looking, running
from catcher.model.problem import CatcherError

app = typer.Typer(
    name="catcher",
    help="Reactive rules on an observatory's event streams.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
for part in (running, checking, looking, acting):
    part.register(app)


def main() -> None:
    """Runs a command. Status 0: well; 1: it found something wrong; 2: it could not be done."""
    try:
        app()
    except CatcherError as error:
        typer.secho(f"catcher: {error.message}", fg="red", err=True)
        if error.hint:
            typer.echo(f"  {error.hint}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
