"""`catcher` with death at its heels: it counts the points at which a crash may matter.

    python -m tests.chaos.crash_points run --site SITE --data DATA

Before and after each commit, claim, settled notice, kept artifact, delivered notice and
acknowledged delivery, and at each statement inside a writing transaction, a crossing is counted.
`CATCHER_DIE_AT=N` kills the process with SIGKILL at the Nth, `CATCHER_DIE_IN_STOP=N` at the Nth
after it was told to stop; `CATCHER_CROSSINGS=FILE` is where the count is left once the engine has
ended by itself. SIGUSR1 sets the wall clock back an hour.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from catcher.app.engine_handle import EngineHandle
from catcher.cli import main
from catcher.sinks.custom import CustomSink
from catcher.sources.mqtt import _BatchBuilder
from catcher.stores.artifacts.object_store import ObstoreStore
from catcher.stores.ledger.ledger import SqlLedger

CRASH_POINTS: tuple[tuple[type, str], ...] = (
    (SqlLedger, "commit"),
    (SqlLedger, "claim_run"),
    (SqlLedger, "record_delivery_outcome"),
    (ObstoreStore, "put"),
    (CustomSink, "deliver"),
    (_BatchBuilder, "acknowledge"),
)
CLOCK_STEP = 3600 * 10**9


class CrashCounter:
    """How many there were, and the one that is the last."""

    def __init__(self, crash_at: int) -> None:
        self.count = 0
        self._crash_at = crash_at

    def restart_count(self, crash_at: int) -> None:
        """Counts from here, to another end."""
        self.count, self._crash_at = 0, crash_at

    def pass_point(self, *_: object) -> None:
        """One more; the process may end here, with nothing said."""
        self.count += 1
        if self.count == self._crash_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap_function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A coroutine function with a crossing before and after it."""

        @functools.wraps(function)
        async def call_function(*arguments: Any, **keywords: Any) -> Any:
            self.pass_point()
            result = await function(*arguments, **keywords)
            self.pass_point()
            return result

        return call_function


def install_crash_points() -> None:
    """Puts the crossings in their places, and makes the clock one that can be set back."""
    counter = CrashCounter(int(os.environ.get("CATCHER_DIE_AT", "0")))
    for owner, name in CRASH_POINTS:
        setattr(owner, name, counter.wrap_function(getattr(owner, name)))
    event.listen(Engine, "before_cursor_execute", counter.pass_point)
    if crash_at := int(os.environ.get("CATCHER_DIE_IN_STOP", "0")):
        stop = EngineHandle.stop

        def stop_and_restart_count(running: EngineHandle) -> None:
            EngineHandle.stop = stop  # type: ignore[method-assign]
            counter.restart_count(crash_at)
            stop(running)

        EngineHandle.stop = stop_and_restart_count  # type: ignore[method-assign]
    if count_file := os.environ.get("CATCHER_CROSSINGS"):
        atexit.register(lambda: Path(count_file).write_text(str(counter.count)))
    real_time_ns, clock_offset = time.time_ns, [0]
    time.time_ns = lambda: real_time_ns() - clock_offset[0]
    signal.signal(signal.SIGUSR1, lambda *_: clock_offset.append(clock_offset.pop() + CLOCK_STEP))


if __name__ == "__main__":
    install_crash_points()
    sys.argv[0] = "catcher"
    main()
