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

from benchmarks import records
from benchmarks.memory import resident
from catcher.alerting import Alerting, Courier, Match, Renderer, Route, RouteTree
from catcher.alerting.changed import Changed
from catcher.alerting.directing import direct
from catcher.alerting.routing import SinkSpec
from catcher.model.alert import Alert, LevelChange, Notice, Severity, alert_id
from catcher.model.commit import Commit
from catcher.model.health import Health
from catcher.model.rule import AlertSpec, Expr, LevelSpec, Rule, Trigger
from catcher.model.time import MINUTE, SECOND, Instant, parse_instant
from catcher.ports import Row
from catcher.stores.ledger import SqlLedger

NIGHT = parse_instant("2025-04-24T00:00:00Z")
RULES, ROUTES, ONE_CRITICAL_IN, BATCH = 97, 100, 100, 64
DELAY_LIMIT, ROUTING_LIMIT, GROWTH_LIMIT = 1.0, 1.0, 20.0


@dataclass
class Witness:
    """A sink that writes down when each alert came."""

    name: str = "console"
    came: dict[str, float] = field(default_factory=dict)
    messages: int = 0

    async def deliver(self, notice: Notice) -> Row:
        self.messages += 1
        self.came.setdefault(notice.alert.id, time.perf_counter())
        return {"ts": str(self.messages)}

    def health(self) -> Health:
        return Health(self.name, "witness", "ok")


def site() -> tuple[dict[str, Rule], RouteTree]:
    """A hundred rules, each with a route of its own."""
    spec = AlertSpec({Severity.WARNING: LevelSpec(Expr("x > 1"))}, latch=Severity.CRITICAL)
    rules = {
        f"rule-{n}": Rule(f"rule-{n}", Trigger("event", "t"), alert=spec) for n in range(ROUTES)
    }
    leaves = tuple(Route(Match(rule=(name,)), to=("console",)) for name in rules)
    tree = RouteTree(
        {"console": SinkSpec("console", "console")},
        Route(to=("console",), group_by=("rule",), routes=leaves),
    )
    return rules, tree


class Storms:
    """Alerting, ledger and courier, joined as the engine joins them."""

    def __init__(self, count: int) -> None:
        self.count = count
        rules, tree = site()
        self.alerting = Alerting(rules, tree, Renderer())
        self.sink = Witness()
        self.delays: list[float] = []
        self.now: Instant = NIGHT

    async def run(self, storms: int) -> list[tuple[int, float]]:
        """The messages of each storm, and the resident size after it."""
        found = []
        sinks = {"console": self.sink}
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/ledger.db"
            async with (
                SqlLedger(url, "storm", lambda: self.now) as ledger,
                Courier(sinks, ledger, lambda: self.now) as courier,
            ):
                for number in range(storms):
                    before = self.sink.messages
                    await self._storm(number, ledger, courier)
                    found.append((self.sink.messages - before, resident()))
        return found

    async def _storm(self, number: int, ledger: SqlLedger, courier: Courier) -> None:
        begun: dict[str, float] = {}
        start = self.now
        for severity in (Severity.WARNING, Severity.NONE):
            steps: list[Changed] = []
            for index in range(self.count):
                self.now = start + index * MINUTE // self.count
                level = severity
                if severity > Severity.NONE and index % ONE_CRITICAL_IN == 0:
                    level = Severity.CRITICAL
                key = f"{number}-{index}"
                change = LevelChange(f"rule-{index % RULES}", key, "", level, self.now, "x = 2 > 1")
                if level == Severity.CRITICAL:
                    begun[change.alert] = time.perf_counter()
                steps.append(self.alerting.apply(change, self.now))
                if len(steps) == BATCH:
                    steps.append(self.alerting.tick(self.now))
                    await self._keep(steps, ledger, courier)
                    steps.clear()
            await self._keep(steps, ledger, courier)
            await self._while_away(20 * MINUTE, ledger, courier)
            if severity == Severity.WARNING:
                self.delays += [self.sink.came[one] - at for one, at in begun.items()]
            start = self.now
        for id in [one.id for one in self.alerting.active()]:
            done = self.alerting.acknowledge(id, None, "ana", "", self.now, "benchmark")
            await self._keep([done], ledger, courier)

    async def _while_away(self, span: int, ledger: SqlLedger, courier: Courier) -> None:
        """Time passes: groups and floods are told and end."""
        end = self.now + span
        while self.now < end:
            self.now += SECOND
            await self._keep([self.alerting.tick(self.now)], ledger, courier)
        await courier.drain(60 * SECOND)

    async def _keep(self, steps: Sequence[Changed], ledger: SqlLedger, courier: Courier) -> None:
        commit = Commit(
            alerts=tuple(one for step in steps for one in step.alerts),
            notices=tuple(one for step in steps for one in step.notices),
            audit=tuple(one for step in steps for one in step.audit),
            bundles=tuple(one for step in steps for one in step.bundles),
        )
        if not commit.empty:
            courier.send((await ledger.commit(commit)).notices)
            await asyncio.sleep(0)


def routing(count: int) -> float:
    """Seconds of processor time for as many alerts through a hundred routes."""
    _, tree = site()
    alerts = [_alert(f"rule-{number % ROUTES}", str(number)) for number in range(count)]
    began = time.process_time()
    for alert in alerts:
        direct(tree, alert, NIGHT)
    return time.process_time() - began


def _alert(rule: str, key: str) -> Alert:
    return Alert(
        alert_id(rule, key, ""), rule, key, "", 1, "firing", Severity.WARNING, Severity.WARNING,
        NIGHT, NIGHT, "",
    )  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Runs both, prints the table, and fails where a bound is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks alerts")
    parser.add_argument("--alerts", type=int, default=10_000)
    parser.add_argument("--storms", type=int, default=5)
    chosen = parser.parse_args(arguments)
    begun = records.machine()
    storms = Storms(chosen.alerts)
    began = time.process_time()
    found = asyncio.run(storms.run(chosen.storms))
    each = (time.process_time() - began) / chosen.storms
    routed = min(routing(chosen.alerts) for _ in range(3))
    p99 = records.percentile(storms.delays, 99)
    growth = found[-1][1] - found[min(1, len(found) - 1)][1]
    rows = [
        ["messages of a storm", ", ".join(str(messages) for messages, _ in found), ""],
        ["of it critical, each by itself", str(-(-chosen.alerts // ONE_CRITICAL_IN)), ""],
        ["a critical one takes, p99", f"{p99 * 1e3:.0f} ms", f"{DELAY_LIMIT * 1e3:.0f} ms"],
        ["processor time of a storm and its end", f"{each:.1f} s", ""],
        ["growth from the second storm on", f"{growth:.1f} MB", f"{GROWTH_LIMIT:.0f} MB"],
        ["routing through 100 routes", f"{routed:.2f} s", f"{ROUTING_LIMIT:.0f} s"],
    ]
    title = f"{chosen.alerts:,} alerts in a minute"
    records.show(title, begun, ("what", "found", "bound"), rows)
    records.write("alerts", begun, [{"what": what, "found": found} for what, found, _ in rows])
    if p99 > DELAY_LIMIT or routed > ROUTING_LIMIT or growth > GROWTH_LIMIT:
        raise SystemExit("a bound is missed")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
