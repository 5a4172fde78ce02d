"""Where engines are born that die young: a process that has imported all and forks for each.

    python -m tests.chaos.cradle

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

STEP = 0.005


@dataclass
class Born:
    """A child of the cradle, as `subprocess.Popen` would show it."""

    cradle: Cradle
    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        """Its status; None while it lives."""
        return self._asked(0.0)

    def wait(self, timeout: float = 60) -> int:
        """Its status, once it has ended. TimeoutExpired where it has not."""
        status = self._asked(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("catcher", timeout)
        return status

    def send_signal(self, number: int) -> None:
        """Signals it, unless it is over."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it with nothing said."""
        self.send_signal(signal.SIGKILL)

    def _asked(self, timeout: float) -> int | None:
        if self.returncode is None:
            self.returncode = self.cradle.ask(await_=self.pid, timeout=timeout)
        return self.returncode


class Cradle:
    """The process that forks; a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.cradle"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Cradle:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def bear(self, arguments: list[str], environment: dict[str, str], log: Path) -> Born:
        """Runs `catcher` with these arguments."""
        pid = self.ask(arguments=arguments, environment=environment, log=str(log))
        assert pid is not None
        return Born(self, pid)

    def ask(self, **question: Any) -> int | None:
        """One question and its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: int | None = json.loads(self._process.stdout.readline())
        return answer


def serve() -> None:
    """Forks and waits, as it is told, for as long as it is."""
    import catcher.app.opening
    import catcher.cli.following  # noqa: F401
    from tests.chaos import perils

    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        question = json.loads(line)
        if "await_" in question:
            answer = _awaited(question["await_"], question["timeout"])
        else:
            answer = os.fork()
            if not answer:
                _be_born(question, perils)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _awaited(pid: int, timeout: float) -> int | None:
    deadline = time.monotonic() + timeout
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            return None
        time.sleep(STEP)


def _be_born(question: dict[str, Any], perils: Any) -> None:
    """The child: from here on it is a `catcher` of its own."""
    status = 1
    try:
        os.environ.update(question["environment"])
        log = os.open(question["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
            os.dup2(descriptor, target)
        random.seed()
        # The server of workers would import matplotlib for each, and outlive its engine by that.
        BaseContext.set_forkserver_preload = lambda self, names: None  # type: ignore[method-assign]
        sys.argv = ["catcher", *question["arguments"]]
        perils.beset()
        perils.main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
