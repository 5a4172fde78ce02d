"""Small sites for tests, and an engine on one of them that runs in a thread of this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from catcher.app import open_engine
from catcher.app.engine_handle import EngineHandle

TIMEOUT = 30.0
WIND = """
rule: wind
trigger: {telemetry: wind, by: mast}
alert:
  warning: {when: speed > 10, clear: speed < 8}
  serious: speed > 20
  message: "Wind {{ speed }} at {{ mast }}"
"""
DOUBLING = """
rule: doubling
trigger: {event: number, where: value >= 0, by: lane}
job: {run: doubling}
"""
JOBS = '''
"""Jobs that run on the loop, so that no worker process has to start."""

from catcher import Event, Metric, Result, job


@job
async def doubling(event: Event) -> Result:
    """Twice the event's value."""
    if event.fields["value"] == 13:
        raise ValueError("thirteen brings no luck")
    twice = 2.0 * event.fields["value"]
    return Result({"doubled": Metric(twice, unit="m")}, artifacts={"words.txt": f"{twice}"})
'''


def write_site(
    folder: Path, rules: str = WIND, *, settings: str = "site: small", jobs: str = JOBS,
    routes: str = "",
) -> Path:  # fmt: skip
    """Writes a site's files and returns its folder."""
    texts = {"catcher.yaml": settings, "rules/rules.yaml": rules, "jobs/jobs.py": jobs}
    if routes:
        texts["alerts/routes.yaml"] = routes
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@dataclass
class ThreadedEngine:
    """A running engine, its folders, and its API as a client of this machine sees it."""

    handle: EngineHandle
    site: Path
    data: Path
    loop: asyncio.AbstractEventLoop

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request."""
        return httpx.request(
            method, self.handle.url + path, trust_env=False, timeout=TIMEOUT, **options
        )

    def get(self, path: str, **parameters: Any) -> Any:
        """What a list or page of the API holds."""
        response = self.request("GET", path, params=parameters)
        assert response.status_code == 200, response.text
        return response.json()

    def post_event(self, topic: str, **fields: Any) -> None:
        """Posts one event, which is kept afterwards."""
        response = self.request("POST", "/events", json={"topic": topic, "fields": fields})
        assert response.status_code == 202, response.text

    def wait_until(
        self, condition: Callable[[], Any], description: str, timeout: float = TIMEOUT
    ) -> Any:
        """Waits for something to become true of the engine, and returns it."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if result := condition():
                return result
            time.sleep(0.02)
        raise AssertionError(f"{description} did not happen")

    def wait_for_run(self, **fields: Any) -> dict[str, Any]:
        """The latest run that is over and fits."""

        def find_finished() -> dict[str, Any] | None:
            runs: list[dict[str, Any]] = self.get("/runs")
            matches = [run for run in runs if fields.items() <= run.items()]
            return next((run for run in matches if run["finished"]), None)

        run: dict[str, Any] = self.wait_until(find_finished, f"the end of a run with {fields}")
        return run


@contextmanager
def engine_in_thread(
    site: Path, data: Path, write: Callable[[str], None] = lambda line: None
) -> Iterator[ThreadedEngine]:
    """Runs an engine on a loop of its own; it ends with the context, and so do its workers.

    `write` has the lines of the console.
    """
    started: Future[ThreadedEngine] = Future()
    stop_events: list[asyncio.Event] = []

    async def run_until_stopped() -> None:
        async with open_engine(site, data, 0, write) as running:
            stop_events.append(asyncio.Event())
            started.set_result(ThreadedEngine(running, site, data, asyncio.get_running_loop()))
            await stop_events[0].wait()

    def run_loop() -> None:
        try:
            asyncio.run(run_until_stopped())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=run_loop)
    thread.start()
    try:
        engine = started.result(TIMEOUT)
        yield engine
        engine.loop.call_soon_threadsafe(stop_events[0].set)
    finally:
        if stop_events and thread.is_alive():
            started.result().loop.call_soon_threadsafe(stop_events[0].set)
        thread.join(TIMEOUT)
