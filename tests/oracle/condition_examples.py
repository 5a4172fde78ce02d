"""Truth, edges, holds and windows: one example and more for each sentence."""

from __future__ import annotations

from catcher.model.rule import Expression, Lookup
from catcher.model.time import SECOND, parse_duration
from tests.oracle.example_builders import (
    NAN,
    Example,
    event_at,
    event_rule,
    parse_samples,
    telemetry_rule,
)
from tests.oracle.streams import OTHER, WIND

TRUTH_EXAMPLES = [
    Example(
        "a missing value is unknown: it does not arm again",
        telemetry_rule(when="x > 3"),
        parse_samples("0:5 1:- 2:5 3:1 4:5"),
        [0, 4],
    ),
    Example("NaN is unknown", telemetry_rule(when="x > 3"), parse_samples("0:5 1:nan 2:5"), [0]),
    Example(
        "a wrong type is unknown",
        telemetry_rule(when="x > 3"),
        [*parse_samples("0:5"), event_at(1, x="high"), event_at(2, x=[9]), *parse_samples("3:5")],
        [0],
    ),
    Example(
        "a read older than max_age is unknown, one just as old is not",
        telemetry_rule(
            when="x > 3 and wind.x > 0", reads={"wind": Lookup(WIND, max_age=parse_duration("5s"))}
        ),
        [
            *parse_samples("0:1", WIND),
            *parse_samples("1:0 5:5 6:0 6.5:5"),
            *parse_samples("7:1", WIND),
            *parse_samples("12.5:5"),
        ],
        [5],
    ),
    Example(
        "unknown and false is false, so it arms again",
        telemetry_rule(when="x > 3 and y > 3"),
        [event_at(0, x=5, y=5), event_at(1, x=1), event_at(2, x=5, y=5)],
        [0, 2],
    ),
    Example(
        "unknown or true is true",
        telemetry_rule(when="x > 3 or y > 3"),
        [event_at(0, x=1, y=1), event_at(1, y=5)],
        [1],
    ),
    Example(
        "not unknown is unknown",
        telemetry_rule(when="not x > 3"),
        [event_at(0, x=5), event_at(1), event_at(2, x=5), event_at(3, x=1)],
        [3],
    ),
    Example(
        "at an event that lacks x, a function over x is unknown, known windows or not",
        telemetry_rule(when='mean(x, "2s") > 3'),
        parse_samples("0:5 1:5 2:- 3:5 4:5"),
        [3],
    ),
    Example(
        "an unknown key: no firing",
        telemetry_rule(when="x > 3", by="k"),
        [event_at(0, x=5), event_at(1, x=5, k=NAN), event_at(2, x=5, k=1)],
        [("1", 2)],
    ),
    Example(
        "an unknown once_per: no firing",
        event_rule(once_per="name"),
        [event_at(0), event_at(1, name=None), event_at(2, name="a")],
        [2],
    ),
    Example(
        "division by nought is unknown",
        telemetry_rule(when="1 / x > 0"),
        parse_samples("0:0 1:2 2:0"),
        [1],
    ),
]

EVENT_EXAMPLES = [
    Example("once for each event that passes where", event_rule(where="x > 3"),
            parse_samples("0:5 1:1 2:5 2:6 3:-"), [0, 2, 2]),
    Example("once per value, ever", event_rule(once_per="name"),
            [event_at(0, name="a"), event_at(1, name="b"), event_at(99, name="a")], [0, 1]),
]  # fmt: skip

EDGE_EXAMPLES = [
    Example(
        "it starts armed and fires at the sample",
        telemetry_rule(when="x > 3"),
        parse_samples("0:5 1:5"),
        [0],
    ),
    Example(
        "firing disarms, not when arms again",
        telemetry_rule(when="x > 3"),
        parse_samples("0:1 1:4 2:5 3:3 4:4"),
        [1, 4],
    ),
    Example(
        "with clear, only clear arms again",
        telemetry_rule(when="x > 10", clear="x < 8"),
        parse_samples("0:11 1:9 2:11 3:7 4:9 5:11"),
        [0, 5],
    ),
    Example(
        "if both hold, clear wins: no firing, and it is armed",
        telemetry_rule(when="x > 3", clear="y > 0"),
        [
            event_at(0, x=5, y=1),
            event_at(1, x=5, y=0),
            event_at(2, x=5, y=1),
            event_at(3, x=5, y=0),
        ],
        [1, 3],
    ),
    Example(
        "true, unknown, true is no new edge",
        telemetry_rule(when="x > 3"),
        parse_samples("0:5 1:- 2:5"),
        [0],
    ),
    Example(
        "unless the rule says so",
        telemetry_rule(when="x > 3", on_recovery="fire"),
        parse_samples("0:5 1:- 2:5 3:5"),
        [0, 2],
    ),
    Example(
        "false, unknown, true is one",
        telemetry_rule(when="x > 3"),
        parse_samples("0:1 1:- 2:5"),
        [2],
    ),
]

EVERY_EXAMPLES = [
    Example(
        "not sooner than that after its last firing",
        telemetry_rule(when="x > 3", every="10s"),
        parse_samples("0:5 4:5 9.5:5 10:5 19:5 21:5"),
        [0, 10, 21],
    ),
    Example(
        "only at a sample at which when is true",
        telemetry_rule(when="x > 3", every="10s"),
        parse_samples("0:5 10:1 11:5 20:5 21:5"),
        [0, 11, 21],
    ),
    Example(
        "without when, at any",
        telemetry_rule(every="10s"),
        parse_samples("0:1 5:- 12:- 13:1"),
        [0, 12],
    ),
]

HOLD_EXAMPLES = [
    Example(
        "at the instant t0 + for, sample or none",
        telemetry_rule(when="x > 3", hold="10s"),
        [*parse_samples("0:1 2:5 6:5"), event_at(30, OTHER)],
        [12],
    ),
    Example(
        "if one more true sample came by then, at that instant itself too",
        telemetry_rule(when="x > 3", hold="10s"),
        [*parse_samples("2:5 12:5"), event_at(30, OTHER)],
        [12],
    ),
    Example(
        "else at the next sample if that is true",
        telemetry_rule(when="x > 3", hold="10s"),
        parse_samples("2:5 17:5"),
        [17],
    ),
    Example(
        "and not if that is false",
        telemetry_rule(when="x > 3", hold="10s"),
        parse_samples("2:5 17:1 18:5 19:5"),
    ),
    Example(
        "an unknown sample is not that next one",
        telemetry_rule(when="x > 3", hold="10s"),
        parse_samples("2:5 17:- 20:5"),
        [20],
    ),
    Example(
        "a false sample breaks it",
        telemetry_rule(when="x > 3", hold="10s"),
        [*parse_samples("0:5 5:5 9:1 10:5 15:5"), event_at(30, OTHER)],
        [20],
    ),
    Example(
        "a false sample of the very instant breaks it: samples come before timers",
        telemetry_rule(when="x > 3", hold="10s"),
        [*parse_samples("0:5 5:5 10:1"), event_at(30, OTHER)],
    ),
    Example(
        "an unknown one does not",
        telemetry_rule(when="x > 3", hold="10s"),
        [*parse_samples("0:5 5:- 6:5"), event_at(30, OTHER)],
        [10],
    ),
    Example(
        "a silence longer than stale_after breaks it, between samples",
        telemetry_rule(when="x > 3", hold="10s", stale_after="4s"),
        [*parse_samples("0:5 4:5 8.5:5 12:5 16:5"), event_at(30, OTHER)],
        [18.5],
    ),
    Example(
        "or up to the instant",
        telemetry_rule(when="x > 3", hold="10s", stale_after="4s"),
        [*parse_samples("0:5 4:5"), event_at(30, OTHER)],
    ),
    Example(
        "a silence just as long does not",
        telemetry_rule(when="x > 3", hold="8s", stale_after="4s"),
        [*parse_samples("0:5 4:5"), event_at(30, OTHER)],
        [8],
    ),
    Example(
        "unknown samples do not end a silence",
        telemetry_rule(when="x > 3", hold="10s", stale_after="4s"),
        [*parse_samples("0:5 3:- 5:5 8:5"), event_at(11, OTHER)],
    ),
    Example(
        "by default it is a minute",
        telemetry_rule(when="x > 3", hold="2m"),
        parse_samples("0:5 59:5 121:5 182.5:5 240:5"),
    ),
    Example(
        "fired, it waits for a false sample, then for the whole time again",
        telemetry_rule(when="x > 3", hold="5s"),
        [*parse_samples("0:5 1:5 9:5 10:1 11:5 12:5"), event_at(30, OTHER)],
        [5, 16],
    ),
    Example(
        "clear_for mirrors it: it arms at the instant",
        telemetry_rule(when="x > 10", clear="x < 8", clear_hold="5s"),
        parse_samples("0:11 1:7 2:7 5:7 6.5:11"),
        [0, 6.5],
    ),
    Example(
        "before that instant it does not",
        telemetry_rule(when="x > 10", clear="x < 8", clear_hold="5s"),
        parse_samples("0:11 1:7 2:7 5:7 5.5:11 7:11"),
        [0],
    ),
    Example(
        "a sample in the dead band breaks it",
        telemetry_rule(when="x > 10", clear="x < 8", clear_hold="5s"),
        parse_samples("0:11 1:7 3:9 4:7 7:7 8:11 9:7 10:7 15:11"),
        [0, 15],
    ),
    Example(
        "a hold not over at the end of a backtest does not fire",
        telemetry_rule(when="x > 3", hold="10s"),
        [*parse_samples("0:5 1:5"), event_at(9, OTHER)],
    ),
    Example(
        "one that is over exactly at the end does",
        telemetry_rule(when="x > 3", hold="10s"),
        [*parse_samples("0:5 1:5"), event_at(10, OTHER)],
        [10],
    ),
]

WINDOW_EXAMPLES = [
    Example(
        "holds the samples in (t - 5s, t]",
        telemetry_rule(when='sum_over(x, "5s") == 6'),
        parse_samples("0:100 2:1 5:2 6:3"),
        [6],
    ),
    Example(
        "at its lower edge it is open",
        telemetry_rule(when='max_over(x, "5s") < 5'),
        parse_samples("0:9 1:1 5:1"),
        [5],
    ),
    Example(
        "unknown until 5s after the first known sample",
        telemetry_rule(when='mean(x, "5s") > 0'),
        parse_samples("0:- 1:1 2:1 5:1 5.9:1 6:1"),
        [6],
    ),
    Example(
        "a gap does not reset that",
        telemetry_rule(when='count(x, "5s") == 1'),
        parse_samples("0:1 1:1 2:1 50:1"),
        [50],
    ),
    Example(
        "of this key",
        telemetry_rule(when='sum_over(x, "3s") == 2', by="k"),
        [
            event_at(0, x=1, k=1),
            event_at(1, x=1, k=2),
            event_at(2, x=1, k=1),
            event_at(3, x=1, k=1),
            event_at(4, x=1, k=2),
        ],
        [("1", 3)],
    ),
    Example(
        "that pass where",
        telemetry_rule(when='sum_over(x, "3s") == 2', where="x < 5"),
        parse_samples("0:1 1:9 2:1 3:1"),
        [3],
    ),
    Example(
        "last=3 holds three evaluations",
        telemetry_rule(when="mean(x, last=3) == 2"),
        parse_samples("0:1 1:2 2:- 3:3 4:1"),
        [3],
    ),
    Example(
        "delta, from the first to the last sample of it",
        telemetry_rule(when='delta(x, "4s") == 3'),
        parse_samples("0:0 2:1 3:2 4:4"),
        [4],
    ),
    Example(
        "slope is per second",
        telemetry_rule(when='slope(x, "4s") == 0.5'),
        parse_samples("0:0 2:1 4:2 6:3"),
        [4],
    ),
    Example(
        "previous and changed look at the last known sample",
        telemetry_rule(when="changed(x)"),
        parse_samples("0:1 1:- 2:1 3:2 4:2"),
        [3],
    ),
    Example(
        "streak counts true evaluations, unknown ones left out",
        telemetry_rule(when="streak(x > 3) >= 3"),
        parse_samples("0:5 1:1 2:5 3:5 4:- 5:5"),
        [5],
    ),
    Example(
        "over a read it holds that topic's own samples",
        telemetry_rule(when='count(wind.x, "4s") == 3', reads={"wind": Lookup(WIND)}),
        [*parse_samples("0:1 1:1 2:1 4:1", WIND), *parse_samples("4.5:0")],
        [4.5],
    ),
    Example(
        "of which the rule has let pass only some",
        telemetry_rule(
            when='count(wind.x, "4s") == 2', reads={"wind": Lookup(WIND, Expression("x > 0"))}
        ),
        [*parse_samples("0:1 1:-1 2:1 4:1", WIND), *parse_samples("4.5:0")],
        [4.5],
    ),
    Example(
        "a packed array is a series of its own, evenly up to its event",
        telemetry_rule(when='sum_over(packed(a, "2s"), "3s") == 9'),
        [event_at(0, a=[1, 2]), event_at(2, a=[3, 4])],
        [2],
    ),
    Example(
        "a flattened one too, without its unknown elements",
        telemetry_rule(when='sum_over(packed(a, "2s"), "3s") == 9'),
        [event_at(0, a0=1, a1=2, a2=NAN), event_at(2, a0=3, a1=4)],
        [2],
    ),
    Example(
        "a direction has no jump at north",
        telemetry_rule(when="abs(angle_diff(mean_angle(x, last=2), 0)) < 1"),
        parse_samples("0:10 1:100 2:355 3:5"),
        [3],
    ),
    Example(
        "directions that cancel have no mean",
        telemetry_rule(when="mean_angle(x, last=2) >= 0"),
        parse_samples("0:0 1:180 2:180"),
        [2],
    ),
    Example(
        "age is in seconds",
        telemetry_rule(when="age(wind) >= 3", reads={"wind": Lookup(WIND)}),
        [*parse_samples("0:1", WIND), *parse_samples("1:0 3:0")],
        [3],
    ),
    Example(
        "of what is stale it is unknown",
        telemetry_rule(when="age(wind) >= 1", reads={"wind": Lookup(WIND, None, 2 * SECOND)}),
        [
            *parse_samples("0:1", WIND),
            *parse_samples("3:0"),
            *parse_samples("4:1", WIND),
            *parse_samples("5.5:0"),
        ],
        [5.5],
    ),
]
