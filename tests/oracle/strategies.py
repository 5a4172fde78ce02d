"""Random rules: every kind of trigger and level, with conditions of every kind of function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from catcher.model.alert import Severity
from catcher.model.rule import AlertSpec, Expr, JobSpec, LevelSpec, Read, Rule, Step, Trigger
from catcher.model.time import SECOND, parse_duration
from tests.oracle.conditions import SPANS, conditions, score_conditions, stateless_conditions
from tests.oracle.streams import MAIN, OTHER, RESULT, WIND

SEVERITIES = (Severity.WARNING, Severity.SERIOUS, Severity.CRITICAL)
PERIODS = (7 * SECOND, 20 * SECOND, 60 * SECOND)
STEPS = ("k == 1", "k == 2", "flag", "not flag", "x > 1", 'name == "a"')
durations = st.sampled_from(SPANS).map(parse_duration)


def expr(text: str) -> Expr:
    return Expr(text)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values)


wheres = st.one_of(st.none(), st.none(), stateless_conditions().map(expr))
keys = st.sampled_from([None, None, Expr("k"), Expr("name"), Expr("flag")])
once = st.sampled_from([None, None, None, Expr("name"), Expr("x")])
FIELDS = ("x", "y", "axis0", "abs(x)", 'mean(x, "5s")', "max_over(y, last=4)")
OF_WIND = ("wind.x > 1", 'mean(wind.x, "3s") > 1.2', "streak(wind.x > 0) >= 2", "age(wind) < 2.3",
           "changed(wind.x)")  # fmt: skip


# --- rules -------------------------------------------------------------------------------------
@st.composite
def surroundings(draw: st.DrawFn) -> tuple[dict[str, Read], dict[str, Expr], list[str]]:
    """Reads, let, and the names that a condition may use because of them."""
    reads: dict[str, Read] = {}
    names: list[str] = []
    if draw(st.booleans()):
        where = draw(maybe(st.sampled_from(["k == 1", "x > 0", "flag"]).map(expr)))
        reads["wind"] = Read(WIND, where, draw(maybe(durations)))
        names.append("wind.x")
    let: dict[str, Expr] = {}
    if draw(st.booleans()):
        body = draw(
            st.sampled_from(["x - y", "abs(x)", "x * 2", *(["wind.x + 1"] if reads else [])])
        )
        let["part"] = Expr(body)
        names.append("part")
    return reads, let, names


@st.composite
def edge_triggers(draw: st.DrawFn, names: Sequence[str] = ()) -> Trigger:
    """A telemetry trigger with `when`, with all that may stand beside it."""
    return Trigger(
        "telemetry",
        MAIN,
        where=draw(wheres),
        when=Expr(draw(conditions(names))),
        clear=draw(maybe(conditions(names).map(expr))),
        hold=draw(maybe(durations)),
        clear_hold=draw(maybe(durations)),
        by=draw(keys),
        stale_after=draw(st.sampled_from([4, 9, 60])) * SECOND,
        on_recovery=draw(st.sampled_from(["ignore", "fire"])),
        once_per=draw(once),
    )


@st.composite
def every_triggers(draw: st.DrawFn, names: Sequence[str] = ()) -> Trigger:
    return Trigger(
        "telemetry",
        MAIN,
        where=draw(wheres),
        when=draw(maybe(conditions(names).map(expr))),
        every=draw(durations),
        by=draw(keys),
        once_per=draw(once),
    )


@st.composite
def event_triggers(draw: st.DrawFn) -> Trigger:
    return Trigger(
        "event",
        draw(st.sampled_from([MAIN, OTHER])),
        where=draw(wheres),
        by=draw(keys),
        once_per=draw(once),
    )


@st.composite
def sequence_triggers(draw: st.DrawFn) -> Trigger:
    step = st.builds(
        Step, st.sampled_from([MAIN, MAIN, OTHER]), maybe(st.sampled_from(STEPS).map(expr))
    )
    return Trigger(
        "sequence",
        steps=tuple(draw(st.lists(step, min_size=2, max_size=3))),
        within=draw(st.sampled_from(["5s", "20s", "1m"]).map(parse_duration)),
        by=draw(keys),
        once_per=draw(once),
    )


@st.composite
def absent_triggers(draw: st.DrawFn) -> Trigger:
    topic = draw(st.sampled_from([MAIN, OTHER]))
    return Trigger("absent", topic, hold=draw(durations), by=draw(keys))


whens = st.sampled_from([None, None, *map(Expr, OF_WIND)])
catching_up = st.sampled_from(["run", "skip"])
clock_triggers = st.one_of(
    st.builds(
        Trigger,
        st.just("schedule"),
        schedule=st.sampled_from(["* * * * *", "*/2 * * * *", "0 0 * * *", "59 * * * *"]),
        zone=st.sampled_from(["UTC", "America/Santiago", "Asia/Kolkata"]),
        when=whens,
        catch_up=catching_up,
    ),
    st.builds(
        Trigger,
        st.just("every"),
        every=st.sampled_from(PERIODS),
        when=whens,
        catch_up=catching_up,
    ),
)
clock_rules = clock_triggers.map(
    lambda trigger: Rule("rule", trigger, reads={"wind": Read(WIND)} if trigger.when else {})
)
any_triggers = st.builds(
    Trigger,
    st.just("any"),
    any=st.tuples(st.one_of(event_triggers(), edge_triggers()), absent_triggers()),
)


@st.composite
def firing_rules(draw: st.DrawFn, name: str = "rule") -> Rule:
    """A rule without alert: its firings are recorded."""
    reads, let, names = draw(surroundings())
    kinds = [edge_triggers(names)] * 4 + [every_triggers(names), event_triggers(),
             sequence_triggers(), absent_triggers()]  # fmt: skip
    return Rule(name, draw(st.one_of(*kinds)), reads=reads, let=let)


@st.composite
def level_specs(draw: st.DrawFn, names: Sequence[str]) -> LevelSpec:
    return LevelSpec(
        Expr(draw(conditions(names))),
        draw(maybe(durations)),
        draw(maybe(conditions(names).map(expr))),
        draw(maybe(durations)),
    )


@st.composite
def alert_rules(
    draw: st.DrawFn, name: str = "rule", kinds: Sequence[str] = ("telemetry", "event", "result")
) -> Rule:
    """A rule without job: straight from stream to alert."""
    reads, let, names = draw(surroundings())
    kind = draw(st.sampled_from(kinds))
    trigger = Trigger(
        kind,  # type: ignore[arg-type]
        RESULT if kind == "result" else MAIN,
        where=draw(wheres),
        by=draw(keys),
    )
    severities = draw(st.lists(st.sampled_from(SEVERITIES), min_size=1, unique=True))
    alert = AlertSpec(
        {severity: draw(level_specs(names)) for severity in sorted(severities)},
        per=draw(st.sampled_from([None, None, Expr("name")])),
        lasts=draw(maybe(durations)),
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
    return Rule(name, trigger, alert=AlertSpec(levels, lasts=draw(maybe(durations))))


@st.composite
def forgetful_rules(draw: st.DrawFn) -> Rule:
    """A rule that forgets a key after a while."""
    rule = draw(st.one_of(firing_rules(), alert_rules(), always_rules()))
    by = draw(st.sampled_from(["k", "name", "flag"]))
    trigger = replace(rule.trigger, by=Expr(by), forget_after=draw(durations))
    return replace(rule, trigger=trigger)


@st.composite
def job_rules(draw: st.DrawFn, name: str = "rule") -> Rule:
    """A rule with a job, whose levels judge the metric `score`."""
    trigger = draw(st.one_of(edge_triggers(), every_triggers(), event_triggers()))
    judged = score_conditions().map(expr)
    spec = st.builds(LevelSpec, judged, maybe(durations), maybe(judged), maybe(durations))
    alert = AlertSpec(
        {Severity.WARNING: draw(spec), Severity.CRITICAL: draw(spec)},
        per=draw(st.sampled_from([None, None, Expr("name")])),
        expires=draw(maybe(durations)),
        lasts=draw(maybe(durations)),
        failed=draw(maybe(st.sampled_from(SEVERITIES))),
    )
    return Rule(name, trigger, job=JobSpec("score_it"), alert=alert)


@st.composite
def plain_rules(draw: st.DrawFn) -> Rule:
    """A rule as most are: a threshold of one field, perhaps held, an edge or two levels."""
    field = draw(st.sampled_from(FIELDS))
    limits = draw(st.lists(st.sampled_from([0, 1, 2, 3, 0.7]), min_size=2, max_size=2))
    sign = draw(st.sampled_from([">", "<", ">=", "<="]))
    when, other = (Expr(f"{field} {sign} {limit}") for limit in limits)
    hold, by, where = draw(maybe(durations)), draw(keys), draw(wheres)
    stale_after = draw(st.sampled_from([1, 4, 60])) * SECOND
    common: dict[str, Any] = {"where": where, "by": by, "stale_after": stale_after}
    clear = draw(st.sampled_from([None, Expr(f"{field} < 1")]))
    if draw(st.booleans()):
        return Rule("rule", Trigger("telemetry", MAIN, when=when, hold=hold, clear=clear, **common))
    levels = {
        Severity.WARNING: LevelSpec(when, hold, clear, draw(maybe(durations))),
        Severity.CRITICAL: LevelSpec(other, draw(maybe(durations))),
    }
    alert = AlertSpec(levels, lasts=draw(maybe(durations)))
    return Rule("rule", Trigger("telemetry", MAIN, **common), alert=alert)
