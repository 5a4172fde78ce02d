"""The story of one event, with its stores in memory: what is kept before what is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from catcher.app import load_site
from catcher.app.composition import RECORDED_CLOCK, create_engine_builder
from catcher.app.stores import Stores
from catcher.app.telemetry import EngineTelemetry
from catcher.authoring import VirtualClock
from catcher.engine.commands import EngineCommands
from catcher.engine.engine import Engine
from catcher.model.alert import Severity
from catcher.model.commit import Commit
from catcher.model.errors import CatcherError
from catcher.model.event import AdmittedEvent, Event
from catcher.model.health import Health
from catcher.model.result import Metric
from catcher.model.run import Run
from catcher.model.time import SECOND, Clock, parse_duration, parse_instant, wall_clock
from catcher.ports import EngineBusy, EventBatch, Query, StoreUnavailable
from catcher.stores.artifacts.object_store import ObjectSettings, ObstoreStore
from catcher.stores.history.embedded import EmbeddedHistory
from catcher.stores.ledger.ledger import SqlLedger
from tests.sample_site import DOUBLING, WIND, write_site

START = parse_instant("2025-04-24T00:00:00Z")
RULES = f"""{DOUBLING}---
rule: seen
trigger: {{event: frame, once_per: name}}
job: {{run: doubling}}
---
rule: large
trigger: {{result: doubling, where: doubled > 50}}
alert: {{warning: always}}
---
rule: fault
trigger: {{event: fault, by: part}}
alert: {{warning: always, serious: code > 5, critical: code > 9, latch: critical}}
---{WIND}"""


class ActionLog(list[str]):
    """What happened, in its order; a test may wait for the next entry."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def append(self, entry: str) -> None:
        super().append(entry)
        self._changed.set()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class LoggingLedger(SqlLedger):
    """The ledger, with a diary; for the first `failures_left` commits it is not to be had."""

    def __init__(
        self, url: str, log: ActionLog, failures: int = 0, clock: Clock = wall_clock
    ) -> None:
        super().__init__(url, "engine-of-a-test", clock)
        self.log = log
        self.failures_left = failures
        self.commits: list[Commit] = []

    async def commit(self, commit: Commit) -> Commit:
        if self.failures_left:
            self.failures_left -= 1
            self.log.append("away")
            raise StoreUnavailable("the ledger is away", "bring it back")
        stored = await super().commit(commit)
        self.commits.append(commit)
        self.log.append("kept")
        return stored


class ScriptedSource:
    """A source that delivers what a test says; it ends when it is told to."""

    def __init__(self, log: ActionLog, name: str = "script") -> None:
        self.name = name
        self._log = log
        self._queue: asyncio.Queue[EventBatch | None] = asyncio.Queue()

    def deliver_durable(self, *events: Event, rejected: Sequence[str] = ()) -> asyncio.Event:
        """Hands a durable delivery over; what it returns is set when it is acknowledged."""
        acknowledged = asyncio.Event()

        async def acknowledge() -> None:
            self._log.append("acknowledged")
            acknowledged.set()

        self._queue.put_nowait(
            EventBatch(
                self.name, events, rejected, durable=True, position="here", acknowledge=acknowledge
            )
        )
        return acknowledged

    def deliver_telemetry(self, *events: Event) -> None:
        """Hands over what is telemetry only: nobody waits for it."""

        async def acknowledge() -> None:
            self._log.append("taken")

        self._queue.put_nowait(EventBatch(self.name, events, acknowledge=acknowledge))

    def finish(self) -> None:
        self._queue.put_nowait(None)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[EventBatch]]:
        async def deliveries() -> AsyncIterator[EventBatch]:
            while (batch := await self._queue.get()) is not None:
                yield batch

        yield deliveries()

    def health(self) -> Health:
        return Health(self.name, "script", "ok")


@dataclass
class EngineHarness:
    """An engine with everything that a test looks at."""

    engine: Engine
    source: ScriptedSource
    ledger: LoggingLedger
    clock: VirtualClock
    log: ActionLog
    started_runs: list[Run]
    notifications: list[Any]
    drain: Callable[[], Any] | None = None
    results: list[Event] = field(default_factory=list)

    def create_commands(self) -> EngineCommands:
        return EngineCommands(self.engine, None, {}, [], list)  # type: ignore[arg-type]


def create_event(seconds: float, topic: str, **fields: Any) -> Event:
    return Event(topic, START + round(seconds * SECOND), fields, "script")


def create_number_event(seconds: float, value: float, lane: str = "a") -> Event:
    return create_event(seconds, "number", value=value, lane=lane)


def finish_run(run: Run, doubled: float) -> Run:
    return replace(
        run, state="done", started=1, finished=2, metrics={"doubled": Metric(doubled, "m")}
    )


@asynccontextmanager
async def create_engine(
    folder: Path, ledger: str = "sqlite://", away: int = 0
) -> AsyncIterator[EngineHarness]:
    """An engine that is not yet running, whose runs go no further than a list."""
    log = ActionLog()
    site = load_site(write_site(folder, RULES))
    assert not site.problems, [str(problem) for problem in site.problems]
    clock = VirtualClock(START)
    async with AsyncExitStack() as stack:
        history = await stack.enter_async_context(EmbeddedHistory(None))
        stores = Stores(
            await stack.enter_async_context(LoggingLedger(ledger, log, away, clock)),
            EngineTelemetry(history, history),
            ObstoreStore(ObjectSettings(url="memory://")),
            None,
        )
        builder = await create_engine_builder(
            site, site.rules, stores, clock, {"script": RECORDED_CLOCK}
        )
        source, started_runs, notifications = ScriptedSource(log), list[Run](), list[Any]()

        def start_run(run: Run) -> None:
            log.append(f"handed out {run.rule}")
            started_runs.append(run)

        async def drain_runs() -> None:
            if harness.drain is not None:
                await harness.drain()

        engine = builder.build_engine("test", [source], start_run, notifications.extend, drain_runs)
        assert isinstance(stores.ledger, LoggingLedger)
        harness = EngineHarness(
            engine, source, stores.ledger, clock, log, started_runs, notifications
        )

        def log_results(batch: tuple[AdmittedEvent, ...]) -> None:
            for admitted in batch:
                if admitted.event.topic.startswith("catcher."):
                    harness.results.append(admitted.event)
                    log.append(f"result of {admitted.event.topic}")

        builder.event_bus.events.subscribe(log_results)
        yield harness


@asynccontextmanager
async def run_engine(folder: Path, **options: Any) -> AsyncIterator[EngineHarness]:
    """The same engine, running; it is stopped at the end."""
    async with create_engine(folder, **options) as harness, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(harness.engine.run())
        await harness.engine.sources_opened.wait()
        yield harness
        harness.engine.request_stop()
        await task


async def test_batch_is_acknowledged_after_its_commit_and_runs_start_after_it(
    tmp_path: Path,
) -> None:
    async with run_engine(tmp_path) as harness:
        await harness.source.deliver_durable(create_number_event(1, 5)).wait()
        assert harness.log[:3] == ["kept", "handed out doubling", "acknowledged"]
        commit = harness.ledger.commits[0]
        assert [received.event.topic for received in commit.inbox] == ["number"]
        assert [firing.rule for firing in commit.firings] == ["doubling"]
        assert [(run.rule, run.state) for run in commit.runs] == [("doubling", "pending")]
        assert commit.positions == {"script": "here"}
        assert commit.states


async def test_unavailable_ledger_delays_the_acknowledgement(tmp_path: Path) -> None:
    async with run_engine(tmp_path, away=1) as harness:
        problems: list[Any] = []
        harness.engine.components.event_bus.other_updates.subscribe(problems.append)
        acknowledged = harness.source.deliver_durable(create_number_event(1, 5))
        await harness.log.wait_until(lambda: "away" in harness.log)
        assert harness.engine.committer.problem == "ledger: the ledger is away; bring it back"
        await acknowledged.wait()
        assert harness.log[:4] == ["away", "kept", "handed out doubling", "acknowledged"]
        assert harness.engine.committer.problem == ""
        assert [update.kind for update in problems] == ["problem", "problem"]
        assert "answers again" in problems[1].body


async def test_alerts_do_not_wait_for_an_unavailable_ledger(tmp_path: Path) -> None:
    async with run_engine(tmp_path) as harness:
        await harness.source.deliver_durable(create_event(1, "wind", speed=5, mast="m")).wait()
        harness.ledger.failures_left = 2
        acknowledged = harness.source.deliver_durable(
            create_event(2, "wind", speed=12, mast="m"), create_number_event(2, 5)
        )
        await harness.log.wait_until(lambda: "away" in harness.log)
        assert [
            (notification.kind, notification.unrecorded) for notification in harness.notifications
        ] == [("opened", True)]
        raised = harness.source.deliver_durable(create_event(3, "wind", speed=22, mast="m"))
        await harness.log.wait_until(lambda: harness.log.count("away") == 2)
        assert not (acknowledged.is_set() or raised.is_set() or harness.started_runs)
        await raised.wait()
        assert len(harness.started_runs) == 1
        unrecorded_ids = [
            notification.id for notification in harness.notifications if notification.unrecorded
        ]
        assert unrecorded_ids == [
            notification.id for notification in harness.notifications if not notification.unrecorded
        ]
        assert [
            notification.id
            for notification in await harness.ledger.list_undelivered_notifications()
        ] == unrecorded_ids


async def test_severity_raised_twice_at_one_instant_is_sent_once(tmp_path: Path) -> None:
    async with run_engine(tmp_path) as harness:
        await harness.source.deliver_durable(
            create_event(1, "fault", code=7, part="a"), create_event(1, "fault", code=3, part="b")
        ).wait()
        await harness.source.deliver_durable(create_event(2, "fault", code=10, part="b")).wait()
        changes = [
            (
                notification.alert.key,
                notification.kind,
                notification.alert.severity,
                notification.previous,
            )
            for notification in harness.notifications
        ]
        none, warning, serious, critical = Severity
        assert changes == [
            ("a", "opened", serious, none),
            ("b", "opened", warning, none),
            ("b", "raised", critical, warning),
        ]
        assert len(await harness.ledger.list_undelivered_notifications()) == 3
        actions = [entry.what for entry in await harness.ledger.list_audit_entries(Query())]
        assert sorted(actions) == ["opened", "opened", "raised", "raised"]


async def test_telemetry_does_not_accumulate_while_the_ledger_is_unavailable(
    tmp_path: Path,
) -> None:
    async with create_engine(tmp_path, away=1000) as harness:
        task = asyncio.create_task(harness.engine.run())
        await harness.engine.sources_opened.wait()
        acknowledged = harness.source.deliver_durable(create_number_event(1, 5))
        await harness.log.wait_until(lambda: "away" in harness.log)
        for index in range(300):
            harness.source.deliver_telemetry(
                create_event(2 + index / 100, "wind", speed=5, mast="m")
            )
        await harness.log.wait_until(lambda: harness.log.count("taken") == 300)
        assert not acknowledged.is_set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_beyond_the_pending_limit_events_wait_and_alerts_are_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catcher.engine.committer.MAX_PENDING_ROWS", 20)
    monkeypatch.setattr("catcher.engine.committer.MAX_UNAVAILABLE_ROWS", 40)
    routes = tmp_path / "alerts" / "routes.yaml"
    routes.parent.mkdir()
    routes.write_text(
        "noise: {flood: off, flapping: off}\nsinks: {console: {}}\nroute: {to: [console]}\n"
    )
    async with run_engine(tmp_path) as harness:
        committer = harness.engine.committer
        harness.ledger.failures_left = 1_000_000
        events = [create_number_event(1 + n / 100, 5) for n in range(40)]
        waiting = [harness.source.deliver_durable(*events[:20])]
        await harness.log.wait_until(lambda: committer.is_unavailable)
        waiting.append(harness.source.deliver_durable(*events[20:39]))
        await harness.log.wait_until(lambda: committer.pending_rows >= 78)
        waiting.append(harness.source.deliver_durable(events[39]))
        telemetry = ScriptedSource(harness.log, "telemetry")
        pump = asyncio.create_task(harness.engine._read_source(telemetry))
        for n in range(100):
            telemetry.deliver_telemetry(
                create_event(3 + n / 100, "wind", speed=25 if n % 2 else 5, mast="m")
            )
        await harness.log.wait_until(lambda: harness.log.count("taken") == 100)
        pending = committer._pending.work
        assert [len(rows) for rows in (pending.inbox, pending.firings, pending.alerts)] == [
            19,
            19,
            99,
        ]
        assert not any(acknowledgement.is_set() for acknowledgement in waiting)
        kinds = Counter(
            notification.kind for notification in harness.notifications if notification.unrecorded
        )
        assert kinds == {"opened": 1, "raised": 49, "lowered": 49}, "every change was told"
        assert 0 < committer.lost_counts["notices"] < 100
        harness.ledger.failures_left = 0
        await asyncio.gather(*(acknowledgement.wait() for acknowledgement in waiting))
        assert len(await harness.ledger.list_firings(Query(limit=1000))) == 40
        (alert,) = await harness.ledger.list_alerts(Query(rule="wind"))
        assert (alert.state, alert.severity) == ("firing", Severity.SERIOUS)
        pump.cancel()


async def test_operator_gets_an_error_at_once_when_nothing_can_be_committed(tmp_path: Path) -> None:
    async with run_engine(tmp_path) as harness:
        await harness.source.deliver_durable(create_event(1, "wind", speed=12, mast="m")).wait()
        harness.ledger.failures_left = 1
        harness.source.deliver_durable(create_event(2, "wind", speed=5, mast="m"))
        await harness.log.wait_until(lambda: "away" in harness.log)
        with pytest.raises(EngineBusy, match="the ledger is away"):
            await harness.create_commands().add_comment(
                harness.notifications[0].alert.id, "jo", "seen"
            )


async def test_unavailable_ledger_does_not_prevent_the_engine_from_stopping(
    tmp_path: Path,
) -> None:
    async with create_engine(tmp_path, away=1000) as harness:
        task = asyncio.create_task(harness.engine.run())
        await harness.engine.sources_opened.wait()
        acknowledged = harness.source.deliver_durable(create_number_event(1, 5))
        await harness.log.wait_until(lambda: "away" in harness.log)
        harness.engine.request_stop()
        with pytest.raises(ExceptionGroup) as error:
            await task
        assert error.value.subgroup(StoreUnavailable)
        assert not acknowledged.is_set()
        assert not harness.started_runs


async def test_results_are_processed_in_the_order_of_the_firings_of_a_key(tmp_path: Path) -> None:
    async with run_engine(tmp_path) as harness:
        for seconds, lane in ((1, "a"), (2, "a"), (3, "b")):
            await harness.source.deliver_durable(create_number_event(seconds, seconds, lane)).wait()
        first, second, third = harness.started_runs
        await harness.engine.enqueue_finished_run(finish_run(second, 4))
        await harness.engine.enqueue_finished_run(finish_run(third, 6))
        await harness.log.wait_until(lambda: len(harness.results) == 1)
        assert harness.results[0].fields["lane"] == "b"
        await harness.engine.enqueue_finished_run(finish_run(first, 2))
        await harness.log.wait_until(lambda: len(harness.results) == 3)
        assert [result.fields["doubled"] for result in harness.results] == [6, 2, 4]


async def test_a_result_is_an_event_at_its_firings_time_in_the_commit_of_its_run(
    tmp_path: Path,
) -> None:
    async with run_engine(tmp_path) as harness:
        await harness.source.deliver_durable(create_number_event(7, 40)).wait()
        (run,) = harness.started_runs
        await harness.engine.enqueue_finished_run(finish_run(run, 80))
        await harness.log.wait_until(lambda: bool(harness.results))
        (result,) = harness.results
        assert (result.topic, result.time) == ("catcher.doubling", START + 7 * SECOND)
        assert result.fields["value"] == 40
        assert result.fields["doubled"] == 80
        assert result.fields["catcher"] == {
            "rule": "doubling", "key": "a", "run": run.id, "firing": run.id,
            "observation": "", "state": "done",
        }  # fmt: skip
        commit = next(candidate for candidate in harness.ledger.commits if candidate.finished)
        assert [firing.rule for firing in commit.firings] == ["large"]
        assert [(alert.rule, alert.severity) for alert in commit.alerts] == [
            ("large", Severity.WARNING)
        ]
        assert [notification.sink for notification in commit.notices] == ["console"]
        assert [notification.id for notification in harness.notifications] == [
            notification.id for notification in commit.notices
        ]


async def test_failed_run_is_recorded_and_its_result_is_no_event(tmp_path: Path) -> None:
    async with run_engine(tmp_path) as harness:
        await harness.source.deliver_durable(create_number_event(1, 5)).wait()
        (run,) = harness.started_runs
        await harness.engine.enqueue_finished_run(
            replace(run, state="failed", finished=2, error="no luck")
        )
        await harness.log.wait_until(
            lambda: any(commit.finished for commit in harness.ledger.commits)
        )
        (stored_run,) = await harness.ledger.list_runs(Query(id=run.id))
        assert (stored_run.state, stored_run.error) == ("failed", "no luck")
        assert not harness.results


async def test_known_firing_is_not_started_again(tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    for _ in range(2):
        async with run_engine(tmp_path / "site", ledger=ledger) as harness:
            await harness.source.deliver_durable(
                create_event(1, "frame", name="MC_1", value=1)
            ).wait()
            await harness.source.deliver_durable(
                create_event(2, "frame", name="MC_1", value=1)
            ).wait()
            image_names = [run.firing.once for run in harness.started_runs]
            # The second engine takes the run up, which the first has left, and begins no other.
            assert image_names == ["MC_1"]
    assert len(harness.ledger.commits) > 0


async def test_engine_resumes_runs_and_notifications_of_another(tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        await harness.source.deliver_durable(
            create_number_event(1, 5), create_event(2, "wind", speed=12, mast="m")
        ).wait()
        run_ids = [run.id for run in harness.started_runs]
        notification_ids = [notification.id for notification in harness.notifications]
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        assert [run.id for run in harness.started_runs] == run_ids
        assert [notification.id for notification in harness.notifications] == notification_ids
        assert [run.state for run in harness.started_runs] == ["pending"]


async def test_alert_continues_after_a_restart(tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        await harness.source.deliver_durable(create_event(1, "wind", speed=12, mast="m")).wait()
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        await harness.source.deliver_durable(create_event(2, "wind", speed=12, mast="m")).wait()
        await harness.source.deliver_durable(create_event(3, "wind", speed=5, mast="m")).wait()
        (alert,) = await harness.ledger.list_alerts(Query(rule="wind"))
        assert (alert.state, alert.episode) == ("resolved", 1)


async def test_active_run_is_finished_and_recorded_at_the_stop(tmp_path: Path) -> None:
    async with create_engine(tmp_path) as harness:
        task = asyncio.create_task(harness.engine.run())
        await harness.engine.sources_opened.wait()
        await harness.source.deliver_durable(create_number_event(1, 30)).wait()

        async def finish_first_run() -> None:
            await harness.engine.enqueue_finished_run(finish_run(harness.started_runs[0], 60))

        harness.drain = finish_first_run
        harness.engine.request_stop()
        await task
        (stored_run,) = await harness.ledger.list_runs(Query(rule="doubling"))
        assert stored_run.state == "done"
        assert [alert.rule for alert in await harness.ledger.list_alerts(Query())] == ["large"]


async def test_unfinished_run_is_pending_after_the_stop(tmp_path: Path) -> None:
    async with create_engine(tmp_path) as harness:
        task = asyncio.create_task(harness.engine.run())
        await harness.engine.sources_opened.wait()
        await harness.source.deliver_durable(create_number_event(1, 30)).wait()
        harness.engine.request_stop()
        await task
        (stored_run,) = await harness.ledger.list_runs(Query(rule="doubling"))
        assert (stored_run.id, stored_run.state) == (harness.started_runs[0].id, "pending")


async def test_engine_stops_by_itself_when_its_sources_have_ended_and_all_runs_are_done(
    tmp_path: Path,
) -> None:
    async with create_engine(tmp_path) as harness:
        task = asyncio.create_task(harness.engine.run())
        await harness.source.deliver_durable(create_number_event(1, 30)).wait()
        harness.source.finish()
        await harness.engine.enqueue_finished_run(finish_run(harness.started_runs[0], 60))
        async with asyncio.timeout(20):
            await task
        assert await harness.ledger.list_runs(Query(state="pending")) == []
        assert len(harness.results) == 1


async def test_invalid_event_is_reported_and_acknowledged(tmp_path: Path) -> None:
    async with run_engine(tmp_path) as harness:
        problems: list[Any] = []
        harness.engine.components.event_bus.other_updates.subscribe(problems.append)
        await harness.source.deliver_durable(
            create_number_event(1, 1), rejected=["line 3 is no JSON"]
        ).wait()
        assert [update.body for update in problems] == ["script: line 3 is no JSON"]
        assert len(harness.started_runs) == 1


async def test_command_is_committed_before_it_is_answered(tmp_path: Path) -> None:
    async with run_engine(tmp_path) as harness:
        await harness.source.deliver_durable(create_event(1, "wind", speed=12, mast="m")).wait()
        (alert,) = await harness.ledger.list_alerts(Query())
        commands = harness.create_commands()
        acknowledged = await commands.acknowledge_alert(alert.id, Severity.WARNING, "ana", "I look")
        assert acknowledged.state == "acknowledged"
        (stored_alert,) = await harness.ledger.list_alerts(Query())
        assert stored_alert.state == "acknowledged"
        entries = await harness.ledger.list_audit_entries(Query())
        assert ("acknowledged", "ana", "api") in [
            (entry.what, entry.who, entry.channel) for entry in entries
        ]


async def test_end_out_of_range_is_rejected_and_does_not_stop_the_engine(tmp_path: Path) -> None:
    async with run_engine(tmp_path) as harness:
        await harness.source.deliver_durable(create_event(1, "wind", speed=12, mast="m")).wait()
        commands, alert = harness.create_commands(), harness.notifications[0].alert.id
        for duration_text in ("300000w", "999999999999999w"):
            with pytest.raises(CatcherError, match="cannot end"):
                await commands.shelve_alert(alert, parse_duration(duration_text), "jo", "why")
            with pytest.raises(CatcherError, match="cannot end"):
                duration = parse_duration(duration_text)
                await commands.create_silence("wind", {}, Severity.CRITICAL, duration, "jo", "why")
        assert (await commands.add_comment(alert, "jo", "seen")).id == alert


async def test_rejected_command_gives_its_reason_and_is_audited(tmp_path: Path) -> None:
    async with run_engine(tmp_path) as harness:
        await harness.source.deliver_durable(create_event(1, "wind", speed=25, mast="m")).wait()
        (alert,) = await harness.ledger.list_alerts(Query())
        with pytest.raises(CatcherError, match="SERIOUS"):
            await harness.create_commands().acknowledge_alert(alert.id, Severity.WARNING, "ana", "")
        rejections = [
            entry
            for entry in await harness.ledger.list_audit_entries(Query())
            if "refused" in entry.detail
        ]
        assert [entry.who for entry in rejections] == ["ana"]
        (stored_alert,) = await harness.ledger.list_alerts(Query())
        assert stored_alert.state == "firing"


async def test_manual_firing_runs_and_its_result_notifies_nobody(tmp_path: Path) -> None:
    async with run_engine(tmp_path) as harness:
        firing = await harness.create_commands().fire_rule(
            "doubling", create_number_event(1, 50), "", "ana", False
        )
        assert firing.manual
        assert firing.quiet
        (run,) = harness.started_runs
        await harness.engine.enqueue_finished_run(finish_run(run, 100))
        await harness.log.wait_until(
            lambda: any(commit.finished for commit in harness.ledger.commits)
        )
        assert not harness.results
        assert await harness.ledger.list_alerts(Query()) == []
        second_firing = await harness.create_commands().fire_rule(
            "doubling", create_number_event(2, 50), "", "ana", True
        )
        await harness.engine.enqueue_finished_run(finish_run(harness.started_runs[1], 100))
        await harness.log.wait_until(lambda: bool(harness.results))
        assert not second_firing.quiet
        assert [alert.rule for alert in await harness.ledger.list_alerts(Query())] == ["large"]


async def test_an_unknown_rule_or_observation_is_not_fired(tmp_path: Path) -> None:
    async with run_engine(tmp_path) as harness:
        with pytest.raises(CatcherError, match="no rule 'doubeling' runs here"):
            await harness.create_commands().fire_rule("doubeling", None, "", "ana", False)
        with pytest.raises(CatcherError, match="no observation 'MC_9' is known"):
            await harness.create_commands().fire_rule("doubling", None, "MC_9", "ana", False)
        assert not harness.started_runs
