"""A handful of rules as a site has them, which look at everything that an event may hold."""

from __future__ import annotations

from catcher.model.alert import Severity
from catcher.model.rule import (
    AlertSpec,
    Expression,
    JobSpec,
    LevelSpec,
    Lookup,
    Rule,
    SequenceStep,
    TriggerSpec,
)
from catcher.model.time import SECOND

TOPIC = "site.any"
X_ABOVE_ONE, KEY_K = Expression("x > 1"), Expression("k")

RULES = [
    Rule("edge", TriggerSpec("telemetry", TOPIC, when=X_ABOVE_ONE, hold=2 * SECOND, by=KEY_K)),
    Rule(
        "event",
        TriggerSpec("event", TOPIC, where=Expression('name != "z"'), once_per=Expression("name")),
    ),
    Rule(
        "windows",
        TriggerSpec(
            "telemetry",
            TOPIC,
            when=Expression(
                'mean(x, "2s") > 1 or std(x, last=3) > 1 or '
                'slope(x, "2s") > 0 or rms(y, last=2) > 1 '
                'or median(x, "3s") > 2 or percentile(x, 90, last=4) > 3 or delta(x, last=2) > 5 '
                'or mean_angle(x, last=2) > 90 or max_over(packed(force, "1s"), "2s") > 1'
            ),
            by=KEY_K,
        ),
    ),
    Rule(
        "arrays",
        TriggerSpec(
            "telemetry",
            TOPIC,
            when=Expression(
                "mean_of(force) > 1 or std_of(x) > 1 or "
                "count_of(force > 1) > 1 or any_of(x == force) "
                "or max_of(force * x) > min_of(abs(force) - 1) or x[0] > 1 or force[-1] > x1"
            ),
        ),
    ),
    Rule(
        "sums",
        TriggerSpec(
            "telemetry",
            TOPIC,
            every=SECOND,
            when=Expression(
                "x ** y > 1 or x // y > 1 or x % y > 1 or "
                "hypot(x, y) > exp(x) or sqrt(x) + log(y) > 1 "
                "or round(x, 2) == floor(x) or clip(x, y, k) "
                "> 1 or angle_diff(x, y) > 1 or -x * y > k "
                "or x in [1, 2, y] or name in force or sin(x) + cos(x) + tan(x) > atan2(x, y)"
            ),
        ),
    ),
    Rule(
        "reads",
        TriggerSpec("telemetry", TOPIC, when=Expression("w.x > x or age(w) > 1 or changed(w.k)")),
        reads={"w": Lookup(TOPIC, Expression("x > 0"), 5 * SECOND)},
    ),
    Rule(
        "absent",
        TriggerSpec("absent", TOPIC, hold=3 * SECOND, by=KEY_K),
        alert=AlertSpec({Severity.WARNING: LevelSpec(None)}),
    ),
    Rule(
        "sequence",
        TriggerSpec(
            "sequence",
            steps=(SequenceStep(TOPIC, X_ABOVE_ONE), SequenceStep(TOPIC, Expression("x < 0"))),
            within=9 * SECOND,
            by=Expression("name"),
        ),
    ),
    Rule(
        "alert",
        TriggerSpec("telemetry", TOPIC, by=KEY_K, forget_after=20 * SECOND),
        alert=AlertSpec(
            {
                Severity.WARNING: LevelSpec(X_ABOVE_ONE, 2 * SECOND, Expression("x < 0")),
                Severity.CRITICAL: LevelSpec(Expression('streak(x > 1) > 2 and rate(x, "2s") > 0')),
            },
            per=Expression("name"),
            lasts=9 * SECOND,
        ),
    ),
    Rule(
        "job",
        TriggerSpec("telemetry", TOPIC, every=2 * SECOND),
        job=JobSpec("j"),
        alert=AlertSpec(
            {Severity.SERIOUS: LevelSpec(Expression("x > previous(x)"))}, expires=9 * SECOND
        ),
    ),
    Rule(
        "result",
        TriggerSpec("result", "catcher.job", when=Expression("catcher.key == name or x > 1")),
    ),
]
