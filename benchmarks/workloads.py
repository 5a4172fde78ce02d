"""What the contestants of `rules.py` have to do: events, rules, and how many of each.

Every workload has the same telemetry: one topic, samples of `{"time", "salIndex", "speed"}`, the
time in nanoseconds. The speed wanders as wind does (an autoregressive walk about 12.5 m/s), made
from a fixed seed, so that every contestant in every run sees the same samples.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from catcher.model.alert import Severity
from catcher.model.rule import AlertSpec, Expression, LevelSpec, Rule, TriggerSpec
from catcher.model.time import MINUTE, SECOND

Sample = dict[str, Any]
Evaluator = Callable[[Sample], Sequence[Any]]
"""Told one sample after the other, gives what fires on each: rule numbers, or severities."""
FiredRule = tuple[Any, int, int]
"""A rule's number (or a severity and whether it is unknown), a key, an instant."""
Kind = Literal["thresholds", "windows", "holds"]

TOPIC = "lsst.sal.ESS.airFlow"
START = 1_700_000_000 * SECOND
EVENT_COUNT = 200_000
MEAN = 12.5
SPEED_DEVIATION = 1.77
KEY_COUNT = 1_000
MAST_COUNT = 4
THRESHOLDS = tuple(float(limit) for limit in range(8, 18))
"""Ten thresholds across the range in which the speed wanders."""
WINDOW_SAMPLES = 6_000
"""Samples in the longest window, at 20 Hz."""
AGGREGATES = (
    ("mean", (11.0, 12.0, 13.0, 14.0)),
    ("max_over", (14.0, 15.0, 16.0)),
    ("std", (0.3, 0.5, 0.7)),
)
"""Ten rules on figures of five minutes."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One table of the benchmark.

    `step` is the walk's standard deviation from one sample of a key to the next, `interval` the
    time between samples in nanoseconds; keys take turns. The stopwatch runs from sample
    `warmup_count` on. `by_key` keeps rules apart by key, and `kind` says what the rules are.
    """

    name: str
    description: str
    kind: Kind
    step: float
    limits: Sequence[float] = THRESHOLDS
    keys: int = 1
    interval: int = SECOND // 20
    warmup_count: int = 0
    count: int = EVENT_COUNT
    by_key: bool = False

    def generate_samples(self, count: int) -> list[Sample]:
        """The first `count` samples."""
        gauss = random.Random(20250424).gauss
        pull = (self.step / SPEED_DEVIATION) ** 2 / 2
        speeds = [MEAN] * self.keys
        samples: list[Sample] = []
        for index in range(count):
            key = index % self.keys
            speeds[key] += pull * (MEAN - speeds[key]) + gauss(0, self.step)
            time = START + index * self.interval
            samples.append({"time": time, "salIndex": key, "speed": round(speeds[key], 4)})
        return samples

    def create_rules(self) -> list[Rule]:
        """The rules as Catcher has them; the number of a rule is in its id."""
        if self.kind == "holds":
            return [_wind_high_rule()]
        key_expression = Expression("salIndex") if self.by_key else None
        conditions = (
            [f"speed > {limit}" for limit in self.limits]
            if self.kind == "thresholds"
            else [
                f'{aggregate}(speed, "5m") > {limit}'
                for aggregate, limits in AGGREGATES
                for limit in limits
            ]
        )
        return [
            Rule(
                f"r{number}",
                TriggerSpec("telemetry", TOPIC, when=Expression(condition), by=key_expression),
            )
            for number, condition in enumerate(conditions)
        ]


def _wind_high_rule() -> Rule:
    """No job: straight from the stream to the alert."""
    warning = LevelSpec(
        Expression('mean(speed, "30s") > 14'),
        2 * MINUTE,
        Expression('mean(speed, "30s") < 13'),
        5 * MINUTE,
    )
    critical = LevelSpec(Expression('mean(speed, "30s") > 15'), 30 * SECOND)
    levels = {Severity.WARNING: warning, Severity.CRITICAL: critical}
    return Rule(
        "r0", TriggerSpec("telemetry", TOPIC, by=Expression("salIndex")), alert=AlertSpec(levels)
    )


def _many_thresholds() -> list[float]:
    return [*THRESHOLDS, *(100 + number * 0.01 for number in range(9_990))]


def _dense_thresholds() -> list[float]:
    return [7.5 + number * 0.001 for number in range(10_000)]


ALL: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("thresholds", "10 thresholds with edges", "thresholds", 0.025),
        Workload("chatter", "the same, three times as many firings", "thresholds", 0.08),
        Workload(
            "many",
            "10,000 thresholds on one field, the same firings",
            "thresholds",
            0.025,
            _many_thresholds(),
        ),
        Workload(
            "dense",
            "10,000 thresholds, a dozen crossed by every event",
            "thresholds",
            0.025,
            _dense_thresholds(),
            count=20_000,
        ),
        Workload(
            "windows",
            "10 rules on mean, max, std of 5 minutes at 20 Hz",
            "windows",
            0.02,
            warmup_count=WINDOW_SAMPLES,
        ),
        Workload(
            "by",
            "10 thresholds by 1,000 keys",
            "thresholds",
            0.05,
            keys=KEY_COUNT,
            by_key=True,
            interval=SECOND // 1_000,
            warmup_count=5 * KEY_COUNT,
        ),
        Workload(
            "holds",
            "an alert that holds and clears (wind-high), 4 masts at 1 Hz",
            "holds",
            0.03,
            keys=MAST_COUNT,
            interval=SECOND // MAST_COUNT,
            by_key=True,
        ),
    )
}
