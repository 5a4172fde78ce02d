"""A storm of alerts, and routing.

    python -m benchmarks alerts [--alerts 10000] [--storms 5]

A storm: so many alerts within a minute of virtual time, one in a hundred critical, as fast as
this machine can, through life cycle, routes, ledger and courier to a sink. What counts is how
many messages come of it, how long a critical one takes from its level change to the sink, and
that memory stays where it is from one storm to the next, each of new alerts. Routing: as many
alerts through a tree of a hundred routes, of which half are tried on average.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks import reporting
from benchmarks.memory import resident_memory
from catcher.alerting import (
    AlertMatcher,
    AlertService,
    NotificationDispatcher,
    Route,
    RouteTree,
    TemplateRenderer,
)
from catcher.alerting.changes import AlertChanges
from catcher.alerting.route_tree import SinkSpec
from catcher.alerting.router import route_alert
from catcher.model.alert import Alert, LevelChange, Notification, Severity, compute_alert_id
from catcher.model.commit import Commit
from catcher.model.health import Health
from catcher.model.rule import AlertSpec, Expression, LevelSpec, Rule, TriggerSpec
from catcher.model.time import MINUTE, SECOND, Instant, parse_instant
from catcher.ports import Row
from catcher.stores.ledger.ledger import SqlLedger

NIGHT = parse_instant("2025-04-24T00:00:00Z")
RULES, ROUTES, ONE_CRITICAL_IN, BATCH = 97, 100, 100, 64
DELAY_LIMIT, ROUTING_LIMIT, GROWTH_LIMIT = 1.0, 1.0, 20.0


@dataclass
class RecordingSink:
    """A sink that writes down when each alert came."""

    name: str = "console"
    arrival_times: dict[str, float] = field(default_factory=dict)
    messages: int = 0

    async def deliver(self, notification: Notification) -> Row:
        self.messages += 1
        self.arrival_times.setdefault(notification.alert.id, time.perf_counter())
        return {"ts": str(self.messages)}

    def health(self) -> Health:
        return Health(self.name, "witness", "ok")


def create_site() -> tuple[dict[str, Rule], RouteTree]:
    """A hundred rules, each with a route of its own."""
    alert_spec = AlertSpec(
        {Severity.WARNING: LevelSpec(Expression("x > 1"))}, latch=Severity.CRITICAL
    )
    rules = {
        f"rule-{n}": Rule(f"rule-{n}", TriggerSpec("event", "t"), alert=alert_spec)
        for n in range(ROUTES)
    }
    routes = tuple(Route(AlertMatcher(rule=(name,)), to=("console",)) for name in rules)
    tree = RouteTree(
        {"console": SinkSpec("console", "console")},
        Route(to=("console",), group_by=("rule",), routes=routes),
    )
    return rules, tree


class StormBenchmark:
    """Alerting, ledger and courier, joined as the engine joins them."""

    def __init__(self, count: int) -> None:
        self.count = count
        rules, tree = create_site()
        self.alerting = AlertService(rules, tree, TemplateRenderer())
        self.sink = RecordingSink()
        self.delays: list[float] = []
        self.now: Instant = NIGHT

    async def run(self, storms: int) -> list[tuple[int, float]]:
        """The messages of each storm, and the resident size after it."""
        results = []
        sinks = {"console": self.sink}
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/ledger.db"
            async with (
                SqlLedger(url, "storm", lambda: self.now) as ledger,
                NotificationDispatcher(sinks, ledger, lambda: self.now) as dispatcher,
            ):
                for index in range(storms):
                    before = self.sink.messages
                    await self._run_storm(index, ledger, dispatcher)
                    results.append((self.sink.messages - before, resident_memory()))
        return results

    async def _run_storm(
        self, number: int, ledger: SqlLedger, dispatcher: NotificationDispatcher
    ) -> None:
        start_times: dict[str, float] = {}
        start = self.now
        for severity in (Severity.WARNING, Severity.NONE):
            changes: list[AlertChanges] = []
            for index in range(self.count):
                self.now = start + index * MINUTE // self.count
                level = severity
                if severity > Severity.NONE and index % ONE_CRITICAL_IN == 0:
                    level = Severity.CRITICAL
                key = f"{number}-{index}"
                change = LevelChange(f"rule-{index % RULES}", key, "", level, self.now, "x = 2 > 1")
                if level == Severity.CRITICAL:
                    start_times[change.alert_id] = time.perf_counter()
                changes.append(self.alerting.apply_level_change(change, self.now))
                if len(changes) == BATCH:
                    changes.append(self.alerting.tick(self.now))
                    await self._commit_changes(changes, ledger, dispatcher)
                    changes.clear()
            await self._commit_changes(changes, ledger, dispatcher)
            await self._advance_time(20 * MINUTE, ledger, dispatcher)
            if severity == Severity.WARNING:
                self.delays += [
                    self.sink.arrival_times[opened_id] - started_at
                    for opened_id, started_at in start_times.items()
                ]
            start = self.now
        for opened_id in [alert.id for alert in self.alerting.list_active()]:
            acknowledgement = self.alerting.acknowledge_alert(
                opened_id, None, "ana", "", self.now, "benchmark"
            )
            await self._commit_changes([acknowledgement], ledger, dispatcher)

    async def _advance_time(
        self, duration: int, ledger: SqlLedger, dispatcher: NotificationDispatcher
    ) -> None:
        """Time passes: groups and floods are told and end."""
        end = self.now + duration
        while self.now < end:
            self.now += SECOND
            await self._commit_changes([self.alerting.tick(self.now)], ledger, dispatcher)
        await dispatcher.drain(60 * SECOND)

    async def _commit_changes(
        self, changes: Sequence[AlertChanges], ledger: SqlLedger, dispatcher: NotificationDispatcher
    ) -> None:
        commit = Commit(
            alerts=tuple(alert for change in changes for alert in change.alerts),
            notices=tuple(
                notification for change in changes for notification in change.notifications
            ),
            audit=tuple(entry for change in changes for entry in change.audit),
            groups=tuple(group for change in changes for group in change.groups),
        )
        if not commit.is_empty:
            dispatcher.enqueue_notifications((await ledger.commit(commit)).notices)
            await asyncio.sleep(0)


def measure_routing(count: int) -> float:
    """Seconds of processor time for as many alerts through a hundred routes."""
    _, tree = create_site()
    alerts = [_create_alert(f"rule-{number % ROUTES}", str(number)) for number in range(count)]
    start = time.process_time()
    for alert in alerts:
        route_alert(tree, alert, NIGHT)
    return time.process_time() - start


def _create_alert(rule: str, key: str) -> Alert:
    return Alert(
        compute_alert_id(rule, key, ""),
        rule,
        key,
        "",
        1,
        "firing",
        Severity.WARNING,
        Severity.WARNING,
        NIGHT,
        NIGHT,
        "",
    )


def main(arguments: Sequence[str]) -> None:
    """Runs both, prints the table, and fails where a bound is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks alerts")
    parser.add_argument("--alerts", type=int, default=10_000)
    parser.add_argument("--storms", type=int, default=5)
    args = parser.parse_args(arguments)
    machine = reporting.describe_machine()
    benchmark = StormBenchmark(args.alerts)
    start = time.process_time()
    results = asyncio.run(benchmark.run(args.storms))
    seconds_per_storm = (time.process_time() - start) / args.storms
    routing_seconds = min(measure_routing(args.alerts) for _ in range(3))
    p99 = reporting.percentile(benchmark.delays, 99)
    growth = results[-1][1] - results[min(1, len(results) - 1)][1]
    rows = [
        ["messages of a storm", ", ".join(str(messages) for messages, _ in results), ""],
        ["of it critical, each by itself", str(-(-args.alerts // ONE_CRITICAL_IN)), ""],
        ["a critical one takes, p99", f"{p99 * 1e3:.0f} ms", f"{DELAY_LIMIT * 1e3:.0f} ms"],
        ["processor time of a storm and its end", f"{seconds_per_storm:.1f} s", ""],
        ["growth from the second storm on", f"{growth:.1f} MB", f"{GROWTH_LIMIT:.0f} MB"],
        ["routing through 100 routes", f"{routing_seconds:.2f} s", f"{ROUTING_LIMIT:.0f} s"],
    ]
    title = f"{args.alerts:,} alerts in a minute"
    reporting.print_table(title, machine, ("what", "found", "bound"), rows)
    reporting.write_results(
        "alerts", machine, [{"what": label, "found": results} for label, results, _ in rows]
    )
    if p99 > DELAY_LIMIT or routing_seconds > ROUTING_LIMIT or growth > GROWTH_LIMIT:
        raise SystemExit("a bound is missed")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
