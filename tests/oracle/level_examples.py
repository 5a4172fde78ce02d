"""Levels: one example and more for each sentence."""

from __future__ import annotations

from catcher.model.rule import Rule, TriggerSpec
from catcher.model.time import SECOND
from tests.oracle.example_builders import (
    CRITICAL,
    JOB_FAILS,
    NAN,
    NONE,
    SERIOUS,
    WARNING,
    Example,
    event_at,
    event_rule,
    level_spec,
    parse_samples,
    telemetry_rule,
    with_alert,
    with_job_alert,
)
from tests.oracle.streams import MAIN, OTHER

ABSENCE_RULE = Rule("rule", TriggerSpec("absent", MAIN, hold=10 * SECOND))

LEVEL_EXAMPLES = [
    Example(
        "raised at the highest that holds, lowered, cleared",
        with_alert(telemetry_rule(), {WARNING: level_spec("x > 3"), CRITICAL: level_spec("x > 6")}),
        parse_samples("0:1 1:4 2:7 3:5 4:5 5:1"),
        levels=[(1, WARNING), (2, CRITICAL), (3, WARNING), (5, NONE)],
    ),
    Example(
        "clear makes a dead band",
        with_alert(telemetry_rule(), {WARNING: level_spec("x > 10", clear="x < 8")}),
        parse_samples("0:11 1:9 2:7 3:9"),
        levels=[(0, WARNING), (2, NONE)],
    ),
    Example(
        "for: time passes only at what feeds it",
        with_alert(telemetry_rule(), {WARNING: level_spec("x > 3", hold="10s")}),
        [*parse_samples("0:5 4:5"), event_at(13, OTHER), *parse_samples("14:5")],
        levels=[(14, WARNING)],
    ),
    Example(
        "clear_for likewise",
        with_alert(telemetry_rule(), {WARNING: level_spec("x > 3", clear_hold="5s")}),
        parse_samples("0:5 1:1 4:1 7:1 8:1"),
        levels=[(0, WARNING), (7, NONE)],
    ),
    Example(
        "unknown neither raises nor clears",
        with_alert(telemetry_rule(), {WARNING: level_spec("x > 3")}),
        parse_samples("0:5 1:- 2:nan 3:1 4:-"),
        levels=[(0, WARNING), (1, WARNING, True), (3, NONE), (4, NONE, True)],
    ),
    Example(
        "they see every event that passes where",
        with_alert(telemetry_rule(where="k == 1"), {WARNING: level_spec("x > 3")}),
        [event_at(0, x=5, k=2), event_at(1, x=5, k=1), event_at(2, x=0, k=2)],
        levels=[(1, WARNING)],
    ),
    Example(
        "one alert per value",
        with_alert(telemetry_rule(), {WARNING: level_spec("x > 3")}, per="name"),
        [
            event_at(0, x=5, name="a"),
            event_at(1, x=5, name="b"),
            event_at(2, x=1, name="a"),
            event_at(3, x=5),
        ],
        levels=[("", "a", 0, WARNING), ("", "b", 1, WARNING), ("", "a", 2, NONE)],
    ),
    Example(
        "and per key",
        with_alert(telemetry_rule(by="k"), {WARNING: level_spec("x > 3")}),
        [event_at(0, x=5, k=1), event_at(1, x=1, k=2), event_at(2, x=1, k=1)],
        levels=[("1", "", 0, WARNING), ("1", "", 2, NONE)],
    ),
    Example(
        "an event's level lasts ten minutes after the last true event",
        with_alert(event_rule(), {WARNING: level_spec("x > 3", clear="x < 0")}),
        [*parse_samples("0:5 100:5 200:1"), event_at(800, OTHER)],
        fires=[0, 100, 200],
        levels=[(0, WARNING), (700, NONE)],
    ),
    Example(
        "or as long as the rule says",
        with_alert(event_rule(), {WARNING: level_spec("x > 3", clear="x < 0")}, lasts="30s"),
        [*parse_samples("0:5 30:5"), event_at(100, OTHER)],
        fires=[0, 30],
        levels=[(0, WARNING), (60, NONE)],
    ),
    Example(
        "a late event of a plain trigger raises what looks at it alone",
        with_alert(event_rule(), {WARNING: level_spec("x > 3")}),
        parse_samples("5:1 4:5 6:1"),
        fires=[4, 5, 6],
        levels=[(4, WARNING), (6, NONE)],
    ),
    Example(
        "but it clears nothing, and holds nothing",
        with_alert(
            event_rule(), {WARNING: level_spec("x > 3"), SERIOUS: level_spec("x > 6", hold="2s")}
        ),
        parse_samples("5:5 8:5 6:7 8.5:7 7:1"),
        fires=[5, 6, 7, 8, 8.5],
        levels=[(5, WARNING)],
    ),
    Example(
        "a late sample of telemetry does neither",
        with_alert(telemetry_rule(), {WARNING: level_spec("x > 3")}),
        parse_samples("5:1 4:5 6:5 5.5:1"),
        levels=[(6, WARNING)],
    ),
    Example(
        "always: from a firing until the trigger is armed again",
        with_alert(telemetry_rule(when="x > 3", hold="5s"), {SERIOUS: level_spec(None)}),
        parse_samples("0:5 3:5 8:5 9:1"),
        fires=[5],
        levels=[(5, SERIOUS), (9, NONE)],
    ),
    Example(
        "always, of silence: until the next message",
        with_alert(ABSENCE_RULE, {SERIOUS: level_spec(None)}),
        [*parse_samples("0:1"), event_at(20, OTHER), *parse_samples("30:1")],
        fires=[10],
        levels=[(10, SERIOUS), (30, NONE)],
    ),
    Example(
        "unknown is judged from the most severe level down",
        with_alert(telemetry_rule(), {WARNING: level_spec("y > 3"), CRITICAL: level_spec("x > 6")}),
        [
            event_at(0, x=1, y=5),
            event_at(1, x=1),
            event_at(2, x=7),
            event_at(3, y=5),
            event_at(4, x=1, y=1),
        ],
        levels=[(0, WARNING), (1, WARNING, True), (2, CRITICAL), (3, CRITICAL, True), (4, NONE)],
    ),
    Example(
        "what cannot be judged is no longer said once it has lasted",
        with_alert(event_rule(), {WARNING: level_spec("x > 3")}, lasts="20s"),
        [*parse_samples("0:-"), event_at(50, OTHER)],
        fires=[0],
        levels=[(0, NONE, True), (20, NONE)],
    ),
    Example(
        "a key that is forgotten takes its alerts along",
        with_alert(telemetry_rule(by="k", forget_after="10s"), {WARNING: level_spec("x > 3")}),
        [event_at(0, x=5, k=1), event_at(5, x=5, k=2), event_at(12, x=1, k=1)],
        levels=[("1", "", 0, WARNING), ("2", "", 5, WARNING), ("1", "", 10, NONE)],
    ),
    Example(
        "always, of an event: it lasts",
        with_alert(event_rule(), {SERIOUS: level_spec(None)}, lasts="20s"),
        [*parse_samples("0:1"), event_at(50, OTHER)],
        fires=[0],
        levels=[(0, SERIOUS), (20, NONE)],
    ),
]

RESULT_EXAMPLES = [
    Example(
        "with a job they see every result",
        with_job_alert(telemetry_rule(every="10s"), {WARNING: level_spec("score > 3")}),
        parse_samples("0:1 5:1 10:1 20:1"),
        fires=[0, 10, 20],
        scores=[5, 1, 5],
        levels=[(0, WARNING), (10, NONE), (20, WARNING)],
    ),
    Example(
        "an unknown metric neither raises nor clears",
        with_job_alert(telemetry_rule(every="10s"), {WARNING: level_spec("score > 3")}),
        parse_samples("0:1 10:1 20:1 30:1"),
        fires=[0, 10, 20, 30],
        scores=[None, 5, NAN, 1],
        levels=[(0, NONE, True), (10, WARNING), (20, WARNING, True), (30, NONE)],
    ),
    Example(
        "a level drops when the trigger's own when turns false",
        with_job_alert(
            telemetry_rule(when="x > 3", every="10s"), {WARNING: level_spec("score > 3")}
        ),
        parse_samples("0:5 4:5 5:- 6:1 12:5"),
        fires=[0, 12],
        scores=[5, 5],
        levels=[(0, WARNING), (6, NONE), (12, WARNING)],
    ),
    Example(
        "on expires, counted from the last result of any kind",
        with_job_alert(
            telemetry_rule(every="10s"),
            {WARNING: level_spec("score > 3", clear="score < 1")},
            expires="15s",
        ),
        [*parse_samples("0:1 10:1"), event_at(40, OTHER)],
        fires=[0, 10],
        scores=[5, 2],
        levels=[(0, WARNING), (25, NONE)],
    ),
    Example(
        "a fresh result at the very instant keeps it",
        with_job_alert(
            telemetry_rule(every="10s"), {WARNING: level_spec("score > 3")}, expires="15s"
        ),
        parse_samples("0:1 15:1 20:1"),
        fires=[0, 15],
        scores=[5, 5],
        levels=[(0, WARNING)],
    ),
    Example(
        "an event's level lasts, with a job too",
        with_job_alert(
            event_rule(), {WARNING: level_spec("score > 3", clear="score < 1")}, lasts="20s"
        ),
        [*parse_samples("0:1 10:1"), event_at(40, OTHER)],
        fires=[0, 10],
        scores=[5, 2],
        levels=[(0, WARNING), (20, NONE)],
    ),
    Example(
        "windows over a metric hold earlier results of the key",
        with_job_alert(
            telemetry_rule(every="1s", by="k"), {SERIOUS: level_spec("streak(score > 3) >= 2")}
        ),
        [event_at(0, k=1), event_at(1, k=2), event_at(2, k=1), event_at(3, k=1)],
        fires=[("1", 0), ("2", 1), ("1", 2), ("1", 3)],
        scores=[5, 5, 5, 1],
        levels=[("1", "", 2, SERIOUS), ("1", "", 3, NONE)],
    ),
    Example(
        "for: time passes only from result to result",
        with_job_alert(telemetry_rule(every="10s"), {WARNING: level_spec("score > 3", hold="15s")}),
        parse_samples("0:1 10:1 16:1 20:1"),
        fires=[0, 10, 20],
        scores=[5, 5, 5],
        levels=[(20, WARNING)],
    ),
    Example(
        "and where clear wins over it, however long it takes to arm",
        with_job_alert(
            telemetry_rule(when="x > 3", clear="y > 3", clear_hold="9s"),
            {WARNING: level_spec("score > 3")},
        ),
        [event_at(0, x=5, y=1), event_at(1, x=5), event_at(2, y=5), event_at(3, x=5, y=5)],
        fires=[0],
        scores=[5],
        levels=[(0, WARNING), (3, NONE)],
    ),
    Example(
        "failed: the job did, until it does not",
        with_job_alert(
            telemetry_rule(every="10s"), {WARNING: level_spec("score > 3")}, failed=SERIOUS
        ),
        parse_samples("0:1 10:1 20:1"),
        fires=[0, 10, 20],
        scores=[5, JOB_FAILS, 1],
        levels=[(0, WARNING), (10, SERIOUS), (20, NONE)],
    ),
    Example(
        "a failure is no fresh result, and expires by itself",
        with_job_alert(
            telemetry_rule(every="10s"),
            {WARNING: level_spec("score > 3")},
            expires="15s",
            failed=SERIOUS,
        ),
        [*parse_samples("0:1 10:1"), event_at(40, OTHER)],
        fires=[0, 10],
        scores=[5, JOB_FAILS],
        levels=[(0, WARNING), (10, SERIOUS), (25, NONE)],
    ),
    Example(
        "a failure keeps no level from expiring",
        with_job_alert(
            telemetry_rule(every="10s"),
            {CRITICAL: level_spec("score > 3")},
            expires="15s",
            failed=WARNING,
        ),
        [*parse_samples("0:1 10:1"), event_at(40, OTHER)],
        fires=[0, 10],
        scores=[5, JOB_FAILS],
        levels=[(0, CRITICAL), (15, WARNING), (25, NONE)],
    ),
    Example(
        "without a level for it a failure changes nothing",
        with_job_alert(telemetry_rule(every="10s"), {WARNING: level_spec("score > 3")}),
        parse_samples("0:1 10:1"),
        fires=[0, 10],
        scores=[5, JOB_FAILS],
        levels=[(0, WARNING)],
    ),
]
