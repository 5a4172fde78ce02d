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

PATIENCE = 60.0


def catcher(*arguments: str | Path, status: int = 0, **environment: str) -> str:
    """Runs a command to its end and returns what it printed; its status must be as expected."""
    done = subprocess.run(
        [sys.executable, "-m", "catcher", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=PATIENCE * 2,
        check=False,
    )
    assert done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def listed(*arguments: str | Path) -> list[dict[str, Any]]:
    """What a command lists with --json."""
    rows: list[dict[str, Any]] = json.loads(catcher(*arguments, "--json"))
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

    def counts(self, source: str) -> dict[str, int]:
        found = [one["counts"] for one in self.get("/health") if one["name"] == source]
        return found[0] if found else {}

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        """Waits for something to become true of the engine, and returns it."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the engine ended\n{self.log.read_text()}"
            if found := holds():
                return found
            time.sleep(0.05)
        raise AssertionError(f"{what} did not happen\n{self.log.read_text()[-4000:]}")

    def settled(self) -> bool:
        """Whether no run waits or goes on."""
        waiting = [*self.get("/runs", state="pending"), *self.get("/runs", state="running")]
        return not waiting

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(30)


@contextmanager
def engine(
    site: Path, data: Path, *, command: str = "run", arguments: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[EngineProcess]:  # fmt: skip
    """Starts an engine and waits for its API; ends it afterwards."""
    data.mkdir(parents=True, exist_ok=True)
    (data / "engine.json").unlink(missing_ok=True)
    log = data.parent / f"{data.name}.log"
    options = ["--site", str(site), "--data", str(data), "--port", "0"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "catcher", command, *options, *arguments],
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
        )
    running = EngineProcess(process, data, log)
    try:
        running.until((data / "engine.json").exists, "the start of the engine")
        yield running
    finally:
        running.stop(signal.SIGKILL)
