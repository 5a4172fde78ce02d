"""What a run needs to be carried out: the ports and the site's rules and jobs, as they stand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from catcher.model.rule import Rule
from catcher.model.run import Run
from catcher.model.time import Clock, to_seconds
from catcher.ports import Executor, History, Images, Ledger, ObjectStore, StoreAway
from catcher.working.inputs import Inputs
from catcher.working.keeping import Keys, own_key
from catcher.working.observations import Observations
from catcher.working.registry import Registry

T = TypeVar("T")
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between two questions to a store that is away."""
Report = Callable[[Run], Awaitable[None]]
Pause = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Bench:
    """A run that goes on keeps the bench it began at, whatever is loaded meanwhile.

    `here` is an executor on this machine, for what must be done while `executor` is away.
    """

    rules: Mapping[str, Rule]
    registry: Registry
    executor: Executor
    here: Executor
    ledger: Ledger
    history: History
    images: Images | None
    objects: ObjectStore
    observations: Observations
    inputs: Inputs
    clock: Clock
    engine: str
    report: Report = field(repr=False)
    pause: Pause = field(repr=False)
    noted: Callable[[str], None] = field(repr=False, default=lambda what: None)
    keys: Keys = field(repr=False, default=own_key)

    async def insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Asks a store until it answers: while it is away, work waits."""
        pause = FIRST_PAUSE
        while True:
            try:
                return await ask()
            except StoreAway as trouble:
                self.noted("store_away")
                await self.pause(max(pause, to_seconds(trouble.retry_after or 0)))
                pause = min(LONGEST_PAUSE, 2 * pause)
