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
from catcher.app.running import Running

PATIENCE = 30.0
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

    running: Running
    site: Path
    data: Path
    loop: asyncio.AbstractEventLoop

    def ask(self, method: str, path: str, **how: Any) -> httpx.Response:
        """One request."""
        return httpx.request(
            method, self.running.url + path, trust_env=False, timeout=PATIENCE, **how
        )

    def get(self, path: str, **parameters: Any) -> Any:
        """What a list or page of the API holds."""
        answer = self.ask("GET", path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, topic: str, **fields: Any) -> None:
        """Posts one event, which is kept afterwards."""
        answer = self.ask("POST", "/events", json={"topic": topic, "fields": fields})
        assert answer.status_code == 202, answer.text

    def until(self, holds: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
        """Waits for something to become true of the engine, and returns it."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if found := holds():
                return found
            time.sleep(0.02)
        raise AssertionError(f"{what} did not happen")

    def the_run(self, **wanted: Any) -> dict[str, Any]:
        """The latest run that is over and fits."""

        def over() -> dict[str, Any] | None:
            runs: list[dict[str, Any]] = self.get("/runs")
            fits = [one for one in runs if wanted.items() <= one.items()]
            return next((one for one in fits if one["finished"]), None)

        run: dict[str, Any] = self.until(over, f"the end of a run with {wanted}")
        return run


@contextmanager
def engine_in_thread(
    site: Path, data: Path, write: Callable[[str], None] = lambda line: None
) -> Iterator[ThreadedEngine]:
    """Runs an engine on a loop of its own; it ends with the context, and so do its workers.

    `write` has the lines of the console.
    """
    opened: Future[ThreadedEngine] = Future()
    ended: list[asyncio.Event] = []

    async def hold() -> None:
        async with open_engine(site, data, 0, write) as running:
            ended.append(asyncio.Event())
            opened.set_result(ThreadedEngine(running, site, data, asyncio.get_running_loop()))
            await ended[0].wait()

    def work() -> None:
        try:
            asyncio.run(hold())
        except BaseException as error:
            if opened.done():
                raise
            opened.set_exception(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        engine = opened.result(PATIENCE)
        yield engine
        engine.loop.call_soon_threadsafe(ended[0].set)
    finally:
        if ended and thread.is_alive():
            opened.result().loop.call_soon_threadsafe(ended[0].set)
        thread.join(PATIENCE)
