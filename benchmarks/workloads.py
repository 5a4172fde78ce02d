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
from catcher.model.rule import AlertSpec, Expr, LevelSpec, Rule, Trigger
from catcher.model.time import MINUTE, SECOND

Sample = dict[str, Any]
Judge = Callable[[Sample], Sequence[Any]]
"""Told one sample after the other, gives what fires on each: rule numbers, or severities."""
Fired = tuple[Any, int, int]
"""A rule's number (or a severity and whether it is unknown), a key, an instant."""
Kind = Literal["thresholds", "windows", "holds"]

TOPIC = "lsst.sal.ESS.airFlow"
START = 1_700_000_000 * SECOND
EVENTS = 200_000
MEAN = 12.5
SPREAD = 1.77
KEYS = 1_000
MASTS = 4
LEVELS = tuple(float(limit) for limit in range(8, 18))
"""Ten thresholds across the range in which the speed wanders."""
FIVE_MINUTES = 6_000
"""Samples in the longest window, at 20 Hz."""
FIGURES = (
    ("mean", (11.0, 12.0, 13.0, 14.0)),
    ("max_over", (14.0, 15.0, 16.0)),
    ("std", (0.3, 0.5, 0.7)),
)
"""Ten rules on figures of five minutes."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One table of the benchmark.

    `step` is the walk's standard deviation from one sample of a key to the next, `pace` the time
    between samples in nanoseconds; keys take turns. The stopwatch runs from sample `warm` on.
    `by` keeps rules apart by key, and `kind` says what the rules are.
    """

    name: str
    about: str
    kind: Kind
    step: float
    limits: Sequence[float] = LEVELS
    keys: int = 1
    pace: int = SECOND // 20
    warm: int = 0
    count: int = EVENTS
    by: bool = False

    def samples(self, count: int) -> list[Sample]:
        """The first `count` samples."""
        draw = random.Random(20250424).gauss
        pull = (self.step / SPREAD) ** 2 / 2
        speeds = [MEAN] * self.keys
        out: list[Sample] = []
        for index in range(count):
            key = index % self.keys
            speeds[key] += pull * (MEAN - speeds[key]) + draw(0, self.step)
            time = START + index * self.pace
            out.append({"time": time, "salIndex": key, "speed": round(speeds[key], 4)})
        return out

    def rules(self) -> list[Rule]:
        """The rules as Catcher has them; the number of a rule is in its id."""
        if self.kind == "holds":
            return [_wind_high()]
        by = Expr("salIndex") if self.by else None
        texts = (
            [f"speed > {limit}" for limit in self.limits]
            if self.kind == "thresholds"
            else [
                f'{figure}(speed, "5m") > {limit}' for figure, limits in FIGURES for limit in limits
            ]
        )
        return [
            Rule(f"r{number}", Trigger("telemetry", TOPIC, when=Expr(text), by=by))
            for number, text in enumerate(texts)
        ]


def _wind_high() -> Rule:
    """No job: straight from the stream to the alert."""
    warning = LevelSpec(
        Expr('mean(speed, "30s") > 14'), 2 * MINUTE, Expr('mean(speed, "30s") < 13'), 5 * MINUTE
    )
    critical = LevelSpec(Expr('mean(speed, "30s") > 15'), 30 * SECOND)
    levels = {Severity.WARNING: warning, Severity.CRITICAL: critical}
    return Rule("r0", Trigger("telemetry", TOPIC, by=Expr("salIndex")), alert=AlertSpec(levels))


def _many() -> list[float]:
    return [*LEVELS, *(100 + number * 0.01 for number in range(9_990))]


def _dense() -> list[float]:
    return [7.5 + number * 0.001 for number in range(10_000)]


ALL: dict[str, Workload] = {
    one.name: one
    for one in (
        Workload("thresholds", "10 thresholds with edges", "thresholds", 0.025),
        Workload("chatter", "the same, three times as many firings", "thresholds", 0.08),
        Workload(
            "many", "10,000 thresholds on one field, the same firings", "thresholds", 0.025, _many()
        ),
        Workload(
            "dense", "10,000 thresholds, a dozen crossed by every event", "thresholds", 0.025,
            _dense(), count=20_000,
        ),
        Workload(
            "windows", "10 rules on mean, max, std of 5 minutes at 20 Hz", "windows", 0.02,
            warm=FIVE_MINUTES,
        ),
        Workload(
            "by", "10 thresholds by 1,000 keys", "thresholds", 0.05, keys=KEYS, by=True,
            pace=SECOND // 1_000, warm=5 * KEYS,
        ),
        Workload(
            "holds", "an alert that holds and clears (wind-high), 4 masts at 1 Hz", "holds", 0.03,
            keys=MASTS, pace=SECOND // MASTS, by=True,
        ),
    )
}  # fmt: skip
