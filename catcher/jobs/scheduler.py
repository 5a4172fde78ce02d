"""The run scheduler: firings become results, with a concurrency queue for each rule."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

from catcher.jobs.artifacts import KeyBuilder, build_artifact_key
from catcher.jobs.concurrency import ConcurrencyQueue, QueueDecision
from catcher.jobs.degraded_mode import REASON_SKIPPED
from catcher.jobs.fan_out import FanOutRun
from catcher.jobs.inputs import InputFetcher
from catcher.jobs.late_data import LateDataPolicy
from catcher.jobs.observations import Observations
from catcher.jobs.registry import Registry
from catcher.jobs.run_context import RunContext, RunReporter, Sleep
from catcher.jobs.runner import JobRunner
from catcher.model.errors import CatcherError
from catcher.model.health import Health
from catcher.model.rule import OverlapPolicy, Rule
from catcher.model.run import Run, RunState
from catcher.model.time import SECOND, Clock, Span, nanoseconds_to_seconds
from catcher.ports import (
    Executor,
    Expressions,
    Fenced,
    History,
    Images,
    Ledger,
    ObjectStore,
    Query,
    Row,
)

T = TypeVar("T")
MAX_RUNS_IN_MEMORY = 2000
"""The number of waiting runs in memory; of those beyond it only the id, the rest in the ledger."""
MANUAL_OVERLAP = OverlapPolicy("parallel", 4)
"""Manual runs have a queue of their own: they replace nothing and are never dropped."""
DEFERRED_OVERLAP = OverlapPolicy("parallel", 32)
"""Deferred parts have one, too, so that other runs need not wait for them."""
REASON_RULE_REMOVED = "its rule is no longer there, or runs no job"
REASON_CLAIMED_ELSEWHERE = "another engine took it, or it was over already"
REASON_NOT_IN_LEDGER = "it waited in the ledger, which does not have it any more"


class RunScheduler:
    """Accepts runs, executes them under their rules' overlap, and reports each that ends.

    `report_run` is awaited once for each submitted run (done, failed, timeout or dropped), and once
    for each part of a run (`run.parent` is set). `sleep` waits between attempts. `local_executor`
    runs on this machine, for an `executor` that is a cluster. Inputs wait up to `max_wait` for late
    samples; None disables that. `build_key` returns the key of an artifact.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        registry: Registry,
        executor: Executor,
        ledger: Ledger,
        history: History,
        images: Images | None,
        objects: ObjectStore,
        expressions: Expressions,
        engine: str,
        clock: Clock,
        report_run: RunReporter,
        observations: Observations,
        sleep: Sleep = asyncio.sleep,
        max_wait: Span | None = None,
        local_executor: Executor | None = None,
        build_key: KeyBuilder = build_artifact_key,
    ) -> None:
        self._expressions = expressions
        inputs = InputFetcher(
            history, images, ledger, expressions, observations, rules,
            LateDataPolicy(max_wait, clock, sleep),
        )  # fmt: skip
        self._context = RunContext(
            rules,
            registry,
            executor,
            local_executor or executor,
            ledger,
            history,
            images,
            objects,
            observations,
            inputs,
            clock,
            engine,
            report_run,
            sleep,
            self._increment_counter,
            build_key,
        )
        self._queues: dict[tuple[str, bool, bool], ConcurrencyQueue] = {}
        self._waiting_runs: dict[str, Run] = {}
        self._spilled_runs: dict[str, Run] = {}
        self._task_group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._counts: Counter[str] = Counter()
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def __aenter__(self) -> RunScheduler:
        await self._task_group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await self._task_group.__aexit__(kind, error, traceback)

    # -- input ------------------------------------------------------------------------------

    def submit(self, run: Run) -> None:
        """Accepts a pending run. It starts at once, waits or is dropped, as its rule says.

        Once the scheduler is closing, the run stays pending in the ledger.
        """
        if self._closing:
            return
        rule = self._context.rules.get(run.rule)
        if rule is None or rule.job is None:
            self._start_task(self._report_run(self._abort_run(run, REASON_RULE_REMOVED)))
            return
        queue = self._get_queue(rule, run)
        if len(self._waiting_runs) < MAX_RUNS_IN_MEMORY or rule.job.overlap.kind in (
            "latest",
            "skip",
        ):
            self._waiting_runs[run.id] = run
        else:
            self._counts["spilled"] += 1
            self._spilled_runs[run.id] = _strip_payload(run)
        self._apply_decision(queue, queue.enqueue(run.id))

    def recover_runs(self, runs: Iterable[Run]) -> None:
        """Resubmits what an earlier engine left pending or running, in the given order."""
        for run in runs:
            self.submit(replace(run, state="pending"))

    def replace_rules_and_jobs(self, rules: Mapping[str, Rule], registry: Registry) -> None:
        """Replaces the rules and jobs for runs that start from now on; running ones are unaffected.

        Waiting runs of removed rules are dropped when their turn comes.
        """
        context = self._context
        inputs = context.inputs.with_rules(rules)
        self._context = replace(context, rules=rules, registry=registry, inputs=inputs)
        for (name, manual, is_part), queue in list(self._queues.items()):
            rule = rules.get(name)
            if rule is not None and rule.job is not None and not manual and not is_part:
                self._apply_decision(queue, queue.set_overlap(rule.job.overlap))

    # -- execution --------------------------------------------------------------------------

    async def execute_immediately(self, run: Run) -> Run:
        """Executes a run here and now, whatever the queues hold; returns it finished.

        Nothing is claimed, and nothing reported but the parts of a run with `each`.
        """
        rule = self._context.rules.get(run.rule)
        if rule is None or rule.job is None:
            return self._abort_run(run, REASON_RULE_REMOVED)
        runner = JobRunner(self._context, rule, rule.job)
        if not rule.job.each:
            return await runner.execute(run)
        fan_out = FanOutRun(runner, self._start_task, self.submit)
        return await (fan_out.execute_deferred_part(run) if run.parent else fan_out.execute(run))

    async def drain_and_cancel(self, timeout: Span = 30 * SECOND) -> int:
        """Starts nothing more and waits for running runs, up to `timeout` (nanoseconds).

        Returns how many runs were handed back: those still running, which are cancelled, and those
        waiting. They, and late parts, are in the ledger for the next engine.
        """
        self._closing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(nanoseconds_to_seconds(timeout)):
                await self._idle.wait()
        remaining = sum(
            queue.running_count + queue.waiting_count for queue in self._queues.values()
        )
        for task in self._tasks:
            task.cancel()
        return remaining

    @property
    def registry(self) -> Registry:
        """The current jobs."""
        return self._context.registry

    def health(self) -> Health:
        """Returns the counts of running, waiting and finished runs over all rules."""
        queues = self._queues.values()
        counts = {
            "running": sum(queue.running_count for queue in queues),
            "waiting": sum(queue.waiting_count for queue in queues),
            **self._counts,
        }
        return Health("workshop", "workshop", "ended" if self._closing else "ok", counts=counts)

    def count_dropped_by_rule(self) -> dict[str, int]:
        """Returns how many runs each rule's overlap has dropped since the start."""
        return {
            rule: queue.dropped_count
            for (rule, *_), queue in self._queues.items()
            if queue.dropped_count
        }

    def iter_queue_counts(self) -> Iterator[Row]:
        """Yields for each rule: `running`, `waiting`, of these `spilled`, and `dropped`.

        `spilled` are those that only the ledger has. Manual runs are apart (`manual`), and so are
        parts that were deferred while the cluster was unavailable.
        """
        for (rule, manual, _), queue in self._queues.items():
            yield {
                "rule": rule,
                "manual": manual,
                "overlap": queue.policy_text,
                "running": queue.running_count,
                "waiting": queue.waiting_count,
                "spilled": sum(run_id not in self._waiting_runs for run_id in queue)
                if queue.waiting_count
                else 0,
                "dropped": queue.dropped_count,
            }

    # -- internal ---------------------------------------------------------------------------

    def _get_queue(self, rule: Rule, run: Run) -> ConcurrencyQueue:
        manual, is_part = run.firing.manual, bool(run.parent)
        overlap = MANUAL_OVERLAP if manual or rule.job is None else rule.job.overlap
        overlap = DEFERRED_OVERLAP if is_part else overlap
        return self._queues.setdefault((rule.id, manual, is_part), ConcurrencyQueue(overlap))

    def _apply_decision(self, queue: ConcurrencyQueue, decision: QueueDecision) -> None:
        for run_id, reason in decision.drop:
            self._start_task(self._drop_run(run_id, reason))
        for run_id in decision.start:
            self._start_task(self._run_queued(queue, run_id))

    def _start_task(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self._task_group.create_task(coroutine)
        self._tasks.add(task)
        self._idle.clear()
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not self._tasks:
            self._idle.set()

    async def _run_queued(self, queue: ConcurrencyQueue, run_id: str) -> None:
        """Claims, executes and reports a run whose turn has come."""
        run = await self._load_run(run_id)
        finished = run if run.is_finished else await self._claim_and_run(run)
        if finished is not None:
            await self._report_run(finished)
        decision = queue.mark_done(run_id)
        if not self._closing:
            self._apply_decision(queue, decision)

    async def _load_run(self, run_id: str) -> Run:
        """Returns a waiting run: from memory, or from the ledger if there were too many.

        One that the ledger no longer has is failed: others wait for its end.
        """
        run = self._waiting_runs.pop(run_id, None)
        if run is not None:
            return run
        stripped_run, error_text = self._spilled_runs.pop(run_id), REASON_NOT_IN_LEDGER
        try:
            query = Query(id=run_id, limit=1)
            matches = await self._context.retry_until_available(
                lambda: self._context.ledger.list_runs(query)
            )
            if matches:
                return matches[0]
        except CatcherError as error:
            error_text = str(error)
        self._counts["lost"] += 1
        return self._abort_run(stripped_run, error_text, "failed")

    async def _claim_and_run(self, run: Run) -> Run | None:
        """Claims and executes the run; None if this engine is fenced and may write nothing more."""
        context = self._context
        rule = context.rules.get(run.rule)
        # While it waits for a cluster it is not claimed, so it stays pending.
        if rule is not None and rule.job is not None:
            runner = JobRunner(context, rule, rule.job)
            if not await runner.wait_for_executor(run):
                return self._abort_run(run, REASON_SKIPPED, "skipped")
        claim = replace(run, engine=context.engine, started=context.clock())
        try:
            is_claimed = await context.retry_until_available(
                lambda: context.ledger.claim_run(claim)
            )
        except Fenced:
            return None
        except CatcherError as error:
            return self._abort_run(run, str(error), "failed")
        return (
            await self.execute_immediately(run)
            if is_claimed
            else self._abort_run(run, REASON_CLAIMED_ELSEWHERE, "replaced")
        )

    async def _drop_run(self, run_id: str, reason: str) -> None:
        run = await self._load_run(run_id)
        await self._report_run(run if run.is_finished else self._abort_run(run, reason))

    def _increment_counter(self, counter: str) -> None:
        self._counts[counter] += 1

    def _abort_run(self, run: Run, reason: str, state: RunState = "dropped") -> Run:
        now = self._context.clock()
        engine = self._context.engine
        return replace(run, state=state, error=reason, finished=now, engine=engine)

    async def _report_run(self, run: Run) -> None:
        self._counts[run.state] += 1
        if run.missed_deadline:
            self._counts["missed_deadline"] += 1
        await self._context.report_run(run)


def _strip_payload(run: Run) -> Run:
    """Returns what is needed to report the end of a run that only the ledger has completely."""
    return replace(run, firing=replace(run.firing, event=None, values={}))
