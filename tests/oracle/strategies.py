"""Random rules: every kind of trigger and level, with conditions of every kind of function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

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
from catcher.model.time import SECOND, parse_duration
from tests.oracle.conditions import (
    WINDOW_LENGTHS,
    score_conditions,
    stateful_conditions,
    stateless_conditions,
)
from tests.oracle.streams import MAIN, OTHER, RESULT, WIND

SEVERITIES = (Severity.WARNING, Severity.SERIOUS, Severity.CRITICAL)
CLOCK_PERIODS = (7 * SECOND, 20 * SECOND, 60 * SECOND)
STEP_CONDITIONS = ("k == 1", "k == 2", "flag", "not flag", "x > 1", 'name == "a"')
durations = st.sampled_from(WINDOW_LENGTHS).map(parse_duration)


def to_expr(text: str) -> Expression:
    return Expression(text)


def optional_values(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values)


where_exprs = st.one_of(st.none(), st.none(), stateless_conditions().map(to_expr))
key_exprs = st.sampled_from([None, None, Expression("k"), Expression("name"), Expression("flag")])
once_per_exprs = st.sampled_from([None, None, None, Expression("name"), Expression("x")])
THRESHOLD_TERMS = ("x", "y", "axis0", "abs(x)", 'mean(x, "5s")', "max_over(y, last=4)")
WIND_CONDITIONS = (
    "wind.x > 1",
    'mean(wind.x, "3s") > 1.2',
    "streak(wind.x > 0) >= 2",
    "age(wind) < 2.3",
    "changed(wind.x)",
)


# --- rules -------------------------------------------------------------------------------------
@st.composite
def rule_inputs(draw: st.DrawFn) -> tuple[dict[str, Lookup], dict[str, Expression], list[str]]:
    """Reads, let, and the names that a condition may use because of them."""
    reads: dict[str, Lookup] = {}
    names: list[str] = []
    if draw(st.booleans()):
        where = draw(optional_values(st.sampled_from(["k == 1", "x > 0", "flag"]).map(to_expr)))
        reads["wind"] = Lookup(WIND, where, draw(optional_values(durations)))
        names.append("wind.x")
    let: dict[str, Expression] = {}
    if draw(st.booleans()):
        body = draw(
            st.sampled_from(["x - y", "abs(x)", "x * 2", *(["wind.x + 1"] if reads else [])])
        )
        let["part"] = Expression(body)
        names.append("part")
    return reads, let, names


@st.composite
def edge_triggers(draw: st.DrawFn, names: Sequence[str] = ()) -> TriggerSpec:
    """A telemetry trigger with `when`, with all that may stand beside it."""
    return TriggerSpec(
        "telemetry",
        MAIN,
        where=draw(where_exprs),
        when=Expression(draw(stateful_conditions(names))),
        clear=draw(optional_values(stateful_conditions(names).map(to_expr))),
        hold=draw(optional_values(durations)),
        clear_hold=draw(optional_values(durations)),
        by=draw(key_exprs),
        stale_after=draw(st.sampled_from([4, 9, 60])) * SECOND,
        on_recovery=draw(st.sampled_from(["ignore", "fire"])),
        once_per=draw(once_per_exprs),
    )


@st.composite
def every_triggers(draw: st.DrawFn, names: Sequence[str] = ()) -> TriggerSpec:
    return TriggerSpec(
        "telemetry",
        MAIN,
        where=draw(where_exprs),
        when=draw(optional_values(stateful_conditions(names).map(to_expr))),
        every=draw(durations),
        by=draw(key_exprs),
        once_per=draw(once_per_exprs),
    )


@st.composite
def event_triggers(draw: st.DrawFn) -> TriggerSpec:
    return TriggerSpec(
        "event",
        draw(st.sampled_from([MAIN, OTHER])),
        where=draw(where_exprs),
        by=draw(key_exprs),
        once_per=draw(once_per_exprs),
    )


@st.composite
def sequence_triggers(draw: st.DrawFn) -> TriggerSpec:
    step = st.builds(
        SequenceStep,
        st.sampled_from([MAIN, MAIN, OTHER]),
        optional_values(st.sampled_from(STEP_CONDITIONS).map(to_expr)),
    )
    return TriggerSpec(
        "sequence",
        steps=tuple(draw(st.lists(step, min_size=2, max_size=3))),
        within=draw(st.sampled_from(["5s", "20s", "1m"]).map(parse_duration)),
        by=draw(key_exprs),
        once_per=draw(once_per_exprs),
    )


@st.composite
def absent_triggers(draw: st.DrawFn) -> TriggerSpec:
    topic = draw(st.sampled_from([MAIN, OTHER]))
    return TriggerSpec("absent", topic, hold=draw(durations), by=draw(key_exprs))


when_exprs = st.sampled_from([None, None, *map(Expression, WIND_CONDITIONS)])
catch_up_modes = st.sampled_from(["run", "skip"])
clock_triggers = st.one_of(
    st.builds(
        TriggerSpec,
        st.just("schedule"),
        schedule=st.sampled_from(["* * * * *", "*/2 * * * *", "0 0 * * *", "59 * * * *"]),
        zone=st.sampled_from(["UTC", "America/Santiago", "Asia/Kolkata"]),
        when=when_exprs,
        catch_up=catch_up_modes,
    ),
    st.builds(
        TriggerSpec,
        st.just("every"),
        every=st.sampled_from(CLOCK_PERIODS),
        when=when_exprs,
        catch_up=catch_up_modes,
    ),
)
clock_rules = clock_triggers.map(
    lambda trigger: Rule("rule", trigger, reads={"wind": Lookup(WIND)} if trigger.when else {})
)
any_triggers = st.builds(
    TriggerSpec,
    st.just("any"),
    any=st.tuples(st.one_of(event_triggers(), edge_triggers()), absent_triggers()),
)


@st.composite
def firing_rules(draw: st.DrawFn, name: str = "rule") -> Rule:
    """A rule without alert: its firings are recorded."""
    reads, let, names = draw(rule_inputs())
    kinds = [edge_triggers(names)] * 4 + [every_triggers(names), event_triggers(),
             sequence_triggers(), absent_triggers()]  # fmt: skip
    return Rule(name, draw(st.one_of(*kinds)), reads=reads, let=let)


@st.composite
def level_specs(draw: st.DrawFn, names: Sequence[str]) -> LevelSpec:
    return LevelSpec(
        Expression(draw(stateful_conditions(names))),
        draw(optional_values(durations)),
        draw(optional_values(stateful_conditions(names).map(to_expr))),
        draw(optional_values(durations)),
    )


@st.composite
def alert_rules(
    draw: st.DrawFn, name: str = "rule", kinds: Sequence[str] = ("telemetry", "event", "result")
) -> Rule:
    """A rule without job: straight from stream to alert."""
    reads, let, names = draw(rule_inputs())
    kind = draw(st.sampled_from(kinds))
    trigger = TriggerSpec(
        kind,  # type: ignore[arg-type]
        RESULT if kind == "result" else MAIN,
        where=draw(where_exprs),
        by=draw(key_exprs),
    )
    severities = draw(st.lists(st.sampled_from(SEVERITIES), min_size=1, unique=True))
    alert = AlertSpec(
        {severity: draw(level_specs(names)) for severity in sorted(severities)},
        per=draw(st.sampled_from([None, None, Expression("name")])),
        lasts=draw(optional_values(durations)),
    )
    return Rule(name, trigger, reads=reads, let=let, alert=alert)


@st.composite
def always_rules(draw: st.DrawFn, name: str = "rule") -> Rule:
    """A rule whose alert holds from a firing on."""
    trigger = draw(
        st.one_of(edge_triggers(), event_triggers(), sequence_triggers(), absent_triggers())
    )
    levels = {draw(st.sampled_from(SEVERITIES)): LevelSpec(None)}
    if trigger.kind == "event":
        levels = {draw(st.sampled_from(SEVERITIES)): draw(level_specs(())), **levels}
    return Rule(name, trigger, alert=AlertSpec(levels, lasts=draw(optional_values(durations))))


@st.composite
def expiring_key_rules(draw: st.DrawFn) -> Rule:
    """A rule that forgets a key after a while."""
    rule = draw(st.one_of(firing_rules(), alert_rules(), always_rules()))
    by = draw(st.sampled_from(["k", "name", "flag"]))
    trigger = replace(rule.trigger, by=Expression(by), forget_after=draw(durations))
    return replace(rule, trigger=trigger)


@st.composite
def job_rules(draw: st.DrawFn, name: str = "rule") -> Rule:
    """A rule with a job, whose levels judge the metric `score`."""
    trigger = draw(st.one_of(edge_triggers(), every_triggers(), event_triggers()))
    score_exprs = score_conditions().map(to_expr)
    spec = st.builds(
        LevelSpec,
        score_exprs,
        optional_values(durations),
        optional_values(score_exprs),
        optional_values(durations),
    )
    alert = AlertSpec(
        {Severity.WARNING: draw(spec), Severity.CRITICAL: draw(spec)},
        per=draw(st.sampled_from([None, None, Expression("name")])),
        expires=draw(optional_values(durations)),
        lasts=draw(optional_values(durations)),
        failed=draw(optional_values(st.sampled_from(SEVERITIES))),
    )
    return Rule(name, trigger, job=JobSpec("score_it"), alert=alert)


@st.composite
def simple_rules(draw: st.DrawFn) -> Rule:
    """A rule as most are: a threshold of one field, perhaps held, an edge or two levels."""
    field = draw(st.sampled_from(THRESHOLD_TERMS))
    limits = draw(st.lists(st.sampled_from([0, 1, 2, 3, 0.7]), min_size=2, max_size=2))
    operator = draw(st.sampled_from([">", "<", ">=", "<="]))
    when, critical_when = (Expression(f"{field} {operator} {limit}") for limit in limits)
    hold, by, where = draw(optional_values(durations)), draw(key_exprs), draw(where_exprs)
    stale_after = draw(st.sampled_from([1, 4, 60])) * SECOND
    settings: dict[str, Any] = {"where": where, "by": by, "stale_after": stale_after}
    clear = draw(st.sampled_from([None, Expression(f"{field} < 1")]))
    if draw(st.booleans()):
        return Rule(
            "rule", TriggerSpec("telemetry", MAIN, when=when, hold=hold, clear=clear, **settings)
        )
    levels = {
        Severity.WARNING: LevelSpec(when, hold, clear, draw(optional_values(durations))),
        Severity.CRITICAL: LevelSpec(critical_when, draw(optional_values(durations))),
    }
    alert = AlertSpec(levels, lasts=draw(optional_values(durations)))
    return Rule("rule", TriggerSpec("telemetry", MAIN, **settings), alert=alert)
