"""A Dask scheduler and workers as processes of their own, to be killed and started again."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import find_free_port, wait_for_port


@dataclass
class DaskCluster:
    """The processes of a cluster; what they print goes to `folder`."""

    folder: Path
    port: int = field(default_factory=find_free_port)
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    resources: str = ""

    @property
    def url(self) -> str:
        return f"dask://127.0.0.1:{self.port}"

    def start_scheduler(self) -> None:
        listen_options = ["--host", "127.0.0.1", "--port", str(self.port)]
        self.scheduler = self._start_process(
            "dask_scheduler", [*listen_options, "--dashboard-address", ":0"]
        )
        wait_for_port(self.port, self.scheduler)

    def start_worker(self, threads: int = 1) -> subprocess.Popen[bytes]:
        """A worker with a folder of its own; it joins when it is up."""
        worker_folder = self.folder / f"worker-{len(self.workers)}"
        worker_folder.mkdir(parents=True, exist_ok=True)
        options = [
            "--nthreads",
            str(threads),
            "--no-nanny",
            "--local-directory",
            str(worker_folder),
        ]
        if self.resources:
            options += ["--resources", self.resources]
        address = f"tcp://127.0.0.1:{self.port}"
        options += ["--dashboard-address", ":0", "--death-timeout", "60", "--memory-limit", "0"]
        self.workers.append(self._start_process("dask_worker", [address, *options]))
        return self.workers[-1]

    def kill_all(self) -> None:
        """All of it is gone at once; it may be started again at the same address."""
        for process in [self.scheduler, *self.workers]:
            if process is not None:
                process.kill()
                process.wait()
        self.scheduler = None
        self.workers.clear()

    def _start_process(self, program: str, options: list[str]) -> subprocess.Popen[bytes]:
        # Workers import the jobs' own package from where the engine has it.
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with (self.folder / f"{program}.log").open("ab") as log:
            command = [sys.executable, "-m", f"distributed.cli.{program}", *options]
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


@contextlib.contextmanager
def run_cluster(folder: Path, workers: int = 1, resources: str = "") -> Iterator[DaskCluster]:
    """A scheduler with so many workers, ended at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = DaskCluster(folder, resources=resources)
    try:
        cluster.start_scheduler()
        for _ in range(workers):
            cluster.start_worker()
        yield cluster
    finally:
        cluster.kill_all()
