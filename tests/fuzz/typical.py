"""A handful of rules as a site has them, which look at everything that an event may hold."""

from __future__ import annotations

from catcher.model.alert import Severity
from catcher.model.rule import AlertSpec, Expr, JobSpec, LevelSpec, Read, Rule, Step, Trigger
from catcher.model.time import SECOND

TOPIC = "site.any"
X, BY_K = Expr("x > 1"), Expr("k")

RULES = [
    Rule("edge", Trigger("telemetry", TOPIC, when=X, hold=2 * SECOND, by=BY_K)),
    Rule("event", Trigger("event", TOPIC, where=Expr('name != "z"'), once_per=Expr("name"))),
    Rule("windows", Trigger("telemetry", TOPIC, when=Expr(
        'mean(x, "2s") > 1 or std(x, last=3) > 1 or slope(x, "2s") > 0 or rms(y, last=2) > 1 '
        'or median(x, "3s") > 2 or percentile(x, 90, last=4) > 3 or delta(x, last=2) > 5 '
        'or mean_angle(x, last=2) > 90 or max_over(packed(force, "1s"), "2s") > 1'), by=BY_K)),
    Rule("arrays", Trigger("telemetry", TOPIC, when=Expr(
        "mean_of(force) > 1 or std_of(x) > 1 or count_of(force > 1) > 1 or any_of(x == force) "
        "or max_of(force * x) > min_of(abs(force) - 1) or x[0] > 1 or force[-1] > x1"))),
    Rule("sums", Trigger("telemetry", TOPIC, every=SECOND, when=Expr(
        "x ** y > 1 or x // y > 1 or x % y > 1 or hypot(x, y) > exp(x) or sqrt(x) + log(y) > 1 "
        "or round(x, 2) == floor(x) or clip(x, y, k) > 1 or angle_diff(x, y) > 1 or -x * y > k "
        "or x in [1, 2, y] or name in force or sin(x) + cos(x) + tan(x) > atan2(x, y)"))),
    Rule("reads", Trigger("telemetry", TOPIC, when=Expr("w.x > x or age(w) > 1 or changed(w.k)")),
         reads={"w": Read(TOPIC, Expr("x > 0"), 5 * SECOND)}),
    Rule("absent", Trigger("absent", TOPIC, hold=3 * SECOND, by=BY_K),
         alert=AlertSpec({Severity.WARNING: LevelSpec(None)})),
    Rule("sequence", Trigger("sequence", steps=(Step(TOPIC, X), Step(TOPIC, Expr("x < 0"))),
                             within=9 * SECOND, by=Expr("name"))),
    Rule("alert", Trigger("telemetry", TOPIC, by=BY_K, forget_after=20 * SECOND), alert=AlertSpec(
        {Severity.WARNING: LevelSpec(X, 2 * SECOND, Expr("x < 0")),
         Severity.CRITICAL: LevelSpec(Expr('streak(x > 1) > 2 and rate(x, "2s") > 0'))},
        per=Expr("name"), lasts=9 * SECOND)),
    Rule("job", Trigger("telemetry", TOPIC, every=2 * SECOND), job=JobSpec("j"), alert=AlertSpec(
        {Severity.SERIOUS: LevelSpec(Expr("x > previous(x)"))}, expires=9 * SECOND)),
    Rule("result", Trigger("result", "catcher.job", when=Expr("catcher.key == name or x > 1"))),
]  # fmt: skip
