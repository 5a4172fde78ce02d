"""What every worker process needs, imported once by the server that forks them.
Importing this module sets the environment of the workers: one thread per process in the numeric
libraries, since there are as many processes as cores, and no display for matplotlib.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from multiprocessing import spawn

PRELOADED_MODULES = ("numpy", "matplotlib.pyplot", "matplotlib.backends.backend_agg")
THREAD_LIMIT_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def _skip_main_import(_: str) -> None:
    """Skips the import of the main module, which a worker does not need.
    Importing the main module of the program that started it would cost each worker its start-up
    time, and would run a script that has no `if __name__ == "__main__"`.
    """


def _prepare_forkserver() -> None:
    for name in THREAD_LIMIT_VARIABLES:
        os.environ.setdefault(name, "1")
    os.environ["MPLBACKEND"] = "Agg"
    for name in ("_fixup_main_from_path", "_fixup_main_from_name"):
        setattr(spawn, name, _skip_main_import)
    for name in (*PRELOADED_MODULES, "catcher.executors.worker_main", "pebble"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


_prepare_forkserver()
