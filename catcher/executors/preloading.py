"""What every worker process needs, imported once by the server that forks them.

Importing this settles the environment of the workers: one thread a process in the numeric
libraries, since there are as many processes as cores, and no display for matplotlib.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from multiprocessing import spawn

PRELOADED = ("numpy", "matplotlib.pyplot", "matplotlib.backends.backend_agg")
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def _leave_main(_: str) -> None:
    """A worker needs nothing of the program that started it.

    Importing that program's main module would cost each worker its start-up time, and would run
    a script that has no `if __name__ == "__main__"`.
    """


def _preload() -> None:
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    os.environ["MPLBACKEND"] = "Agg"
    for name in ("_fixup_main_from_path", "_fixup_main_from_name"):
        setattr(spawn, name, _leave_main)
    for name in (*PRELOADED, "catcher.executors.confinement", "pebble"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


_preload()
