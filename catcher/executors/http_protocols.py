"""The protocols of services that run jobs: their requests, and how their answers are parsed.
Both were written after the services themselves: the UWS server of Rubin's OCPS
(github.com/lsst-dm/uws-api-server) and Noteburst (github.com/lsst-sqre/noteburst, `/v1`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from urllib.parse import quote

from catcher.executors.http_settings import HttpExecutorSettings
from catcher.executors.portable_call import OUTCOME_FILE, OUTCOME_PREFIX, split_into_variables
from catcher.model.errors import CatcherError

JobPhase = Literal["waiting", "running", "done", "failed"]
RESPONSE_HINT = "is `url` the address of such a service, and `form` its own?"


@dataclass(frozen=True, slots=True)
class ServiceRequest:
    """One request: its method, its path below the service's address, its body."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The status of a job: its phase, an error text if it failed, its result or where that is."""

    phase: JobPhase
    error_text: str = ""
    outcome_text: str = ""
    result_request: ServiceRequest | None = None


class JobProtocol(Protocol):
    """The protocol of a service. Raises CatcherError for an answer of another form."""

    def build_submit_request(self, run_id: str, encoded_call: str) -> ServiceRequest: ...
    def parse_job_id(self, response: Mapping[str, Any]) -> str:
        """Returns the id of a job, from the answer to its submission."""
        ...

    def build_status_request(self, job_id: str) -> ServiceRequest: ...
    def build_delete_request(self, job_id: str) -> ServiceRequest | None: ...
    def parse_status(self, response: Mapping[str, Any]) -> JobStatus: ...


class UwsProtocol:
    """PUT /job, GET /job/ID, GET /job/result/ID, DELETE /job/ID."""

    def __init__(self, settings: HttpExecutorSettings) -> None:
        self._settings = settings

    def build_submit_request(self, run_id: str, encoded_call: str) -> ServiceRequest:
        settings = self._settings
        label = "".join(char if char.isalnum() or char in "-_." else "-" for char in run_id)
        body = {
            "run_id": label[:63],
            "command": settings.command,
            "url": settings.repository,
            "commit_ref": settings.commit,
            "environment": [
                {"name": name, "value": value}
                for name, value in split_into_variables(encoded_call).items()
            ],
        }
        return ServiceRequest("PUT", "/job", body)

    def parse_job_id(self, response: Mapping[str, Any]) -> str:
        return _require_text(response, "job_id", "jobId")

    def build_status_request(self, job_id: str) -> ServiceRequest:
        return ServiceRequest("GET", f"/job/{quote(job_id, safe='')}")

    def build_delete_request(self, job_id: str) -> ServiceRequest | None:
        return ServiceRequest("DELETE", f"/job/{quote(job_id, safe='')}")

    def parse_status(self, response: Mapping[str, Any]) -> JobStatus:
        phase = _require_text(response, "phase").lower()
        if phase in ("error", "aborted"):
            summary = response.get("errorSummary")
            message = str(summary.get("message", "")) if isinstance(summary, Mapping) else ""
            return JobStatus("failed", message or f"its phase is {phase}")
        if phase != "completed":
            return JobStatus("running" if phase == "executing" else "waiting")
        for result in response.get("results") or ():
            if isinstance(result, Mapping) and str(result.get("uri", "")).endswith(OUTCOME_FILE):
                result_id = quote(_require_text(result, "id"), safe="")
                return JobStatus(
                    "done", result_request=ServiceRequest("GET", f"/job/result/{result_id}")
                )
        return JobStatus("failed", f"it left no {OUTCOME_FILE} among its results")


class NoteburstProtocol:
    """POST /v1/notebooks/, GET its `self_url`; a job cannot be removed."""

    def __init__(self, settings: HttpExecutorSettings) -> None:
        self._settings = settings

    def build_submit_request(self, run_id: str, encoded_call: str) -> ServiceRequest:
        body = {
            "ipynb": _build_notebook(encoded_call),
            "kernel_name": self._settings.kernel,
            "enable_retry": False,
        }
        return ServiceRequest("POST", "/v1/notebooks/", body)

    def parse_job_id(self, response: Mapping[str, Any]) -> str:
        return _require_text(response, "job_id")

    def build_status_request(self, job_id: str) -> ServiceRequest:
        return ServiceRequest("GET", f"/v1/notebooks/{quote(job_id, safe='')}")

    def build_delete_request(self, job_id: str) -> ServiceRequest | None:
        return None

    def parse_status(self, response: Mapping[str, Any]) -> JobStatus:
        status = _require_text(response, "status")
        if status == "not_found":
            return JobStatus("failed", "the service has lost it")
        if status != "complete":
            return JobStatus("running" if status == "in_progress" else "waiting")
        if not response.get("success"):
            return JobStatus("failed", "the notebook did not run to its end")
        for text in _iter_printed_text(_require_text(response, "ipynb")):
            for line in text.splitlines():
                if line.startswith(OUTCOME_PREFIX):
                    return JobStatus("done", outcome_text=line.removeprefix(OUTCOME_PREFIX))
        return JobStatus("failed", "the notebook printed no outcome")


def create_protocol(settings: HttpExecutorSettings) -> JobProtocol:
    """Creates the protocol that a site names."""
    return UwsProtocol(settings) if settings.form == "uws" else NoteburstProtocol(settings)


def _build_notebook(encoded_call: str) -> str:
    source = f"from catcher.executors import portable_call\nportable_call.run({encoded_call!r})"
    cell: dict[str, Any] = {
        "cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [],
        "source": source,
    }  # fmt: skip
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4})


def _iter_printed_text(notebook: str) -> Iterator[str]:
    """Yields what the cells of an executed notebook wrote to their output."""
    try:
        cells = json.loads(notebook)["cells"]
        for cell in cells:
            for output in cell.get("outputs", ()):
                text = output.get("text", "")
                yield text if isinstance(text, str) else "".join(text)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CatcherError(f"its notebook cannot be read: {error}", RESPONSE_HINT) from error


def _require_text(response: Mapping[str, Any], *names: str) -> str:
    for name in names:
        if isinstance(response.get(name), str) and response[name]:
            return str(response[name])
    raise CatcherError(f"the answer has no {names[0]!r}", RESPONSE_HINT)
