"""A run in parts: one for each detector, say, then the whole from what came in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from catcher.model.observation import Observation
from catcher.model.problem import CatcherError
from catcher.model.rule import Gather
from catcher.model.run import Run
from catcher.model.time import to_seconds
from catcher.working.inputs import Fetched, InputError, Request
from catcher.working.parts import absent, labelled, missing_note, part_of, results, summary
from catcher.working.performing import TROUBLE, Performer, Task, pause_before

Start = Callable[[Coroutine[Any, Any, Run]], asyncio.Task[Run]]
Late = Callable[[asyncio.Task[Run], Run], None]
ONLY = "all"
"""The name of the one part where the images of a site are not split."""
PARTS_AT_ONCE = 32
"""How many parts have their inputs in memory; the executor decides how many of them run."""


class PartedRun:
    """One run of a rule with `each`.

    `start` begins a task that may outlast the run, for parts that come in late; `late` hears of
    these, since nothing else knows of them if they are not over before the engine ends.
    """

    def __init__(self, performer: Performer, start: Start, late: Late) -> None:
        self._performer = performer
        self._start, self._late = start, late
        self._gate = asyncio.Semaphore(PARTS_AT_ONCE)
        self._lock = asyncio.Lock()
        self._shared: Fetched | None = None

    async def perform(self, run: Run) -> Run:
        """The whole, finished. Each part is reported by itself as soon as it is over."""
        performer = self._performer
        try:
            run, observation = await performer.begin(run)
            if observation is None:
                message, hint = performer.bench.observations.unknown(run.firing)
                raise InputError(f"there are no parts: {message}", hint)
            names = await self._names(observation)
            parts = await self._carry_out(run, names, observation)
            return await self._gather(run, names, parts, observation)
        except TROUBLE as error:
            return performer.failed(run, error)

    async def _names(self, observation: Observation) -> Sequence[str]:
        """The parts there are; they are looked for again as often as the job may be retried."""
        spec, bench = self._performer.spec, self._performer.bench
        for attempt in range(spec.retry + 1):
            if attempt:
                await bench.pause(pause_before(attempt))
            names = await self._parts(observation)
            if names:
                return names
        message = f"no {spec.each} of {observation.kind} {observation.id} has an image"
        raise InputError(message, f"it was looked for at {observation.image or 'no address'}")

    async def _parts(self, observation: Observation) -> Sequence[str]:
        images = self._performer.bench.images
        if images is None:
            return ()
        names = await images.parts(observation)
        if not names:
            with contextlib.suppress(CatcherError):
                await images.find(observation)
                return (ONLY,)
        return names

    async def _carry_out(
        self, run: Run, names: Sequence[str], observation: Observation
    ) -> Sequence[Run]:
        """The parts that are over when all are, or when patience is."""
        gather = self._performer.spec.gather
        patience = gather.patience if gather is not None else None
        wanted = [part_of(run, name) for name in names]
        tasks = [self._start(self._part(part, observation)) for part in wanted]
        try:
            limit = None if patience is None else to_seconds(patience)
            done, _ = await asyncio.wait(tasks, timeout=limit)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        for task, part in zip(tasks, wanted, strict=True):
            if task not in done:
                self._late(task, part)
        return [task.result() for task in tasks if task in done]

    async def _part(self, run: Run, observation: Observation) -> Run:
        async with self._gate:
            finished = await self._finished_part(run, observation)
        await self._performer.bench.report(finished)
        return finished

    async def _finished_part(self, run: Run, observation: Observation) -> Run:
        performer, spec = self._performer, self._performer.spec
        request = Request(performer.rule, run.firing, run.part)
        images = tuple(name for name, asked in spec.inputs.items() if asked.image)

        async def prepare() -> Fetched:
            own = await performer.bench.inputs.fetch(request, images)
            fetched = await self._common(request) + own
            return Fetched({**spec.arguments, **fetched.arguments}, fetched.records)

        offered = {**performer.offered(run, observation), spec.each: run.part}
        run = replace(run, started=performer.bench.clock())
        try:
            task = Task(spec.run, prepare, offered, observation)
            return labelled(await performer.attempt(run, task), spec.each)
        except TROUBLE as error:
            return performer.failed(run, error)

    async def _common(self, request: Request) -> Fetched:
        """The inputs that are the same for every part, fetched once."""
        inputs = self._performer.spec.inputs
        names = tuple(name for name, asked in inputs.items() if not asked.image)
        async with self._lock:
            if self._shared is None:
                self._shared = await self._performer.bench.inputs.fetch(request, names)
        return self._shared

    async def _gather(
        self, run: Run, names: Sequence[str], parts: Sequence[Run], observation: Observation
    ) -> Run:
        performer, gather = self._performer, self._performer.spec.gather
        outcome = summary(names, parts)
        if gather is None or outcome.state != "done":
            return await performer.conclude(run, outcome)
        missing = absent(names, parts)
        task = self._gather_task(gather, run, parts, missing, observation)
        finished = await performer.attempt(run, task)
        note = "; ".join(text for text in (finished.note, missing_note(missing)) if text)
        return replace(finished, note=note)

    def _gather_task(
        self,
        gather: Gather,
        run: Run,
        parts: Sequence[Run],
        missing: Mapping[str, str],
        observation: Observation,
    ) -> Task:
        async def prepare() -> Fetched:
            return Fetched(gather.arguments)

        offered = {**self._performer.offered(run, observation), "parts": results(parts)}
        return Task(gather.run, prepare, {**offered, "missing": dict(missing)}, observation)
