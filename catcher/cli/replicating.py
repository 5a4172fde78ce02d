"""Copying what a site keeps to a second facility."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from catcher.cli.options import Data, Json, Site, print_row
from catcher.model.time import parse_duration

if TYPE_CHECKING:
    from catcher.app.replicating import Tally


def register(app: typer.Typer) -> None:
    """Adds the command of this file."""
    app.command(rich_help_panel="Running")(replicate)


def replicate(
    to: Annotated[Path, typer.Option(help="The second site: a folder with a catcher.yaml.")],
    site: Site = None, data: Data = None,
    to_data: Annotated[
        Path | None, typer.Option(help="Where the second site keeps things, if not as it says.")
    ] = None,
    since: Annotated[
        str, typer.Option(help="Compare only what was kept within a span, such as 2d.")
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Go on copying what is new.")] = False,
    every: Annotated[str, typer.Option(help="With --follow: how often.")] = "10s",
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every artifact there; mend what is damaged.")
    ] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Copies runs, firings, metrics and artifacts to a second facility.

    What is there already is left alone, so that it can be ended and begun again at any time.
    Status 1 when an artifact is damaged. Example: `catcher replicate --to /etc/catcher-tucson`,
    `catcher replicate --to tucson --follow`
    """
    from catcher import app as composition

    span = parse_duration(since) if since else None
    both = composition.replication(site, data, to, to_data)
    if follow:
        asyncio.run(_until_told(both.follow(parse_duration(every), _tell(as_json))))
        return
    with Progress(disable=as_json or not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("verifying" if verify else "comparing", total=None)

        def show(tally: Tally) -> None:
            bar.update(task, completed=tally.compared, total=tally.total)

        tally = asyncio.run(both.verify(show) if verify else both.copy(span, show))
    _tell(as_json)("", tally)
    raise typer.Exit(bool(tally.problems))


def _tell(as_json: bool) -> Any:
    def tell(trouble: str, tally: Tally) -> None:
        if as_json:
            print_row({**tally.row(), "away": trouble})
            return
        if trouble:
            typer.echo(f"waiting: {trouble}", err=True)
            return
        for problem in tally.problems:
            typer.echo(f"not copied: {problem}", err=True)
        mended = f", {tally.mended} mended" if tally.mended else ""
        typer.echo(
            f"{tally.runs} runs, {tally.firings} firings, {tally.metrics} metrics, "
            f"{tally.artifacts} artifacts of {tally.bytes / 1e6:.1f} MB{mended}"
        )
        sys.stdout.flush()

    return tell


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """Until Ctrl-C or SIGTERM, which may come at any time."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, task.cancel)
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
