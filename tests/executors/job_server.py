"""A service that runs jobs as OCPS's UWS server or Noteburst do, with faults on demand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

HOUSE = Path(__file__).parents[2]


@dataclass
class Job:
    """One job that was submitted, and how it does."""

    name: str
    body: dict[str, Any]
    folder: Path
    phase: str = "pending"
    process: subprocess.Popen[bytes] | None = None
    looks: int = 0


@dataclass
class Service:
    """What a test says of it, and what was asked."""

    folder: Path
    port: int = 0
    form: str = "uws"
    jobs: dict[str, Job] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    removed: list[str] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    """Statuses that the next requests get instead of an answer."""
    loses: int = 0
    """So many of the jobs to come are forgotten as soon as they are submitted."""
    begins: bool = True
    nonsense: bytes | None = None
    """What every answer is instead."""
    pending_looks: int = 1
    """How often a job is said to be pending before it has begun."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # -- jobs ---------------------------------------------------------------------------------

    def submit(self, body: dict[str, Any]) -> Job:
        name = f"job-{len(self.jobs)}-{os.urandom(3).hex()}"
        job = Job(name, body, Path(tempfile.mkdtemp(dir=self.folder)))
        if self.loses:
            self.loses -= 1
            return job
        self.jobs[name] = job
        if self.begins:
            job.process = self._begun(job)
        return job

    def _begun(self, job: Job) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "JOB_OUTPUT_DIR": str(job.folder), "PYTHONPATH": str(HOUSE)}
        if self.form == "uws":
            environment |= {one["name"]: one["value"] for one in job.body["environment"]}
            command = job.body["command"].replace("python", sys.executable, 1).split()
        else:
            notebook = json.loads(job.body["ipynb"])
            command = [sys.executable, "-c", notebook["cells"][0]["source"]]
        out = (job.folder / "printed").open("wb")
        with out:
            return subprocess.Popen(command, env=environment, stdout=out, stderr=out)

    def phase(self, job: Job) -> str:
        job.looks += 1
        if job.process is None or job.looks <= self.pending_looks:
            return "pending"
        status = job.process.poll()
        return "executing" if status is None else "error" if status else "completed"

    def end(self) -> None:
        for job in self.jobs.values():
            if job.process is not None:
                job.process.kill()
                job.process.wait()


class _Handler(BaseHTTPRequestHandler):
    service: Service

    def handle_any(self) -> None:
        service = self.service
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else {}
        with service.lock:
            service.asked.append(f"{self.command} {self.path}")
            service.tokens.add(self.headers.get("Authorization", ""))
            if service.nonsense is not None:
                self._answer(200, service.nonsense)
            elif service.refusals:
                self._answer(service.refusals.pop(0), b'"not now"')
            else:
                self._route(body)

    do_GET = do_PUT = do_POST = do_DELETE = handle_any

    def _route(self, body: dict[str, Any]) -> None:
        service, parts = self.service, [unquote(one) for one in self.path.split("/")[1:]]
        if self.command in ("PUT", "POST"):
            job = service.submit(body)
            status = "pending" if service.form == "uws" else "queued"
            self._json({"job_id": job.name, "status": status})
        elif parts[:2] == ["job", "result"]:
            path = Path(b64decode(parts[2]).decode())
            self._answer(200, path.read_bytes(), "application/octet-stream")
        elif parts[-1] not in service.jobs:
            self._answer(200 if parts == [""] else 404, b'"no such job"')
        elif self.command == "DELETE":
            service.removed.append(parts[-1])
            job = service.jobs.pop(parts[-1])
            if job.process is not None:
                job.process.kill()
                job.process.wait()
            self._json({"status": "ok"})
        else:
            self._json(self._standing(service.jobs[parts[-1]]))

    def _standing(self, job: Job) -> dict[str, Any]:
        phase = self.service.phase(job)
        printed = (job.folder / "printed").read_text() if job.process else ""
        if self.service.form == "uws":
            found = [str(path) for path in job.folder.glob("*.catcher")]
            results = [{"id": b64encode(one.encode()).decode(), "uri": one} for one in found]
            return {"jobId": job.name, "phase": phase, "results": results,
                    "errorSummary": {"message": printed[-300:]}}  # fmt: skip
        words = {"pending": "queued", "executing": "in_progress"}
        answer: dict[str, Any] = {"job_id": job.name, "status": words.get(phase, "complete")}
        if answer["status"] == "complete":
            outputs = [{"output_type": "stream", "name": "stdout", "text": printed}]
            notebook = {"cells": [{"cell_type": "code", "outputs": outputs}]}
            answer |= {"success": phase == "completed", "ipynb": json.dumps(notebook)}
        return answer

    def _json(self, body: Any) -> None:
        self._answer(200, json.dumps(body).encode())

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *what: Any) -> None:
        """Nothing."""


@contextmanager
def serving(service: Service) -> Iterator[Service]:
    """The service answers, at the port it had before, if any."""
    handler = type("Handler", (_Handler,), {"service": service})
    with ThreadingHTTPServer(("127.0.0.1", service.port), handler) as server:
        service.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()
