"""What a worker process does before its first call, and around each: the far side of the pipe."""

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

from catcher.model.run import Call, Outcome
from catcher.working.worker import execute

ADMITTED = "catcher.model."
"""Where the classes of an outcome come from; a class of the site's own stays in the worker."""
OF_NUMPY = frozenset({"ndarray", "dtype", "scalar", "_reconstruct", "_frombuffer"})
"""What arrays are made of. Other names there run whatever they are given."""


def confine(printing: Connection, lifeline: Connection) -> None:
    """Settles this process as a worker: nothing to read, its prints to `printing`, no terminal.

    It leads a process group of its own, so that Ctrl-C doesn't reach it and its children can be
    ended with it. The group is killed when the other end of `lifeline` is closed, which the
    engine alone holds: by its death, if by nothing else.
    """
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with(lifeline)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    for descriptor in (1, 2):
        os.dup2(printing.fileno(), descriptor)
    printing.close()
    sys.stdout, sys.stderr = _text_to(1), _text_to(2)
    faulthandler.enable(file=2)
    importlib.import_module("catcher.executors.preloading")


def warm() -> int:
    """The first task of a worker: it answers with its process id, so it is up."""
    return os.getpid()


def execute_packed(packed: bytes) -> bytes:
    """A packed call in, a packed outcome out; what was printed is out before it."""
    call: Call = pickle.loads(packed)
    outcome = execute(call)
    for stream in (sys.stdout, sys.stderr):
        # A job may have closed or replaced them.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    return pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)


def unpacked(packed: bytes) -> Outcome:
    """The outcome that a worker sent. Classes from elsewhere than Catcher's nouns are refused."""
    outcome = _Nouns(io.BytesIO(packed)).load()
    if not isinstance(outcome, Outcome):
        raise pickle.UnpicklingError(f"the worker sent a {type(outcome).__name__}")
    return outcome


class _Nouns(pickle.Unpickler):
    """Imports nothing of a site into the engine."""

    def find_class(self, module: str, name: str) -> Any:
        of_numpy = module.partition(".")[0] == "numpy" and name in OF_NUMPY
        if module.startswith(ADMITTED) or of_numpy:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"the outcome holds a {module}.{name}")


def _text_to(descriptor: int) -> io.TextIOWrapper:
    raw = io.FileIO(descriptor, "wb", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace")


def _die_with(lifeline: Connection) -> None:
    """Has the kernel kill this process group at the end of a pipe, whatever the job is doing.

    Elsewhere than on Linux a worker ends when its call is over and nobody takes the answer.
    """
    if sys.platform == "linux":
        # A descriptor of its own, which stays open for as long as the process lives.
        pipe = os.dup(lifeline.fileno())
        fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
