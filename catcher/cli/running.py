"""Running the engine: on a site's sources, on a recording, or on a simulated night."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from catcher import app as composition
from catcher.cli.night import Night, plain_line
from catcher.cli.options import Data, Json, Site, print_rows, print_table
from catcher.model.health import Update
from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, Span, parse_duration

Port = Annotated[int | None, typer.Option(help="Of the API; 0 takes a free one.")]
ExitAfter = Annotated[str, typer.Option(help="End by itself after a while, such as 60s.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    for command in (demo, run, replay, doctor):
        app.command()(command)


def demo(
    data: Data = None, exit_after: ExitAfter = "", site: Site = None, port: Port = 0,
    speed: Annotated[float, typer.Option(help="Simulated seconds a second.")] = 0,
) -> None:  # fmt: skip
    """A simulated night with everything embedded: no broker, no database server, no account.

    Example: `catcher demo --exit-after 60s --data /tmp/night`
    """
    opened = composition.open_demo(site, data, port, speed, _write)
    asyncio.run(_watch(opened, "Catcher: a simulated night", exit_after))


def run(
    site: Site = None, data: Data = None, port: Port = None, exit_after: ExitAfter = ""
) -> None:
    """Runs a site's rules on its sources until it is told to stop (Ctrl-C, SIGTERM).

    Example: `catcher run --site /etc/catcher`
    """
    opened = composition.open_engine(site, data, port, _write)
    asyncio.run(_watch(opened, "Catcher", exit_after))


def replay(
    files: Annotated[list[Path], typer.Argument(help="Recorded streams.")],
    site: Site = None, data: Data = None, port: Port = 0,
    speed: Annotated[str, typer.Option(help="Recorded seconds a second, or max.")] = "1",
    exit_after: ExitAfter = "",
) -> None:  # fmt: skip
    """Runs a site's rules on recorded streams in place of its sources; ends with them.

    Example: `catcher replay night.jsonl.gz --speed 60`
    """
    opened = composition.open_replay(site, data, files, speed, port, _write)
    asyncio.run(_watch(opened, "Catcher: replay", exit_after))


def doctor(site: Site = None, data: Data = None, as_json: Json = False) -> None:
    """Looks at the site, its stores and whatever runs, and says what to do.

    Status 1 when something is wrong. Example: `catcher doctor`
    """
    rows = asyncio.run(composition.examine(site, data))
    if as_json:
        print_rows(rows)
    else:
        styles = {"ok": "green", "warning": "yellow", "error": "red"}
        print_table(
            rows,
            {
                "": lambda row: Text("●", styles[row["state"]]),
                "what": lambda row: row["what"],
                "found": lambda row: row["found"],
                "do": lambda row: row["hint"],
            },
        )
    raise typer.Exit(any(row["state"] == "error" for row in rows))


def _write(line: str) -> None:
    """The console sink's line; where there is a screen, the alert stands there already."""
    if not sys.stdout.isatty():
        typer.echo(line)


async def _watch(
    opened: AbstractAsyncContextManager[composition.Running], title: str, exit_after: str
) -> None:
    """Shows what happens until the engine ends, a signal comes or the time is over."""
    limit = _span(exit_after)
    async with opened as running:
        with _signals(running):
            async with asyncio.TaskGroup() as tasks:
                screen = tasks.create_task(_show(running, title))
                try:
                    async with asyncio.timeout(limit / SECOND if limit else None):
                        await running.until_end()
                except TimeoutError:
                    running.stop()
                    await running.until_end()
                screen.cancel()
    typer.echo(f"ended; everything is kept in {running.data}")


def _span(text: str) -> Span:
    try:
        return parse_duration(text) if text else 0
    except ValueError as trouble:
        raise CatcherError(f"--exit-after: {trouble}") from trouble


@contextlib.contextmanager
def _signals(running: composition.Running) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the engine after the step in hand; SIGHUP reads the site anew."""
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, running.stop)
    try:
        yield
    finally:
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(name)


async def _show(running: composition.Running, title: str) -> None:
    for problem in running.problems:
        typer.secho(f"set aside: {problem}", fg="yellow", err=True)
    async with running.live.watch() as updates:
        if sys.stdout.isatty():
            await _screen(running, title, updates)
        else:
            typer.echo(f"{title}; API at {running.url}, data in {running.data}")
            async for update in updates:
                if line := plain_line(update):
                    typer.echo(line)


async def _screen(running: composition.Running, title: str, updates: AsyncIterator[Update]) -> None:
    """A picture of the night, drawn four times a second, from what came in between."""
    night = Night(f"{title}   API {running.url}   data {running.data}   Ctrl-C ends")

    async def take() -> None:
        async for update in updates:
            night.take(update)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(take())
        with Live(console=Console(), auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                live.update(night.render(running.health()), refresh=True)
                await asyncio.sleep(0.25)
