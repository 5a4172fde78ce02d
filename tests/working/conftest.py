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
from catcher.model.commit import Commit
from catcher.model.event import Event
from catcher.model.observation import ObservationSpec
from catcher.model.rule import JobSpec, Rule, Trigger
from catcher.model.run import Firing, Run
from catcher.model.time import MILLISECOND, SECOND, Instant, parse_instant
from catcher.ports import Executor, Query
from catcher.stores.history import EmbeddedHistory
from catcher.stores.images import PathImages
from catcher.stores.ledger import SqlLedger
from catcher.stores.objects import Objects, ObjectSettings
from catcher.watching import Compiler
from catcher.working import Observations, Workshop
from tests.working.jobfiles import loaded

NIGHT = parse_instant("2023-07-28T04:00:00Z")
TOPIC = "lsst.sal.MTMount.azimuth"
READOUT = "lsst.sal.MTCamera.logevent_endReadout"


@dataclass
class Clock:
    """Stands where the test puts it."""

    now: Instant = NIGHT

    def __call__(self) -> Instant:
        return self.now


@dataclass
class World:
    """The stores, the rules and jobs of a test, and the runs that were reported."""

    site: Path
    ledger: SqlLedger
    history: EmbeddedHistory
    objects: Objects
    executor: LocalExecutor
    clock: Clock = field(default_factory=Clock)
    specs: dict[str, ObservationSpec] = field(default_factory=dict)
    pauses: list[float] = field(default_factory=list)
    reported: list[Run] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

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

    def workshop(self, *rules: Rule, cluster: Executor | None = None, **files: str) -> Workshop:
        """A workshop for these rules and job files; enter it."""
        return Workshop(
            rules={rule.id: rule for rule in rules},
            registry=loaded(self.site, **files),
            executor=cluster or self.executor,
            here=self.executor,
            ledger=self.ledger,
            history=self.history,
            images=self.images,
            objects=self.objects,
            expressions=Compiler(),
            engine="here",
            clock=self.clock,
            report=self.report,
            observations=self.observations,
            pause=self.pause,
        )

    async def report(self, run: Run) -> None:
        await self.ledger.commit(Commit(finished=(run,)))
        self.reported.append(run)
        async with self._news:
            self._news.notify_all()

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        async with self._news:
            self._news.notify_all()

    async def until(self, true: Callable[[list[Run]], bool]) -> list[Run]:
        """The reported runs, once they are such."""
        async with self._news:
            await self._news.wait_for(lambda: true(self.reported))
        return self.reported

    async def pending(
        self, rule: str = "r", number: int = 0, event: Event | None = None, **changes: Any
    ) -> Run:
        """A pending run of a rule, as the engine commits it."""
        instant = self.clock() + number
        event = event or Event(TOPIC, instant, {})
        firing = replace(Firing(rule, "", event.time, f"cause {number}", "why", event), **changes)
        run = Run(firing.id, firing, "job", created=self.clock())
        await self.ledger.commit(Commit(firings=(firing,), runs=(run,)))
        return run

    async def exposure(self, name: str, **fields: Any) -> Event:
        """An exposure of 30 s that ends now, declared."""
        start = (self.clock() - 30 * SECOND) / SECOND
        known = {"imageName": name, "requestedExposureTime": 30, "begin": start}
        event = Event(READOUT, self.clock(), {**known, "filterName": "r", **fields})
        self.observations.note(event)
        return event

    async def telemetry(self, rows: list[dict[str, Any]], step: float = 1.0) -> None:
        """Samples of the mount, the last one now."""
        first = len(rows) - 1
        events = [
            Event(TOPIC, self.clock() - round((first - n) * step * SECOND), row)
            for n, row in enumerate(rows)
        ]
        await self.history.append(events)

    async def state(self, run: Run) -> str:
        """What the ledger says of a run."""
        found = await self.ledger.runs(Query(id=run.id))
        return found[0].state


def job_rule(name: str = "r", **spec: Any) -> Rule:
    """A rule that runs a job on each event."""
    return Rule(name, Trigger("event", topic=TOPIC), job=JobSpec(**{"run": "one", **spec}))


@asynccontextmanager
async def open_world(site: Path, ledger_url: str = "sqlite://") -> AsyncIterator[World]:
    """The stores, with an executor of one worker."""
    clock = Clock()
    async with AsyncExitStack() as lifetimes:
        enter = lifetimes.enter_async_context
        ledger = await enter(SqlLedger(ledger_url, "here", clock, patience=50 * MILLISECOND))
        history = await enter(EmbeddedHistory(None, clock=clock))
        executor = await enter(LocalExecutor(workers=1, clock=clock))
        objects = Objects(ObjectSettings(url="memory://"))
        yield World(site, ledger, history, objects, executor, clock)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A world of the test's own."""
    async with open_world(tmp_path) as one:
        yield one
