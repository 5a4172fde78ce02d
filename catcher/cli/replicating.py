"""The command that copies a site's data to a second facility."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from catcher.cli.options import DataOption, JsonOption, SiteOption, print_json_row
from catcher.model.time import parse_duration

if TYPE_CHECKING:
    from catcher.app.replicating import ReplicationReport


def register(app: typer.Typer) -> None:
    """Adds the command of this file."""
    app.command(rich_help_panel="Running")(replicate)


def replicate(
    to: Annotated[Path, typer.Option(help="The second site: a folder with a catcher.yaml.")],
    site: SiteOption = None, data: DataOption = None,
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
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Copies runs, firings, metrics and artifacts to a second facility.

    What is there already is left alone, so that it can be ended and begun again at any time.
    Status 1 when an artifact is damaged. Example: `catcher replicate --to /etc/catcher-tucson`,
    `catcher replicate --to tucson --follow`
    """
    from catcher import app as composition

    span = parse_duration(since) if since else None
    replication = composition.create_replication(site, data, to, to_data)
    if follow:
        asyncio.run(
            _run_until_signal(
                replication.copy_continuously(
                    parse_duration(every), _create_report_printer(as_json)
                )
            )
        )
        return
    with Progress(disable=as_json or not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("verifying" if verify else "comparing", total=None)

        def show_progress(tally: ReplicationReport) -> None:
            progress.update(task, completed=tally.compared, total=tally.total)

        tally = asyncio.run(
            replication.verify_and_repair_artifacts(show_progress)
            if verify
            else replication.copy_once(span, show_progress)
        )
    _create_report_printer(as_json)("", tally)
    raise typer.Exit(bool(tally.problems))


def _create_report_printer(as_json: bool) -> Any:
    def print_report(error_text: str, tally: ReplicationReport) -> None:
        if as_json:
            print_json_row({**tally.to_row(), "away": error_text})
            return
        if error_text:
            typer.echo(f"waiting: {error_text}", err=True)
            return
        for problem in tally.problems:
            typer.echo(f"not copied: {problem}", err=True)
        repaired_text = f", {tally.mended} mended" if tally.mended else ""
        typer.echo(
            f"{tally.runs} runs, {tally.firings} firings, {tally.metrics} metrics, "
            f"{tally.artifacts} artifacts of {tally.bytes / 1e6:.1f} MB{repaired_text}"
        )
        sys.stdout.flush()

    return print_report


async def _run_until_signal(coroutine: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine until Ctrl-C or SIGTERM, which may come at any time."""
    task = asyncio.ensure_future(coroutine)
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, task.cancel)
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
