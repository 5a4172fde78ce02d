"""A run in parts: one for each detector, say, or each exposure of a night; then the whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from catcher.model.commit import Commit
from catcher.model.observation import Observation
from catcher.model.rule import Gather, Input
from catcher.model.run import Gathered, Run
from catcher.model.time import to_seconds
from catcher.working.degrading import DETECTORS, LEFT, SKIPPED, runs_here, skips
from catcher.working.fitting import IMAGES, RUNS
from catcher.working.inputs import Fetched, Request
from catcher.working.parts import absent, labelled, missing_note, part_of, results, summary
from catcher.working.performing import TROUBLE, Performer, Task, with_given
from catcher.working.pieces import Piece, images_of, piece_of, pieces_of

Start = Callable[[Coroutine[Any, Any, Run]], asyncio.Task[Run]]
Later = Callable[[Run], None]
PARTS_AT_ONCE = 32
"""So many parts, or more on a large cluster, have their inputs in memory."""


class PartedRun:
    """One run of a rule with `each`.

    `start` begins a task that may outlast the run, for parts that come in late; the ledger has
    these as pending, so that another engine does them if this one ends before they are over.
    `later` takes parts that are done later.
    """

    def __init__(self, performer: Performer, start: Start, later: Later) -> None:
        self._performer = performer
        self._start, self._later = start, later
        self._gate = asyncio.Semaphore(max(PARTS_AT_ONCE, performer.bench.executor.width))
        self._lock = asyncio.Lock()
        self._shared: Fetched | None = None

    async def perform(self, run: Run) -> Run:
        """The whole, finished. Each part is reported by itself as soon as it is over."""
        performer = self._performer
        try:
            run, observation = await performer.begin(run)
            pieces = await pieces_of(performer, run, observation)
            parts = await self._carry_out(run, pieces)
            return await self._gather(run, pieces, parts, observation)
        except TROUBLE as error:
            return performer.failed(run, error)

    async def perform_part(self, run: Run) -> Run:
        """One part that was left for later, finished."""
        performer = self._performer
        try:
            whole, observation = await performer.begin(replace(run, part="", observation=""))
            piece = await piece_of(performer, run.part, observation)
            part = replace(
                whole, part=run.part, observation=piece.about.id, columns=piece.about.columns
            )
            return await performer.carried_out(part, lambda: self._finished_part(part, piece))
        except TROUBLE as error:
            return performer.failed(run, error)

    async def _carry_out(self, run: Run, pieces: Sequence[Piece]) -> Sequence[Run]:
        """The parts that are over when all are, or when patience is; with those left for later."""
        gather = self._performer.spec.gather
        patience = gather.patience if gather is not None else None
        parts = [part_of(run, one.name, one.about) for one in pieces]
        left = {one.part: one for one in await self._leave(parts)}
        tasks = {
            self._start(self._part(part, one)): part
            for part, one in zip(parts, pieces, strict=True)
            if part.part not in left
        }
        if not tasks:
            return list(left.values())
        try:
            limit = None if patience is None else to_seconds(patience)
            done, _ = await asyncio.wait(tasks, timeout=limit)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        await self._owe([part for task, part in tasks.items() if task not in done])
        return [*(task.result() for task in tasks if task in done), *left.values()]

    async def _leave(self, parts: Sequence[Run]) -> Sequence[Run]:
        """While the cluster is away: the parts that are not done now, as their rule says.

        Those that are done later the ledger has as pending, like any run that waits.
        """
        performer = self._performer
        bench, spec = performer.bench, performer.spec
        if not bench.executor.away or not spec.degraded.get(DETECTORS):
            return []
        now = bench.clock()
        left = [part for part in parts if not runs_here(spec, part.part)]
        if skips(spec):
            left = [replace(one, state="skipped", error=SKIPPED, finished=now) for one in left]
            for one in left:
                await bench.report(one)
            return left
        pending = await self._owe(left)
        for one in pending:
            self._later(one)
        return [replace(one, error=LEFT) for one in pending]

    async def _owe(self, parts: Sequence[Run]) -> Sequence[Run]:
        """Parts that the run does not wait for: the ledger has them as pending until they end."""
        bench = self._performer.bench
        pending = tuple(replace(one, state="pending", started=None, attempt=0) for one in parts)
        if pending:
            await bench.insist(lambda: bench.ledger.commit(Commit(runs=pending)))
        return pending

    async def _part(self, run: Run, piece: Piece) -> Run:
        async def work() -> Run:
            async with self._gate:
                return await self._finished_part(run, piece)

        finished = await self._performer.carried_out(run, work)
        await self._performer.bench.report(finished)
        return finished

    async def _finished_part(self, run: Run, piece: Piece) -> Run:
        performer, spec = self._performer, self._performer.spec
        request = self._request(run, piece)
        own = tuple(name for name, asked in spec.inputs.items() if self._is_own(asked))

        async def prepare() -> Fetched:
            fetched = await performer.bench.inputs.fetch(request, own)
            fetched = await self._common(request) + fetched
            return with_given(spec.arguments, fetched)

        offered = {**performer.offered(run, piece.about), spec.each: run.part, RUNS: piece.runs}
        run = replace(run, started=performer.bench.clock())
        try:
            if not self._by_detector and performer.bench.registry.signature(spec.run).takes(IMAGES):
                offered[IMAGES] = await images_of(performer, piece.about)
            whole = run.parent if spec.gather is not None else ""
            task = Task(spec.run, prepare, offered, piece.about, whole)
            return labelled(await performer.attempt(run, task), spec.each)
        except TROUBLE as error:
            return performer.failed(run, error)

    def _request(self, run: Run, piece: Piece) -> Request:
        if self._by_detector:
            return Request(self._performer.rule, run.firing, run.part)
        return Request(self._performer.rule, run.firing, about=piece.about)

    def _is_own(self, asked: Input) -> bool:
        """Whether each part has an input of its own: its image, and where each is another
        observation, what went on during it."""
        return bool(asked.image) or (not self._by_detector and asked.last is None)

    @property
    def _by_detector(self) -> bool:
        return self._performer.spec.each not in self._performer.bench.observations.kinds

    async def _common(self, request: Request) -> Fetched:
        """The inputs that are the same for every part, fetched once."""
        inputs = self._performer.spec.inputs
        names = tuple(name for name, asked in inputs.items() if not self._is_own(asked))
        async with self._lock:
            if self._shared is None:
                self._shared = await self._performer.bench.inputs.fetch(request, names)
        return self._shared

    async def _gather(
        self,
        run: Run,
        pieces: Sequence[Piece],
        parts: Sequence[Run],
        observation: Observation | None,
    ) -> Run:
        performer, gather = self._performer, self._performer.spec.gather
        names = [one.name for one in pieces]
        outcome = summary(names, parts, none_is_failed=self._by_detector)
        if gather is None or outcome.state != "done":
            return await performer.conclude(run, outcome)
        missing = absent(names, parts)
        offered = {
            **performer.offered(run, observation),
            "parts": results(parts),
            "missing": missing,
            RUNS: {one.name: one.runs for one in pieces},
        }
        runs = {one.part: one.id for one in parts if one.state == "done"}
        gathered = Gathered(performer.spec.each, runs)
        task = _gathering(gather, offered, observation, gathered)
        finished = await performer.carried_out(run, lambda: performer.attempt(run, task))
        note = "; ".join(text for text in (finished.note, missing_note(missing)) if text)
        return replace(finished, note=note)


def _gathering(
    gather: Gather, offered: Mapping[str, Any], observation: Observation | None, gathered: Gathered
) -> Task:
    async def prepare() -> Fetched:
        return with_given(gather.arguments, Fetched())

    return Task(gather.run, prepare, offered, observation, gathered=gathered)
