"""The story of one event.

A source delivers it, admission lets it in, the network says what it means, alerting says whom
that concerns, and one commit keeps all of it. Only then is the source told that it may forget
the event, are jobs handed out and notices sent. A finished job's result comes in by the same
door. The engine is one loop over such steps, so a decision never races another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from catcher.alerting import Refused, folded
from catcher.bookkeeping import Bookkeeper
from catcher.model.alert import LevelChange
from catcher.model.event import Admitted, Arrived
from catcher.model.health import Update
from catcher.model.problem import CatcherError
from catcher.model.run import Firing, Run
from catcher.model.time import SECOND, Instant, told_instant
from catcher.ports import Busy, Delivery, Source
from catcher.resuming import Story, again, left_over, resume
from catcher.steps import Decided, Deed, Finished, Parts, Step, result_event
from catcher.working import ResultOrder

MOST_STEPS = 64
"""How many steps share one commit: enough to amortise it, few enough to stay prompt."""
WAITING_STEPS = 256
LONGEST_WAIT = 1.0
SHORTEST_WAIT = 0.02
CLOSED = "the engine has stopped"
Decisions = Iterable[Firing | LevelChange]
AWAY = "the ledger is away, so nothing can be kept; try again when it is back"


class Engine:
    """Events in; firings, runs, results, alerts and notices out, each kept before it is told."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.books = Bookkeeper(lambda: self.parts, self._hand_out)
        self.opened = asyncio.Event()
        self._order = ResultOrder()
        self._steps: asyncio.Queue[Step] = asyncio.Queue(WAITING_STEPS)
        self._stopping = asyncio.Event()
        self._opened = self._ended = 0
        self._closed = False
        self._running: set[str] = set()

    # -- the loop ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs until it is told to stop, or until every source has ended and all work is done.

        What was going on when it is told to stop is finished or handed back, and kept.
        """
        await self._resume()
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self.books.run())
            pumps = [tasks.create_task(self._pump(source)) for source in self.parts.sources]
            while not self._over():
                await self._turn()
            for pump in pumps:
                pump.cancel()
            if not self._stopping.is_set():
                await self._finish()
            while not (self._done() or self._stopping.is_set()):
                await self._turn()
            drained = tasks.create_task(self.parts.drain())
            while not (drained.done() and self._steps.empty()):
                await self._turn()
            await self._close()
            writing.cancel()

    async def _turn(self) -> None:
        self.parts.vitals.turn()
        await self._take(await self._next_steps())
        await self.books.room()

    async def _close(self) -> None:
        """Saves all states, and what is owed; what comes from here on is refused.

        What is held back of a durable source is in the inbox; the rest has to come in now.
        """
        self._closed = True
        self.books.stop()
        async with self.books.between_steps:
            decided = Decided()
            for name in self._source_names():
                if name not in self.books.durable:
                    decided.events.extend(self.parts.admission.flush(name))
            self._see(decided.events, decided, self.parts.clock())
            await self._remember(decided)
            self.books.add(decided, save=True)
        await self.books.kept()
        while not self._steps.empty():
            step = self._steps.get_nowait()
            if isinstance(step, Deed):
                step.settle(Busy(CLOSED))
            await asyncio.sleep(0)  # Whoever waited for room comes in, and is answered too.

    @property
    def waiting(self) -> tuple[int, int]:
        """How many steps wait for the loop, and how many may."""
        return self._steps.qsize(), self._steps.maxsize

    def stop(self) -> None:
        """Asks the loop to end after the step in hand."""
        self._stopping.set()
        self.books.stop()

    def take_up(self, runs: Sequence[Run]) -> None:
        """Runs that an engine left which is gone are carried out by this one."""
        for run in again(runs):
            self._hand_out(run)

    async def report(self, run: Run) -> None:
        """A run is over: its result enters as soon as its turn has come."""
        await self._steps.put(Finished(run))

    async def do(self, act: Callable[[Instant], Decided]) -> Decided:
        """Carries out a person's deed between two steps; returns once it is kept."""
        if self._closed:
            raise Busy(CLOSED)
        answer: asyncio.Future[Decided] = asyncio.get_running_loop().create_future()
        await self._steps.put(Deed(act, answer))
        return await answer

    async def _resume(self) -> None:
        """Takes up what an earlier engine left: trigger states, the inbox, runs, the outbox."""

        def keep(decided: Decided, from_inbox: set[str]) -> None:
            self.books.take_up(from_inbox)
            self.books.add(decided, save=True)

        await resume(self.parts, Story(self._see, self._weigh, keep))
        runs, notices = await left_over(self.parts)
        self.take_up(runs)
        self.parts.send(notices)
        await self.books.write_out()

    async def _pump(self, source: Source) -> None:
        async with source.open() as deliveries:
            self._opened += 1
            if self._opened == len(self.parts.sources):
                self.opened.set()
            async for delivery in deliveries:
                if delivery.durable:
                    await self.books.room_to_keep()
                await self._steps.put(delivery)
        self._ended += 1

    def _over(self) -> bool:
        """Whether it was told to stop, or nothing more can come."""
        ended = self._ended == len(self.parts.sources)
        return self._stopping.is_set() or (ended and self._done())

    def _done(self) -> bool:
        return self._steps.empty() and self.books.idle and not self._running

    async def _next_steps(self) -> list[Step]:
        """The steps that wait, at most `MOST_STEPS`; none when it is time to look at the clock."""
        steps: list[Step] = []
        try:
            async with asyncio.timeout(self._patience()):
                steps.append(await self._steps.get())
        except TimeoutError:
            return steps
        while len(steps) < MOST_STEPS and not self._steps.empty():
            steps.append(self._steps.get_nowait())
        return steps

    def _patience(self) -> float:
        if self._stopping.is_set() or self._ended == len(self.parts.sources):
            return SHORTEST_WAIT
        due = self.parts.network.next_timer()
        wait = LONGEST_WAIT if due is None else (due - self.parts.clock()) / SECOND
        return min(LONGEST_WAIT, max(SHORTEST_WAIT, wait))

    # -- one step ---------------------------------------------------------------------------

    async def take(self, steps: Sequence[Step]) -> None:
        """Decides on the steps and returns when all that was decided is kept and told."""
        await self._take(steps)
        await self.books.write_out()

    async def _take(self, steps: Sequence[Step]) -> None:
        """Decides on the steps; the books keep what was decided, then act on it."""
        async with self.books.between_steps:
            now = self.parts.clock()
            decided = Decided()
            deliveries: list[Delivery] = []
            deeds = []
            for step in steps:
                match step:
                    case Delivery():
                        self._receive(step, decided, now)
                        deliveries.append(step)
                    case Finished():
                        self._conclude(step.run, decided, now)
                    case Deed() if self.books.away:
                        step.settle(Busy(AWAY))
                    case Deed():
                        deeds.append((step, self._carry_out(step, decided, now)))
            self._look_at_the_clock(decided, now)
            await self._remember(decided)
            await self.books.take(decided, deliveries, deeds)

    async def advance(self, instant: Instant) -> None:
        """Runs the timers before an instant, whatever the sources say; for replay and tests."""
        decided, marks = Decided(), dict.fromkeys(self._source_names(), instant)
        self._weigh(self.parts.network.advance(marks), decided, self.parts.clock())
        self.books.add(decided)
        await self.books.write_out()

    async def finish(self) -> None:
        """The streams have ended: what was held back comes in, timers up to the end run."""
        await self._finish()
        await self.books.write_out()

    async def _finish(self) -> None:
        async with self.books.between_steps:
            now, decided = self.parts.clock(), Decided()
            decided.events.extend(self.parts.admission.flush())
            self._see(decided.events, decided, now)
            ends = map(self.parts.admission.last, self._source_names())
            if known := [one for one in ends if one is not None]:
                self._weigh(self.parts.network.finish(max(known)), decided, now)
            await self._remember(decided)
            self.books.add(decided)

    def _source_names(self) -> list[str]:
        return [source.name for source in self.parts.sources]

    def _receive(self, delivery: Delivery, decided: Decided, now: Instant) -> None:
        for words in delivery.rejected:
            self._tell_problem(delivery.source, words, now)
        before = self.parts.admission.counts(delivery.source)["ahead"]
        admitted = self.parts.admission.admit(delivery.source, delivery.events, now)
        if self.parts.admission.counts(delivery.source)["ahead"] > before:
            last = self.parts.admission.set_aside[-1]
            when = told_instant(last.event.time)
            self._tell_problem(delivery.source, f"{last.event.topic} of {when} set aside", now)
        if delivery.durable:
            named = (one._replace(source=delivery.source) for one in delivery.events)
            decided.inbox.extend(Arrived(one, now) for one in named)
        decided.events.extend(admitted)
        if delivery.position:
            reached = decided.positions if delivery.durable else decided.reached
            reached[delivery.source] = delivery.position
        self._see(admitted, decided, now)

    def _see(self, admitted: Sequence[Admitted], decided: Decided, now: Instant) -> None:
        """Events, in order: what they declare and what the network makes of them."""
        for event, _ in admitted:
            decided.observations.extend(self.parts.observations.note(event))
        self._weigh(self.parts.network.feed(admitted), decided, now)

    def _look_at_the_clock(self, decided: Decided, now: Instant) -> None:
        released = self.parts.admission.tick(now)
        if released:
            decided.events.extend(released)
            self._see(released, decided, now)
        marks = self.parts.admission.watermarks(now)
        self._weigh(self.parts.network.advance(marks), decided, now)
        decided.add(self.parts.alerting.tick(now))
        self.books.look(now)

    async def _remember(self, decided: Decided) -> None:
        """Telemetry goes into the history, and to whoever watches, before jobs are handed out."""
        kept = [one.event for one in decided.events if one.event.topic in self.parts.remembered]
        if kept:
            await self.parts.history.append(kept)
        self.parts.streams.pass_on(decided.events)

    def _weigh(self, decisions: Decisions, decided: Decided, now: Instant) -> None:
        """Firings lead to runs, level changes to alerts; what got worse twice is told once."""
        told = len(decided.notices)
        for decision in decisions:
            if isinstance(decision, LevelChange):
                run = next((one for one in decided.finished if one.id == decision.run), None)
                decided.add(self.parts.alerting.apply(decision, now, run))
            else:
                self._fire(decision, decided, now)
        decided.notices[told:] = folded(decided.notices[told:])

    def _fire(self, firing: Firing, decided: Decided, now: Instant) -> None:
        decided.firings.append(firing)
        job = self.parts.rules[firing.rule].job
        if job is not None:
            decided.runs.append(Run(firing.id, firing, job.run, priority=job.priority, created=now))

    def weigh(self, decisions: Decisions, now: Instant) -> Decided:
        """What decisions come to that no event led to: a firing by hand, a rule that is gone."""
        decided = Decided()
        self._weigh(decisions, decided, now)
        return decided

    def _conclude(self, run: Run, decided: Decided, now: Instant) -> None:
        """Runs that are over, each in its turn: the result of each is an event."""
        for one in self._order.arrive(run):
            self._running.discard(one.id)
            decided.finished.append(one)
            if one.parent or one.firing.quiet or one.rule not in self.parts.rules:
                continue
            if one.state == "done":
                result = Admitted(result_event(one))
                decided.results.append(result)
                self._see([result], decided, now)
            elif one.state in ("failed", "timeout"):
                changes = self.parts.network.failed(one.firing, one.id, one.error)
                self._weigh(changes, decided, now)

    def _carry_out(self, deed: Deed, decided: Decided, now: Instant) -> Decided | CatcherError:
        done = deed.carry_out(now)
        if isinstance(done, Decided):
            decided.add(done)
        elif isinstance(done, Refused):
            decided.audit.append(done.audit)
        return done

    def _hand_out(self, run: Run) -> None:
        self._running.add(run.id)
        if not (run.firing.manual or run.parent):
            self._order.expect(run)
        self.parts.hand_out(run)

    def _tell_problem(self, source: str, words: str, now: Instant) -> None:
        self.parts.streams.publish(Update("problem", now, f"{source}: {words}"))
