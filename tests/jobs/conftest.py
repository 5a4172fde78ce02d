"""A workshop over the real stores, in memory, and what comes out of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from catcher.executors.local import LocalExecutor
from catcher.expressions import ExpressionCompiler
from catcher.jobs import Observations, RunScheduler
from catcher.model.commit import Commit
from catcher.model.event import Event
from catcher.model.observation import ObservationSpec
from catcher.model.rule import JobSpec, Rule, TriggerSpec
from catcher.model.run import Firing, Run
from catcher.model.time import MILLISECOND, SECOND, Instant, parse_instant
from catcher.ports import Executor, Query
from catcher.stores.artifacts.object_store import ObjectSettings, ObstoreStore
from catcher.stores.history.embedded import EmbeddedHistory
from catcher.stores.images.paths import PathImages
from catcher.stores.ledger.ledger import SqlLedger
from tests.jobs.job_files import load_registry

NIGHT = parse_instant("2023-07-28T04:00:00Z")
TOPIC = "lsst.sal.MTMount.azimuth"
READOUT = "lsst.sal.MTCamera.logevent_endReadout"


@dataclass
class SettableClock:
    """Stands where the test puts it."""

    now: Instant = NIGHT

    def __call__(self) -> Instant:
        return self.now


@dataclass
class JobHarness:
    """The stores, the rules and jobs of a test, and the runs that were reported."""

    site: Path
    ledger: SqlLedger
    history: EmbeddedHistory
    objects: ObstoreStore
    executor: LocalExecutor
    clock: SettableClock = field(default_factory=SettableClock)
    specs: dict[str, ObservationSpec] = field(default_factory=dict)
    pauses: list[float] = field(default_factory=list)
    reported_runs: list[Run] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self.specs["exposure"] = ObservationSpec(
            "exposure", READOUT, "imageName", start="begin", length="requestedExposureTime",
            image=f"{self.site}/images/{{id}}/{{detector}}.txt", columns={"band": "filterName"},
        )  # fmt: skip
        self.observations = Observations(self.specs, self.ledger)
        self.use_images(self.specs["exposure"].image)

    def use_images(self, pattern: str) -> None:
        """Where the images of exposures are."""
        self.images = PathImages({"exposure": pattern}, self.site)

    def create_scheduler(
        self, *rules: Rule, cluster: Executor | None = None, **files: str
    ) -> RunScheduler:
        """A workshop for these rules and job files; enter it."""
        return RunScheduler(
            rules={rule.id: rule for rule in rules},
            registry=load_registry(self.site, **files),
            executor=cluster or self.executor,
            local_executor=self.executor,
            ledger=self.ledger,
            history=self.history,
            images=self.images,
            objects=self.objects,
            expressions=ExpressionCompiler(),
            engine="here",
            clock=self.clock,
            report_run=self.record_run,
            observations=self.observations,
            sleep=self.record_pause,
        )

    async def record_run(self, run: Run) -> None:
        await self.ledger.commit(Commit(finished=(run,)))
        self.reported_runs.append(run)
        async with self._changed:
            self._changed.notify_all()

    async def record_pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        async with self._changed:
            self._changed.notify_all()

    async def wait_until(self, condition: Callable[[list[Run]], bool]) -> list[Run]:
        """The reported runs, once they are such."""
        async with self._changed:
            await self._changed.wait_for(lambda: condition(self.reported_runs))
        return self.reported_runs

    async def create_pending_run(
        self, rule: str = "r", number: int = 0, event: Event | None = None, **changes: Any
    ) -> Run:
        """A pending run of a rule, as the engine commits it."""
        instant = self.clock() + number
        event = event or Event(TOPIC, instant, {})
        firing = replace(Firing(rule, "", event.time, f"cause {number}", "why", event), **changes)
        run = Run(firing.id, firing, "job", created=self.clock())
        await self.ledger.commit(Commit(firings=(firing,), runs=(run,)))
        return run

    async def declare_exposure(self, name: str, **fields: Any) -> Event:
        """An exposure of 30 s that ends now, declared."""
        start = (self.clock() - 30 * SECOND) / SECOND
        base_fields = {"imageName": name, "requestedExposureTime": 30, "begin": start}
        event = Event(READOUT, self.clock(), {**base_fields, "filterName": "r", **fields})
        self.observations.extract_from_event(event)
        return event

    async def append_telemetry(self, rows: list[dict[str, Any]], step: float = 1.0) -> None:
        """Samples of the mount, the last one now."""
        first = len(rows) - 1
        events = [
            Event(TOPIC, self.clock() - round((first - n) * step * SECOND), row)
            for n, row in enumerate(rows)
        ]
        await self.history.append(events)

    async def read_state(self, run: Run) -> str:
        """What the ledger says of a run."""
        runs = await self.ledger.list_runs(Query(id=run.id))
        return runs[0].state


def create_job_rule(name: str = "r", **spec: Any) -> Rule:
    """A rule that runs a job on each event."""
    return Rule(name, TriggerSpec("event", topic=TOPIC), job=JobSpec(**{"run": "one", **spec}))


@asynccontextmanager
async def open_harness(site: Path, ledger_url: str = "sqlite://") -> AsyncIterator[JobHarness]:
    """The stores, with an executor of one worker."""
    clock = SettableClock()
    async with AsyncExitStack() as exit_stack:
        enter = exit_stack.enter_async_context
        ledger = await enter(SqlLedger(ledger_url, "here", clock, lock_timeout=50 * MILLISECOND))
        history = await enter(EmbeddedHistory(None, clock=clock))
        executor = await enter(LocalExecutor(workers=1, clock=clock))
        objects = ObstoreStore(ObjectSettings(url="memory://"))
        yield JobHarness(site, ledger, history, objects, executor, clock)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[JobHarness]:
    """A world of the test's own."""
    async with open_harness(tmp_path) as harness:
        yield harness
