"""Where engines are born that die young: a process that has imported all and forks for each.

    python -m tests.chaos.fork_server

What runs in a child is the real `catcher run`; only the second of importing is saved, which a
few hundred deaths would make a quarter of an hour of. It is told what to do by lines of JSON.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

POLL_INTERVAL = 0.005


@dataclass
class ForkedProcess:
    """A child of the cradle, as `subprocess.Popen` would show it."""

    fork_server: ForkServer
    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        """Its status; None while it lives."""
        return self._poll_status(0.0)

    def wait(self, timeout: float = 60) -> int:
        """Its status, once it has ended. TimeoutExpired where it has not."""
        status = self._poll_status(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("catcher", timeout)
        return status

    def send_signal(self, signal_number: int) -> None:
        """Signals it, unless it is over."""
        if self.poll() is None:
            os.kill(self.pid, signal_number)

    def kill(self) -> None:
        """Ends it with nothing said."""
        self.send_signal(signal.SIGKILL)

    def _poll_status(self, timeout: float) -> int | None:
        if self.returncode is None:
            self.returncode = self.fork_server.send_request(await_=self.pid, timeout=timeout)
        return self.returncode


class ForkServer:
    """The process that forks; a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.fork_server"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def spawn_engine(
        self, arguments: list[str], environment: dict[str, str], log: Path
    ) -> ForkedProcess:
        """Runs `catcher` with these arguments."""
        pid = self.send_request(arguments=arguments, environment=environment, log=str(log))
        assert pid is not None
        return ForkedProcess(self, pid)

    def send_request(self, **request: Any) -> int | None:
        """One question and its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        response: int | None = json.loads(self._process.stdout.readline())
        return response


def serve_requests() -> None:
    """Forks and waits, as it is told, for as long as it is."""
    import catcher.app.engine_runtime
    import catcher.cli.live_output  # noqa: F401
    from tests.chaos import crash_points

    responses = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        if "await_" in request:
            response = _wait_for_exit(request["await_"], request["timeout"])
        else:
            response = os.fork()
            if not response:
                _run_engine(request, crash_points)
        responses.write(json.dumps(response) + "\n")
        responses.flush()


def _wait_for_exit(pid: int, timeout: float) -> int | None:
    deadline = time.monotonic() + timeout
    while True:
        ended_pid, status = os.waitpid(pid, os.WNOHANG)
        if ended_pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            return None
        time.sleep(POLL_INTERVAL)


def _run_engine(request: dict[str, Any], crash_points: Any) -> None:
    """The child: from here on it is a `catcher` of its own."""
    status = 1
    try:
        os.environ.update(request["environment"])
        log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
            os.dup2(descriptor, target)
        random.seed()
        # The server of workers would import matplotlib for each, and outlive its engine by that.
        BaseContext.set_forkserver_preload = lambda self, names: None  # type: ignore[method-assign]
        sys.argv = ["catcher", *request["arguments"]]
        crash_points.install_crash_points()
        crash_points.main()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve_requests()
