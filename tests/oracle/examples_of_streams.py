"""Absence, sequences, keys, lateness and clocks: one example and more for each sentence."""

from __future__ import annotations

from catcher.model.rule import Expr, Rule, Trigger
from catcher.model.time import SECOND
from tests.oracle.streams import MAIN, OTHER
from tests.oracle.wording import (
    Example,
    at,
    event,
    sequence,
    telemetry,
    xs,
)

SILENT = Rule("rule", Trigger("absent", MAIN, hold=10 * SECOND))

ABSENT = [
    Example("once at last message + for", SILENT,
            [*xs("0:1 4:1"), at(100, OTHER)], [14]),
    Example("before any, from the first event of all",
            SILENT,
            [at(3, OTHER), at(100, OTHER)], [13]),
    Example("armed again by a message", SILENT,
            [*xs("0:1 25:1"), at(100, OTHER)], [10, 35]),
    Example("any message counts, one without values too",
            SILENT,
            [*xs("0:1 9:-"), at(18, OTHER)]),
    Example("a message of the very instant comes before the timer",
            SILENT, xs("0:1 10:1 15:1")),
]  # fmt: skip

SEQUENCE = [
    Example("fires at the event that fits the last step, the earlier ones in order before it",
            sequence((MAIN, "x == 1"), (OTHER, "x == 2"), within="10s"),
            [*xs("0:1"), at(5, OTHER, x=2), *xs("6:2"), at(7, OTHER, x=2)], [5]),
    Example("the first not longer than within ago",
            sequence((MAIN, "x == 1"), (MAIN, "x == 2"), within="10s"),
            xs("0:1 10.5:2 20:1 30:2"), [30]),
    Example("any choice of earlier events will do, not only the first",
            sequence((MAIN, "x == 1"), (MAIN, "x == 2"), (MAIN, "x == 3"), within="10s"),
            xs("0:1 5:1 6:2 12:3"), [12]),
    Example("not in the wrong order", sequence((MAIN, "x == 1"), (MAIN, "x == 2"), within="10s"),
            xs("0:2 1:1")),
    Example("since the last firing", sequence((MAIN, "x == 1"), (MAIN, "x == 2"), within="10s"),
            xs("0:1 1:2 2:2 3:1 4:2"), [1, 4]),
    Example("one event is one step only", sequence((MAIN, "x > 0"), (MAIN, "x > 0"), within="10s"),
            xs("0:1 1:1 2:1 3:1"), [1, 3]),
    Example("apart per key", sequence((MAIN, "x == 1"), (MAIN, "x == 2"), within="10s", by="k"),
            [at(0, x=1, k=1), at(1, x=2, k=2), at(2, x=2, k=1)], [("1", 2)]),
]  # fmt: skip

BY = [
    Example("keeps all of this apart per value", telemetry(when="x > 3", by="k"),
            [at(0, x=5, k=1), at(1, x=5, k=2), at(2, x=5, k=1.0), at(3, x=1, k=1), at(4, x=5, k=1)],
            [("1", 0), ("2", 1), ("1", 4)]),
    Example("holds too", telemetry(when="x > 3", by="k", hold="4s"),
            [at(0, x=5, k=1), at(1, x=5, k=2), at(2, x=1, k=2), at(3, x=5, k=1), at(9, OTHER)],
            [("1", 4)]),
    Example("a key is forgotten: it is armed anew", telemetry(when="x > 3", by="k",
                                                              forget_after="10s"),
            [at(0, x=5, k=1), at(9, x=5, k=1), at(19, x=5, k=1), at(30, x=5, k=1)],
            [("1", 0), ("1", 30)]),
    Example("and its windows are empty", telemetry(when='count(x, "4s") == 1', by="k", every="1s",
                                                   forget_after="10s"),
            [at(0, x=5, k=1), at(4, x=5, k=1), at(15, x=5, k=1), at(19, x=5, k=1)],
            [("1", 4), ("1", 19)]),
    Example("an edge whose once_per is used up stays armed", telemetry(when="x > 3",
                                                                       once_per="name"),
            [at(0, x=5, name="a"), at(1, x=1, name="a"), at(2, x=5, name="a"),
             at(3, x=5, name="b"), at(4, x=5, name="c")], [0, 3]),
    Example("a hold whose instant came without a once_per waits for a true sample",
            telemetry(when="x > 3", hold="3s", once_per="name"),
            [at(0, x=5, name="a"), at(1, x=5, name="a"), at(2, x=5), at(30, y=1, name="b"),
             at(50, OTHER)]),
    Example("what was sent before a silence was found, and came after, does not end it",
            Rule("rule", Trigger("absent", MAIN, hold=2 * SECOND, by=Expr("k"))),
            [at(0, k=1), at(9, k=2), at(1, k=1), at(30, OTHER)], [("1", 2), ("2", 11)]),
    Example("silence of each key", Rule("rule", Trigger("absent", MAIN, hold=10 * SECOND,
                                                        by=Expr("k"))),
            [at(0, k=1), at(5, k=2), at(11, k=2), at(30, OTHER)], [("1", 10), ("2", 21)]),
]  # fmt: skip

LATE = [
    Example("a late sample stays out of edges", telemetry(when="x > 3"), xs("5:5 3:1 6:5"), [5]),
    Example("out of holds", telemetry(when="x > 3", hold="5s"),
            [*xs("0:5 3:5 2:1 4:5"), at(9, OTHER)], [5]),
    Example("out of windows", telemetry(when='sum_over(x, "4s") == 2'),
            xs("0:1 3:1 2:7 4:1"), [4]),
    Example("out of sequences", sequence((MAIN, "x == 1"), (MAIN, "x == 2"), within="9s"),
            xs("5:0 3:1 6:2")),
    Example("plain event triggers fire for it", event(where="x > 3"), xs("5:5 3:5 6:5"), [3, 5, 6]),
    Example("late is what admission called late", telemetry(when="x > 3"),
            [*xs("0:1"), at(5, late=True, x=5), *xs("6:5")], [6]),
    Example("another topic's later event makes nothing late", telemetry(when="x > 3"),
            [at(50, OTHER), *xs("3:5")], [3]),
]  # fmt: skip

CLOCKS = [
    Example("bare every counts from the epoch", Rule("rule", Trigger("every", every=20 * SECOND)),
            [at(0), at(55)], [12.75, 32.75, 52.75]),
    Example("a schedule in its zone",
            Rule("rule", Trigger("schedule", schedule="58 19 * * *", zone="America/Santiago")),
            [at(-10), at(60)], [-7.25]),
    Example("every minute", Rule("rule", Trigger("schedule", schedule="* * * * *")),
            [at(0), at(120)], [52.75, 112.75]),
    Example("midnight of Greenwich, not of anywhere else",
            Rule("rule", Trigger("schedule", schedule="0 0 * * *")), [at(0), at(120)], [112.75]),
    Example("eight in the evening in Chile is midnight in Greenwich in April",
            Rule("rule", Trigger("schedule", schedule="0 20 * * *", zone="America/Santiago")),
            [at(0), at(120)], [112.75]),
    Example("any is the union",
            Rule("rule", Trigger("any", any=(Trigger("event", MAIN, where=Expr("x > 3")),
                                             Trigger("absent", OTHER, hold=10 * SECOND)))),
            xs("0:5 1:1 20:5"), [0, 10, 20]),
]  # fmt: skip
