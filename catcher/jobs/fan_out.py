"""Fan-out: a run in parts, such as one for each detector or exposure, and its parent run."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from catcher.jobs.degraded_mode import (
    DETECTORS_KEY,
    REASON_DEFERRED,
    REASON_SKIPPED,
    can_run_locally,
    should_skip_instead_of_defer,
)
from catcher.jobs.inputs import FetchedInputs, InputRequest
from catcher.jobs.runner import RUN_ERRORS, JobRunner, RunPlan, add_constant_arguments
from catcher.jobs.shards import Shard, get_shard, list_image_detectors, list_shards
from catcher.jobs.signature_checks import IMAGES_ARGUMENT, RUNS_ARGUMENT
from catcher.model.commit import Commit
from catcher.model.observation import Observation
from catcher.model.result import JobOutput, Metric, Result
from catcher.model.rule import GatherSpec, InputSpec
from catcher.model.run import GatheredParts, JobOutcome, Run
from catcher.model.time import nanoseconds_to_seconds

# Runs of parts, and the combination of their results.


SUMMARY_FUNCTIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "median": statistics.median,
    "max": max,
}


def create_part_run(run: Run, part: str, observation: Observation) -> Run:
    """Returns the run of one part about an observation; its id is the parent's plus the part.

    Characters that an id cannot contain become `_`, with a digest, so that no two parts share an
    id.
    """
    part_id = "".join(char if char.isalnum() or char in "-_" else "_" for char in part)
    if part_id != part:
        part_id += f"-{blake2b(part.encode('utf-8', 'replace'), digest_size=3).hexdigest()}"
    return replace(
        run, id=f"{run.id}.{part_id}", part=part, parent=run.id, observation=observation.id,
        columns=observation.columns,
    )  # fmt: skip


def label_metrics(run: Run, label: str) -> Run:
    """Returns a part's run with its part as a label on each metric."""
    metrics = {name: metric.with_label(label, run.part) for name, metric in run.metrics.items()}
    return replace(run, metrics=metrics)


def collect_results_by_part(part_runs: Sequence[Run]) -> dict[str, Result]:
    """Returns the `parts` argument of a gather job: the results of the finished parts, by part."""
    return {
        run.part: Result(run.metrics, run.fields, {}, run.note)
        for run in part_runs
        if run.state == "done"
    }


def find_missing_parts(part_names: Sequence[str], part_runs: Sequence[Run]) -> dict[str, str]:
    """Returns the `missing` argument of a gather job: the parts without a result, and why."""
    runs_by_part = {run.part: run for run in part_runs}
    return {
        part: (runs_by_part[part].error or runs_by_part[part].state)
        if part in runs_by_part
        else "not done in time"
        for part in part_names
        if part not in runs_by_part or runs_by_part[part].state != "done"
    }


def summarize_parts(
    part_names: Sequence[str], part_runs: Sequence[Run], fail_if_none: bool = True
) -> JobOutcome:
    """Without a gather job: the minimum, median and maximum of each metric over the parts.

    The metrics `parts` and `parts_missing` count them. If no part is done the outcome is failed,
    unless `fail_if_none` is False: a night without exposures is a result, too.
    """
    results_by_part = collect_results_by_part(part_runs)
    missing = find_missing_parts(part_names, part_runs)
    if not results_by_part and fail_if_none:
        first_missing = next(iter(missing.items()), ("", "there are none"))
        error_text = (
            f"none of the {len(part_names)} parts was done; {first_missing[0]}: {first_missing[1]}"
        )
        return JobOutcome("failed", error=error_text, retry=False)
    metrics = {
        "parts": Metric(float(len(results_by_part))),
        "parts_missing": Metric(float(len(missing))),
    }
    for name in sorted({name for result in results_by_part.values() for name in result.metrics}):
        for statistic, metric in _summarize_metric(name, results_by_part).items():
            metrics[f"{name}_{statistic}"] = metric
    return JobOutcome("done", JobOutput(metrics=metrics, note=format_missing(missing)))


def format_missing(missing: Mapping[str, str]) -> str:
    """Returns one line that names the parts without a result, at most ten of them."""
    descriptions = [f"{part} ({reason})"[:80] for part, reason in list(missing.items())[:10]]
    suffix = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
    return f"missing: {', '.join(descriptions)}{suffix}" if descriptions else ""


def _summarize_metric(name: str, results: Mapping[str, Result]) -> dict[str, Metric]:
    metrics = [result.metrics[name] for result in results.values() if name in result.metrics]
    known_metrics = [metric for metric in metrics if isinstance(metric, Metric) and metric.is_known]
    values = [metric.value for metric in known_metrics if metric.value is not None]
    if not values:
        return {
            statistic: Metric(None, reason="no part knows it") for statistic in SUMMARY_FUNCTIONS
        }
    return {
        statistic: Metric(float(summarize(values)), known_metrics[0].unit)
        for statistic, summarize in SUMMARY_FUNCTIONS.items()
    }


TaskStarter = Callable[[Coroutine[Any, Any, Run]], asyncio.Task[Run]]
RunDeferrer = Callable[[Run], None]
MAX_CONCURRENT_PARTS = 32
"""How many parts have their inputs in memory at once; more on a larger cluster."""


class FanOutRun:
    """One run of a rule with `each`.

    `start_task` starts a task that may outlast the run, for late parts; the ledger has these as
    pending, so that another engine runs them if this one stops first. `submit_later` takes the
    parts that run later.
    """

    def __init__(
        self, runner: JobRunner, start_task: TaskStarter, submit_later: RunDeferrer
    ) -> None:
        self._runner = runner
        self._start_task, self._submit_later = start_task, submit_later
        self._semaphore = asyncio.Semaphore(
            max(MAX_CONCURRENT_PARTS, runner.context.executor.concurrency)
        )
        self._lock = asyncio.Lock()
        self._shared_inputs: FetchedInputs | None = None

    async def execute(self, run: Run) -> Run:
        """Returns the finished parent run. Each part is reported as soon as it ends."""
        runner = self._runner
        try:
            run, observation = await runner.prepare_run(run)
            shards = await list_shards(runner, run, observation)
            part_runs = await self._run_parts(run, shards)
            return await self._gather_parts(run, shards, part_runs, observation)
        except RUN_ERRORS as error:
            return runner.fail_run(run, error)

    async def execute_deferred_part(self, run: Run) -> Run:
        """Runs one deferred part; returns it finished."""
        runner = self._runner
        try:
            parent_run, observation = await runner.prepare_run(
                replace(run, part="", observation="")
            )
            shard = await get_shard(runner, run.part, observation)
            part_run = replace(
                parent_run,
                part=run.part,
                observation=shard.observation.id,
                columns=shard.observation.columns,
            )
            return await runner.run_when_executor_available(
                part_run, lambda: self._attempt_part(part_run, shard)
            )
        except RUN_ERRORS as error:
            return runner.fail_run(run, error)

    async def _run_parts(self, run: Run, shards: Sequence[Shard]) -> Sequence[Run]:
        """Returns the parts finished within the gather job's `max_wait`, and the deferred ones."""
        gather = self._runner.spec.gather
        grace_period = gather.max_wait if gather is not None else None
        part_runs = [create_part_run(run, shard.name, shard.observation) for shard in shards]
        deferred = {
            deferred_run.part: deferred_run for deferred_run in await self._defer_parts(part_runs)
        }
        tasks = {
            self._start_task(self._run_and_report_part(part_run, shard)): part_run
            for part_run, shard in zip(part_runs, shards, strict=True)
            if part_run.part not in deferred
        }
        if not tasks:
            return list(deferred.values())
        try:
            timeout = None if grace_period is None else nanoseconds_to_seconds(grace_period)
            done, _ = await asyncio.wait(tasks, timeout=timeout)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        await self._persist_pending(
            [part_run for task, part_run in tasks.items() if task not in done]
        )
        return [*(task.result() for task in tasks if task in done), *deferred.values()]

    async def _defer_parts(self, part_runs: Sequence[Run]) -> Sequence[Run]:
        """Returns the parts not run now, because the cluster is unavailable, as their rule says.

        Those that run later are pending in the ledger, like any waiting run.
        """
        runner = self._runner
        context, spec = runner.context, runner.spec
        if not context.executor.is_unavailable or not spec.degraded.get(DETECTORS_KEY):
            return []
        now = context.clock()
        deferred = [part for part in part_runs if not can_run_locally(spec, part.part)]
        if should_skip_instead_of_defer(spec):
            deferred = [
                replace(part_run, state="skipped", error=REASON_SKIPPED, finished=now)
                for part_run in deferred
            ]
            for part_run in deferred:
                await context.report_run(part_run)
            return deferred
        pending = await self._persist_pending(deferred)
        for part_run in pending:
            self._submit_later(part_run)
        return [replace(part_run, error=REASON_DEFERRED) for part_run in pending]

    async def _persist_pending(self, part_runs: Sequence[Run]) -> Sequence[Run]:
        """Stores parts that the run does not wait for as pending in the ledger, until they end."""
        context = self._runner.context
        pending = tuple(
            replace(part_run, state="pending", started=None, attempt=0) for part_run in part_runs
        )
        if pending:
            await context.retry_until_available(lambda: context.ledger.commit(Commit(runs=pending)))
        return pending

    async def _run_and_report_part(self, run: Run, shard: Shard) -> Run:
        async def run_limited() -> Run:
            async with self._semaphore:
                return await self._attempt_part(run, shard)

        finished = await self._runner.run_when_executor_available(run, run_limited)
        await self._runner.context.report_run(finished)
        return finished

    async def _attempt_part(self, run: Run, shard: Shard) -> Run:
        runner, spec = self._runner, self._runner.spec
        request = self._build_request(run, shard)
        own_inputs = tuple(
            name for name, input_spec in spec.inputs.items() if self._is_input_per_part(input_spec)
        )

        async def prepare_arguments() -> FetchedInputs:
            inputs = await runner.context.inputs.fetch(request, own_inputs)
            inputs = await self._fetch_shared_inputs(request) + inputs
            return add_constant_arguments(spec.arguments, inputs)

        builtin_arguments = {
            **runner.get_builtin_arguments(run, shard.observation),
            spec.each: run.part,
            RUNS_ARGUMENT: shard.run_states,
        }
        run = replace(run, started=runner.context.clock())
        try:
            if not self._is_by_detector and runner.context.registry.get_signature(
                spec.run
            ).accepts_argument(IMAGES_ARGUMENT):
                builtin_arguments[IMAGES_ARGUMENT] = await list_image_detectors(
                    runner, shard.observation
                )
            parent_run = run.parent if spec.gather is not None else ""
            plan = RunPlan(
                spec.run, prepare_arguments, builtin_arguments, shard.observation, parent_run
            )
            return label_metrics(await runner.run_with_retries(run, plan), spec.each)
        except RUN_ERRORS as error:
            return runner.fail_run(run, error)

    def _build_request(self, run: Run, shard: Shard) -> InputRequest:
        if self._is_by_detector:
            return InputRequest(self._runner.rule, run.firing, run.part)
        return InputRequest(self._runner.rule, run.firing, observation=shard.observation)

    def _is_input_per_part(self, input_spec: InputSpec) -> bool:
        """Whether each part has its own value of an input: its image and, if each is an observation
        of its own, the telemetry during it."""
        return bool(input_spec.image) or (not self._is_by_detector and input_spec.last is None)

    @property
    def _is_by_detector(self) -> bool:
        return self._runner.spec.each not in self._runner.context.observations.kinds

    async def _fetch_shared_inputs(self, request: InputRequest) -> FetchedInputs:
        """Fetches the inputs that are the same for every part, once."""
        inputs = self._runner.spec.inputs
        names = tuple(
            name for name, input_spec in inputs.items() if not self._is_input_per_part(input_spec)
        )
        async with self._lock:
            if self._shared_inputs is None:
                self._shared_inputs = await self._runner.context.inputs.fetch(request, names)
        return self._shared_inputs

    async def _gather_parts(
        self,
        run: Run,
        shards: Sequence[Shard],
        part_runs: Sequence[Run],
        observation: Observation | None,
    ) -> Run:
        runner, gather = self._runner, self._runner.spec.gather
        names = [shard.name for shard in shards]
        outcome = summarize_parts(names, part_runs, fail_if_none=self._is_by_detector)
        if gather is None or outcome.state != "done":
            return await runner.store_artifacts_and_finish(run, outcome)
        missing = find_missing_parts(names, part_runs)
        builtin_arguments = {
            **runner.get_builtin_arguments(run, observation),
            "parts": collect_results_by_part(part_runs),
            "missing": missing,
            RUNS_ARGUMENT: {shard.name: shard.run_states for shard in shards},
        }
        run_ids = {part_run.part: part_run.id for part_run in part_runs if part_run.state == "done"}
        gathered_parts = GatheredParts(runner.spec.each, run_ids)
        plan = _build_gather_plan(gather, builtin_arguments, observation, gathered_parts)
        finished = await runner.run_when_executor_available(
            run, lambda: runner.run_with_retries(run, plan)
        )
        note = "; ".join(text for text in (finished.note, format_missing(missing)) if text)
        return replace(finished, note=note)


def _build_gather_plan(
    gather: GatherSpec,
    builtin_arguments: Mapping[str, Any],
    observation: Observation | None,
    gathered_parts: GatheredParts,
) -> RunPlan:
    async def prepare_arguments() -> FetchedInputs:
        return add_constant_arguments(gather.arguments, FetchedInputs())

    return RunPlan(
        gather.run, prepare_arguments, builtin_arguments, observation, gathered_parts=gathered_parts
    )
