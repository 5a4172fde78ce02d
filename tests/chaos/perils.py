"""`catcher` with death at its heels: it counts the points at which a crash may matter.

    python -m tests.chaos.perils run --site SITE --data DATA

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

from catcher.app.running import Running
from catcher.cli import main
from catcher.sinks.custom import CustomSink
from catcher.sources.mqtt import _Batch
from catcher.stores.ledger import SqlLedger
from catcher.stores.objects import Objects

DOORS: tuple[tuple[type, str], ...] = (
    (SqlLedger, "commit"),
    (SqlLedger, "claim"),
    (SqlLedger, "settle"),
    (Objects, "put"),
    (CustomSink, "deliver"),
    (_Batch, "acknowledge"),
)
BACK = 3600 * 10**9


class Crossings:
    """How many there were, and the one that is the last."""

    def __init__(self, last: int) -> None:
        self.count = 0
        self._last = last

    def begin_again(self, last: int) -> None:
        """Counts from here, to another end."""
        self.count, self._last = 0, last

    def cross(self, *_: object) -> None:
        """One more; the process may end here, with nothing said."""
        self.count += 1
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def guard(self, door: Callable[..., Any]) -> Callable[..., Any]:
        """A coroutine function with a crossing before and after it."""

        @functools.wraps(door)
        async def guarded(*arguments: Any, **named: Any) -> Any:
            self.cross()
            answer = await door(*arguments, **named)
            self.cross()
            return answer

        return guarded


def beset() -> None:
    """Puts the crossings in their places, and makes the clock one that can be set back."""
    crossings = Crossings(int(os.environ.get("CATCHER_DIE_AT", "0")))
    for kind, name in DOORS:
        setattr(kind, name, crossings.guard(getattr(kind, name)))
    event.listen(Engine, "before_cursor_execute", crossings.cross)
    if last := int(os.environ.get("CATCHER_DIE_IN_STOP", "0")):
        stop = Running.stop

        def stopped(running: Running) -> None:
            Running.stop = stop  # type: ignore[method-assign]
            crossings.begin_again(last)
            stop(running)

        Running.stop = stopped  # type: ignore[method-assign]
    if left := os.environ.get("CATCHER_CROSSINGS"):
        atexit.register(lambda: Path(left).write_text(str(crossings.count)))
    honest, lie = time.time_ns, [0]
    time.time_ns = lambda: honest() - lie[0]
    signal.signal(signal.SIGUSR1, lambda *_: lie.append(lie.pop() + BACK))


if __name__ == "__main__":
    beset()
    sys.argv[0] = "catcher"
    main()
