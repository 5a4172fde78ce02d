"""Following what comes: `tail`, `topics`, and `record`, which `replay` plays back."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from catcher.cli.options import Data, Json, Site, print_rows, print_table
from catcher.cli.spans import byte_count
from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, Span, parse_duration

Topics = Annotated[
    list[str] | None, typer.Argument(help="Only topics that fit; * stands for any characters.")
]
_WIDE = 160


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command(rich_help_panel="Running")(record)
    for command in (tail, topics):
        app.command(rich_help_panel="Looking things up")(command)


def record(
    topics: Topics = None, site: Site = None, data: Data = None,
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
        size=byte_count(size),
        age=_span("--age", age),
    )
    engine = recording.find_engine(site, data)
    work = recording.record(engine, topics or (), settings, _tell)
    asyncio.run(_until_told(work, exit_after))


def tail(
    topics: Topics = None, site: Site = None, data: Data = None,
    count: Annotated[int, typer.Option("-n", help="End after so many events.", min=0)] = 0,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Shows what a running engine lets in, as it comes.

    Example: `catcher tail "lsst.sal.ESS.*"`, `catcher tail -n 100 --json > some.jsonl`
    """
    from catcher.app import recording

    engine = recording.find_engine(site, data)

    async def show() -> None:
        left = count
        async for lines in recording.follow(engine, topics or ()):
            for line in lines:
                sys.stdout.write(line.decode() + "\n" if as_json else _shown(json.loads(line)))
                left -= 1
                if count and left == 0:
                    return
            sys.stdout.flush()

    asyncio.run(_until_told(show(), ""))


def topics(
    site: Site = None, data: Data = None,
    listen: Annotated[
        str, typer.Option(help="Listen to the running engine for so long instead, such as 10s.")
    ] = "",
    as_json: Json = False,
) -> None:  # fmt: skip
    """The topics whose telemetry is held, or with --listen all that come, how often.

    Example: `catcher topics`, `catcher topics --listen 10s`
    """
    from catcher import app as composition
    from catcher.app import recording

    if listen:
        span = _span("--listen", listen) / SECOND
        rows = asyncio.run(recording.heard_topics(recording.find_engine(site, data), span))
    else:

        async def held() -> list[dict[str, Any]]:
            async with composition.open_client(site, data) as client:
                return [{"topic": topic} for topic in await client.topics()]

        rows = asyncio.run(held())
    if as_json:
        return print_rows(rows)
    columns = {"topic": lambda row: row["topic"]}
    if listen:
        columns["a second"] = lambda row: f"{row['rate']:.3g}"
        columns["latest"] = lambda row: row["latest"]
        columns["fields"] = lambda row: ", ".join(row["fields"])
    print_table(rows, columns)


async def _until_told(work: Coroutine[Any, Any, None], exit_after: str) -> None:
    """Does it until Ctrl-C, SIGTERM or the end of its time."""
    span = _span("--exit-after", exit_after) if exit_after else 0
    loop, doing = asyncio.get_running_loop(), asyncio.ensure_future(work)
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, doing.cancel)
    done, _ = await asyncio.wait({doing}, timeout=span / SECOND if span else None)
    if not done:
        doing.cancel()
        await asyncio.wait({doing})
    if doing.cancelled():
        return
    try:
        doing.result()
    except* CatcherError as group:
        raise group.exceptions[0] from None


def _span(option: str, text: str) -> Span:
    try:
        span = parse_duration(text)
    except ValueError as trouble:
        raise CatcherError(f"{option}: {trouble}", "write it like 10s or 1h") from None
    if span <= 0:
        raise CatcherError(f"{option}: {text} is no time", "write it like 10s or 1h")
    return span


def _shown(row: dict[str, Any]) -> str:
    if "lost" in row:
        return f"… {row['lost']} events were lost here\n"
    fields = " ".join(f"{name}={json.dumps(value)}" for name, value in row["fields"].items())
    line = f"{row['time']} {row['topic']} {fields}"
    wide = len(line) > _WIDE and sys.stdout.isatty()
    return (line[: _WIDE - 1] + "…" if wide else line) + "\n"


def _tell(words: str) -> None:
    typer.echo(words, err=True)
