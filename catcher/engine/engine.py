"""The engine loop: the path of an event from its source to committed results.

A source delivers it, admission accepts it, the rule evaluator makes decisions, the alert pipeline
turns level changes into alerts and notifications, and one commit stores all of it. Only then is
the event acknowledged to its source, are runs submitted and notifications sent. The result of a
finished job enters the same way. The engine is one loop over such steps, so decisions never race.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from catcher.alerting import ActionRefused, merge_simultaneous_raises
from catcher.engine.committer import Committer
from catcher.engine.recovery import (
    RecoveryHooks,
    list_unfinished_work,
    recover_state,
    reset_to_pending,
)
from catcher.engine.unit_of_work import (
    Command,
    EngineComponents,
    EngineMessage,
    RunFinished,
    UnitOfWork,
    build_result_event,
)
from catcher.jobs import Resequencer
from catcher.model.alert import LevelChange
from catcher.model.errors import CatcherError
from catcher.model.event import AdmittedEvent, ReceivedEvent
from catcher.model.health import LiveUpdate
from catcher.model.run import Firing, Run
from catcher.model.time import SECOND, Instant, humanize_instant
from catcher.ports import EngineBusy, EventBatch, Source

MAX_BATCH = 64
"""How many messages share one commit: enough to amortise it, few enough to stay prompt."""
QUEUE_SIZE = 256
MAX_WAIT = 1.0
MIN_WAIT = 0.02
STOPPED_MESSAGE = "the engine has stopped"
Decisions = Iterable[Firing | LevelChange]
UNAVAILABLE_MESSAGE = "the ledger is away, so nothing can be kept; try again when it is back"


class Engine:
    """Events in; firings, runs, results, alerts and notifications out, stored before published."""

    def __init__(self, components: EngineComponents) -> None:
        self.components = components
        self.committer = Committer(lambda: self.components, self._start_run)
        self.sources_opened = asyncio.Event()
        self._resequencer = Resequencer()
        self._queue: asyncio.Queue[EngineMessage] = asyncio.Queue(QUEUE_SIZE)
        self._stop_requested = asyncio.Event()
        self._opened_count = self._ended_count = 0
        self._is_closed = False
        self._running_ids: set[str] = set()

    # -- the loop ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs until it is stopped, or until every source has ended and all work is done.

        When it is stopped, work in progress is finished or handed back, and stored.
        """
        await self._recover()
        async with asyncio.TaskGroup() as tasks:
            committer_task = tasks.create_task(self.committer.run())
            reader_tasks = [
                tasks.create_task(self._read_source(source)) for source in self.components.sources
            ]
            while not self._should_stop():
                await self._run_once()
            for reader_task in reader_tasks:
                reader_task.cancel()
            if not self._stop_requested.is_set():
                await self._process_stream_end()
            while not (self._is_idle() or self._stop_requested.is_set()):
                await self._run_once()
            drain_task = tasks.create_task(self.components.drain_runs())
            while not (drain_task.done() and self._queue.empty()):
                await self._run_once()
            await self._save_and_close()
            committer_task.cancel()

    async def _run_once(self) -> None:
        self.components.monitor.record_iteration()
        await self._process_messages(await self._dequeue_messages())
        await self.committer.wait_for_capacity()

    async def _save_and_close(self) -> None:
        """Saves all states and all pending work; commands that come later are refused.

        Buffered events of durable sources are in the inbox; those of others are processed now.
        """
        self._is_closed = True
        self.committer.limit_commit_retries()
        async with self.committer.state_lock:
            work = UnitOfWork()
            for name in self._list_source_names():
                if name not in self.committer.durable_sources:
                    work.events.extend(self.components.admission.flush_buffered_events(name))
            self._process_events(work.events, work, self.components.clock())
            await self._append_history_and_publish(work)
            self.committer.add(work, save_states=True)
        await self.committer.wait_until_idle()
        while not self._queue.empty():
            message = self._queue.get_nowait()
            if isinstance(message, Command):
                message.set_result(EngineBusy(STOPPED_MESSAGE))
            await asyncio.sleep(0)  # Callers waiting for queue space are answered too.

    @property
    def queue_usage(self) -> tuple[int, int]:
        """The number of queued messages, and the capacity of the queue."""
        return self._queue.qsize(), self._queue.maxsize

    def request_stop(self) -> None:
        """Asks the loop to end after the current step."""
        self._stop_requested.set()
        self.committer.limit_commit_retries()

    def restart_orphaned_runs(self, runs: Sequence[Run]) -> None:
        """Starts the runs left by an engine that is gone."""
        for run in reset_to_pending(runs):
            self._start_run(run)

    async def enqueue_finished_run(self, run: Run) -> None:
        """Queues a finished run: its result is processed as soon as its turn has come."""
        await self._queue.put(RunFinished(run))

    async def submit_command(self, action: Callable[[Instant], UnitOfWork]) -> UnitOfWork:
        """Executes a command between two steps; returns once its result is stored.

        Raises EngineBusy if the engine has stopped.
        """
        if self._is_closed:
            raise EngineBusy(STOPPED_MESSAGE)
        future: asyncio.Future[UnitOfWork] = asyncio.get_running_loop().create_future()
        await self._queue.put(Command(action, future))
        return await future

    async def _recover(self) -> None:
        """Resumes from what an earlier engine left: trigger states, inbox, runs, outbox."""

        def commit_recovered(work: UnitOfWork, inbox_sources: set[str]) -> None:
            self.committer.mark_inbox_replayed(inbox_sources)
            self.committer.add(work, save_states=True)

        await recover_state(
            self.components,
            RecoveryHooks(self._process_events, self._apply_decisions, commit_recovered),
        )
        runs, notifications = await list_unfinished_work(self.components)
        self.restart_orphaned_runs(runs)
        self.components.send_notifications(notifications)
        await self.committer.flush()

    async def _read_source(self, source: Source) -> None:
        async with source.open() as batches:
            self._opened_count += 1
            if self._opened_count == len(self.components.sources):
                self.sources_opened.set()
            async for batch in batches:
                if batch.durable:
                    await self.committer.wait_for_durable_capacity()
                await self._queue.put(batch)
        self._ended_count += 1

    def _should_stop(self) -> bool:
        """True if it was asked to stop, or nothing more can come."""
        has_ended = self._ended_count == len(self.components.sources)
        return self._stop_requested.is_set() or (has_ended and self._is_idle())

    def _is_idle(self) -> bool:
        return self._queue.empty() and self.committer.is_idle and not self._running_ids

    async def _dequeue_messages(self) -> list[EngineMessage]:
        """Returns the queued messages, at most `MAX_BATCH`; none after the poll timeout."""
        messages: list[EngineMessage] = []
        try:
            async with asyncio.timeout(self._compute_poll_timeout()):
                messages.append(await self._queue.get())
        except TimeoutError:
            return messages
        while len(messages) < MAX_BATCH and not self._queue.empty():
            messages.append(self._queue.get_nowait())
        return messages

    def _compute_poll_timeout(self) -> float:
        if self._stop_requested.is_set() or self._ended_count == len(self.components.sources):
            return MIN_WAIT
        due_at = self.components.evaluator.next_timer_due()
        wait = MAX_WAIT if due_at is None else (due_at - self.components.clock()) / SECOND
        return min(MAX_WAIT, max(MIN_WAIT, wait))

    # -- one step ---------------------------------------------------------------------------

    async def process_and_flush(self, messages: Sequence[EngineMessage]) -> None:
        """Processes messages and returns when all decisions are stored and published."""
        await self._process_messages(messages)
        await self.committer.flush()

    async def _process_messages(self, messages: Sequence[EngineMessage]) -> None:
        """Processes messages; the committer stores the decisions, then acts on them."""
        async with self.committer.state_lock:
            now = self.components.clock()
            work = UnitOfWork()
            batches: list[EventBatch] = []
            commands = []
            for message in messages:
                match message:
                    case EventBatch():
                        self._process_batch(message, work, now)
                        batches.append(message)
                    case RunFinished():
                        self._handle_finished_run(message.run, work, now)
                    case Command() if self.committer.is_unavailable:
                        message.set_result(EngineBusy(UNAVAILABLE_MESSAGE))
                    case Command():
                        commands.append((message, self._execute_command(message, work, now)))
            self._advance_time(work, now)
            await self._append_history_and_publish(work)
            await self.committer.add_and_acknowledge_volatile(work, batches, commands)

    async def run_timers_before(self, instant: Instant) -> None:
        """Runs the timers before an instant, whatever the sources say; for replay and tests."""
        work, watermarks = UnitOfWork(), dict.fromkeys(self._list_source_names(), instant)
        self._apply_decisions(
            self.components.evaluator.advance_watermarks(watermarks), work, self.components.clock()
        )
        self.committer.add(work)
        await self.committer.flush()

    async def finish_streams(self) -> None:
        """Processes the end of all sources: buffered events, then the timers up to the end."""
        await self._process_stream_end()
        await self.committer.flush()

    async def _process_stream_end(self) -> None:
        async with self.committer.state_lock:
            now, work = self.components.clock(), UnitOfWork()
            work.events.extend(self.components.admission.flush_buffered_events())
            self._process_events(work.events, work, now)
            last_times = map(self.components.admission.max_event_time, self._list_source_names())
            if end_times := [time for time in last_times if time is not None]:
                self._apply_decisions(
                    self.components.evaluator.run_remaining_timers(max(end_times)), work, now
                )
            await self._append_history_and_publish(work)
            self.committer.add(work)

    def _list_source_names(self) -> list[str]:
        return [source.name for source in self.components.sources]

    def _process_batch(self, batch: EventBatch, work: UnitOfWork, now: Instant) -> None:
        for error_text in batch.rejected:
            self._publish_problem(batch.source, error_text, now)
        ahead_before = self.components.admission.get_counts(batch.source)["ahead"]
        admitted = self.components.admission.admit_events(batch.source, batch.events, now)
        if self.components.admission.get_counts(batch.source)["ahead"] > ahead_before:
            rejected = self.components.admission.rejected_events[-1]
            time_text = humanize_instant(rejected.event.time)
            self._publish_problem(
                batch.source, f"{rejected.event.topic} of {time_text} set aside", now
            )
        if batch.durable:
            sourced_events = (event._replace(source=batch.source) for event in batch.events)
            work.inbox.extend(ReceivedEvent(event, now) for event in sourced_events)
        work.events.extend(admitted)
        if batch.position:
            positions = work.positions if batch.durable else work.state_positions
            positions[batch.source] = batch.position
        self._process_events(admitted, work, now)

    def _process_events(
        self, admitted: Sequence[AdmittedEvent], work: UnitOfWork, now: Instant
    ) -> None:
        """Processes events in order: the observations they declare, then the decisions on them."""
        for event, _ in admitted:
            work.observations.extend(self.components.observations.extract_from_event(event))
        self._apply_decisions(self.components.evaluator.process_events(admitted), work, now)

    def _advance_time(self, work: UnitOfWork, now: Instant) -> None:
        released = self.components.admission.release_ready_events(now)
        if released:
            work.events.extend(released)
            self._process_events(released, work, now)
        watermarks = self.components.admission.get_watermarks(now)
        self._apply_decisions(self.components.evaluator.advance_watermarks(watermarks), work, now)
        work.add_changes(self.components.alert_service.tick(now))
        self.committer.check_save_and_commit_deadlines(now)

    async def _append_history_and_publish(self, work: UnitOfWork) -> None:
        """Appends telemetry to the history and publishes events, before runs are submitted."""
        events = [
            admitted.event
            for admitted in work.events
            if admitted.event.topic in self.components.history_topics
        ]
        if events:
            await self.components.history.append(events)
        self.components.event_bus.publish_events(work.events)

    def _apply_decisions(self, decisions: Decisions, work: UnitOfWork, now: Instant) -> None:
        """Turns firings into runs and level changes into alerts; coalesces their notifications."""
        start = len(work.notifications)
        for decision in decisions:
            if isinstance(decision, LevelChange):
                finished_run = next(
                    (candidate for candidate in work.finished if candidate.id == decision.run), None
                )
                work.add_changes(
                    self.components.alert_service.apply_level_change(decision, now, finished_run)
                )
            else:
                self._add_firing_and_run(decision, work, now)
        work.notifications[start:] = merge_simultaneous_raises(work.notifications[start:])

    def _add_firing_and_run(self, firing: Firing, work: UnitOfWork, now: Instant) -> None:
        work.firings.append(firing)
        job = self.components.rules[firing.rule].job
        if job is not None:
            work.runs.append(Run(firing.id, firing, job.run, priority=job.priority, created=now))

    def apply_external_decisions(self, decisions: Decisions, now: Instant) -> UnitOfWork:
        """Applies decisions that no event led to: a manual firing, a rule that is gone."""
        work = UnitOfWork()
        self._apply_decisions(decisions, work, now)
        return work

    def _handle_finished_run(self, run: Run, work: UnitOfWork, now: Instant) -> None:
        """Processes finished runs, each in its turn: the result of each is an event."""
        for finished_run in self._resequencer.add_finished(run):
            self._running_ids.discard(finished_run.id)
            work.finished.append(finished_run)
            if (
                finished_run.parent
                or finished_run.firing.quiet
                or finished_run.rule not in self.components.rules
            ):
                continue
            if finished_run.state == "done":
                result = AdmittedEvent(build_result_event(finished_run))
                work.results.append(result)
                self._process_events([result], work, now)
            elif finished_run.state in ("failed", "timeout"):
                changes = self.components.evaluator.on_job_failed(
                    finished_run.firing, finished_run.id, finished_run.error
                )
                self._apply_decisions(changes, work, now)

    def _execute_command(
        self, command: Command, work: UnitOfWork, now: Instant
    ) -> UnitOfWork | CatcherError:
        outcome = command.execute(now)
        if isinstance(outcome, UnitOfWork):
            work.add_changes(outcome)
        elif isinstance(outcome, ActionRefused):
            work.audit.append(outcome.audit_entry)
        return outcome

    def _start_run(self, run: Run) -> None:
        self._running_ids.add(run.id)
        if not (run.firing.manual or run.parent):
            self._resequencer.register(run)
        self.components.submit_run(run)

    def _publish_problem(self, source: str, message: str, now: Instant) -> None:
        self.components.event_bus.publish(LiveUpdate("problem", now, f"{source}: {message}"))
