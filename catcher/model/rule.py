"""A rule as it was written: one frozen tree of what to watch, what to run, whom to tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from catcher.model.alert import Severity
from catcher.model.problem import Place
from catcher.model.time import MINUTE, Span

TriggerKind = Literal[
    "event", "telemetry", "result", "absent", "sequence", "schedule", "every", "http", "any"
]


@dataclass(frozen=True, slots=True)
class Expr:
    """The text of an expression and where its first character stands."""

    text: str
    place: Place = field(default=Place(), compare=False)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a sequence: an event of `topic` that passes `where`."""

    topic: str
    where: Expr | None = None


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a rule fires. Which attributes have a meaning depends on `kind`.

    `topic` is what the trigger listens to: the topic of `event`, `telemetry` and `absent`,
    `catcher.RULE` for `result`, `catcher.http.NAME` for `http`. `hold` is `for`, `clear_hold`
    is `clear_for`. For `absent`, `hold` is its `for`. `every` alone makes the kind `every`.
    """

    kind: TriggerKind
    topic: str = ""
    where: Expr | None = None
    when: Expr | None = None
    clear: Expr | None = None
    hold: Span | None = None
    clear_hold: Span | None = None
    every: Span | None = None
    by: Expr | None = None
    once_per: Expr | None = None
    stale_after: Span = MINUTE
    on_recovery: Literal["ignore", "fire"] = "ignore"
    forget_after: Span | None = None
    steps: tuple[Step, ...] = ()
    within: Span | None = None
    schedule: str = ""
    zone: str = "UTC"
    catch_up: Literal["run", "skip"] = "skip"
    any: tuple[Trigger, ...] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """Another topic's latest event as of now, under a name in the rule's expressions."""

    topic: str
    where: Expr | None = None
    max_age: Span | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """One argument of a job, fetched when it runs. Exactly one way of asking is set.

    Telemetry: `topic` with `last`, `during` (an observation kind) or `start`/`end` (`from` and
    `to`, expressions in seconds). A metric of earlier runs: `metric`, `of`, `last`. An image:
    `image` names the observation kind. `packed` names the clock of a packed series, `patience`
    is how long telemetry may be waited for.
    """

    topic: str = ""
    fields: tuple[str, ...] = ()
    where: Expr | None = None
    last: Span | None = None
    during: str = ""
    start: Expr | None = None
    end: Expr | None = None
    packed: str = ""
    patience: Span | None = None
    metric: str = ""
    of: str = ""
    image: str = ""


DETECTOR = "detector"
"""What `each` says of the parts of one image; anything else is a kind of observation."""
OverlapKind = Literal["queue", "latest", "skip", "parallel"]


@dataclass(frozen=True, slots=True)
class Overlap:
    """What happens to a firing while the rule's earlier run still goes on."""

    kind: OverlapKind = "queue"
    width: int = 1


@dataclass(frozen=True, slots=True)
class Gather:
    """A second job over the results of all parts, when all are in or `patience` is over."""

    run: str
    patience: Span | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a rule runs. `arguments` is `with`, its durations already in seconds.

    `each` splits a run into parts: `detector`, or a kind of observation, of which those are meant
    that began within `last` before the firing. With `keep_inputs` the telemetry that a run read is
    kept with its artifacts, for when no history has it any more.
    """

    run: str
    inputs: Mapping[str, Input] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    timeout: Span = MINUTE
    retry: int = 0
    overlap: Overlap = Overlap()
    deadline: Span | None = None
    critical: bool = False
    priority: int = 0
    memory: int | None = None
    each: str = ""
    last: Span | None = None
    gather: Gather | None = None
    degraded: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    keep_inputs: bool = False
    place: Place = field(default=Place(), compare=False)


@dataclass(frozen=True, slots=True)
class LevelSpec:
    """When an alert stands at one severity. Without `when` it is `always`."""

    when: Expr | None
    hold: Span | None = None
    clear: Expr | None = None
    clear_hold: Span | None = None


@dataclass(frozen=True, slots=True)
class UnknownSpec:
    """Telling about input that stayed unknown for longer than `after`."""

    severity: Severity
    after: Span = 0


@dataclass(frozen=True, slots=True)
class AlertSpec:
    """Whom to tell, how loud, and in which words."""

    levels: Mapping[Severity, LevelSpec]
    per: Expr | None = None
    message: str = ""
    message_place: Place = field(default=Place(), compare=False)
    attach: str = ""
    expires: Span | None = None
    lasts: Span | None = None
    latch: Severity = Severity.SERIOUS
    failed: Severity | None = None
    unknown: UnknownSpec | None = None
    to: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One YAML document: what to watch, what to run, whom to tell."""

    id: str
    trigger: Trigger
    about: str = ""
    owner: str = ""
    runbook: str = ""
    tags: tuple[str, ...] = ()
    enabled: bool = True
    shadow: bool = False
    reads: Mapping[str, Read] = field(default_factory=dict)
    let: Mapping[str, Expr] = field(default_factory=dict)
    job: JobSpec | None = None
    alert: AlertSpec | None = None
    expect: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    tests: tuple[Mapping[str, Any], ...] = ()
    place: Place = field(default=Place(), compare=False)

    @property
    def constants(self) -> Mapping[str, Any]:
        """The `with` names, which expressions may use."""
        return self.job.arguments if self.job else {}
