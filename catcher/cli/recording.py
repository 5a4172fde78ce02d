"""Commands that follow events: `tail`, `topics`, and `record`, whose files `replay` replays."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from catcher.cli.options import DataOption, JsonOption, SiteOption, print_json_rows, print_table
from catcher.cli.time_arguments import parse_byte_count
from catcher.model.errors import CatcherError
from catcher.model.time import SECOND, Span, parse_duration

TopicsArgument = Annotated[
    list[str] | None, typer.Argument(help="Only topics that fit; * stands for any characters.")
]
_MAX_LINE_WIDTH = 160


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command(rich_help_panel="Running")(record)
    for command in (tail, topics):
        app.command(rich_help_panel="Looking things up")(command)


def record(
    topics: TopicsArgument = None, site: SiteOption = None, data: DataOption = None,
    to: Annotated[Path, typer.Option(help="The folder of the recording.")] = Path("recorded"),
    form: Annotated[
        str, typer.Option("--format", help="jsonl, jsonl.gz or parquet (a file a topic).")
    ] = "jsonl.gz",
    size: Annotated[str, typer.Option(help="A new file after so much.")] = "64MB",
    age: Annotated[str, typer.Option(help="A new file after so long.")] = "1h",
    exit_after: Annotated[str, typer.Option(help="End by itself after a while.")] = "",
) -> None:  # fmt: skip
    """Records what a running engine lets in, in that order; `catcher replay` plays it back.

    It goes on over restarts of the engine, and what a crash leaves is mended at the next start.
    Example: `catcher record --to /data/night "lsst.sal.*" --format parquet`
    """
    from catcher.app import recording

    settings = recording.RecorderSettings(
        folder=to,
        form=form,
        size=parse_byte_count(size),
        age=_parse_positive_span("--age", age),
    )
    engine = recording.create_engine_locator(site, data)
    coroutine = recording.record_events(engine, topics or (), settings, _print_to_stderr)
    asyncio.run(_run_until_stopped(coroutine, exit_after))


def tail(
    topics: TopicsArgument = None, site: SiteOption = None, data: DataOption = None,
    count: Annotated[int, typer.Option("-n", help="End after so many events.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Shows what a running engine lets in, as it comes.

    Example: `catcher tail "lsst.sal.ESS.*"`, `catcher tail -n 100 --json > some.jsonl`
    """
    from catcher.app import recording

    engine = recording.create_engine_locator(site, data)

    async def print_events() -> None:
        remaining = count
        async for lines in recording.stream_event_lines(engine, topics or ()):
            for line in lines:
                sys.stdout.write(
                    line.decode() + "\n" if as_json else _format_event_line(json.loads(line))
                )
                remaining -= 1
                if count and remaining == 0:
                    return
            sys.stdout.flush()

    asyncio.run(_run_until_stopped(print_events(), ""))


def topics(
    site: SiteOption = None, data: DataOption = None,
    listen: Annotated[
        str, typer.Option(help="Listen to the running engine for so long instead, such as 10s.")
    ] = "",
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """The topics whose telemetry is held, or with --listen all that come, how often.

    Example: `catcher topics`, `catcher topics --listen 10s`
    """
    from catcher import app as composition
    from catcher.app import recording

    if listen:
        span = _parse_positive_span("--listen", listen) / SECOND
        rows = asyncio.run(
            recording.measure_topic_rates(recording.create_engine_locator(site, data), span)
        )
    else:

        async def fetch_topics() -> list[dict[str, Any]]:
            async with composition.open_client(site, data) as client:
                return [{"topic": topic} for topic in await client.topics()]

        rows = asyncio.run(fetch_topics())
    if as_json:
        return print_json_rows(rows)
    columns = {"topic": lambda row: row["topic"]}
    if listen:
        columns["a second"] = lambda row: f"{row['rate']:.3g}"
        columns["latest"] = lambda row: row["latest"]
        columns["fields"] = lambda row: ", ".join(row["fields"])
    print_table(rows, columns)


async def _run_until_stopped(coroutine: Coroutine[Any, Any, None], exit_after: str) -> None:
    """Runs a coroutine until Ctrl-C, SIGTERM or the end of its time."""
    span = _parse_positive_span("--exit-after", exit_after) if exit_after else 0
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(coroutine)
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, task.cancel)
    done, _ = await asyncio.wait({task}, timeout=span / SECOND if span else None)
    if not done:
        task.cancel()
        await asyncio.wait({task})
    if task.cancelled():
        return
    try:
        task.result()
    except* CatcherError as group:
        raise group.exceptions[0] from None


def _parse_positive_span(option: str, text: str) -> Span:
    try:
        span = parse_duration(text)
    except ValueError as error:
        raise CatcherError(f"{option}: {error}", "write it like 10s or 1h") from None
    if span <= 0:
        raise CatcherError(f"{option}: {text} is no time", "write it like 10s or 1h")
    return span


def _format_event_line(row: dict[str, Any]) -> str:
    if "lost" in row:
        return f"… {row['lost']} events were lost here\n"
    fields = " ".join(f"{name}={json.dumps(value)}" for name, value in row["fields"].items())
    line = f"{row['time']} {row['topic']} {fields}"
    is_wide = len(line) > _MAX_LINE_WIDTH and sys.stdout.isatty()
    return (line[: _MAX_LINE_WIDTH - 1] + "…" if is_wide else line) + "\n"


def _print_to_stderr(message: str) -> None:
    typer.echo(message, err=True)
