"""The site that is put to the test, and the engine on it, killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.chaos.cradle import Born, Cradle

PATIENCE = 90.0
SETTINGS = """\
site: chaos
sources:
  line:
    mqtt: {{host: 127.0.0.1, port: {port}, topics: {{frames: frame}}, time: at, client_id: chaos}}
    max_ahead: 2h
limits: {{workers: 1}}
{more}"""
RULES = """\
rule: measure
trigger: {event: frame, once_per: name}
job: {run: measure}
---
rule: weigh
trigger: {event: frame, where: number % 100 == 0, once_per: name}
job: {run: weigh, timeout: 60s}
---
rule: level
trigger: {event: frame}
alert: {warning: {when: level > 5, clear: level < 5}}
---
rule: results
trigger: {result: measure, where: doubled >= 0}
"""
JOBS = '''\
"""Two jobs: one on the loop, one in a worker process."""

from catcher import Result, job


@job
async def measure(event) -> Result:
    """Twice the number of a frame, and a note of it."""
    number = event.fields["number"]
    return Result(metrics={"doubled": 2.0 * number}, artifacts={"note.json": {"number": number}})


@job
def weigh(event) -> Result:
    """The same, elsewhere."""
    return Result(metrics={"weight": float(event.fields["number"])})
'''
SINK = '''\
"""Writes down what it hears, and is sure of it before it answers."""

import json
import os


def deliver(notice, message, settings):
    row = {
        "id": notice.id, "alert": notice.alert.id, "episode": notice.alert.episode,
        "sequence": notice.sequence, "kind": notice.kind, "unrecorded": notice.unrecorded,
    }
    with open(settings["file"], "a") as file:
        file.write(json.dumps(row) + "\\\\n")
        file.flush()
        os.fsync(file.fileno())
'''
ROUTES = """\
noise: {{flood: off, flapping: off}}
sinks:
  record: {sink}
route: {{to: [record]}}
"""


def write_site(root: Path, port: int, *, more: str = "", sink: str = "") -> Path:
    """The site on a broker; `sink` is written in place of the recording one."""
    for folder in ("rules", "jobs", "alerts/sinks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "catcher.yaml").write_text(SETTINGS.format(port=port, more=more))
    (root / "rules/rules.yaml").write_text(RULES)
    (root / "jobs/measuring.py").write_text(JOBS)
    (root / "alerts/sinks/recording.py").write_text(SINK.replace("\\\\n", "\\n"))
    told = sink or f'{{recording: {{file: "{root.parent / "told.jsonl"}"}}}}'
    (root / "alerts/routes.yaml").write_text(ROUTES.format(sink=told))
    return root


@dataclass
class Scene:
    """An engine that may die at any time, and the folder that outlives it."""

    folder: Path
    site: Path
    environment: dict[str, str] = field(default_factory=dict)
    cradle: Cradle | None = None
    process: subprocess.Popen[bytes] | Born | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def told(self) -> list[dict[str, Any]]:
        """What the recording sink heard; a line that a crash cut short was not heard."""
        text = (self.folder / "told.jsonl").read_text().splitlines()
        return [json.loads(line) for line in text if line.endswith("}")]

    def start(self, die_at: int = 0, die_in_stop: int = 0) -> None:
        """Starts the engine; it kills itself at a crossing, or at one after it was told to stop."""
        self.data.mkdir(parents=True, exist_ok=True)
        (self.data / "engine.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.chaos.perils", "run"]
        options = ["--site", str(self.site), "--data", str(self.data), "--port", "0"]
        ends = {"CATCHER_DIE_AT": str(die_at), "CATCHER_DIE_IN_STOP": str(die_in_stop)}
        environment = {**os.environ, **ends, **self.environment}
        if self.cradle is not None:
            told = {name: environment[name] for name in environment if "CATCHER" in name}
            log = self.folder / "engine.log"
            self.process = self.cradle.bear(["run", *options], told, log)
            return
        with (self.folder / "engine.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *options], stdout=log, stderr=log, env=environment
            )

    def await_death(self, limit: float) -> bool:
        """Whether the engine dies by itself within some seconds."""
        assert self.process is not None
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            return False
        assert self.process.returncode == -signal.SIGKILL, self.log()
        return True

    def kill(self) -> None:
        """Ends the engine with nothing said."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """Asks the engine to end, and returns its status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def get(self, path: str, **parameters: Any) -> Any:
        """An answer of the running engine; None while it does not answer."""
        try:
            url = json.loads((self.data / "engine.json").read_text())["url"]
            return httpx.get(url + path, params=parameters, trust_env=False, timeout=10).json()
        except (OSError, ValueError, httpx.HTTPError):
            return None

    def until(self, holds: Callable[[], Any], what: str, limit: float = PATIENCE) -> Any:
        """Waits until something is true of the running engine."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            assert self.process is not None and self.process.poll() is None, self.log()
            if found := holds():
                return found
            time.sleep(0.05)
        raise AssertionError(f"{what} did not happen\n{self.log()}")

    def opened(self) -> None:
        """Returns when the engine hears the broker."""
        self.until(lambda: self._state("line") == "ok", "the start of the engine")

    def _state(self, name: str) -> str:
        healths = self.get("/health") or []
        return next((one["state"] for one in healths if one["name"] == name), "")

    def drain(self, sent: int, done: Callable[[], int], all_told: Callable[[], bool]) -> None:
        """Returns once all that was sent is done and told; it fails where nothing moves on."""
        while (before := done()) < sent:
            self.until(lambda: done() > before, f"a further one than {before} of {sent} runs")
        self.until(all_told, f"the end of {sent} runs")

    def log(self) -> str:
        """The end of what the engine said."""
        return (self.folder / "engine.log").read_text()[-4000:]
