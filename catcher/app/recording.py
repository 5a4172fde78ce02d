"""Follows and records the events that a running engine admits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from catcher.app.engine_handle import read_engine_url
from catcher.app.paths import resolve_data_folder
from catcher.app.site import load_site
from catcher.client.engine_http import EngineHttp
from catcher.model.errors import CatcherError, EngineNotRunning
from catcher.model.event import HTTP_PREFIX, RESULT_PREFIX
from catcher.model.time import wall_clock
from catcher.recordings.writer import Recorder, RecorderSettings

__all__ = [
    "RecorderSettings",
    "create_engine_locator",
    "measure_topic_rates",
    "record_events",
    "stream_event_lines",
]

RETRY_INTERVAL = 1.0
SILENCE_TIMEOUT = 60.0
"""Seconds without a line after which an engine counts as gone: it sends a keep-alive every ten."""
CHECK_INTERVAL = 1.0
_RESULT_PREFIX = f'{{"topic":"{RESULT_PREFIX}'.encode()
_HTTP_PREFIX = f'{{"topic":"{HTTP_PREFIX}'.encode()
_LOST_PREFIX = b'{"lost":'
MessageCallback = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class EngineLocator:
    """Finds the engine of a folder at its current URL."""

    data: Path
    token: str

    def connect(self) -> EngineHttp:
        """Returns a connection to it. Raises EngineNotRunning if none runs."""
        url = read_engine_url(self.data)
        if not url:
            raise EngineNotRunning(
                f"no engine runs on {self.data}",
                "start one with `catcher run`, or name it with --data",
            )
        return EngineHttp(url, self.token)


def create_engine_locator(site: Path | None, data: Path | None) -> EngineLocator:
    """Returns the locator of a site's engine, whether it runs now or not."""
    loaded_site = load_site(site)
    token = loaded_site.settings.api.token
    return EngineLocator(resolve_data_folder(loaded_site, data), token.reveal() if token else "")


async def stream_event_lines(
    engine: EngineLocator, topics: Sequence[str]
) -> AsyncIterator[list[bytes]]:
    """Yields lines of events from now on. Raises EngineNotRunning when the engine ends."""
    async with engine.connect() as connection:
        options = {"params": [("topic", topic) for topic in topics]}
        async with connection.stream_response("GET", "/tail", SILENCE_TIMEOUT, **options) as chunks:
            remainder = b""
            async for chunk in chunks:
                *lines, remainder = (remainder + chunk).split(b"\n")
                yield [line for line in lines if line]
    raise EngineNotRunning("the engine has ended", "start it again")


async def record_events(
    engine: EngineLocator,
    topics: Sequence[str],
    settings: RecorderSettings,
    on_message: MessageCallback,
) -> None:
    """Records the events that an engine admits until cancelled, also over restarts of the engine.
    Results of rules are left out: a replay computes them again. `on_message` receives what was
    lost.
    """
    recorder = Recorder(settings, wall_clock)
    await asyncio.to_thread(recorder.__enter__)
    try:
        for message in recorder.repaired:
            on_message(message)
        engine.connect()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_sync_and_rotate_periodically(recorder))
            last_error = ""
            while True:
                try:
                    async for lines in stream_event_lines(engine, topics):
                        last_error = ""
                        await _write_event_lines(recorder, lines, on_message)
                except CatcherError as error:
                    if str(error) != last_error:
                        last_error = str(error)
                        on_message(f"{error.message}; the recording goes on when it is back")
                await asyncio.sleep(RETRY_INTERVAL)
    finally:
        await asyncio.to_thread(recorder.__exit__, None, None, None)
        on_message(f"{recorder.events} events in {recorder.files} files below {settings.folder}")


async def _sync_and_rotate_periodically(recorder: Recorder) -> None:
    while True:
        await asyncio.sleep(CHECK_INTERVAL)
        await asyncio.to_thread(recorder.sync_and_rotate)


async def _write_event_lines(
    recorder: Recorder, lines: Sequence[bytes], on_message: MessageCallback
) -> None:
    recorded = []
    for line in lines:
        if line.startswith(_LOST_PREFIX):
            lost_count = msgspec.json.decode(line)["lost"]
            on_message(
                f"{lost_count} events were lost: they came faster than they could be recorded"
            )
        elif not line.startswith(_RESULT_PREFIX) or line.startswith(_HTTP_PREFIX):
            recorded.append(line + b"\n")
    if recorded:
        await asyncio.to_thread(recorder.write, recorded)


async def measure_topic_rates(engine: EngineLocator, seconds: float) -> list[dict[str, Any]]:
    """Samples the events of some seconds: each topic's rate per second, and its fields."""
    counts: Counter[str] = Counter()
    fields: dict[str, dict[str, Any]] = {}
    last: dict[str, str] = {}

    async def count_events() -> None:
        async for lines in stream_event_lines(engine, ()):
            for line in lines:
                row = msgspec.json.decode(line)
                topic = row.get("topic", "")
                if topic:
                    counts[topic] += 1
                    fields[topic], last[topic] = row["fields"], row["time"]

    try:
        async with asyncio.timeout(seconds):
            await count_events()
    except TimeoutError:
        pass
    return [
        {
            "topic": topic, "rate": counts[topic] / seconds, "latest": last[topic],
            "fields": sorted(fields[topic]),
        }
        for topic in sorted(counts)
    ]  # fmt: skip
