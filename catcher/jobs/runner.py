"""Executes one run from its firing to its result: inputs, attempts, artifacts.

All errors are recorded in the run that is returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from catcher.jobs.artifacts import (
    add_input_checksums,
    encode_series_inputs,
    mark_finished,
    mark_running,
    store_artifacts,
)
from catcher.jobs.binding import bind_arguments, require_event_and_observation
from catcher.jobs.degraded_mode import (
    REASON_SKIPPED,
    can_run_locally,
    get_degraded_metrics,
    should_skip_instead_of_defer,
)
from catcher.jobs.inputs import FetchedInputs, InputError, InputRequest, build_constant_records
from catcher.jobs.run_context import RunContext
from catcher.jobs.signature_checks import METRICS_ARGUMENT
from catcher.model.errors import CatcherError
from catcher.model.observation import Observation
from catcher.model.rule import JobSpec, Rule
from catcher.model.run import GatheredParts, JobCall, JobOutcome, Run
from catcher.model.time import Span
from catcher.ports import Executor, ExecutorUnavailable

MAX_RETRY_DELAY = 30.0
RUN_ERRORS = (
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
"""What an unavailable or broken store may raise: it fails the run, never the engine."""
NO_ARGUMENTS: Mapping[str, Any] = MappingProxyType({})
ArgumentPreparer = Callable[[], Awaitable[FetchedInputs]]


@dataclass(frozen=True)
class RunPlan:
    """The plan of a run: which job, with which arguments.

    `prepare_arguments` fetches the rule's arguments at each attempt, and waits for an unavailable
    store; `builtin_arguments` are passed if the job takes them. `parent_run` is the run that will
    gather the result, `gathered_parts` are the parts that this one gathers.
    """

    job: str
    prepare_arguments: ArgumentPreparer
    builtin_arguments: Mapping[str, Any]
    observation: Observation | None
    parent_run: str = ""
    gathered_parts: GatheredParts | None = None


class JobRunner:
    """Executes the runs of one rule, with the context at their start."""

    def __init__(self, context: RunContext, rule: Rule, spec: JobSpec) -> None:
        self.context = context
        self.rule = rule
        self.spec = spec

    async def prepare_run(self, run: Run) -> tuple[Run, Observation | None]:
        """Returns the started run, and the observation that it is about."""
        observation = await self.context.retry_until_available(
            lambda: self.context.observations.find_for_firing(run.firing)
        )
        now = self.context.clock()
        return mark_running(run, now, self.context.engine, observation), observation

    async def execute(self, run: Run) -> Run:
        """Runs the rule's job; returns the run finished: done, failed or timed out."""
        try:
            run, observation = await self.prepare_run(run)
            request = InputRequest(self.rule, run.firing)
            names = tuple(self.spec.inputs)

            async def prepare_arguments() -> FetchedInputs:
                inputs = await self.context.inputs.fetch(request, names)
                return add_constant_arguments(self.spec.arguments, inputs)

            builtin_arguments = self.get_builtin_arguments(run, observation)
            plan = RunPlan(self.spec.run, prepare_arguments, builtin_arguments, observation)
            started_run = run
            return await self.run_when_executor_available(
                started_run, lambda: self.run_with_retries(started_run, plan)
            )
        except RUN_ERRORS as error:
            return self.fail_run(run, error)

    async def run_when_executor_available(
        self, run: Run, operation: Callable[[], Awaitable[Run]]
    ) -> Run:
        """Returns the result of the operation, which is repeated if the cluster was lost meanwhile.

        While the cluster is unavailable a run waits for it, runs locally, or is skipped, as its
        rule says.
        """
        while True:
            if not await self.wait_for_executor(run):
                return self.finish_run(run, JobOutcome("skipped", error=REASON_SKIPPED))
            try:
                return await operation()
            except ExecutorUnavailable:
                self.context.increment_counter("executor_away")

    async def wait_for_executor(self, run: Run) -> bool:
        """Waits until the run can be executed; False if it is to be skipped instead."""
        executor = self.context.executor
        if (
            not executor.is_unavailable
            or self._is_async_job(self.spec.run)
            or can_run_locally(self.spec, run.part)
        ):
            return True
        if should_skip_instead_of_defer(self.spec):
            return False
        await executor.wait_until_available()
        return True

    def get_builtin_arguments(self, run: Run, observation: Observation | None) -> dict[str, Any]:
        """Returns the arguments that every job may take."""
        return {"event": run.firing.event, "observation": observation}

    def fail_run(self, run: Run, error: BaseException) -> Run:
        """Returns the run failed by an error that is not the job's."""
        return self.finish_run(run, JobOutcome("failed", error=_format_error(error)))

    def finish_run(self, run: Run, outcome: JobOutcome) -> Run:
        """Returns the finished run with its outcome, without artifacts."""
        return mark_finished(run, outcome, self.context.clock(), self._deadline)

    async def run_with_retries(self, run: Run, plan: RunPlan) -> Run:
        """Executes a job until it is done, cannot be retried, or has used up its retries."""
        last_attempt = run.attempt + 1 + self.spec.retry
        while True:
            run = replace(run, attempt=run.attempt + 1)
            outcome, inputs = await self._run_attempt(run, plan)
            if outcome.state == "done" or not outcome.retry or run.attempt >= last_attempt:
                break
            await self.context.sleep(get_retry_delay(run.attempt))
        is_registered = plan.job in self.context.registry
        digest = (
            self.context.registry.get_address(plan.job).digest if is_registered else run.job_digest
        )
        run = replace(run, inputs=inputs.records, job_digest=digest)
        return await self.store_artifacts_and_finish(run, outcome, inputs.arguments)

    async def store_artifacts_and_finish(
        self, run: Run, outcome: JobOutcome, arguments: Mapping[str, Any] = NO_ARGUMENTS
    ) -> Run:
        """Stores the artifacts, then finishes the run: its end is when all of them are stored."""
        artifacts = outcome.output.artifacts if outcome.output else ()
        if self.spec.keep_inputs:
            artifacts += await asyncio.to_thread(encode_series_inputs, arguments)
        if not artifacts:
            return self.finish_run(run, outcome)
        stored_run = await store_artifacts(
            run, artifacts, self.context.objects, self.context.build_key
        )
        finished = self.finish_run(run, outcome)
        note = "; ".join(text for text in (finished.note, stored_run.note) if text)
        return replace(finished, artifacts=stored_run.artifacts, note=note)

    async def _run_attempt(self, run: Run, plan: RunPlan) -> tuple[JobOutcome, FetchedInputs]:
        inputs = FetchedInputs()
        try:
            signature = self.context.registry.get_signature(plan.job)
            require_event_and_observation(
                signature, run.firing, plan.observation, self.context.observations
            )
            inputs = await self.context.retry_until_available(plan.prepare_arguments)
            executor = self._select_executor(run, plan)
            is_degraded = (
                executor is self.context.local_executor and self.context.executor.is_unavailable
            )
            builtin_arguments = {
                **plan.builtin_arguments,
                METRICS_ARGUMENT: get_degraded_metrics(self.spec) if is_degraded else None,
            }
            call = JobCall(
                run=run.id,
                job=self.context.registry.get_address(plan.job),
                arguments=bind_arguments(signature, inputs.arguments, builtin_arguments),
                timeout=self.spec.timeout,
                memory=self.spec.memory,
                priority=run.priority,
                parent_run=plan.parent_run,
                gathered=plan.gathered_parts,
                files=tuple(
                    name for name, value in inputs.arguments.items() if isinstance(value, Path)
                ),
            )
            outcome = await executor.run(call)
            return outcome, replace(inputs, records=add_input_checksums(inputs.records, outcome))
        except RUN_ERRORS as error:
            retry = not isinstance(error, InputError)
            return JobOutcome("failed", error=_format_error(error), retry=retry), inputs

    def _select_executor(self, run: Run, plan: RunPlan) -> Executor:
        """Returns the executor to use now; raises ExecutorUnavailable if there is none."""
        executor, local_executor = self.context.executor, self.context.local_executor
        if self._is_async_job(plan.job):
            return local_executor
        if not executor.is_unavailable:
            return executor
        if can_run_locally(self.spec, run.part):
            self.context.increment_counter("run_here")
            return local_executor
        raise ExecutorUnavailable("the cluster is away")

    def _is_async_job(self, job: str) -> bool:
        """Whether a job runs on the engine's own event loop, wherever the others run."""
        return job in self.context.registry and self.context.registry.get_address(job).is_async

    @property
    def _deadline(self) -> Span | None:
        return self.spec.deadline


def add_constant_arguments(arguments: Mapping[str, Any], inputs: FetchedInputs) -> FetchedInputs:
    """Returns the fetched inputs and the rule's own arguments."""
    return inputs + FetchedInputs(arguments, build_constant_records(arguments))


def get_retry_delay(retry: int) -> float:
    """Returns the seconds to wait before a retry, counted from 1: 1, 2, 4, ... 30."""
    return min(MAX_RETRY_DELAY, 2.0 ** (min(retry, 10) - 1))


def _format_error(error: BaseException) -> str:
    """Formats an error as one line: Catcher's own as they are, others with their type."""
    if isinstance(error, CatcherError):
        return str(error)
    return f"{type(error).__name__}: {error}"
