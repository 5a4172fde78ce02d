"""A rule as written: one frozen tree of what to watch, what to run, whom to notify."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from catcher.model.alert import Severity
from catcher.model.errors import SourceLocation
from catcher.model.time import MINUTE, Span

TriggerKind = Literal[
    "event", "telemetry", "result", "absent", "sequence", "schedule", "every", "http", "any"
]


@dataclass(frozen=True, slots=True)
class Expression:
    """The text of an expression and the location of its first character."""

    text: str
    location: SourceLocation = field(default=SourceLocation(), compare=False)


@dataclass(frozen=True, slots=True)
class SequenceStep:
    """One step of a sequence: an event of `topic` that passes `where`."""

    topic: str
    where: Expression | None = None


@dataclass(frozen=True, slots=True)
class TriggerSpec:
    """When a rule fires. Which attributes have a meaning depends on `kind`.

    `topic` is what the trigger listens to: the topic of `event`, `telemetry` and `absent`,
    `catcher.RULE` for `result`, `catcher.http.NAME` for `http`. `hold` is `for`, `clear_hold`
    is `clear_for`. For `absent`, `hold` is its `for`. `every` alone makes the kind `every`.
    """

    kind: TriggerKind
    topic: str = ""
    where: Expression | None = None
    when: Expression | None = None
    clear: Expression | None = None
    hold: Span | None = None
    clear_hold: Span | None = None
    every: Span | None = None
    by: Expression | None = None
    once_per: Expression | None = None
    stale_after: Span = MINUTE
    on_recovery: Literal["ignore", "fire"] = "ignore"
    forget_after: Span | None = None
    steps: tuple[SequenceStep, ...] = ()
    within: Span | None = None
    schedule: str = ""
    zone: str = "UTC"
    catch_up: Literal["run", "skip"] = "skip"
    any: tuple[TriggerSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Lookup:
    """Another topic's latest event as of now, under a name in the rule's expressions."""

    topic: str
    where: Expression | None = None
    max_age: Span | None = None


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One argument of a job, fetched when it runs. Exactly one way of asking is set.

    Telemetry: `topic` with `last`, `during` (an observation kind) or `start`/`end` (`from` and
    `to`, expressions in seconds). A metric of earlier runs: `metric`, `of`, `last`. An image:
    `image` names the observation kind. `packed` names the clock of a packed series, `max_wait`
    is how long telemetry may be waited for.
    """

    topic: str = ""
    fields: tuple[str, ...] = ()
    where: Expression | None = None
    last: Span | None = None
    during: str = ""
    start: Expression | None = None
    end: Expression | None = None
    packed: str = ""
    max_wait: Span | None = None
    metric: str = ""
    of: str = ""
    image: str = ""


DETECTOR = "detector"
"""The value of `each` for the detectors of one image; others are kinds of observation."""
OverlapKind = Literal["queue", "latest", "skip", "parallel"]


@dataclass(frozen=True, slots=True)
class OverlapPolicy:
    """What happens to a firing while the rule's earlier run is still running."""

    kind: OverlapKind = "queue"
    concurrency: int = 1


@dataclass(frozen=True, slots=True)
class GatherSpec:
    """A second job over the results of all parts, when all are in or `max_wait` has passed."""

    run: str
    max_wait: Span | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a rule runs. `arguments` is `with`, its durations already in seconds.

    `each` splits a run into parts: `detector`, or a kind of observation, limited to those that
    began within `last` before the firing. With `keep_inputs` the telemetry that a run read is
    stored with its artifacts, for when no history has it any more.
    """

    run: str
    inputs: Mapping[str, InputSpec] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    timeout: Span = MINUTE
    retry: int = 0
    overlap: OverlapPolicy = OverlapPolicy()
    deadline: Span | None = None
    critical: bool = False
    priority: int = 0
    memory: int | None = None
    each: str = ""
    last: Span | None = None
    gather: GatherSpec | None = None
    degraded: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    keep_inputs: bool = False
    location: SourceLocation = field(default=SourceLocation(), compare=False)


@dataclass(frozen=True, slots=True)
class LevelSpec:
    """When an alert has one severity. Without `when` it is `always`."""

    when: Expression | None
    hold: Span | None = None
    clear: Expression | None = None
    clear_hold: Span | None = None


@dataclass(frozen=True, slots=True)
class UnknownSpec:
    """Notification of input that stayed unknown for longer than `after`."""

    severity: Severity
    after: Span = 0


@dataclass(frozen=True, slots=True)
class AlertSpec:
    """Whom to notify, at which severity, and with which message."""

    levels: Mapping[Severity, LevelSpec]
    per: Expression | None = None
    message: str = ""
    message_location: SourceLocation = field(default=SourceLocation(), compare=False)
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
    """One YAML document: what to watch, what to run, whom to notify."""

    id: str
    trigger: TriggerSpec
    about: str = ""
    owner: str = ""
    runbook: str = ""
    tags: tuple[str, ...] = ()
    enabled: bool = True
    shadow: bool = False
    reads: Mapping[str, Lookup] = field(default_factory=dict)
    let: Mapping[str, Expression] = field(default_factory=dict)
    job: JobSpec | None = None
    alert: AlertSpec | None = None
    expect: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    tests: tuple[Mapping[str, Any], ...] = ()
    location: SourceLocation = field(default=SourceLocation(), compare=False)

    @property
    def constants(self) -> Mapping[str, Any]:
        """The `with` names, which expressions may use."""
        return self.job.arguments if self.job else {}
