"""Following and recording what a running engine lets in."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from catcher.api.link import Link
from catcher.app.places import data_folder
from catcher.app.running import announced_at
from catcher.app.sites import load_site
from catcher.model.event import HTTP_PREFIX, RESULT_PREFIX
from catcher.model.problem import CatcherError, NoEngine
from catcher.model.time import wall_clock
from catcher.stores.recording import Recorder, RecorderSettings

__all__ = ["RecorderSettings", "find_engine", "follow", "heard_topics", "record"]

AGAIN = 1.0
SILENCE = 60.0
"""Seconds without a line after which an engine is taken for gone: it gives a sign every ten."""
LOOKED_AT = 1.0
_OWN = f'{{"topic":"{RESULT_PREFIX}'.encode()
_POSTED = f'{{"topic":"{HTTP_PREFIX}'.encode()
_LOST = b'{"lost":'
Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Engine:
    """The engine of a folder, wherever it answers now."""

    data: Path
    token: str

    def link(self) -> Link:
        """A way to it; NoEngine where none runs."""
        url = announced_at(self.data)
        if not url:
            raise NoEngine(
                f"no engine runs on {self.data}",
                "start one with `catcher run`, or name it with --data",
            )
        return Link(url, self.token)


def find_engine(site: Path | None, data: Path | None) -> Engine:
    """The engine of a site's folder, whether it runs now or not."""
    loaded = load_site(site)
    token = loaded.settings.api.token
    return Engine(data_folder(loaded, data), token.reveal() if token else "")


async def follow(engine: Engine, topics: Sequence[str]) -> AsyncIterator[list[bytes]]:
    """Lines of events from now on, as they come; NoEngine when the engine has ended."""
    async with engine.link() as link:
        asked = {"params": [("topic", one) for one in topics]}
        async with link.stream("GET", "/tail", SILENCE, **asked) as chunks:
            rest = b""
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                yield [line for line in lines if line]
    raise NoEngine("the engine has ended", "start it again")


async def record(
    engine: Engine, topics: Sequence[str], settings: RecorderSettings, told: Told
) -> None:
    """Writes what an engine lets in until it is cancelled, also over restarts of the engine.

    Results of rules are left out: a replay makes them anew. `told` hears what was lost.
    """
    recorder = Recorder(settings, wall_clock)
    await asyncio.to_thread(recorder.__enter__)
    try:
        for words in recorder.mended:
            told(words)
        engine.link()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_look(recorder))
            away = ""
            while True:
                try:
                    async for lines in follow(engine, topics):
                        away = ""
                        await _write(recorder, lines, told)
                except CatcherError as trouble:
                    if str(trouble) != away:
                        away = str(trouble)
                        told(f"{trouble.message}; the recording goes on when it is back")
                await asyncio.sleep(AGAIN)
    finally:
        await asyncio.to_thread(recorder.__exit__, None, None, None)
        told(f"{recorder.events} events in {recorder.files} files below {settings.folder}")


async def _look(recorder: Recorder) -> None:
    while True:
        await asyncio.sleep(LOOKED_AT)
        await asyncio.to_thread(recorder.look)


async def _write(recorder: Recorder, lines: Sequence[bytes], told: Told) -> None:
    kept = []
    for line in lines:
        if line.startswith(_LOST):
            lost = msgspec.json.decode(line)["lost"]
            told(f"{lost} events were lost: they came faster than they could be recorded")
        elif not line.startswith(_OWN) or line.startswith(_POSTED):
            kept.append(line + b"\n")
    if kept:
        await asyncio.to_thread(recorder.write, kept)


async def heard_topics(engine: Engine, seconds: float) -> list[dict[str, Any]]:
    """What comes within some seconds, topic by topic: how many a second, and which fields."""
    counts: Counter[str] = Counter()
    fields: dict[str, dict[str, Any]] = {}
    last: dict[str, str] = {}

    async def listen() -> None:
        async for lines in follow(engine, ()):
            for line in lines:
                row = msgspec.json.decode(line)
                topic = row.get("topic", "")
                if topic:
                    counts[topic] += 1
                    fields[topic], last[topic] = row["fields"], row["time"]

    try:
        async with asyncio.timeout(seconds):
            await listen()
    except TimeoutError:
        pass
    return [
        {
            "topic": topic, "rate": counts[topic] / seconds, "latest": last[topic],
            "fields": sorted(fields[topic]),
        }
        for topic in sorted(counts)
    ]  # fmt: skip
