"""Where firings become results: a mailbox for each rule, and runs carried out side by side."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

from catcher.model.health import Health
from catcher.model.problem import CatcherError
from catcher.model.rule import Overlap, Rule
from catcher.model.run import Run, RunState
from catcher.model.time import SECOND, Clock, Span, to_seconds
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
from catcher.working.bench import Bench, Pause, Report
from catcher.working.degrading import SKIPPED
from catcher.working.gathering import PartedRun
from catcher.working.inputs import Inputs
from catcher.working.keeping import Keys, own_key
from catcher.working.mailbox import Decision, Mailbox
from catcher.working.observations import Observations
from catcher.working.performing import Performer
from catcher.working.registry import Registry
from catcher.working.waiting import Patience

T = TypeVar("T")
MOST_HELD = 2000
"""Waiting runs that are kept in memory; of those beyond, the id, and the rest in the ledger."""
BY_HAND = Overlap("parallel", 4)
"""Runs made by hand have a mailbox of their own: they replace nothing and are never dropped."""
LEFT_PARTS = Overlap("parallel", 32)
"""Parts that the cluster's absence left over have one, too: whole runs need not wait for them."""
GONE = "its rule is no longer there, or runs no job"
TAKEN = "another engine took it, or it was over already"
LOST = "it waited in the ledger, which does not have it any more"


class Workshop:
    """Takes runs in, has them carried out under their rules' overlap, reports each that is over.

    `report` is awaited once for each run that was submitted (done, failed, timeout or dropped),
    and once for each part of a run (`run.parent` is set). `pause` waits between attempts. `here`
    is an executor on this machine, where `executor` is a cluster. Inputs wait up to `patience`
    for samples that come late; without it they do not. `keys` says where artifacts are kept.
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
        report: Report,
        observations: Observations,
        pause: Pause = asyncio.sleep,
        patience: Span | None = None,
        here: Executor | None = None,
        keys: Keys = own_key,
    ) -> None:
        self._expressions = expressions
        inputs = Inputs(
            history, images, ledger, expressions, observations, rules,
            Patience(patience, clock, pause),
        )  # fmt: skip
        self._bench = Bench(
            rules, registry, executor, here or executor, ledger, history, images, objects,
            observations, inputs, clock, engine, report, pause, self._note, keys,
        )  # fmt: skip
        self._boxes: dict[tuple[str, bool, bool], Mailbox] = {}
        self._held: dict[str, Run] = {}
        self._spilled: dict[str, Run] = {}
        self._group = asyncio.TaskGroup()
        self._runs: set[asyncio.Task[Any]] = set()
        self._counts: Counter[str] = Counter()
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def __aenter__(self) -> Workshop:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing = True
        for task in self._runs:
            task.cancel()
        await self._group.__aexit__(kind, error, traceback)

    # -- taking in --------------------------------------------------------------------------

    def submit(self, run: Run) -> None:
        """Takes a pending run. It begins at once, waits or is dropped, as its rule says.

        Once the workshop is closing it is left to the ledger, as pending.
        """
        if self._closing:
            return
        rule = self._bench.rules.get(run.rule)
        if rule is None or rule.job is None:
            self._start(self._tell(self._dropped(run, GONE)))
            return
        box = self._box(rule, run)
        if len(self._held) < MOST_HELD or rule.job.overlap.kind in ("latest", "skip"):
            self._held[run.id] = run
        else:
            self._counts["spilled"] += 1
            self._spilled[run.id] = _slim(run)
        self._act(box, box.offer(run.id))

    def recover(self, runs: Iterable[Run]) -> None:
        """Takes up what an engine that is gone left pending or running, in the given order."""
        for run in runs:
            self.submit(replace(run, state="pending"))

    def swap(self, rules: Mapping[str, Rule], registry: Registry) -> None:
        """The site was loaded again: what begins from now on goes by it, the rest ends as it was.

        Waiting runs of rules that are gone are dropped when their turn comes.
        """
        bench = self._bench
        inputs = bench.inputs.swapped(rules)
        self._bench = replace(bench, rules=rules, registry=registry, inputs=inputs)
        for (name, manual, parts), box in list(self._boxes.items()):
            rule = rules.get(name)
            if rule is not None and rule.job is not None and not manual and not parts:
                self._act(box, box.change(rule.job.overlap))

    # -- carrying out -----------------------------------------------------------------------

    async def perform(self, run: Run) -> Run:
        """Carries a run out here and now, whatever the mailboxes hold; returns it finished.

        Nothing is claimed and nothing reported but the parts of a run with `each`.
        """
        rule = self._bench.rules.get(run.rule)
        if rule is None or rule.job is None:
            return self._dropped(run, GONE)
        performer = Performer(self._bench, rule, rule.job)
        if not rule.job.each:
            return await performer.perform(run)
        parted = PartedRun(performer, self._start, self.submit)
        return await (parted.perform_part(run) if run.parent else parted.perform(run))

    async def drain(self, limit: Span = 30 * SECOND) -> int:
        """Begins nothing more and waits for what goes on, up to `limit` (nanoseconds).

        Returns how many runs were handed back: those still going on, which are stopped, and
        those that wait; the ledger has them for the next engine, and parts that come in late.
        """
        self._closing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(to_seconds(limit)):
                await self._idle.wait()
        left = sum(box.running + box.waiting for box in self._boxes.values())
        for task in self._runs:
            task.cancel()
        return left

    @property
    def registry(self) -> Registry:
        """The jobs as they are now."""
        return self._bench.registry

    def health(self) -> Health:
        """What runs, waits and was dropped, over all rules."""
        boxes = self._boxes.values()
        counts = {
            "running": sum(box.running for box in boxes),
            "waiting": sum(box.waiting for box in boxes),
            **self._counts,
        }
        return Health("workshop", "workshop", "ended" if self._closing else "ok", counts=counts)

    def dropped(self) -> dict[str, int]:
        """How many runs each rule's overlap dropped since the start."""
        return {rule: box.dropped for (rule, *_), box in self._boxes.items() if box.dropped}

    def backlog(self) -> Iterator[Row]:
        """Rule by rule: `running`, `waiting`, of these `spilled`, and `dropped`.

        `spilled` are those that the ledger alone has. Runs by hand are apart (`manual`), and so
        are parts that were left while the cluster was away.
        """
        for (rule, manual, _), box in self._boxes.items():
            yield {
                "rule": rule,
                "manual": manual,
                "overlap": box.policy,
                "running": box.running,
                "waiting": box.waiting,
                "spilled": sum(run not in self._held for run in box) if box.waiting else 0,
                "dropped": box.dropped,
            }

    # -- inside -----------------------------------------------------------------------------

    def _box(self, rule: Rule, run: Run) -> Mailbox:
        manual, part = run.firing.manual, bool(run.parent)
        overlap = BY_HAND if manual or rule.job is None else rule.job.overlap
        overlap = LEFT_PARTS if part else overlap
        return self._boxes.setdefault((rule.id, manual, part), Mailbox(overlap))

    def _act(self, box: Mailbox, decision: Decision) -> None:
        for run, reason in decision.drop:
            self._start(self._drop(run, reason))
        for run in decision.start:
            self._start(self._attend(box, run))

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self._group.create_task(work)
        self._runs.add(task)
        self._idle.clear()
        task.add_done_callback(self._leave)
        return task

    def _leave(self, task: asyncio.Task[Any]) -> None:
        self._runs.discard(task)
        if not self._runs:
            self._idle.set()

    async def _attend(self, box: Mailbox, name: str) -> None:
        """A run's turn has come: it is claimed, carried out and reported."""
        run = await self._recalled(name)
        over = run if run.over else await self._claimed(run)
        if over is not None:
            await self._tell(over)
        decision = box.done(name)
        if not self._closing:
            self._act(box, decision)

    async def _recalled(self, name: str) -> Run:
        """A run that waited: from memory, or from the ledger where there were too many.

        One that the ledger does not have any more has failed: others wait for its end.
        """
        run = self._held.pop(name, None)
        if run is not None:
            return run
        known, words = self._spilled.pop(name), LOST
        try:
            query = Query(id=name, limit=1)
            found = await self._bench.insist(lambda: self._bench.ledger.runs(query))
            if found:
                return found[0]
        except CatcherError as error:
            words = str(error)
        self._counts["lost"] += 1
        return self._dropped(known, words, "failed")

    async def _claimed(self, run: Run) -> Run | None:
        """The run, carried out; None where this engine may write nothing any more."""
        bench = self._bench
        rule = bench.rules.get(run.rule)
        # While it waits for a cluster it is pending, as any run that waits.
        if rule is not None and rule.job is not None:
            performer = Performer(bench, rule, rule.job)
            if not await performer.may_begin(run):
                return self._dropped(run, SKIPPED, "skipped")
        claim = replace(run, engine=bench.engine, started=bench.clock())
        try:
            mine = await bench.insist(lambda: bench.ledger.claim(claim))
        except Fenced:
            return None
        except CatcherError as error:
            return self._dropped(run, str(error), "failed")
        return await self.perform(run) if mine else self._dropped(run, TAKEN, "replaced")

    async def _drop(self, name: str, reason: str) -> None:
        run = await self._recalled(name)
        await self._tell(run if run.over else self._dropped(run, reason))

    def _note(self, what: str) -> None:
        self._counts[what] += 1

    def _dropped(self, run: Run, reason: str, state: RunState = "dropped") -> Run:
        now = self._bench.clock()
        engine = self._bench.engine
        return replace(run, state=state, error=reason, finished=now, engine=engine)

    async def _tell(self, run: Run) -> None:
        self._counts[run.state] += 1
        if run.missed_deadline:
            self._counts["missed_deadline"] += 1
        await self._bench.report(run)


def _slim(run: Run) -> Run:
    """What is needed to tell the end of a run that only the ledger has whole."""
    return replace(run, firing=replace(run.firing, event=None, values={}))
