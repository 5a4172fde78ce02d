"""One run from its firing to its result: inputs, attempts, artifacts.

Whatever happens is told in the run that comes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from catcher.model.observation import Observation
from catcher.model.problem import CatcherError
from catcher.model.rule import JobSpec, Rule
from catcher.model.run import Call, Gathered, Outcome, Run
from catcher.model.time import Span
from catcher.ports import Executor, ExecutorAway
from catcher.working.arguments import bound, require
from catcher.working.bench import Bench
from catcher.working.degrading import SKIPPED, metrics_wanted, runs_here, skips
from catcher.working.fitting import METRICS
from catcher.working.inputs import Fetched, InputError, Request, given_records
from catcher.working.keeping import begun, checked, encoded_inputs, ended, keep

LONGEST_PAUSE = 30.0
TROUBLE = (
    CatcherError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    AttributeError,
    EOFError,
)
"""What a store that is away or broken may raise: it fails the run, never the engine."""
NOTHING: Mapping[str, Any] = MappingProxyType({})
Prepare = Callable[[], Awaitable[Fetched]]


@dataclass(frozen=True)
class Task:
    """What is to be done for a run: which job, with which arguments.

    `prepare` fetches what the rule gives, anew at each attempt, and waits for a store that is
    away; `offered` are the arguments that the job gets if it takes them. `whole` is the run
    that will gather the result, `gathered` are those that this one gathers.
    """

    job: str
    prepare: Prepare
    offered: Mapping[str, Any]
    observation: Observation | None
    whole: str = ""
    gathered: Gathered | None = None


class Performer:
    """Carries out the runs of one rule, at the bench as it is when they begin."""

    def __init__(self, bench: Bench, rule: Rule, spec: JobSpec) -> None:
        self.bench = bench
        self.rule = rule
        self.spec = spec

    async def begin(self, run: Run) -> tuple[Run, Observation | None]:
        """The run as it begins, and the observation that it is about."""
        observation = await self.bench.insist(lambda: self.bench.observations.of(run.firing))
        now = self.bench.clock()
        return begun(run, now, self.bench.engine, observation), observation

    async def perform(self, run: Run) -> Run:
        """The run of the rule's job, finished: done, failed or timed out."""
        try:
            run, observation = await self.begin(run)
            request = Request(self.rule, run.firing)
            names = tuple(self.spec.inputs)

            async def prepare() -> Fetched:
                fetched = await self.bench.inputs.fetch(request, names)
                return with_given(self.spec.arguments, fetched)

            offered = self.offered(run, observation)
            task = Task(self.spec.run, prepare, offered, observation)
            begun = run
            return await self.carried_out(begun, lambda: self.attempt(begun, task))
        except TROUBLE as error:
            return self.failed(run, error)

    async def carried_out(self, run: Run, work: Callable[[], Awaitable[Run]]) -> Run:
        """What comes of the work, done again where the cluster was lost over it.

        While the cluster is away a run waits for it, is done here, or is left out: as its rule
        says.
        """
        while True:
            if not await self.may_begin(run):
                return self.end(run, Outcome("skipped", error=SKIPPED))
            try:
                return await work()
            except ExecutorAway:
                self.bench.noted("executor_away")

    async def may_begin(self, run: Run) -> bool:
        """Returns once there is somebody to carry it out; False where it is left out instead."""
        executor = self.bench.executor
        if not executor.away or self._stays_here(self.spec.run) or runs_here(self.spec, run.part):
            return True
        if skips(self.spec):
            return False
        await executor.back()
        return True

    def offered(self, run: Run, observation: Observation | None) -> dict[str, Any]:
        """What every job may take."""
        return {"event": run.firing.event, "observation": observation}

    def failed(self, run: Run, error: BaseException) -> Run:
        """The run, ended by trouble that is not the job's."""
        return self.end(run, Outcome("failed", error=_words(error)))

    def end(self, run: Run, outcome: Outcome) -> Run:
        """The run with its outcome, artifacts left out."""
        return ended(run, outcome, self.bench.clock(), self._deadline)

    async def attempt(self, run: Run, task: Task) -> Run:
        """Executes a job until it is done, cannot be helped, or its retries are used up."""
        last = run.attempt + 1 + self.spec.retry
        while True:
            run = replace(run, attempt=run.attempt + 1)
            outcome, fetched = await self._once(run, task)
            if outcome.state == "done" or not outcome.retry or run.attempt >= last:
                break
            await self.bench.pause(pause_before(run.attempt))
        known = task.job in self.bench.registry
        digest = self.bench.registry.address(task.job).digest if known else run.job_digest
        run = replace(run, inputs=fetched.records, job_digest=digest)
        return await self.conclude(run, outcome, fetched.arguments)

    async def conclude(
        self, run: Run, outcome: Outcome, arguments: Mapping[str, Any] = NOTHING
    ) -> Run:
        """Keeps the artifacts, then ends the run: its time is when all of it was there."""
        artifacts = outcome.output.artifacts if outcome.output else ()
        if self.spec.keep_inputs:
            artifacts += await asyncio.to_thread(encoded_inputs, arguments)
        if not artifacts:
            return self.end(run, outcome)
        kept = await keep(run, artifacts, self.bench.objects, self.bench.keys)
        finished = self.end(run, outcome)
        note = "; ".join(text for text in (finished.note, kept.note) if text)
        return replace(finished, artifacts=kept.artifacts, note=note)

    async def _once(self, run: Run, task: Task) -> tuple[Outcome, Fetched]:
        fetched = Fetched()
        try:
            signature = self.bench.registry.signature(task.job)
            require(signature, run.firing, task.observation, self.bench.observations)
            fetched = await self.bench.insist(task.prepare)
            executor = self._executor(run, task)
            few = executor is self.bench.here and self.bench.executor.away
            offered = {**task.offered, METRICS: metrics_wanted(self.spec) if few else None}
            call = Call(
                run=run.id,
                job=self.bench.registry.address(task.job),
                arguments=bound(signature, fetched.arguments, offered),
                timeout=self.spec.timeout,
                memory=self.spec.memory,
                priority=run.priority,
                whole=task.whole,
                gathered=task.gathered,
                files=tuple(
                    name for name, one in fetched.arguments.items() if isinstance(one, Path)
                ),
            )
            outcome = await executor.run(call)
            return outcome, replace(fetched, records=checked(fetched.records, outcome))
        except TROUBLE as error:
            retry = not isinstance(error, InputError)
            return Outcome("failed", error=_words(error), retry=retry), fetched

    def _executor(self, run: Run, task: Task) -> Executor:
        """Who carries it out now; ExecutorAway where nobody does."""
        executor, here = self.bench.executor, self.bench.here
        if self._stays_here(task.job):
            return here
        if not executor.away:
            return executor
        if runs_here(self.spec, run.part):
            self.bench.noted("run_here")
            return here
        raise ExecutorAway("the cluster is away")

    def _stays_here(self, job: str) -> bool:
        """Whether a job runs on the engine's own loop, wherever the others do."""
        return job in self.bench.registry and self.bench.registry.address(job).is_async

    @property
    def _deadline(self) -> Span | None:
        return self.spec.deadline


def with_given(arguments: Mapping[str, Any], fetched: Fetched) -> Fetched:
    """What was fetched, and what the rule gives by itself."""
    return fetched + Fetched(arguments, given_records(arguments))


def pause_before(retry: int) -> float:
    """Seconds to wait before a retry, which are counted from 1: 1, 2, 4, ... 30."""
    return min(LONGEST_PAUSE, 2.0 ** (min(retry, 10) - 1))


def _words(error: BaseException) -> str:
    """An error in one line: Catcher's own as they are, others with their kind."""
    if isinstance(error, CatcherError):
        return str(error)
    return f"{type(error).__name__}: {error}"
