"""The real `catcher run` in a process of its own, for tests that use it as its users do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

TIMEOUT = 60.0


def run_catcher(*arguments: str | Path, status: int = 0, **environment: str) -> str:
    """Runs a command to its end and returns what it printed; its status must be as expected."""
    completed = subprocess.run(
        [sys.executable, "-m", "catcher", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=TIMEOUT * 2,
        check=False,
    )
    assert completed.returncode == status, (
        f"status {completed.returncode}\n{completed.stdout}\n{completed.stderr}"
    )
    return completed.stdout


def list_rows(*arguments: str | Path) -> list[dict[str, Any]]:
    """What a command lists with --json."""
    rows: list[dict[str, Any]] = json.loads(run_catcher(*arguments, "--json"))
    return rows


@dataclass
class EngineProcess:
    """A running engine: its process, its folder, and its API."""

    process: subprocess.Popen[bytes]
    data: Path
    log: Path

    @property
    def url(self) -> str:
        address: str = json.loads((self.data / "engine.json").read_text())["url"]
        return address

    def get(self, path: str, **parameters: Any) -> Any:
        return httpx.get(self.url + path, params=parameters, trust_env=False, timeout=30).json()

    def post(self, path: str, body: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=body, trust_env=False, timeout=30)

    def get_counts(self, source: str) -> dict[str, int]:
        counts = [row["counts"] for row in self.get("/health") if row["name"] == source]
        return counts[0] if counts else {}

    def wait_until(self, condition: Callable[[], Any], description: str) -> Any:
        """Waits for something to become true of the engine, and returns it."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the engine ended\n{self.log.read_text()}"
            if result := condition():
                return result
            time.sleep(0.05)
        raise AssertionError(f"{description} did not happen\n{self.log.read_text()[-4000:]}")

    def is_idle(self) -> bool:
        """Whether no run waits or goes on."""
        open_runs = [*self.get("/runs", state="pending"), *self.get("/runs", state="running")]
        return not open_runs

    def stop(self, signal_number: signal.Signals = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        return self.process.wait(30)


@contextmanager
def run_engine(
    site: Path, data: Path, *, command: str = "run", arguments: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[EngineProcess]:  # fmt: skip
    """Starts an engine and waits for its API; ends it afterwards."""
    data.mkdir(parents=True, exist_ok=True)
    (data / "engine.json").unlink(missing_ok=True)
    log = data.parent / f"{data.name}.log"
    options = ["--site", str(site), "--data", str(data), "--port", "0"]
    with log.open("ab") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "catcher", command, *options, *arguments],
            stdout=log_file,
            stderr=log_file,
            env={**os.environ, **(environment or {})},
        )
    running = EngineProcess(process, data, log)
    try:
        running.wait_until((data / "engine.json").exists, "the start of the engine")
        yield running
    finally:
        running.stop(signal.SIGKILL)
