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

REPOSITORY = Path(__file__).parents[2]


@dataclass
class SubmittedJob:
    """One job that was submitted, and how it does."""

    name: str
    body: dict[str, Any]
    folder: Path
    phase: str = "pending"
    process: subprocess.Popen[bytes] | None = None
    poll_count: int = 0


@dataclass
class FakeJobService:
    """What a test says of it, and what was asked."""

    folder: Path
    port: int = 0
    protocol: str = "uws"
    jobs: dict[str, SubmittedJob] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    removed: list[str] = field(default_factory=list)
    error_statuses: list[int] = field(default_factory=list)
    """Statuses that the next requests get instead of an answer."""
    jobs_to_lose: int = 0
    """So many of the jobs to come are forgotten as soon as they are submitted."""
    starts_jobs: bool = True
    nonsense: bytes | None = None
    """What every answer is instead."""
    pending_polls: int = 1
    """How often a job is said to be pending before it has begun."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # -- jobs ---------------------------------------------------------------------------------

    def submit(self, body: dict[str, Any]) -> SubmittedJob:
        name = f"job-{len(self.jobs)}-{os.urandom(3).hex()}"
        job = SubmittedJob(name, body, Path(tempfile.mkdtemp(dir=self.folder)))
        if self.jobs_to_lose:
            self.jobs_to_lose -= 1
            return job
        self.jobs[name] = job
        if self.starts_jobs:
            job.process = self._start_job(job)
        return job

    def _start_job(self, job: SubmittedJob) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "JOB_OUTPUT_DIR": str(job.folder),
            "PYTHONPATH": str(REPOSITORY),
        }
        if self.protocol == "uws":
            environment |= {
                variable["name"]: variable["value"] for variable in job.body["environment"]
            }
            command = job.body["command"].replace("python", sys.executable, 1).split()
        else:
            notebook = json.loads(job.body["ipynb"])
            command = [sys.executable, "-c", notebook["cells"][0]["source"]]
        output = (job.folder / "printed").open("wb")
        with output:
            return subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    def poll_phase(self, job: SubmittedJob) -> str:
        job.poll_count += 1
        if job.process is None or job.poll_count <= self.pending_polls:
            return "pending"
        status = job.process.poll()
        return "executing" if status is None else "error" if status else "completed"

    def kill_jobs(self) -> None:
        for job in self.jobs.values():
            if job.process is not None:
                job.process.kill()
                job.process.wait()


class _JobServiceHandler(BaseHTTPRequestHandler):
    service: FakeJobService

    def handle_request(self) -> None:
        service = self.service
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else {}
        with service.lock:
            service.requests.append(f"{self.command} {self.path}")
            service.tokens.add(self.headers.get("Authorization", ""))
            if service.nonsense is not None:
                self._send_response(200, service.nonsense)
            elif service.error_statuses:
                self._send_response(service.error_statuses.pop(0), b'"not now"')
            else:
                self._route_request(body)

    do_GET = do_PUT = do_POST = do_DELETE = handle_request

    def _route_request(self, body: dict[str, Any]) -> None:
        service, parts = self.service, [unquote(part) for part in self.path.split("/")[1:]]
        if self.command in ("PUT", "POST"):
            job = service.submit(body)
            status = "pending" if service.protocol == "uws" else "queued"
            self._send_json({"job_id": job.name, "status": status})
        elif parts[:2] == ["job", "result"]:
            path = Path(b64decode(parts[2]).decode())
            self._send_response(200, path.read_bytes(), "application/octet-stream")
        elif parts[-1] not in service.jobs:
            self._send_response(200 if parts == [""] else 404, b'"no such job"')
        elif self.command == "DELETE":
            service.removed.append(parts[-1])
            job = service.jobs.pop(parts[-1])
            if job.process is not None:
                job.process.kill()
                job.process.wait()
            self._send_json({"status": "ok"})
        else:
            self._send_json(self._job_status(service.jobs[parts[-1]]))

    def _job_status(self, job: SubmittedJob) -> dict[str, Any]:
        phase = self.service.poll_phase(job)
        output = (job.folder / "printed").read_text() if job.process else ""
        if self.service.protocol == "uws":
            paths = [str(path) for path in job.folder.glob("*.catcher")]
            results = [{"id": b64encode(path.encode()).decode(), "uri": path} for path in paths]
            return {"jobId": job.name, "phase": phase, "results": results,
                    "errorSummary": {"message": output[-300:]}}  # fmt: skip
        status_names = {"pending": "queued", "executing": "in_progress"}
        reply: dict[str, Any] = {"job_id": job.name, "status": status_names.get(phase, "complete")}
        if reply["status"] == "complete":
            outputs = [{"output_type": "stream", "name": "stdout", "text": output}]
            notebook = {"cells": [{"cell_type": "code", "outputs": outputs}]}
            reply |= {"success": phase == "completed", "ipynb": json.dumps(notebook)}
        return reply

    def _send_json(self, body: Any) -> None:
        self._send_response(200, json.dumps(body).encode())

    def _send_response(
        self, status: int, body: bytes, content_type: str = "application/json"
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""


@contextmanager
def serve_jobs(service: FakeJobService) -> Iterator[FakeJobService]:
    """The service answers, at the port it had before, if any."""
    handler = type("Handler", (_JobServiceHandler,), {"service": service})
    with ThreadingHTTPServer(("127.0.0.1", service.port), handler) as server:
        service.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()
