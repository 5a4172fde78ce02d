"""What an engine takes up where another left it, however that ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from catcher.alerting import alert_table
from catcher.engine.unit_of_work import UnitOfWork
from catcher.evaluation import SourceClock
from catcher.model.alert import Alert
from catcher.model.commit import Commit
from catcher.model.event import Event
from catcher.model.time import SECOND
from catcher.ports import EngineBusy, Query, StoreUnavailable
from tests.engine import test_engine
from tests.engine.test_engine import (
    EngineHarness,
    create_engine,
    create_event,
    create_number_event,
    finish_run,
    run_engine,
)


@asynccontextmanager
async def run_engine_until_crash(folder: Path, ledger: str) -> AsyncIterator[EngineHarness]:
    """A running engine that ends in the middle, with nothing said or saved."""
    async with create_engine(folder, ledger=ledger) as harness:
        task = asyncio.create_task(harness.engine.run())
        await harness.engine.sources_opened.wait()
        yield harness
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def deliver_wind(
    harness: EngineHarness, seconds: float, speed: float, mast: str = "m"
) -> Alert:
    """A sample of the wind, and the alert of its mast as it is kept then."""
    await harness.source.deliver_durable(
        create_event(seconds, "wind", speed=speed, mast=mast)
    ).wait()
    alerts = await harness.ledger.list_alerts(Query(rule="wind"))
    return max((alert for alert in alerts if alert.key == mast), key=lambda alert: alert.opened)


async def test_an_alert_that_was_opened_just_before_a_crash_is_resolved_after_it(
    tmp_path: Path,
) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with run_engine_until_crash(tmp_path / "site", ledger) as harness:
        await harness.source.deliver_durable(create_event(1, "wind", speed=5, mast="m")).wait()
        assert (await deliver_wind(harness, 2, 12)).state == "firing"
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        assert (await deliver_wind(harness, 3, 5)).state == "resolved"


async def test_result_committed_before_a_crash_counts_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = """---
rule: third
trigger: {result: doubling, where: doubled > 0}
alert: {warning: "streak(doubled > 50) >= 3"}
"""
    monkeypatch.setattr(test_engine, "RULES", test_engine.RULES + rules)
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"

    async def process_result(harness: EngineHarness, seconds: float) -> None:
        await harness.source.deliver_durable(create_number_event(seconds, 40)).wait()
        await harness.engine.enqueue_finished_run(finish_run(harness.started_runs[-1], 80))
        count = len(harness.results)
        await harness.log.wait_until(lambda: len(harness.results) > count)

    async with run_engine_until_crash(tmp_path / "site", ledger) as harness:
        await process_result(harness, 1)
        await process_result(harness, 2)
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        await process_result(harness, 3)
        assert [alert.state for alert in await harness.ledger.list_alerts(Query(rule="third"))] == [
            "firing"
        ]


async def test_alert_is_resolved_when_its_rule_changed_over_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        assert (await deliver_wind(harness, 1, 12)).state == "firing"
    edited_rules = test_engine.RULES.replace("speed > 10", "speed > 15")
    monkeypatch.setattr(test_engine, "RULES", edited_rules)
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        resolved = await deliver_wind(harness, 2, 12)
        assert (resolved.state, resolved.reason) == ("resolved", "the rule was changed")
        assert [notification.kind for notification in harness.notifications][-1] == "resolved"
        reopened = await deliver_wind(harness, 3, 17)
        assert (reopened.state, reopened.episode) == ("firing", 2)


async def test_forgotten_alert_is_sent_when_it_opens_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_table, "MAX_RESOLVED", 1)
    async with run_engine(tmp_path) as harness:
        for index, mast in enumerate(("a", "b")):
            await deliver_wind(harness, 2 * index + 1, 12, mast)
            await deliver_wind(harness, 2 * index + 2, 5, mast)
        notification_count = len(harness.notifications)
        reopened = await deliver_wind(harness, 5, 12, "a")
        assert reopened.episode > 1
        assert [
            (notification.kind, notification.alert.id)
            for notification in harness.notifications[notification_count:]
        ] == [("opened", reopened.id)]


async def test_open_alert_is_restored_however_many_came_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catcher.app.composition.MAX_RESOLVED_ALERTS", 1)
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        await deliver_wind(harness, 1, 12, "old")
        for index, mast in enumerate(("a", "b")):
            await deliver_wind(harness, 2 * index + 2, 12, mast)
            await deliver_wind(harness, 2 * index + 3, 5, mast)
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        assert (await deliver_wind(harness, 6, 5, "old")).state == "resolved"
        notification_count = len(harness.notifications)
        assert (await deliver_wind(harness, 7, 12, "a")).episode > 1
        assert [
            notification.kind for notification in harness.notifications[notification_count:]
        ] == ["opened"]


async def test_manual_run_delays_no_other_result(tmp_path: Path) -> None:
    async with run_engine(tmp_path) as harness:
        await harness.create_commands().fire_rule(
            "doubling", create_number_event(1, 5), "", "ana", False
        )
        await harness.source.deliver_durable(create_number_event(2, 40)).wait()
        manual, automatic = harness.started_runs
        assert manual.firing.manual
        await harness.engine.enqueue_finished_run(finish_run(automatic, 80))
        await harness.log.wait_until(lambda: bool(harness.results))
        assert harness.results[0].fields["catcher"]["run"] == automatic.id


async def test_buffered_event_at_the_stop_is_admitted_after_it(tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        harness.clock.now += 1000 * SECOND
        await harness.source.deliver_durable(create_number_event(1, 40)).wait()
        # So far ahead of the stream it is let in only when others, or time, confirm it.
        await harness.source.deliver_durable(create_number_event(100, 40)).wait()
    assert len(harness.started_runs) == 1
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        await harness.source.deliver_durable(create_number_event(101, 40)).wait()
        await harness.log.wait_until(lambda: len(harness.started_runs) == 3)


async def test_stopped_engine_rejects_commands(tmp_path: Path) -> None:
    async with run_engine(tmp_path) as harness:
        harness.engine.request_stop()
    with pytest.raises(EngineBusy):
        await harness.create_commands().fire_rule(
            "doubling", create_number_event(1, 5), "", "ana", False
        )


async def test_waiting_commands_are_answered_when_the_engine_stops(tmp_path: Path) -> None:
    tasks: list[asyncio.Task[Alert]] = []
    async with run_engine(tmp_path) as harness:
        await deliver_wind(harness, 1, 12)
        commands, alert = harness.create_commands(), harness.notifications[0].alert.id

        async def add_comments() -> None:
            _, max_commands = harness.engine.queue_usage
            comments = (commands.add_comment(alert, "jo", "seen") for _ in range(3 * max_commands))
            tasks.extend(asyncio.create_task(comment) for comment in comments)

        flush_commits = harness.engine.committer.wait_until_idle

        async def flush_and_add_comments() -> None:
            await flush_commits()
            await add_comments()

        harness.drain = add_comments
        harness.engine.committer.wait_until_idle = flush_and_add_comments  # type: ignore[method-assign]
    async with asyncio.timeout(20):
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, Alert | EngineBusy) for answer in answers)


async def test_temporarily_removed_rule_starts_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, original_rules = f"sqlite:///{tmp_path / 'ledger.db'}", test_engine.RULES
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        assert (await deliver_wind(harness, 1, 12)).state == "firing"
    monkeypatch.setattr(test_engine, "RULES", original_rules.replace("rule: wind", "rule: other"))
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        assert (await deliver_wind(harness, 2, 12)).state == "resolved"
    monkeypatch.setattr(test_engine, "RULES", original_rules)
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        reopened = await deliver_wind(harness, 3, 12)
        assert (reopened.state, reopened.episode) == ("firing", 2)


# -- the inbox ----------------------------------------------------------------------------------

GUST_RULE = """---
rule: thrice
trigger: {telemetry: gust, when: "sum_over(speed, last=3) > 30"}
"""


async def deliver_gust(harness: EngineHarness, seconds: float, speed: float) -> None:
    await harness.source.deliver_durable(create_event(seconds, "gust", speed=speed)).wait()


async def count_firings(harness: EngineHarness) -> int:
    return len(await harness.ledger.list_firings(Query(rule="thrice")))


async def test_acknowledged_event_in_no_saved_state_counts_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_engine, "RULES", test_engine.RULES + GUST_RULE)
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with run_engine_until_crash(tmp_path / "site", ledger) as harness:
        await deliver_gust(harness, 1, 11)
        await deliver_gust(harness, 2, 12)
        assert len(await harness.ledger.list_uncheckpointed_events(0, 10)) == 2
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        assert not await harness.ledger.list_uncheckpointed_events(0, 10)
        await deliver_gust(harness, 3, 13)
        assert await count_firings(harness) == 1


async def test_event_redelivered_after_a_crash_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_engine, "RULES", test_engine.RULES + GUST_RULE)
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with run_engine_until_crash(tmp_path / "site", ledger) as harness:
        await deliver_gust(harness, 1, 11)
        await deliver_gust(harness, 2, 12)
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        await deliver_gust(harness, 2, 12)
        await deliver_gust(harness, 1, 11)
        assert await count_firings(harness) == 0
        assert harness.engine.components.admission.get_counts("script")["duplicates"] == 2
        await deliver_gust(harness, 3, 13)
        assert await count_firings(harness) == 1


async def test_buffered_event_at_a_crash_is_admitted_after_it(tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with run_engine_until_crash(tmp_path / "site", ledger) as harness:
        await harness.source.deliver_durable(create_number_event(1, 5)).wait()
        assert len(harness.started_runs) == 1
        await harness.source.deliver_durable(create_number_event(500, 6)).wait()
        assert len(harness.started_runs) == 1, "a lone event far ahead waits"
        assert [
            received.event.fields["value"]
            for _, received in await harness.ledger.list_uncheckpointed_events(0, 9)
        ] == [6]
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        await harness.source.deliver_durable(create_number_event(501, 7)).wait()
        values = [
            run.firing.event.fields["value"] for run in harness.started_runs if run.firing.event
        ]
        assert values == [5, 6, 7]


async def test_buffered_event_survives_a_second_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffered = SourceClock(clock="stream", lateness=0, reorder=5 * SECOND)
    monkeypatch.setattr(test_engine, "RECORDED_CLOCK", buffered)
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with run_engine_until_crash(tmp_path / "site", ledger) as harness:
        await harness.source.deliver_durable(create_number_event(1, 5)).wait()
    async with run_engine_until_crash(tmp_path / "site", ledger) as harness:
        assert [
            buffered_event.fields["value"]
            for buffered_event in harness.engine.components.admission.list_buffered_events()
        ] == [5]
        assert len(await harness.ledger.list_uncheckpointed_events(0, 9)) == 1
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        harness.clock.now += 100 * SECOND
        await harness.source.deliver_durable(create_number_event(4, 6)).wait()
        await harness.source.deliver_durable(create_number_event(8, 7)).wait()
        values = [
            run.firing.event.fields["value"] for run in harness.started_runs if run.firing.event
        ]
        assert values == [5]


async def test_state_saved_at_the_stop_contains_only_committed_firings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffered = SourceClock(clock="stream", lateness=0, reorder=5 * SECOND)
    monkeypatch.setattr(test_engine, "RECORDED_CLOCK", buffered)
    async with run_engine(tmp_path) as harness:
        harness.source.deliver_telemetry(create_number_event(1, 5))
        await harness.log.wait_until(
            lambda: bool(harness.engine.components.admission.list_buffered_events())
        )
        history, committer = harness.engine.components.history, harness.engine.committer
        append = history.append

        async def append_slowly(events: Sequence[Event]) -> None:
            committer.add(UnitOfWork(), save_states=True)
            for _ in range(100):  # Long enough for the writer to begin, were it let.
                await asyncio.sleep(0)
            await append(events)

        monkeypatch.setattr(history, "append", append_slowly)
    state_commits = [
        commit
        for commit in harness.ledger.commits
        if any(state.rule == "doubling" for state in commit.states)
    ]
    assert [len(commit.firings) for commit in state_commits] == [1]


async def test_states_are_saved_though_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_engine, "RULES", test_engine.RULES + GUST_RULE)
    async with run_engine(tmp_path) as harness:
        await deliver_gust(harness, 1, 1)
        harness.clock.now -= 3600 * SECOND
        await deliver_gust(harness, 2, 1)
        await harness.engine.process_and_flush([])
        assert not await harness.ledger.list_uncheckpointed_events(0, 9)


async def test_commit_with_a_lost_response_is_neither_lost_nor_duplicated(tmp_path: Path) -> None:
    async with run_engine(tmp_path) as harness:
        original_commit = harness.ledger.commit
        failed_commits: list[Commit] = []

        async def commit_and_fail(commit: Commit) -> Commit:
            stored = await original_commit(commit)
            if commit.firings and not failed_commits:
                failed_commits.append(stored)
                raise StoreUnavailable("the connection broke", "see to it")
            return stored

        harness.ledger.commit = commit_and_fail  # type: ignore[method-assign]
        await harness.source.deliver_durable(
            create_number_event(1, 5), create_number_event(2, 6)
        ).wait()
        assert [run.id for run in harness.started_runs] == [
            run.id for run in failed_commits[0].runs
        ]
        assert len(await harness.ledger.list_firings(Query())) == 2


async def test_absence_counts_from_the_restart_with_a_wall_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent_rule = """---
rule: silent
trigger: {absent: {topic: wind, for: 60s}}
"""
    monkeypatch.setattr(test_engine, "RULES", test_engine.RULES + silent_rule)
    monkeypatch.setattr(test_engine, "RECORDED_CLOCK", SourceClock(lateness=0))
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        await harness.source.deliver_durable(create_event(0, "wind", speed=5, mast="m")).wait()
    monkeypatch.setattr(test_engine, "START", test_engine.START + 3600 * SECOND)
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        harness.clock.now += 50 * SECOND
        await harness.source.deliver_durable(create_number_event(50, 5)).wait()
        assert not await harness.ledger.list_firings(Query(rule="silent"))
        harness.clock.now += 11 * SECOND
        await harness.source.deliver_durable(create_number_event(61, 5)).wait()
        await harness.source.deliver_durable(create_number_event(61.5, 5)).wait()
        firings = await harness.ledger.list_firings(Query(rule="silent"))
        assert [firing.time - test_engine.START for firing in firings] == [60 * SECOND]


HOLD_RULE = """---
rule: held
trigger: {telemetry: wind, when: speed > 10, for: 20s}
"""


@pytest.mark.parametrize(("crash_seconds", "expected"), [(19, []), (21, [20])])
async def test_hold_due_before_a_crash_fires_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_seconds: float, expected: list[float]
) -> None:
    """Its timer would have run a little later; the wind has fallen by the restart."""
    monkeypatch.setattr(test_engine, "RULES", test_engine.RULES + HOLD_RULE)
    monkeypatch.setattr(test_engine, "RECORDED_CLOCK", SourceClock(lateness=5 * SECOND))
    ledger, start_time = f"sqlite:///{tmp_path / 'ledger.db'}", test_engine.START

    async def deliver_at(harness: EngineHarness, seconds: float, speed: float) -> None:
        harness.clock.now = start_time + round(seconds * SECOND)
        await harness.source.deliver_durable(
            create_event(seconds, "wind", speed=speed, mast="m")
        ).wait()

    async with run_engine_until_crash(tmp_path / "site", ledger) as harness:
        await deliver_at(harness, 0, 12)
        await deliver_at(harness, crash_seconds - 1, 12)
        harness.clock.now = start_time + round(crash_seconds * SECOND)
        await harness.source.deliver_durable(create_number_event(crash_seconds, 5)).wait()
        assert not await harness.ledger.list_firings(Query(rule="held"))
    monkeypatch.setattr(test_engine, "START", start_time + 600 * SECOND)
    async with run_engine(tmp_path / "site", ledger=ledger) as harness:
        await harness.source.deliver_durable(create_event(0, "wind", speed=5, mast="m")).wait()
        firings = await harness.ledger.list_firings(Query(rule="held"))
        assert [(firing.time - start_time) / SECOND for firing in firings] == expected
