"""Runs inside a worker process: its setup, and the execution of each call."""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import importlib
import io
import os
import pickle
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from catcher.jobs.worker import execute_call
from catcher.model.run import JobCall, JobOutcome

ALLOWED_MODULE_PREFIX = "catcher.model."
"""Modules whose classes an outcome may hold; a class of the site's own stays in the worker."""
ALLOWED_NUMPY_NAMES = frozenset({"ndarray", "dtype", "scalar", "_reconstruct", "_frombuffer"})
"""What arrays are pickled with. Other names there would run whatever they are given."""


def isolate_worker(output_pipe: Connection, liveness_pipe: Connection) -> None:
    """Sets this process up as a worker: no input, its prints to `output_pipe`, no terminal.
    It leads a process group of its own, so that Ctrl-C does not reach it and its children can be
    ended with it. The group is killed when the other end of `liveness_pipe` is closed, which only
    the engine holds: by its death, if by nothing else.
    """
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _kill_on_close(liveness_pipe)
    devnull = os.open(os.devnull, os.O_RDONLY)
    os.dup2(devnull, 0)
    os.close(devnull)
    for descriptor in (1, 2):
        os.dup2(output_pipe.fileno(), descriptor)
    output_pipe.close()
    sys.stdout, sys.stderr = _open_text_stream(1), _open_text_stream(2)
    faulthandler.enable(file=2)
    importlib.import_module("catcher.executors.forkserver_preload")


def get_worker_pid() -> int:
    """Returns the process id; the first task of a worker, which shows that it is up."""
    return os.getpid()


def execute_pickled_call(pickled_call: bytes) -> bytes:
    """Executes a pickled call and returns the pickled outcome, after flushing what was printed."""
    call: JobCall = pickle.loads(pickled_call)
    outcome = execute_call(call)
    for stream in (sys.stdout, sys.stderr):
        # A job may have closed or replaced them.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    return pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)


def unpickle_outcome(pickled: bytes) -> JobOutcome:
    """Unpickles the outcome that a worker sent. Refuses classes from outside of `catcher.model`."""
    outcome = _RestrictedUnpickler(io.BytesIO(pickled)).load()
    if not isinstance(outcome, JobOutcome):
        raise pickle.UnpicklingError(f"the worker sent a {type(outcome).__name__}")
    return outcome


class _RestrictedUnpickler(pickle.Unpickler):
    """Imports nothing of a site into the engine."""

    def find_class(self, module: str, name: str) -> Any:
        is_numpy_name = module.partition(".")[0] == "numpy" and name in ALLOWED_NUMPY_NAMES
        if module.startswith(ALLOWED_MODULE_PREFIX) or is_numpy_name:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"the outcome holds a {module}.{name}")


def _open_text_stream(descriptor: int) -> io.TextIOWrapper:
    raw = io.FileIO(descriptor, "wb", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace")


def _kill_on_close(liveness_pipe: Connection) -> None:
    """Has the kernel kill this process group when a pipe closes, whatever the job is doing.
    On systems other than Linux a worker ends when its call has ended and nobody reads the answer.
    """
    if sys.platform == "linux":
        # A descriptor of its own, which stays open for as long as the process lives.
        pipe_fd = os.dup(liveness_pipe.fileno())
        fcntl.fcntl(pipe_fd, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(pipe_fd, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(pipe_fd, fcntl.F_SETFL, fcntl.fcntl(pipe_fd, fcntl.F_GETFL) | os.O_ASYNC)
