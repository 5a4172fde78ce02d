"""The output of a running engine: a screen on a terminal, lines otherwise."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.live import Live

from catcher.cli.live_screen import LiveScreen, format_update_line
from catcher.cli.signals import SignalHandler
from catcher.model.errors import CatcherError
from catcher.model.health import HealthState, LiveUpdate
from catcher.model.time import SECOND, Span, parse_duration

if TYPE_CHECKING:
    from catcher.app import EngineHandle


HEALTH_INTERVAL = 1.0


def print_line_unless_tty(line: str) -> None:
    """Prints the console sink's line, unless the screen shows the alert already."""
    if not sys.stdout.isatty():
        typer.echo(line)


async def run_and_show_engine(
    engine_context: AbstractAsyncContextManager[EngineHandle], title: str, exit_after: str
) -> None:
    """Shows what happens until the engine ends, a signal comes or `exit_after` has passed."""
    timeout = _parse_exit_after(exit_after)
    with SignalHandler() as signal_handler:
        try:
            async with engine_context as handle:
                signal_handler.attach_engine(handle)
                async with asyncio.TaskGroup() as tasks:
                    screen_task = tasks.create_task(_show_updates(handle, title))
                    try:
                        async with asyncio.timeout(timeout / SECOND if timeout else None):
                            await handle.wait_until_ended()
                    except TimeoutError:
                        handle.stop()
                        await handle.wait_until_ended()
                    screen_task.cancel()
        except asyncio.CancelledError:
            if not signal_handler.cancelled_while_opening:
                raise
            typer.echo("ended before it had begun")
            return
    typer.echo(f"ended; everything is kept in {handle.data}")


def _parse_exit_after(text: str) -> Span:
    try:
        return parse_duration(text) if text else 0
    except ValueError as error:
        raise CatcherError(f"--exit-after: {error}") from error


async def _show_updates(handle: EngineHandle, title: str) -> None:
    for problem in handle.problems:
        if problem not in handle.misconfigured:
            typer.secho(f"set aside: {problem}", fg="yellow", err=True)
    for problem in handle.misconfigured:
        message = f"MISCONFIGURED, left out: {problem}"
        typer.secho(message, fg="red", bold=True, err=True)
    async with handle.event_bus.subscribe() as updates:
        if sys.stdout.isatty():
            await _run_live_screen(handle, title, updates)
        else:
            typer.echo(f"{title}; API at {handle.url}, data in {handle.data}")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_print_health_changes(handle))
                async for update in updates:
                    if line := format_update_line(update):
                        typer.echo(line)


async def _print_health_changes(handle: EngineHandle) -> None:
    """Prints a line whenever a source, store or sink changes its health state."""
    previous_states: dict[tuple[str, str], HealthState] = {}
    while True:
        for health in handle.health():
            component = health.kind, health.name
            previous = previous_states.get(component, "ok")
            if health.state != previous and health.state != "starting":
                suffix = f": {health.problem}" if health.problem else ""
                typer.echo(f"health  {health.kind} {health.name} is {health.state}{suffix}")
            if health.state != "starting":
                previous_states[component] = health.state
        await asyncio.sleep(HEALTH_INTERVAL)


async def _run_live_screen(
    handle: EngineHandle, title: str, updates: AsyncIterator[LiveUpdate]
) -> None:
    """Draws the screen four times a second, with the updates received in between."""
    screen = LiveScreen(f"{title}   API {handle.url}   data {handle.data}   Ctrl-C ends")
    for alert in handle.engine.components.alert_service.list_active():
        screen.apply_update(LiveUpdate("alert", alert.changed, alert))

    async def apply_updates() -> None:
        async for update in updates:
            screen.apply_update(update)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(apply_updates())
        with Live(console=Console(), auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                live.update(screen.render(handle.health()), refresh=True)
                await asyncio.sleep(0.25)
