"""The forms in which services take jobs: what is sent, and how their answers are read.

Both were written after the services themselves: the UWS server of Rubin's OCPS
(github.com/lsst-dm/uws-api-server) and Noteburst (github.com/lsst-sqre/noteburst, `/v1`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from urllib.parse import quote

from catcher.executors.errand import FILE, MARK, variables
from catcher.executors.http_settings import Settings
from catcher.model.problem import CatcherError

Phase = Literal["waiting", "running", "done", "failed"]
HINT = "is `url` the address of such a service, and `form` its own?"


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its method, its path below the service's address (or all of it), its body."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a job does: its phase; words where it failed; its result or where that is."""

    phase: Phase
    words: str = ""
    text: str = ""
    elsewhere: Request | None = None


class Form(Protocol):
    """How a service is spoken to. CatcherError for an answer that is not of its form."""

    def submission(self, run: str, errand: str) -> Request: ...
    def name(self, answer: Mapping[str, Any]) -> str:
        """What a job is known by, from the answer to its submission."""
        ...

    def look(self, name: str) -> Request: ...
    def removal(self, name: str) -> Request | None: ...
    def standing(self, answer: Mapping[str, Any]) -> Standing: ...


class Uws:
    """PUT /job, GET /job/ID, GET /job/result/ID, DELETE /job/ID."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def submission(self, run: str, errand: str) -> Request:
        said = self._settings
        label = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in run)
        body = {
            "run_id": label[:63],
            "command": said.command,
            "url": said.repository,
            "commit_ref": said.commit,
            "environment": [
                {"name": name, "value": value} for name, value in variables(errand).items()
            ],
        }
        return Request("PUT", "/job", body)

    def name(self, answer: Mapping[str, Any]) -> str:
        return _text(answer, "job_id", "jobId")

    def look(self, name: str) -> Request:
        return Request("GET", f"/job/{quote(name, safe='')}")

    def removal(self, name: str) -> Request | None:
        return Request("DELETE", f"/job/{quote(name, safe='')}")

    def standing(self, answer: Mapping[str, Any]) -> Standing:
        phase = _text(answer, "phase").lower()
        if phase in ("error", "aborted"):
            summary = answer.get("errorSummary")
            words = str(summary.get("message", "")) if isinstance(summary, Mapping) else ""
            return Standing("failed", words or f"its phase is {phase}")
        if phase != "completed":
            return Standing("running" if phase == "executing" else "waiting")
        for one in answer.get("results") or ():
            if isinstance(one, Mapping) and str(one.get("uri", "")).endswith(FILE):
                place = quote(_text(one, "id"), safe="")
                return Standing("done", elsewhere=Request("GET", f"/job/result/{place}"))
        return Standing("failed", f"it left no {FILE} among its results")


class Noteburst:
    """POST /v1/notebooks/, GET its `self_url`; a job cannot be removed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def submission(self, run: str, errand: str) -> Request:
        body = {
            "ipynb": _notebook(errand),
            "kernel_name": self._settings.kernel,
            "enable_retry": False,
        }
        return Request("POST", "/v1/notebooks/", body)

    def name(self, answer: Mapping[str, Any]) -> str:
        return _text(answer, "job_id")

    def look(self, name: str) -> Request:
        return Request("GET", f"/v1/notebooks/{quote(name, safe='')}")

    def removal(self, name: str) -> Request | None:
        return None

    def standing(self, answer: Mapping[str, Any]) -> Standing:
        status = _text(answer, "status")
        if status == "not_found":
            return Standing("failed", "the service has lost it")
        if status != "complete":
            return Standing("running" if status == "in_progress" else "waiting")
        if not answer.get("success"):
            return Standing("failed", "the notebook did not run to its end")
        for text in _printed(_text(answer, "ipynb")):
            for line in text.splitlines():
                if line.startswith(MARK):
                    return Standing("done", text=line.removeprefix(MARK))
        return Standing("failed", "the notebook printed no outcome")


def form_of(settings: Settings) -> Form:
    """The form that a site names."""
    return Uws(settings) if settings.form == "uws" else Noteburst(settings)


def _notebook(errand: str) -> str:
    source = f"from catcher.executors import errand\nerrand.run({errand!r})"
    cell: dict[str, Any] = {
        "cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [],
        "source": source,
    }  # fmt: skip
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4})


def _printed(notebook: str) -> Iterator[str]:
    """What the cells of an executed notebook wrote to their output."""
    try:
        cells = json.loads(notebook)["cells"]
        for cell in cells:
            for output in cell.get("outputs", ()):
                text = output.get("text", "")
                yield text if isinstance(text, str) else "".join(text)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CatcherError(f"its notebook cannot be read: {error}", HINT) from error


def _text(answer: Mapping[str, Any], *names: str) -> str:
    for name in names:
        if isinstance(answer.get(name), str) and answer[name]:
            return str(answer[name])
    raise CatcherError(f"the answer has no {names[0]!r}", HINT)
