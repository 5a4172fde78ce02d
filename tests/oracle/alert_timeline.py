"""One alert, worked through all that it hears of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

from catcher.model.alert import Severity
from catcher.model.rule import AlertSpec, LevelSpec, Rule
from catcher.model.time import MINUTE
from tests.oracle.expression_evaluator import evaluate_truth, has_time_functions
from tests.oracle.functions import UnknownType
from tests.oracle.holds import compute_silence
from tests.oracle.oracle import iter_truths
from tests.oracle.recording import Downtimes
from tests.oracle.sample_context import SampleContext

TIMED_TRIGGER_KINDS = ("event", "sequence", "result", "http", "schedule", "every")


class AlertInput(Protocol):
    """Something that an alert hears of; `levels` says what there is."""

    @property
    def time(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def context(self) -> SampleContext | None: ...
    @property
    def sort_key(self) -> tuple[int, float, int]: ...


@dataclass
class _LevelTracker:
    """One severity of one alert: what it has heard since it was last reset.

    Results are sparse by nature: between them no silence breaks a hold but the one after which
    they expire (without that, `stale_after` is None).
    """

    spec: LevelSpec
    stale_after: int | None
    downtimes: Downtimes
    evaluations: list[tuple[int, bool | UnknownType, bool | UnknownType]] = field(
        default_factory=list
    )
    is_active: bool = False
    last_true_time: int = 0

    def reset(self) -> None:
        self.is_active = False
        self.evaluations.clear()

    def process_sample(self, context: SampleContext) -> None:
        if self.spec.when is None:
            return
        [(is_true, is_cleared, _)] = iter_truths(self.spec.when, self.spec.clear, [context])
        self.evaluations.append((context.time, is_true, is_cleared))
        if is_true is True:
            self.last_true_time = context.time
        if not self.is_active and self._has_held(1, self.spec.hold):
            self.is_active = True
            self.evaluations.clear()
        elif self.is_active and self._has_held(2, self.spec.clear_hold):
            self.is_active = False
            self.evaluations.clear()

    def process_late_sample(self, context: SampleContext) -> None:
        """It raises what looks at nothing but this event; it clears nothing."""
        spec = self.spec
        if spec.when is None or spec.hold is not None or has_time_functions(spec.when.text):
            return
        [(is_true, _, _)] = iter_truths(spec.when, spec.clear, [context])
        if is_true is True:
            self.is_active, self.last_true_time = True, max(self.last_true_time, context.time)

    def _has_held(self, column: int, hold: int | None) -> bool:
        """Whether a truth has now been heard, without a known break, for as long as asked."""
        if self.evaluations[-1][column] is not True:
            return False
        first_time = self.evaluations[-1][0]
        for time, *truths in reversed(self.evaluations):
            truth_value = truths[column - 1]
            if truth_value is False or (
                truth_value is True and self._is_stale_gap(time, first_time)
            ):
                break
            if truth_value is True:
                first_time = time
        return self.evaluations[-1][0] - first_time >= (hold or 0)

    def _is_stale_gap(self, since: int, until: int) -> bool:
        return self.stale_after is not None and compute_silence(since, until, self.downtimes) > (
            self.stale_after
        )


class AlertTimeline:
    """The levels of one alert, worked through its happenings in order."""

    def __init__(self, rule: Rule, spec: AlertSpec, downtimes: Downtimes) -> None:
        stale_after = spec.expires if rule.job else rule.trigger.stale_after
        self.levels = {
            severity: _LevelTracker(spec.levels[severity], stale_after, downtimes)
            for severity in sorted(spec.levels, reverse=True)
        }
        self.lasts = spec.lasts
        if self.lasts is None and rule.trigger.kind in TIMED_TRIGGER_KINDS:
            self.lasts = 10 * MINUTE
        self.expires = spec.expires
        self.failed_severity = spec.failed
        self.downtimes = downtimes
        self.last_sample_time = 0
        self.failed_at: int | None = None
        self.is_unknown = False

    def iter_changes(
        self, alert_inputs: Sequence[AlertInput], end: int
    ) -> Iterator[tuple[int, Severity, bool]]:
        """What is said of it: instant, severity, and whether it cannot be judged."""
        reported = (Severity.NONE, False)
        for time in self._iter_instants(alert_inputs, end):
            if (self.severity, self.is_unknown) != reported:
                reported = (self.severity, self.is_unknown)
                yield time, *reported

    def _iter_instants(self, alert_inputs: Sequence[AlertInput], end: int) -> Iterator[int]:
        """Works through the story; yields the time after each event and after each end."""
        for (stream_time, _), group in groupby(
            alert_inputs, key=lambda alert_input: alert_input.sort_key[:2]
        ):
            yield from self._expire_until(stream_time - 1)
            for alert_input in group:
                self._process_input(alert_input)
            yield alert_input.time
        yield from self._expire_until(end)

    def _expire_until(self, until: int) -> Iterator[int]:
        """What drops by itself up to an instant, one instant after the other."""
        while (due_times := self._list_due_times()) and min(due_times) <= until:
            self._expire_at(min(due_times))
            yield min(due_times)

    def _list_due_times(self) -> list[int]:
        active_levels = [level for level in self.levels.values() if level.is_active]
        due_times: list[int] = []
        if self.lasts is not None:
            due_times += [level.last_true_time + self.lasts for level in active_levels]
            due_times += [self.failed_at + self.lasts] if self.failed_at is not None else []
            due_times += (
                [self.last_sample_time + self.lasts] if self.is_unknown and not due_times else []
            )
        if self.expires is not None:
            due_times += (
                [self._compute_expiry(self.last_sample_time)]
                if active_levels or self.is_unknown
                else []
            )
            due_times += (
                [self._compute_expiry(self.failed_at)] if self.failed_at is not None else []
            )
        return due_times

    def _compute_expiry(self, since: int) -> int:
        """Downtime is unobserved: that no result came then says nothing."""
        assert self.expires is not None
        due = since + self.expires
        for stopped, resumed in self.downtimes:
            if since < resumed and stopped < due:
                due = resumed + self.expires
        return due

    def _expire_at(self, instant: int) -> None:
        if self.expires is not None and self._compute_expiry(self.last_sample_time) <= instant:
            self._reset_levels()
        if self.failed_at is not None:
            has_lasted = self.lasts is not None and self.failed_at + self.lasts <= instant
            if has_lasted or (
                self.expires is not None and self._compute_expiry(self.failed_at) <= instant
            ):
                self.failed_at = None
        if self.lasts is not None:
            for level in self.levels.values():
                if level.is_active and level.last_true_time + self.lasts <= instant:
                    level.reset()
            if self.severity is Severity.NONE:
                self.is_unknown = False

    def _reset_levels(self) -> None:
        self.is_unknown = False
        for level in self.levels.values():
            level.reset()

    def _process_input(self, alert_input: AlertInput) -> None:
        match alert_input.kind, alert_input.context:
            case "feed", SampleContext() as context:
                self._process_sample(context)
            case "late", SampleContext() as context:
                for level in self.levels.values():
                    level.process_late_sample(context)
            case "failed", _:
                self.failed_at = alert_input.time if self.failed_severity is not None else None
            case "firing", _:
                for level in self.levels.values():
                    if level.spec.when is None:
                        level.is_active, level.last_true_time = True, alert_input.time
            case "recovered", _:
                for level in self.levels.values():
                    if level.spec.when is None:
                        level.reset()
            case ("armed" | "false" | "forgotten") as kind, _:
                self.failed_at, self.is_unknown = None, False
                for level in self.levels.values():
                    if kind != "false" or level.spec.when is not None:
                        level.reset()

    def _process_sample(self, context: SampleContext) -> None:
        if self.expires is not None and context.time > self._compute_expiry(self.last_sample_time):
            self._reset_levels()
        self.last_sample_time, self.failed_at = context.time, None
        for level in self.levels.values():
            level.process_sample(context)
        self.is_unknown = self._is_undecidable(context)

    def _is_undecidable(self, context: SampleContext) -> bool:
        """From the most severe level down, the first whose `when` is not false decides."""
        for level in self.levels.values():
            if level.spec.when is None:
                if level.is_active:
                    return False
                continue
            when_value = evaluate_truth(level.spec.when.text, context)
            if when_value is not False:
                return isinstance(when_value, UnknownType)
        return False

    @property
    def severity(self) -> Severity:
        """The highest level that holds."""
        active_severities = [severity for severity, level in self.levels.items() if level.is_active]
        if self.failed_at is not None and self.failed_severity is not None:
            active_severities.append(self.failed_severity)
        return max(active_severities, default=Severity.NONE)
