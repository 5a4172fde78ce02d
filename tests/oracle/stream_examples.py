"""Absence, sequences, keys, lateness and clocks: one example and more for each sentence."""

from __future__ import annotations

from catcher.model.rule import Expression, Rule, TriggerSpec
from catcher.model.time import SECOND
from tests.oracle.example_builders import (
    Example,
    event_at,
    event_rule,
    parse_samples,
    sequence_rule,
    telemetry_rule,
)
from tests.oracle.streams import MAIN, OTHER

ABSENCE_RULE = Rule("rule", TriggerSpec("absent", MAIN, hold=10 * SECOND))

ABSENT_EXAMPLES = [
    Example("once at last message + for", ABSENCE_RULE,
            [*parse_samples("0:1 4:1"), event_at(100, OTHER)], [14]),
    Example("before any, from the first event of all",
            ABSENCE_RULE,
            [event_at(3, OTHER), event_at(100, OTHER)], [13]),
    Example("armed again by a message", ABSENCE_RULE,
            [*parse_samples("0:1 25:1"), event_at(100, OTHER)], [10, 35]),
    Example("any message counts, one without values too",
            ABSENCE_RULE,
            [*parse_samples("0:1 9:-"), event_at(18, OTHER)]),
    Example("a message of the very instant comes before the timer",
            ABSENCE_RULE, parse_samples("0:1 10:1 15:1")),
]  # fmt: skip

SEQUENCE_EXAMPLES = [
    Example(
        "fires at the event that fits the last step, the earlier ones in order before it",
        sequence_rule((MAIN, "x == 1"), (OTHER, "x == 2"), within="10s"),
        [
            *parse_samples("0:1"),
            event_at(5, OTHER, x=2),
            *parse_samples("6:2"),
            event_at(7, OTHER, x=2),
        ],
        [5],
    ),
    Example(
        "the first not longer than within ago",
        sequence_rule((MAIN, "x == 1"), (MAIN, "x == 2"), within="10s"),
        parse_samples("0:1 10.5:2 20:1 30:2"),
        [30],
    ),
    Example(
        "any choice of earlier events will do, not only the first",
        sequence_rule((MAIN, "x == 1"), (MAIN, "x == 2"), (MAIN, "x == 3"), within="10s"),
        parse_samples("0:1 5:1 6:2 12:3"),
        [12],
    ),
    Example(
        "not in the wrong order",
        sequence_rule((MAIN, "x == 1"), (MAIN, "x == 2"), within="10s"),
        parse_samples("0:2 1:1"),
    ),
    Example(
        "since the last firing",
        sequence_rule((MAIN, "x == 1"), (MAIN, "x == 2"), within="10s"),
        parse_samples("0:1 1:2 2:2 3:1 4:2"),
        [1, 4],
    ),
    Example(
        "one event is one step only",
        sequence_rule((MAIN, "x > 0"), (MAIN, "x > 0"), within="10s"),
        parse_samples("0:1 1:1 2:1 3:1"),
        [1, 3],
    ),
    Example(
        "apart per key",
        sequence_rule((MAIN, "x == 1"), (MAIN, "x == 2"), within="10s", by="k"),
        [event_at(0, x=1, k=1), event_at(1, x=2, k=2), event_at(2, x=2, k=1)],
        [("1", 2)],
    ),
]

KEY_EXAMPLES = [
    Example(
        "keeps all of this apart per value",
        telemetry_rule(when="x > 3", by="k"),
        [
            event_at(0, x=5, k=1),
            event_at(1, x=5, k=2),
            event_at(2, x=5, k=1.0),
            event_at(3, x=1, k=1),
            event_at(4, x=5, k=1),
        ],
        [("1", 0), ("2", 1), ("1", 4)],
    ),
    Example(
        "holds too",
        telemetry_rule(when="x > 3", by="k", hold="4s"),
        [
            event_at(0, x=5, k=1),
            event_at(1, x=5, k=2),
            event_at(2, x=1, k=2),
            event_at(3, x=5, k=1),
            event_at(9, OTHER),
        ],
        [("1", 4)],
    ),
    Example(
        "a key is forgotten: it is armed anew",
        telemetry_rule(when="x > 3", by="k", forget_after="10s"),
        [
            event_at(0, x=5, k=1),
            event_at(9, x=5, k=1),
            event_at(19, x=5, k=1),
            event_at(30, x=5, k=1),
        ],
        [("1", 0), ("1", 30)],
    ),
    Example(
        "and its windows are empty",
        telemetry_rule(when='count(x, "4s") == 1', by="k", every="1s", forget_after="10s"),
        [
            event_at(0, x=5, k=1),
            event_at(4, x=5, k=1),
            event_at(15, x=5, k=1),
            event_at(19, x=5, k=1),
        ],
        [("1", 4), ("1", 19)],
    ),
    Example(
        "an edge whose once_per is used up stays armed",
        telemetry_rule(when="x > 3", once_per="name"),
        [
            event_at(0, x=5, name="a"),
            event_at(1, x=1, name="a"),
            event_at(2, x=5, name="a"),
            event_at(3, x=5, name="b"),
            event_at(4, x=5, name="c"),
        ],
        [0, 3],
    ),
    Example(
        "a hold whose instant came without a once_per waits for a true sample",
        telemetry_rule(when="x > 3", hold="3s", once_per="name"),
        [
            event_at(0, x=5, name="a"),
            event_at(1, x=5, name="a"),
            event_at(2, x=5),
            event_at(30, y=1, name="b"),
            event_at(50, OTHER),
        ],
    ),
    Example(
        "what was sent before a silence was found, and came after, does not end it",
        Rule("rule", TriggerSpec("absent", MAIN, hold=2 * SECOND, by=Expression("k"))),
        [event_at(0, k=1), event_at(9, k=2), event_at(1, k=1), event_at(30, OTHER)],
        [("1", 2), ("2", 11)],
    ),
    Example(
        "silence of each key",
        Rule("rule", TriggerSpec("absent", MAIN, hold=10 * SECOND, by=Expression("k"))),
        [event_at(0, k=1), event_at(5, k=2), event_at(11, k=2), event_at(30, OTHER)],
        [("1", 10), ("2", 21)],
    ),
]

LATE_EXAMPLES = [
    Example(
        "a late sample stays out of edges",
        telemetry_rule(when="x > 3"),
        parse_samples("5:5 3:1 6:5"),
        [5],
    ),
    Example(
        "out of holds",
        telemetry_rule(when="x > 3", hold="5s"),
        [*parse_samples("0:5 3:5 2:1 4:5"), event_at(9, OTHER)],
        [5],
    ),
    Example(
        "out of windows",
        telemetry_rule(when='sum_over(x, "4s") == 2'),
        parse_samples("0:1 3:1 2:7 4:1"),
        [4],
    ),
    Example(
        "out of sequences",
        sequence_rule((MAIN, "x == 1"), (MAIN, "x == 2"), within="9s"),
        parse_samples("5:0 3:1 6:2"),
    ),
    Example(
        "plain event triggers fire for it",
        event_rule(where="x > 3"),
        parse_samples("5:5 3:5 6:5"),
        [3, 5, 6],
    ),
    Example(
        "late is what admission called late",
        telemetry_rule(when="x > 3"),
        [*parse_samples("0:1"), event_at(5, late=True, x=5), *parse_samples("6:5")],
        [6],
    ),
    Example(
        "another topic's later event makes nothing late",
        telemetry_rule(when="x > 3"),
        [event_at(50, OTHER), *parse_samples("3:5")],
        [3],
    ),
]

CLOCK_EXAMPLES = [
    Example(
        "bare every counts from the epoch",
        Rule("rule", TriggerSpec("every", every=20 * SECOND)),
        [event_at(0), event_at(55)],
        [12.75, 32.75, 52.75],
    ),
    Example(
        "a schedule in its zone",
        Rule("rule", TriggerSpec("schedule", schedule="58 19 * * *", zone="America/Santiago")),
        [event_at(-10), event_at(60)],
        [-7.25],
    ),
    Example(
        "every minute",
        Rule("rule", TriggerSpec("schedule", schedule="* * * * *")),
        [event_at(0), event_at(120)],
        [52.75, 112.75],
    ),
    Example(
        "midnight of Greenwich, not of anywhere else",
        Rule("rule", TriggerSpec("schedule", schedule="0 0 * * *")),
        [event_at(0), event_at(120)],
        [112.75],
    ),
    Example(
        "eight in the evening in Chile is midnight in Greenwich in April",
        Rule("rule", TriggerSpec("schedule", schedule="0 20 * * *", zone="America/Santiago")),
        [event_at(0), event_at(120)],
        [112.75],
    ),
    Example(
        "any is the union",
        Rule(
            "rule",
            TriggerSpec(
                "any",
                any=(
                    TriggerSpec("event", MAIN, where=Expression("x > 3")),
                    TriggerSpec("absent", OTHER, hold=10 * SECOND),
                ),
            ),
        ),
        parse_samples("0:5 1:1 20:5"),
        [0, 10, 20],
    ),
]
