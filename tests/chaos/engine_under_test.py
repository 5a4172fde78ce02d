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

from tests.chaos.fork_server import ForkedProcess, ForkServer

TIMEOUT = 90.0
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


def write_site(root: Path, port: int, *, extra_settings: str = "", sink: str = "") -> Path:
    """The site on a broker; `sink` is written in place of the recording one."""
    for folder in ("rules", "jobs", "alerts/sinks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "catcher.yaml").write_text(SETTINGS.format(port=port, more=extra_settings))
    (root / "rules/rules.yaml").write_text(RULES)
    (root / "jobs/measuring.py").write_text(JOBS)
    (root / "alerts/sinks/recording.py").write_text(SINK.replace("\\\\n", "\\n"))
    sink_config = sink or f'{{recording: {{file: "{root.parent / "told.jsonl"}"}}}}'
    (root / "alerts/routes.yaml").write_text(ROUTES.format(sink=sink_config))
    return root


@dataclass
class EngineUnderTest:
    """An engine that may die at any time, and the folder that outlives it."""

    folder: Path
    site: Path
    environment: dict[str, str] = field(default_factory=dict)
    fork_server: ForkServer | None = None
    process: subprocess.Popen[bytes] | ForkedProcess | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def sink_records(self) -> list[dict[str, Any]]:
        """What the recording sink heard; a line that a crash cut short was not heard."""
        text = (self.folder / "told.jsonl").read_text().splitlines()
        return [json.loads(line) for line in text if line.endswith("}")]

    def start(self, die_at: int = 0, die_in_stop: int = 0) -> None:
        """Starts the engine; it kills itself at a crossing, or at one after it was told to stop."""
        self.data.mkdir(parents=True, exist_ok=True)
        (self.data / "engine.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.chaos.crash_points", "run"]
        options = ["--site", str(self.site), "--data", str(self.data), "--port", "0"]
        crash_variables = {"CATCHER_DIE_AT": str(die_at), "CATCHER_DIE_IN_STOP": str(die_in_stop)}
        environment = {**os.environ, **crash_variables, **self.environment}
        if self.fork_server is not None:
            catcher_variables = {
                name: environment[name] for name in environment if "CATCHER" in name
            }
            log = self.folder / "engine.log"
            self.process = self.fork_server.spawn_engine(["run", *options], catcher_variables, log)
            return
        with (self.folder / "engine.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *options], stdout=log, stderr=log, env=environment
            )

    def wait_for_crash(self, timeout: float) -> bool:
        """Whether the engine dies by itself within some seconds."""
        assert self.process is not None
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        assert self.process.returncode == -signal.SIGKILL, self.read_log()
        return True

    def kill_engine(self) -> None:
        """Ends the engine with nothing said."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """Asks the engine to end, and returns its status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def fetch_json(self, path: str, **parameters: Any) -> Any:
        """An answer of the running engine; None while it does not answer."""
        try:
            url = json.loads((self.data / "engine.json").read_text())["url"]
            return httpx.get(url + path, params=parameters, trust_env=False, timeout=10).json()
        except (OSError, ValueError, httpx.HTTPError):
            return None

    def wait_until(
        self, condition: Callable[[], Any], description: str, timeout: float = TIMEOUT
    ) -> Any:
        """Waits until something is true of the running engine."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            assert self.process is not None and self.process.poll() is None, self.read_log()
            if result := condition():
                return result
            time.sleep(0.05)
        raise AssertionError(f"{description} did not happen\n{self.read_log()}")

    def wait_until_open(self) -> None:
        """Returns when the engine hears the broker."""
        self.wait_until(lambda: self._fetch_source_state("line") == "ok", "the start of the engine")

    def _fetch_source_state(self, name: str) -> str:
        healths = self.fetch_json("/health") or []
        return next((health["state"] for health in healths if health["name"] == name), "")

    def wait_until_drained(
        self, sent: int, count_done: Callable[[], int], is_all_sent: Callable[[], bool]
    ) -> None:
        """Returns once all that was sent is done and told; it fails where nothing moves on."""
        while (done_before := count_done()) < sent:
            self.wait_until(
                lambda: count_done() > done_before,
                f"a further one than {done_before} of {sent} runs",
            )
        self.wait_until(is_all_sent, f"the end of {sent} runs")

    def read_log(self) -> str:
        """The end of what the engine said."""
        return (self.folder / "engine.log").read_text()[-4000:]
