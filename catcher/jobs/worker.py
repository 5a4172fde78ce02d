"""The worker's side of a call: load the function, call it, validate and encode its result.

Whatever a job does comes back as an outcome. Nothing here depends on where it runs; an executor
delivers the call and returns the outcome.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import resource
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from catcher.jobs.loader import MODULE_PREFIX, load_job_function
from catcher.jobs.result_validation import validate_result
from catcher.model.errors import CatcherError
from catcher.model.result import JobOutput
from catcher.model.run import JobCall, JobOutcome
from catcher.model.time import format_duration, nanoseconds_to_seconds

FIRST_FRAMES, LAST_FRAMES = 10, 20
MAX_ERROR_LENGTH = 400
MAX_TRACEBACK_LENGTH = 16_384
SILENT_EXIT_STATUS = 70
"""The exit status of a worker whose job ended the process with status 0."""


def execute_call(call: JobCall) -> JobOutcome:
    """Executes a call in this process. Never raises for what the job does.

    A job that raises, exits or returns an invalid result has failed. It may use at most
    `call.memory` bytes of address space beyond what the process already has.
    """
    pid = os.getpid()
    files: dict[str, tuple[str, int]] = {}
    try:
        files = compute_file_checksums(call)
        with _patch_silent_exit(pid), _limit_memory(call.memory):
            output = _call_job(call)
        outcome = JobOutcome("done", output)
    except CatcherError as error:
        outcome = JobOutcome("failed", error=str(error), retry=False)
    # User code may raise anything, and pytest or a library may end the process by exception.
    except BaseException as error:  # noqa: BLE001
        outcome = _build_failure(error, call)
    finally:
        if os.getpid() != pid:
            # The job forked and the child returned here: it must not continue as a second worker.
            os._exit(0)
        _close_figures()
    return replace(outcome, files=files)


async def execute_call_async(call: JobCall) -> JobOutcome:
    """Executes the call of an `async def` job on the running event loop, under its timeout."""
    timeout = asyncio.timeout(nanoseconds_to_seconds(call.timeout))
    try:
        async with timeout:
            files = await asyncio.to_thread(compute_file_checksums, call)
            function = await asyncio.to_thread(load_job_function, call.job)
            return_value = await function(**call.arguments)
        return JobOutcome(
            "done", await asyncio.to_thread(validate_result, return_value), files=files
        )
    except CatcherError as error:
        return JobOutcome("failed", error=str(error), retry=False)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return _build_failure(error, call)
    except TimeoutError as error:
        return build_timeout_outcome(call) if timeout.expired() else _build_failure(error, call)
    # User code may raise anything; a SystemExit must not end the engine.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return _build_failure(error, call)


def build_timeout_outcome(call: JobCall) -> JobOutcome:
    """Returns the outcome of a call that exceeded its timeout."""
    return JobOutcome("timeout", error=f"the job took longer than {format_duration(call.timeout)}")


def compute_file_checksums(call: JobCall) -> dict[str, tuple[str, int]]:
    """Returns the checksum and size in bytes of each file of a call; unreadable files are skipped,
    since the job will report them."""
    file_checksums = {}
    for name in call.files:
        with contextlib.suppress(OSError), Path(call.arguments[name]).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
            file_checksums[name] = f"sha256:{digest.hexdigest()}", stream.tell()
    return file_checksums


def _call_job(call: JobCall) -> JobOutput:
    return validate_result(load_job_function(call.job)(**call.arguments))


def _build_failure(error: BaseException, call: JobCall) -> JobOutcome:
    """Returns a failed outcome: the error in one line, and the job's own frames."""
    kind = type(error).__name__
    if isinstance(error, MemoryError):
        error_text = f"{kind}: the job needed more memory than it is given"
        if call.memory is not None:
            error_text += f" ({call.memory / 2**20:.0f} MiB); set `memory` or read less"
        return JobOutcome(
            "failed", error=error_text, traceback=_format_traceback(error, call), retry=False
        )
    if isinstance(error, SystemExit):
        error_text = f"{kind}: the job ended itself with sys.exit({error.code!r})"
        return JobOutcome("failed", error=error_text, traceback=_format_traceback(error, call))
    lines = traceback.TracebackException.from_exception(error, limit=0).format_exception_only()
    text = "".join(lines)
    if type(error).__module__.startswith(MODULE_PREFIX):
        text = text.removeprefix(f"{type(error).__module__}.")
    error_text = " ".join(text.split())[:MAX_ERROR_LENGTH]
    return JobOutcome("failed", error=error_text, traceback=_format_traceback(error, call))


def _format_traceback(error: BaseException, call: JobCall) -> str:
    """Formats the traceback from the job's first frame on, files relative to the site."""
    summary = traceback.TracebackException.from_exception(error)
    current: traceback.TracebackException | None = summary
    while current is not None:
        current.stack = _select_job_frames(current.stack, call.job.site)
        current = current.__cause__ or current.__context__
    return "".join(summary.format())[-MAX_TRACEBACK_LENGTH:]


def _select_job_frames(stack: traceback.StackSummary, site: str) -> traceback.StackSummary:
    frames = list(stack)
    while frames and not Path(frames[0].filename).is_relative_to(site):
        del frames[0]
    if len(frames) > FIRST_FRAMES + LAST_FRAMES:
        frames = frames[:FIRST_FRAMES] + frames[-LAST_FRAMES:]
    for frame in frames:
        if Path(frame.filename).is_relative_to(site):
            frame.filename = str(Path(frame.filename).relative_to(site))
    return traceback.StackSummary.from_list(frames)


@contextmanager
def _limit_memory(memory: int | None) -> Iterator[None]:
    """Limits the address space to its current size plus `memory` bytes.

    Counted from the current size, so that the interpreter and its libraries are not charged to the
    job. The limit is soft, and lifted before a failure is formatted.
    """
    previous = resource.getrlimit(resource.RLIMIT_AS)
    if memory is None:
        yield
        return
    limit = _read_address_space() + memory
    soft_limit = limit if previous[1] == resource.RLIM_INFINITY else min(limit, previous[1])
    resource.setrlimit(resource.RLIMIT_AS, (soft_limit, previous[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, previous)


def _read_address_space() -> int:
    """Returns the address space of this process in bytes; 0 if the system does not provide it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 0
    return pages * resource.getpagesize()


@contextmanager
def _patch_silent_exit(pid: int) -> Iterator[None]:
    """Makes `os._exit(0)` in the job visible as the failure that it is.

    Otherwise the worker would end as if it had been told to, and its call would be lost. Children
    that the job forks may exit as they like.
    """
    original_exit = os._exit

    def exit_visibly(status: int) -> NoReturn:
        original_exit(status or SILENT_EXIT_STATUS if os.getpid() == pid else status)

    os._exit = exit_visibly
    try:
        yield
    finally:
        os._exit = original_exit


def _close_figures() -> None:
    """Closes the figures that a job left open, which would pile up in the worker."""
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
