"""The worker's side of a call: load the function, call it, check and encode what it returns.

Whatever a job does comes back as an outcome. Nothing here knows where it runs; an executor
brings the call and takes the outcome.
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

from catcher.model.problem import CatcherError
from catcher.model.result import Output
from catcher.model.run import Call, Outcome
from catcher.model.time import format_duration, to_seconds
from catcher.working.loading import PREFIX, load
from catcher.working.results import checked

FIRST_FRAMES, LAST_FRAMES = 10, 20
LONGEST_ERROR = 400
LONGEST_TRACEBACK = 16_384
VANISHED = 70
"""The exit status of a worker whose job ended the process as if all were well."""


def execute(call: Call) -> Outcome:
    """Executes a call in this process. Never raises for what the job does.

    A job that raises, exits or returns nonsense has failed. At most `call.memory` bytes of
    address space beyond what the process already had are given to it.
    """
    home = os.getpid()
    files: dict[str, tuple[str, int]] = {}
    try:
        files = checksums(call)
        with _exits_seen(home), _memory_bound(call.memory):
            output = _computed(call)
        outcome = Outcome("done", output)
    except CatcherError as error:
        outcome = Outcome("failed", error=str(error), retry=False)
    # User code may raise anything, and pytest or a library may end the process by exception.
    except BaseException as error:  # noqa: BLE001
        outcome = _failure(error, call)
    finally:
        if os.getpid() != home:
            # The job forked and the child came back: it must not go on as a second worker.
            os._exit(0)
        _close_figures()
    return replace(outcome, files=files)


async def execute_async(call: Call) -> Outcome:
    """Executes the call of an `async def` job on the running loop, under its timeout."""
    limit = asyncio.timeout(to_seconds(call.timeout))
    try:
        async with limit:
            files = await asyncio.to_thread(checksums, call)
            function = await asyncio.to_thread(load, call.job)
            returned = await function(**call.arguments)
        return Outcome("done", await asyncio.to_thread(checked, returned), files=files)
    except CatcherError as error:
        return Outcome("failed", error=str(error), retry=False)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return _failure(error, call)
    except TimeoutError as error:
        return timed_out(call) if limit.expired() else _failure(error, call)
    # User code may raise anything; a SystemExit must not end the engine.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return _failure(error, call)


def timed_out(call: Call) -> Outcome:
    """The outcome of a call that took longer than it may."""
    return Outcome("timeout", error=f"the job took longer than {format_duration(call.timeout)}")


def checksums(call: Call) -> dict[str, tuple[str, int]]:
    """The checksum and size in bytes of each file that a call names; what cannot be read is left
    to the job to find out."""
    found = {}
    for name in call.files:
        with contextlib.suppress(OSError), Path(call.arguments[name]).open("rb") as stream:
            total = hashlib.file_digest(stream, "sha256")
            found[name] = f"sha256:{total.hexdigest()}", stream.tell()
    return found


def _computed(call: Call) -> Output:
    return checked(load(call.job)(**call.arguments))


def _failure(error: BaseException, call: Call) -> Outcome:
    """A failed outcome: the error in one line, and the job's own frames."""
    kind = type(error).__name__
    if isinstance(error, MemoryError):
        words = f"{kind}: the job needed more memory than it is given"
        if call.memory is not None:
            words += f" ({call.memory / 2**20:.0f} MiB); set `memory` or read less"
        return Outcome("failed", error=words, traceback=_traced(error, call), retry=False)
    if isinstance(error, SystemExit):
        words = f"{kind}: the job ended itself with sys.exit({error.code!r})"
        return Outcome("failed", error=words, traceback=_traced(error, call))
    line = traceback.TracebackException.from_exception(error, limit=0).format_exception_only()
    told = "".join(line)
    if type(error).__module__.startswith(PREFIX):
        told = told.removeprefix(f"{type(error).__module__}.")
    words = " ".join(told.split())[:LONGEST_ERROR]
    return Outcome("failed", error=words, traceback=_traced(error, call))


def _traced(error: BaseException, call: Call) -> str:
    """The traceback from the job's first frame on, files named relative to the site."""
    told = traceback.TracebackException.from_exception(error)
    told_of: traceback.TracebackException | None = told
    while told_of is not None:
        told_of.stack = _own_frames(told_of.stack, call.job.site)
        told_of = told_of.__cause__ or told_of.__context__
    return "".join(told.format())[-LONGEST_TRACEBACK:]


def _own_frames(stack: traceback.StackSummary, site: str) -> traceback.StackSummary:
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
def _memory_bound(memory: int | None) -> Iterator[None]:
    """Bounds the address space to what there is now and `memory` bytes more.

    Counted from the present size, so that the interpreter and its libraries are not charged to
    the job. The bound is soft, and taken away again before a failure is put into words.
    """
    before = resource.getrlimit(resource.RLIMIT_AS)
    if memory is None:
        yield
        return
    wanted = _address_space() + memory
    most = wanted if before[1] == resource.RLIM_INFINITY else min(wanted, before[1])
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _address_space() -> int:
    """The bytes of address space that this process has; nought where the system doesn't say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 0
    return pages * resource.getpagesize()


@contextmanager
def _exits_seen(home: int) -> Iterator[None]:
    """Makes `os._exit(0)` in the job look like the failure that it is.

    The worker would vanish as if it had been told to, and nobody would look for its call.
    Children that the job forks leave as they like.
    """
    leave = os._exit

    def leave_seen(status: int) -> NoReturn:
        leave(status or VANISHED if os.getpid() == home else status)

    os._exit = leave_seen
    try:
        yield
    finally:
        os._exit = leave


def _close_figures() -> None:
    """Figures that a job left open would pile up in the worker."""
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
