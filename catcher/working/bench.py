"""What a run needs to be carried out: the ports and the site's rules and jobs, as they stand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from catcher.model.rule import Rule
from catcher.model.run import Run
from catcher.model.time import Clock
from catcher.ports import Executor, History, Images, Ledger, ObjectStore
from catcher.working.inputs import Inputs
from catcher.working.observations import Observations
from catcher.working.registry import Registry

Report = Callable[[Run], Awaitable[None]]
Pause = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Bench:
    """A run that goes on keeps the bench it began at, whatever is loaded meanwhile."""

    rules: Mapping[str, Rule]
    registry: Registry
    executor: Executor
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
