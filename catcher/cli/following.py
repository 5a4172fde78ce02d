"""A running engine before somebody's eyes: a screen, or lines where there is none."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.live import Live

from catcher.cli.ending import Ending
from catcher.cli.night import Night, plain_line
from catcher.model.health import HealthState, Update
from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, Span, parse_duration

if TYPE_CHECKING:
    from catcher.app import Running


HEALTH_EVERY = 1.0


def write(line: str) -> None:
    """The console sink's line; where there is a screen, the alert stands there already."""
    if not sys.stdout.isatty():
        typer.echo(line)


async def watch(opened: AbstractAsyncContextManager[Running], title: str, exit_after: str) -> None:
    """Shows what happens until the engine ends, a signal comes or the time is over."""
    limit = _span(exit_after)
    with Ending() as ending:
        try:
            async with opened as running:
                ending.concerns(running)
                async with asyncio.TaskGroup() as tasks:
                    screen = tasks.create_task(_show(running, title))
                    try:
                        async with asyncio.timeout(limit / SECOND if limit else None):
                            await running.until_end()
                    except TimeoutError:
                        running.stop()
                        await running.until_end()
                    screen.cancel()
        except asyncio.CancelledError:
            if not ending.before_it_began:
                raise
            typer.echo("ended before it had begun")
            return
    typer.echo(f"ended; everything is kept in {running.data}")


def _span(text: str) -> Span:
    try:
        return parse_duration(text) if text else 0
    except ValueError as trouble:
        raise CatcherError(f"--exit-after: {trouble}") from trouble


async def _show(running: Running, title: str) -> None:
    for problem in running.problems:
        if problem not in running.misconfigured:
            typer.secho(f"set aside: {problem}", fg="yellow", err=True)
    for problem in running.misconfigured:
        words = f"MISCONFIGURED, left out: {problem}"
        typer.secho(words, fg="red", bold=True, err=True)
    async with running.live.watch() as updates:
        if sys.stdout.isatty():
            await _screen(running, title, updates)
        else:
            typer.echo(f"{title}; API at {running.url}, data in {running.data}")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_tell_health(running))
                async for update in updates:
                    if line := plain_line(update):
                        typer.echo(line)


async def _tell_health(running: Running) -> None:
    """A line whenever a source, store or sink comes or goes."""
    before: dict[tuple[str, str], HealthState] = {}
    while True:
        for health in running.health():
            part = health.kind, health.name
            known = before.get(part, "ok")
            if health.state != known and health.state != "starting":
                words = f": {health.problem}" if health.problem else ""
                typer.echo(f"health  {health.kind} {health.name} is {health.state}{words}")
            if health.state != "starting":
                before[part] = health.state
        await asyncio.sleep(HEALTH_EVERY)


async def _screen(running: Running, title: str, updates: AsyncIterator[Update]) -> None:
    """A picture of the night, drawn four times a second, from what came in between."""
    night = Night(f"{title}   API {running.url}   data {running.data}   Ctrl-C ends")
    for alert in running.engine.parts.alerting.active():
        night.take(Update("alert", alert.changed, alert))

    async def take() -> None:
        async for update in updates:
            night.take(update)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(take())
        with Live(console=Console(), auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                live.update(night.render(running.health()), refresh=True)
                await asyncio.sleep(0.25)
