"""Delivery: at least once, in order for each alert, and no sink waits for another."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace

import pytest

from catcher.alerting import AlertChanges, AlertService, NotificationDispatcher, RetryPolicy, Route
from catcher.alerting.limits import RateLimit
from catcher.alerting.route_tree import Escalation
from catcher.model.alert import Alert, Notification, Severity
from catcher.model.commit import Commit
from catcher.model.health import Health
from catcher.model.time import HOUR, MILLISECOND, MINUTE, SECOND
from catcher.ports import Ledger, Query, Row, SinkError, StoreUnavailable
from catcher.stores.ledger.ledger import SqlLedger
from tests.alerting.builders import (
    CRITICAL,
    NONE,
    SERIOUS,
    UNFILTERED,
    WARNING,
    create_change,
    create_rule,
    create_service,
    instant_at,
)

QUICK_RETRY = RetryPolicy(
    initial_backoff=MILLISECOND,
    max_backoff=4 * MILLISECOND,
    attempt_timeout=5 * SECOND,
    check_interval=MILLISECOND,
    jitter=lambda: 0.5,
)


@dataclass
class FakeSink:
    """A sink whose door can be shut, and that writes down what comes through."""

    name: str = "slack"
    failing: bool = False
    on_deliver: Callable[[Notification], None] = lambda notice: None
    received: list[Notification] = field(default_factory=list)
    attempts: int = 0
    state_changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    attempted: asyncio.Event = field(default_factory=asyncio.Event)

    async def deliver(self, notification: Notification) -> Row:
        self.attempts += 1
        self.attempted.set()
        async with self.state_changed:
            self.state_changed.notify_all()
            if self.failing:
                raise SinkError("the door is shut")
            self.on_deliver(notification)
            self.received.append(notification)
        return {"ts": f"{notification.alert.episode}.{len(self.received)}"}

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self.state_changed:
            await self.state_changed.wait_for(condition)

    def health(self) -> Health:
        return Health(self.name, "door", "ok")

    @property
    def deliveries(self) -> list[tuple[str, str]]:
        return [(notification.alert.key, notification.kind) for notification in self.received]


class ManualClock:
    """Stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now = instant_at(0)

    def __call__(self) -> int:
        return self.now


@pytest.fixture
async def ledger() -> AsyncIterator[SqlLedger]:
    async with SqlLedger("sqlite://", "engine") as sql_ledger:
        yield sql_ledger


class DispatchHarness:
    """Alerting, a ledger and a courier as the engine joins them."""

    def __init__(self, ledger: Ledger, dispatcher: NotificationDispatcher, *sinks: str) -> None:
        self.ledger, self.dispatcher = ledger, dispatcher
        self.service: AlertService = create_service(
            create_rule(latch=CRITICAL, to=sinks), noise_limits=UNFILTERED
        )

    async def change_level(self, severity: Severity, at: float = 0, key: str = "301") -> None:
        changes = self.service.apply_level_change(
            create_change(severity, at, key=key), instant_at(at)
        )
        commit = Commit(alerts=changes.alerts, notices=changes.notifications, audit=changes.audit)
        self.dispatcher.enqueue_notifications((await self.ledger.commit(commit)).notices)


def create_dispatcher(
    ledger: Ledger, *sinks: FakeSink, **options: object
) -> NotificationDispatcher:
    clock = options.pop("clock", ManualClock())
    sinks = (*sinks, FakeSink("console"))
    retry_policy = options.pop("retry_policy", QUICK_RETRY)
    return NotificationDispatcher(
        {sink.name: sink for sink in sinks},
        ledger,
        clock=clock,
        retry_policy=retry_policy,
        **options,
    )  # type: ignore[arg-type]


async def test_each_notification_arrives_once_and_in_order(ledger: SqlLedger) -> None:
    slack = FakeSink()
    async with create_dispatcher(ledger, slack) as dispatcher:
        harness = DispatchHarness(ledger, dispatcher, "slack")
        for at, severity in enumerate((WARNING, SERIOUS, WARNING, NONE)):
            await harness.change_level(severity, at)
        assert await dispatcher.drain(20 * SECOND)
    assert slack.deliveries == [
        ("301", "opened"), ("301", "raised"), ("301", "lowered"), ("301", "resolved"),
    ]  # fmt: skip
    assert await ledger.list_undelivered_notifications() == []


async def test_receipt_is_passed_with_the_next_notification(ledger: SqlLedger) -> None:
    slack = FakeSink()
    async with create_dispatcher(ledger, slack) as dispatcher:
        harness = DispatchHarness(ledger, dispatcher, "slack")
        for at, severity in enumerate((WARNING, SERIOUS, NONE, WARNING)):
            await harness.change_level(severity, at)
        assert await dispatcher.drain(20 * SECOND)
    receipts = [notification.receipt.get("ts") for notification in slack.received]
    assert receipts == [None, "1.1", "1.2", None], "a new episode is a new message"


async def test_receipt_survives_a_restart(ledger: SqlLedger) -> None:
    before, after = FakeSink(), FakeSink()
    async with create_dispatcher(ledger, before) as dispatcher:
        harness = DispatchHarness(ledger, dispatcher, "slack")
        await harness.change_level(WARNING)
        assert await dispatcher.drain(20 * SECOND)
    async with create_dispatcher(ledger, after) as dispatcher:
        harness.dispatcher = dispatcher
        await harness.change_level(SERIOUS, 1)
        assert await dispatcher.drain(20 * SECOND)
    assert after.received[0].receipt == {"ts": "1.1"}


async def test_failing_sink_delays_no_other(ledger: SqlLedger) -> None:
    failing, fine = FakeSink("dead", failing=True), FakeSink("fine")
    async with create_dispatcher(ledger, failing, fine) as dispatcher:
        harness = DispatchHarness(ledger, dispatcher, "dead", "fine")
        for key in range(20):
            await harness.change_level(WARNING, key=str(key))
        await fine.wait_until(lambda: len(fine.received) == 20)
        assert failing.received == []
        waiting = [
            notification
            for notification in await ledger.list_undelivered_notifications()
            if notification.sink == "dead"
        ]
        assert len(waiting) == 20
        assert {health.name: health.state for health in dispatcher.health()}["dead"] == "away"


async def test_hanging_sink_delays_no_other(ledger: SqlLedger) -> None:
    class HangingSink(FakeSink):
        async def deliver(self, notification: Notification) -> Row:
            self.attempted.set()
            await asyncio.Event().wait()
            return {}

    hanging, fine = HangingSink("hangs"), FakeSink("fine")
    async with create_dispatcher(ledger, hanging, fine) as dispatcher:
        harness = DispatchHarness(ledger, dispatcher, "hangs", "fine")
        await harness.change_level(WARNING)
        await hanging.attempted.wait()
        await harness.change_level(SERIOUS, 1)
        await fine.wait_until(lambda: len(fine.received) == 2)
        assert not await dispatcher.drain(MILLISECOND)


SLOW_RETRY = RetryPolicy(
    initial_backoff=3600 * SECOND,
    max_backoff=3600 * SECOND,
    give_up_after=86400 * SECOND,
    jitter=lambda: 1,
)


async def test_shutdown_tries_a_failing_sink_once_more(
    ledger: SqlLedger,
) -> None:
    failing, fine = FakeSink("dead", failing=True), FakeSink("fine")
    async with create_dispatcher(ledger, failing, fine, retry_policy=SLOW_RETRY) as dispatcher:
        harness = DispatchHarness(ledger, dispatcher, "dead", "fine")
        for key in ("a", "b"):
            await harness.change_level(WARNING, key=key)
        await failing.attempted.wait()
        failing.attempted.clear()
        async with asyncio.timeout(20):
            assert not await dispatcher.drain_for_shutdown(3600 * SECOND)
        assert failing.attempted.is_set(), "it was tried once more"
    assert sorted(notification.alert.key for notification in fine.received) == ["a", "b"]
    assert {
        notification.sink for notification in await ledger.list_undelivered_notifications()
    } == {"dead"}


async def test_shutdown_delivers_pending_to_a_recovered_sink(ledger: SqlLedger) -> None:
    slack = FakeSink(failing=True)
    async with create_dispatcher(ledger, slack, retry_policy=SLOW_RETRY) as dispatcher:
        harness = DispatchHarness(ledger, dispatcher, "slack")
        for key in ("a", "b"):
            await harness.change_level(WARNING, key=key)
        await slack.attempted.wait()
        slack.failing = False
        async with asyncio.timeout(20):
            assert await dispatcher.drain_for_shutdown(3600 * SECOND)
    assert await ledger.list_undelivered_notifications() == []


async def test_shutdown_skips_a_rate_limited_sink(ledger: SqlLedger) -> None:
    class RateLimitedSink(FakeSink):
        async def deliver(self, notification: Notification) -> Row:
            self.attempted.set()
            self.received.append(notification)
            raise SinkError("too many requests", retry_after=3600 * SECOND)

    slack = RateLimitedSink()
    async with create_dispatcher(ledger, slack) as dispatcher:
        await DispatchHarness(ledger, dispatcher, "slack").change_level(WARNING)
        await slack.attempted.wait()
        async with asyncio.timeout(20):
            assert not await dispatcher.drain_for_shutdown(3600 * SECOND)
    assert len(slack.received) == 1


async def test_after_an_outage_a_sink_gets_the_current_state(ledger: SqlLedger) -> None:
    slack = FakeSink(failing=True)
    async with create_dispatcher(ledger, slack) as dispatcher:
        harness = DispatchHarness(ledger, dispatcher, "slack")
        for key in ("a", "b"):
            for at, severity in enumerate((WARNING, SERIOUS, CRITICAL, SERIOUS)):
                await harness.change_level(severity, at, key)
        await slack.attempted.wait()
        slack.failing = False
        assert await dispatcher.drain(20 * SECOND)
        counts = {health.name: health.counts for health in dispatcher.health()}["slack"]
    last_by_key = {notification.alert.key: notification for notification in slack.received}
    assert {key: notification.alert.severity for key, notification in last_by_key.items()} == {
        "a": SERIOUS,
        "b": SERIOUS,
    }
    assert last_by_key["a"].previous == NONE, "as against what the sink knew"
    assert counts["superseded"] == 8 - len(slack.received) > 0
    assert counts["delivered"] == len(slack.received)
    assert await ledger.list_undelivered_notifications() == [], "what was skipped is settled too"


async def test_pending_of_an_earlier_engine_is_delivered(ledger: SqlLedger) -> None:
    failing, working = FakeSink(failing=True), FakeSink()
    async with create_dispatcher(ledger, failing) as dispatcher:
        harness = DispatchHarness(ledger, dispatcher, "slack")
        await harness.change_level(WARNING)
        await failing.attempted.wait()
    async with create_dispatcher(ledger, working) as dispatcher:
        dispatcher.enqueue_notifications(await ledger.list_undelivered_notifications())
        assert await dispatcher.drain(20 * SECOND)
    assert working.deliveries == [("301", "opened")]


async def test_coalesced_notification_keeps_its_kind_after_a_crash(ledger: SqlLedger) -> None:
    failing, working = FakeSink(failing=True), FakeSink()
    async with create_dispatcher(ledger, failing) as dispatcher:
        harness = DispatchHarness(ledger, dispatcher, "slack")
        for at, severity in enumerate((WARNING, CRITICAL, SERIOUS)):
            await harness.change_level(severity, at)
        await failing.wait_until(lambda: dispatcher.health()[0].counts["superseded"] == 2)
    async with create_dispatcher(ledger, working) as dispatcher:
        dispatcher.enqueue_notifications(await ledger.list_undelivered_notifications())
        assert await dispatcher.drain(20 * SECOND)
    assert working.deliveries[0] == ("301", "opened"), "not a mere change of what it never heard of"
    assert working.received[0].previous == NONE
    assert working.received[-1].alert.severity == SERIOUS
    assert await ledger.list_undelivered_notifications() == []


async def test_retry_after_of_a_sink_is_respected(ledger: SqlLedger) -> None:
    slack = FakeSink()
    attempt_times: list[float] = []

    def reject_first(notification: Notification) -> None:
        if not attempt_times:
            attempt_times.append(asyncio.get_running_loop().time())
            raise SinkError("slow down", retry_after=60 * MILLISECOND)

    slack.on_deliver = reject_first
    async with create_dispatcher(ledger, slack) as dispatcher:
        await DispatchHarness(ledger, dispatcher, "slack").change_level(WARNING)
        assert await dispatcher.drain(20 * SECOND)
        elapsed = asyncio.get_running_loop().time() - attempt_times[0]
    assert slack.attempts == 2 and elapsed >= 0.06


async def test_final_error_is_a_dead_letter_and_the_next_is_sent(
    ledger: SqlLedger,
) -> None:
    def reject_bad_key(notification: Notification) -> None:
        if notification.alert.key == "bad":
            raise SinkError("invalid_blocks", final=True)

    slack = FakeSink(on_deliver=reject_bad_key)
    async with create_dispatcher(ledger, slack) as dispatcher:
        harness = DispatchHarness(ledger, dispatcher, "slack")
        await harness.change_level(WARNING, key="bad")
        await harness.change_level(WARNING, key="good")
        assert await dispatcher.drain(20 * SECOND)
        counts = {health.name: health.counts for health in dispatcher.health()}["slack"]
    assert slack.deliveries == [("good", "opened")]
    assert (counts["dead"], counts["failed"]) == (1, 1)
    dead_letters = await ledger.list_dead_letters(Query())
    assert [(dead_letter.notice.alert.key, dead_letter.error) for dead_letter in dead_letters] == [
        ("bad", "invalid_blocks")
    ]


async def test_one_failing_notification_does_not_block_others(ledger: SqlLedger) -> None:
    def fail_bad_key(notification: Notification) -> None:
        if notification.alert.key == "bad":
            raise SinkError("internal error")

    slack = FakeSink(on_deliver=fail_bad_key)
    async with create_dispatcher(ledger, slack) as dispatcher:
        harness = DispatchHarness(ledger, dispatcher, "slack")
        for key in ("bad", "a", "b"):
            await harness.change_level(WARNING, key=key)
        await slack.wait_until(lambda: len(slack.received) == 2)
    assert {key for key, _ in slack.deliveries} == {"a", "b"}


async def test_notification_is_given_up_after_its_deadline(ledger: SqlLedger) -> None:
    slack, clock = FakeSink(failing=True), ManualClock()
    async with create_dispatcher(ledger, slack, clock=clock) as dispatcher:
        await DispatchHarness(ledger, dispatcher, "slack").change_level(WARNING)
        await slack.attempted.wait()
        clock.now += 25 * HOUR
        assert await dispatcher.drain(20 * SECOND)
    assert len(await ledger.list_dead_letters(Query())) == 1


async def test_old_pending_gets_its_full_retry_time(ledger: SqlLedger) -> None:
    first_sink, second_sink, clock = FakeSink(failing=True), FakeSink(failing=True), ManualClock()
    async with create_dispatcher(ledger, first_sink, clock=clock) as dispatcher:
        await DispatchHarness(ledger, dispatcher, "slack").change_level(WARNING)
        await first_sink.attempted.wait()
    clock.now += 50 * HOUR
    async with create_dispatcher(ledger, second_sink, clock=clock) as dispatcher:
        dispatcher.enqueue_notifications(await ledger.list_undelivered_notifications())
        await second_sink.wait_until(lambda: second_sink.attempts > 2)
        second_sink.failing = False
        assert await dispatcher.drain(20 * SECOND)
    assert second_sink.deliveries == [("301", "opened")]


async def test_a_sink_of_the_site_may_raise_anything(ledger: SqlLedger) -> None:
    failures: list[bool] = []

    def raise_once(notification: Notification) -> None:
        if not failures:
            failures.append(True)
            raise KeyError("oops")

    slack = FakeSink(on_deliver=raise_once)
    async with create_dispatcher(ledger, slack) as dispatcher:
        await DispatchHarness(ledger, dispatcher, "slack").change_level(WARNING)
        assert await dispatcher.drain(20 * SECOND)
    assert slack.deliveries == [("301", "opened")]


# -- standing in -------------------------------------------------------------------------------

FALLBACK = Route(to=("slack",), undelivered=Escalation(MINUTE, ("love",)))


class FallbackHarness:
    """A desk whose Slack has LOVE for a stand-in, and what it makes of time, kept and sent."""

    def __init__(
        self, ledger: Ledger, clock: ManualClock, *sinks: FakeSink, alerts: Iterable[Alert] = ()
    ):
        self.ledger, self.clock = ledger, clock
        self.service = create_service(
            create_rule(latch=CRITICAL), route=FALLBACK, noise_limits=UNFILTERED, alerts=alerts
        )
        self.fallback_requested = asyncio.Event()
        self.dispatcher = create_dispatcher(
            ledger,
            *sinks,
            clock=clock,
            find_fallback=self.service.find_fallback,
            queue_fallback=self._queue_fallback,
        )

    def _queue_fallback(self, notification: Notification) -> bool:
        self.fallback_requested.set()
        return self.service.queue_fallback(notification)

    async def apply_fallback(self) -> None:
        """A minute goes by, and what did not arrive is told to others."""
        self.fallback_requested.clear()
        self.clock.now += MINUTE
        async with asyncio.timeout(20):
            await self.fallback_requested.wait()
        await self.commit_changes(self.service.tick(self.clock.now))

    async def change_level(self, severity: Severity) -> None:
        at = (self.clock.now - instant_at(0)) / SECOND
        await self.commit_changes(
            self.service.apply_level_change(create_change(severity, at), self.clock.now)
        )

    async def commit_changes(self, changes: AlertChanges) -> None:
        commit = Commit(alerts=changes.alerts, notices=changes.notifications, audit=changes.audit)
        self.dispatcher.enqueue_notifications((await self.ledger.commit(commit)).notices)


async def test_fallback_receives_the_resolution_when_the_sink_recovers(ledger: SqlLedger) -> None:
    slack, love, clock = FakeSink(failing=True), FakeSink("love"), ManualClock()
    harness = FallbackHarness(ledger, clock, slack, love)
    async with harness.dispatcher as dispatcher:
        await harness.change_level(WARNING)
        await slack.wait_until(lambda: slack.attempts > 3)
        assert love.received == []
        await harness.apply_fallback()
        await love.wait_until(lambda: bool(love.received))
        slack.failing = False
        assert await dispatcher.drain(20 * SECOND)
        assert love.deliveries == slack.deliveries == [("301", "opened")]
        assert love.received[0].alert.sinks == ("slack", "love"), "LOVE resends what it was told of"
        clock.now += SECOND
        await harness.change_level(SERIOUS)
        alert = harness.service.list_active()[0]
        await harness.commit_changes(
            harness.service.acknowledge_alert(alert.id, SERIOUS, "ana", "", clock.now, "cli")
        )
        clock.now += SECOND
        await harness.change_level(NONE)
        assert await dispatcher.drain(20 * SECOND)
        await harness.commit_changes(harness.service.tick(clock.now))
        await harness.change_level(WARNING)
        assert await dispatcher.drain(20 * SECOND)
    kinds = ["opened", "raised", "updated", "resolved"]
    assert [kind for _, kind in love.deliveries] == kinds, "the next alert goes the ordinary way"
    assert [kind for _, kind in slack.deliveries] == [*kinds, "opened"]
    assert await ledger.list_undelivered_notifications() == []
    details = [
        entry.detail
        for entry in await ledger.list_audit_entries(Query())
        if entry.what == "stand-in"
    ]
    assert [(detail["sink"], detail["to"]) for detail in details] == [("slack", ["love"])]


async def test_fallback_receives_the_resolution_after_a_restart(ledger: SqlLedger) -> None:
    slack, love, clock = FakeSink(failing=True), FakeSink("love"), ManualClock()
    harness = FallbackHarness(ledger, clock, slack, love)
    async with harness.dispatcher:
        await harness.change_level(WARNING)
        await harness.apply_fallback()
        await love.wait_until(lambda: bool(love.received))
        assert not await harness.dispatcher.drain_for_shutdown(20 * SECOND), "Slack is away"
    alerts = await ledger.list_alerts(Query(state="open"))
    harness = FallbackHarness(ledger, clock, slack, love, alerts=alerts)
    async with harness.dispatcher as dispatcher:
        dispatcher.enqueue_notifications(await ledger.list_undelivered_notifications())
        await harness.apply_fallback()
        assert len(love.received) == 1, "it was told already"
        slack.failing = False
        await harness.change_level(NONE)
        assert await dispatcher.drain(20 * SECOND)
    assert love.deliveries == [("301", "opened"), ("301", "resolved")]
    assert slack.deliveries[-1] == ("301", "resolved")


async def test_ever_changing_alert_goes_to_the_fallback(
    ledger: SqlLedger,
) -> None:
    slack, love, clock = FakeSink(failing=True), FakeSink("love"), ManualClock()
    harness = FallbackHarness(ledger, clock, slack, love)
    async with harness.dispatcher:
        for severity in (WARNING, SERIOUS, CRITICAL):
            await harness.change_level(severity)
            clock.now += 25 * SECOND
            attempts = slack.attempts
            await slack.wait_until(lambda previous=attempts: slack.attempts > previous + 1)
        async with asyncio.timeout(20):
            await harness.fallback_requested.wait()
        await harness.commit_changes(harness.service.tick(clock.now))
        await love.wait_until(lambda: bool(love.received))
    (notification,) = love.received
    assert (notification.kind, notification.alert.severity, notification.previous) == (
        "opened",
        CRITICAL,
        NONE,
    )


async def test_final_error_goes_to_the_fallback_at_once(ledger: SqlLedger) -> None:
    def reject_always(notification: Notification) -> None:
        raise SinkError("invalid_auth", final=True)

    slack, love = FakeSink(on_deliver=reject_always), FakeSink("love")
    harness = FallbackHarness(ledger, ManualClock(), slack, love)
    async with harness.dispatcher:
        await harness.change_level(WARNING)
        async with asyncio.timeout(20):
            await harness.fallback_requested.wait()
        await harness.commit_changes(harness.service.tick(harness.clock.now))
        await love.wait_until(lambda: bool(love.received))
    assert love.deliveries == [("301", "opened")]


def test_fallback_receives_a_group_until_it_resolves() -> None:
    route = replace(FALLBACK, group_by=("rule",), group_wait=SECOND)
    service = create_service(create_rule(), route=route, noise_limits=UNFILTERED)
    for key in "ab":
        service.apply_level_change(create_change(WARNING, key=key), instant_at(0))
    (first,) = service.tick(instant_at(2)).notifications
    assert service.queue_fallback(first)
    changes = service.tick(instant_at(70))
    assert [(notification.sink, notification.kind) for notification in changes.notifications] == [
        ("love", "opened")
    ]
    assert changes.groups[0].sinks == ("slack", "love")
    for key in "ab":
        service.apply_level_change(create_change(NONE, 80, key=key), instant_at(80))
    resolutions = service.tick(instant_at(120)).notifications
    assert [(notification.sink, notification.kind) for notification in resolutions] == [
        ("slack", "resolved"),
        ("love", "resolved"),
    ]


def test_suppressed_alert_has_no_fallback() -> None:
    service = create_service(create_rule(), route=FALLBACK, noise_limits=UNFILTERED)
    (notification,) = service.apply_level_change(
        create_change(WARNING), instant_at(0)
    ).notifications
    service.shelve_alert(
        notification.alert.id, instant_at(600), "ana", "known", instant_at(1), "cli"
    )
    assert service.queue_fallback(notification)
    assert not service.tick(instant_at(70)).notifications
    busy_service = create_service(create_rule(), route=FALLBACK, noise_limits=UNFILTERED)
    assert [busy_service.queue_fallback(notification) for _ in range(2_001)].count(False) == 1, (
        "it is brought again"
    )


async def test_overflow_waits_in_the_ledger(ledger: SqlLedger) -> None:
    slack = FakeSink(failing=True)
    retry_policy = RetryPolicy(
        initial_backoff=MILLISECOND, max_backoff=MILLISECOND, check_interval=SECOND, queue_size=5
    )
    async with create_dispatcher(ledger, slack, retry_policy=retry_policy) as dispatcher:
        harness = DispatchHarness(ledger, dispatcher, "slack")
        for key in range(30):
            await harness.change_level(WARNING, key=str(key))
        await slack.attempted.wait()
        counts = {health.name: health.counts for health in dispatcher.health()}["slack"]
        assert counts["overflowed"] >= 24 and counts["waiting"] <= 6
        slack.failing = False
        assert await dispatcher.drain(20 * SECOND)
    assert sorted(int(key) for key, _ in slack.deliveries) == list(range(30))
    assert await ledger.list_undelivered_notifications() == []


async def test_critical_is_sent_first(ledger: SqlLedger) -> None:
    slack = FakeSink(failing=True)
    async with create_dispatcher(ledger, slack) as dispatcher:
        harness = DispatchHarness(ledger, dispatcher, "slack")
        for key in range(10):
            await harness.change_level(WARNING, key=str(key))
        await harness.change_level(CRITICAL, key="fire")
        await slack.attempted.wait()
        slack.failing = False
        assert await dispatcher.drain(20 * SECOND)
    assert "fire" in [key for key, _ in slack.deliveries[:2]]


async def test_removed_sink_makes_dead_letters(ledger: SqlLedger) -> None:
    async with create_dispatcher(ledger) as dispatcher:
        await DispatchHarness(ledger, dispatcher, "gone").change_level(WARNING)
        assert await dispatcher.drain(20 * SECOND)
    dead_letters = await ledger.list_dead_letters(Query())
    assert "no sink 'gone'" in dead_letters[0].error


async def test_recovering_sink_gets_every_alert_in_order(ledger: SqlLedger) -> None:
    slack = FakeSink()
    async with create_dispatcher(ledger, slack) as dispatcher:
        harness = DispatchHarness(ledger, dispatcher, "slack")
        for at in range(60):
            slack.failing = at % 7 in (2, 3, 4)
            await harness.change_level((WARNING, SERIOUS, CRITICAL)[at % 3], at, key=str(at % 4))
        slack.failing = False
        assert await dispatcher.drain(20 * SECOND)
    for key in "0123":
        sequences = [
            notification.sequence
            for notification in slack.received
            if notification.alert.key == key
        ]
        assert sequences == sorted(set(sequences))
        current = harness.service.get_alert(f"wind-high {key}")
        assert [notification for notification in slack.received if notification.alert.key == key][
            -1
        ].alert.severity == (current.severity)


@pytest.mark.parametrize("seed", range(6))
async def test_random_faults_keep_each_alert_in_order(flaky_ledger: FlakyLedger, seed: int) -> None:
    """A schedule of faults: sinks shut and open, the ledger goes and comes, alerts go on."""
    rng, sinks = random.Random(seed), [FakeSink("slack"), FakeSink("love")]
    unrecorded_commits: list[Commit] = []
    async with create_dispatcher(flaky_ledger, *sinks) as dispatcher:
        harness = DispatchHarness(flaky_ledger, dispatcher, *(sink.name for sink in sinks))
        for at in range(150):
            for sink in sinks:
                sink.failing = sink.failing if rng.random() < 0.8 else not sink.failing
            if rng.random() < 0.1:
                flaky_ledger.unavailable = not flaky_ledger.unavailable
            severity, key = rng.choice(list(Severity)), rng.choice("abcd")
            unrecorded_commits.append(send_unrecorded(harness, severity, at, key))
            if not flaky_ledger.unavailable:
                for commit in unrecorded_commits:
                    dispatcher.enqueue_notifications((await flaky_ledger.commit(commit)).notices)
                unrecorded_commits.clear()
            await asyncio.sleep(0)
        flaky_ledger.unavailable = False
        for commit in unrecorded_commits:
            dispatcher.enqueue_notifications((await flaky_ledger.commit(commit)).notices)
        for sink in sinks:
            sink.failing = False
        assert await dispatcher.drain(30 * SECOND)
    for sink in sinks:
        assert len({notification.id for notification in sink.received}) == len(sink.received), (
            "none twice"
        )
        for key in "abcd":
            received = [
                notification for notification in sink.received if notification.alert.key == key
            ]
            sequences = [
                (notification.alert.episode, notification.sequence) for notification in received
            ]
            assert sequences == sorted(set(sequences))
            current = harness.service.get_alert(create_change(NONE, key=key).alert_id)
            assert (received[-1].alert.state, received[-1].alert.severity) == (
                current.state, current.severity,
            )  # fmt: skip
    assert await flaky_ledger.list_undelivered_notifications() == []
    assert await flaky_ledger.list_dead_letters(Query()) == []


# -- without the ledger ------------------------------------------------------------------------


class FlakyLedger(SqlLedger):
    """A ledger that may be away, or not answer at all."""

    def __init__(self) -> None:
        super().__init__("sqlite://", "engine")
        self.responding = asyncio.Event()
        self.responding.set()
        self.unavailable = False

    async def record_delivery_outcome(
        self, notification: Notification, error: str = "", dead_letters: bool = False
    ) -> None:
        await self.responding.wait()
        if self.unavailable:
            raise StoreUnavailable("the disk is full")
        await super().record_delivery_outcome(notification, error, dead_letters)

    async def get_last_receipt(self, alert: str, sink: str) -> Row:
        await self.responding.wait()
        return await super().get_last_receipt(alert, sink)


@pytest.fixture
async def flaky_ledger() -> AsyncIterator[FlakyLedger]:
    async with FlakyLedger() as store:
        yield store


def send_unrecorded(
    harness: DispatchHarness, severity: Severity, at: float, key: str = "301"
) -> Commit:
    """A change whose notices go out before the ledger has them; what it will have."""
    changes = harness.service.apply_level_change(
        create_change(severity, at, key=key), instant_at(at)
    )
    harness.dispatcher.enqueue_notifications(
        replace(notification, unrecorded=True) for notification in changes.notifications
    )
    return Commit(alerts=changes.alerts, notices=changes.notifications, audit=changes.audit)


async def test_alerts_are_sent_while_the_ledger_hangs(flaky_ledger: FlakyLedger) -> None:
    slack = FakeSink()
    async with create_dispatcher(flaky_ledger, slack) as dispatcher:
        harness = DispatchHarness(flaky_ledger, dispatcher, "slack")
        await harness.change_level(WARNING)
        await slack.wait_until(lambda: len(slack.received) == 1)
        flaky_ledger.responding.clear()
        unrecorded_commits = [
            send_unrecorded(harness, severity, at) for at, severity in enumerate((SERIOUS, NONE), 1)
        ]
        await slack.wait_until(lambda: len(slack.received) == 3)
        assert [notification.receipt.get("ts") for notification in slack.received] == [
            None,
            "1.1",
            "1.2",
        ]
        flaky_ledger.responding.set()
        for commit in unrecorded_commits:
            dispatcher.enqueue_notifications((await flaky_ledger.commit(commit)).notices)
        assert await dispatcher.drain(20 * SECOND)
    assert [kind for _, kind in slack.deliveries] == ["opened", "raised", "resolved"], "none twice"
    assert await flaky_ledger.list_undelivered_notifications() == []
    assert await flaky_ledger.get_last_receipt(slack.received[0].alert.id, "slack") == {"ts": "1.3"}


async def test_unrecorded_pending_is_recorded_once_committed(flaky_ledger: FlakyLedger) -> None:
    slack = FakeSink(failing=True)
    async with create_dispatcher(flaky_ledger, slack) as dispatcher:
        harness = DispatchHarness(flaky_ledger, dispatcher, "slack")
        commit = send_unrecorded(harness, WARNING, 0)
        await slack.wait_until(lambda: slack.attempts > 1)
        dispatcher.enqueue_notifications((await flaky_ledger.commit(commit)).notices)
        slack.failing = False
        assert await dispatcher.drain(20 * SECOND)
    assert slack.deliveries == [("301", "opened")]
    assert await flaky_ledger.list_undelivered_notifications() == []


async def test_superseded_unrecorded_is_not_sent_later(
    flaky_ledger: FlakyLedger,
) -> None:
    slack = FakeSink(failing=True)
    async with create_dispatcher(flaky_ledger, slack) as dispatcher:
        harness = DispatchHarness(flaky_ledger, dispatcher, "slack")
        unrecorded_commits = [
            send_unrecorded(harness, severity, at)
            for at, severity in enumerate((WARNING, SERIOUS, CRITICAL))
        ]
        await slack.wait_until(lambda: slack.attempts > 1)
        slack.failing = False
        await slack.wait_until(lambda: bool(slack.received))
        for commit in unrecorded_commits:
            dispatcher.enqueue_notifications((await flaky_ledger.commit(commit)).notices)
        assert await dispatcher.drain(20 * SECOND)
    assert [notification.alert.severity for notification in slack.received] == [CRITICAL]
    assert slack.received[0].kind == "opened", "to the sink it is news"
    assert await flaky_ledger.list_undelivered_notifications() == []


async def test_outcomes_are_recorded_when_the_ledger_recovers(
    flaky_ledger: FlakyLedger,
) -> None:
    slack = FakeSink()
    async with create_dispatcher(flaky_ledger, slack) as dispatcher:
        harness = DispatchHarness(flaky_ledger, dispatcher, "slack")
        await harness.change_level(WARNING)
        flaky_ledger.unavailable = True
        await harness.change_level(SERIOUS, 1)
        await slack.wait_until(lambda: len(slack.received) == 2)
        assert not await dispatcher.drain(50 * MILLISECOND)
        counts = {health.name: health.counts for health in dispatcher.health()}["slack"]
        assert counts["unsettled"] >= 1
        flaky_ledger.unavailable = False
        assert await dispatcher.drain(20 * SECOND)
    assert await flaky_ledger.list_undelivered_notifications() == []
    assert len(slack.received) == 2


# -- rates -------------------------------------------------------------------------------------


async def test_rate_limit_sends_current_state_and_every_worsening(
    ledger: SqlLedger,
) -> None:
    slack, clock = FakeSink(), ManualClock()
    async with create_dispatcher(
        ledger, slack, clock=clock, rate_limits={"slack": RateLimit(3, HOUR)}
    ) as dispatcher:
        harness = DispatchHarness(ledger, dispatcher, "slack")
        for key in "abxc":
            await harness.change_level(WARNING, key=key)
        await slack.wait_until(lambda: len(slack.received) == 3)
        await harness.change_level(SERIOUS, 1, key="a")
        await harness.change_level(CRITICAL, 2, key="d")
        await slack.wait_until(lambda: len(slack.received) == 5)
        assert slack.deliveries[3:] == [("a", "raised"), ("d", "opened")]
        await harness.change_level(WARNING, 3, key="a")
        await harness.change_level(NONE, 4, key="a")
        clock.now += 10 * HOUR
        await harness.change_level(WARNING, 5, key="e")
        assert await dispatcher.drain(20 * SECOND)
        counts = {health.name: health.counts for health in dispatcher.health()}["slack"]
    deliveries = [(key, kind) for key, kind in slack.deliveries if key == "a"]
    assert deliveries == [("a", "opened"), ("a", "raised"), ("a", "resolved")]
    assert {"c", "e"} <= {key for key, _ in slack.deliveries}
    assert counts["superseded"] == 1 and counts["paced"] > 0
    assert await ledger.list_undelivered_notifications() == []


# -- dead letters ------------------------------------------------------------------------------


async def test_dead_letter_is_redelivered_on_request(ledger: SqlLedger) -> None:
    def reject_always(notification: Notification) -> None:
        raise SinkError("invalid_auth", final=True)

    slack = FakeSink(on_deliver=reject_always)
    async with create_dispatcher(ledger, slack) as dispatcher:
        await DispatchHarness(ledger, dispatcher, "slack").change_level(WARNING)
        assert await dispatcher.drain(20 * SECOND)
        (dead_letter,) = await ledger.list_dead_letters(Query())
        slack.on_deliver = lambda notification: None
        dispatcher.requeue_notifications(await ledger.requeue_dead_letters([dead_letter.notice.id]))
        assert await dispatcher.drain(20 * SECOND)
    assert [notification.id for notification in slack.received] == [dead_letter.notice.id], (
        "under the same key"
    )
    assert await ledger.list_dead_letters(Query()) == []
    assert await ledger.list_undelivered_notifications() == []


async def test_delivered_notifications_are_published(ledger: SqlLedger) -> None:
    published: list[Notification] = []
    async with create_dispatcher(ledger, FakeSink(), on_delivered=published.append) as dispatcher:
        await DispatchHarness(ledger, dispatcher, "slack").change_level(WARNING)
        assert await dispatcher.drain(20 * SECOND)
    assert {notification.sink for notification in published} == {"console", "slack"}
