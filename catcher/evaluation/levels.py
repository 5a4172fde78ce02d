"""Levels as small triggers: the severity of each alert of one key, and why.

Time advances here only with the input of the levels, except `expires` and `lasts`, which are
timers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from catcher.evaluation.compiled_rule import CompiledLevel
from catcher.evaluation.edge_detector import ClearKind
from catcher.evaluation.level_state import LevelPolicy, LevelState
from catcher.evaluation.timers import Timer
from catcher.expressions.context import EvaluationContext, Fields
from catcher.model.alert import LevelChange, Severity
from catcher.model.time import Instant, Span, format_duration

MAX_ALERTS_PER_KEY = 10_000


@dataclass(frozen=True, slots=True)
class LevelContext:
    """What a level sees at one moment: the current event, the state, where it came from."""

    time: Instant
    fields: Fields
    evaluation: EvaluationContext
    values: Callable[[], dict[str, Any]]
    run: str = ""
    firing: str = ""


EmitChange = Callable[[LevelChange], None]


class AlertLevels:
    """All alerts of one key of one rule."""

    __slots__ = ("_create_timer", "counts", "emit", "key", "policy", "states")

    def __init__(
        self,
        policy: LevelPolicy,
        key: str,
        emit: EmitChange,
        create_timer: Callable[[AlertLevels, LevelState], Timer],
        counts: dict[str, int],
    ) -> None:
        self.policy = policy
        self.key = key
        self.emit = emit
        self.states: dict[str, LevelState] = {}
        self.counts = counts
        self._create_timer = create_timer

    def get_or_create(self, per: str) -> LevelState:
        """Returns the alert of one `per` value, creating it if needed."""
        if per not in self.states:
            if len(self.states) >= MAX_ALERTS_PER_KEY:
                self._evict_stalest_alert()
            self.states[per] = LevelState(per, self.policy.create_level_machines())
            self.states[per].timer = self._create_timer(self, self.states[per])
        return self.states[per]

    def _evict_stalest_alert(self) -> None:
        oldest = min(self.states.values(), key=lambda candidate: candidate.last_input)
        self.counts["alerts_dropped"] += 1
        self._end_alert(oldest, oldest.last_input, "too many alerts of this rule stood at once")

    # -- input ------------------------------------------------------------------------------

    def process_sample(self, per: str, context: LevelContext) -> None:
        """Processes an event or a result, in order of time."""
        level_state = self.get_or_create(per)
        level_state.last_input, level_state.failed_at = context.time, None
        unknown: CompiledLevel | None = None
        is_decided = False
        previous = [level.is_active for level in level_state.levels]
        for compiled, level in zip(self.policy.levels, level_state.levels, strict=True):
            if compiled.when is None:
                is_decided = is_decided or level.is_active
                continue
            when = compiled.when.evaluate(context.fields, context.evaluation)
            level.process_sample(context.time, when, self._evaluate_clear(compiled, when, context))
            if not is_decided and when is None:
                unknown, is_decided = compiled, True
            is_decided = is_decided or when is True
        self._explain_and_emit(level_state, context, unknown, previous)

    def _evaluate_clear(
        self, compiled: CompiledLevel, when: bool | None, context: LevelContext
    ) -> bool | None:
        if compiled.clear is None:
            return None if when is None else not when
        cleared: bool | None = compiled.clear.evaluate(context.fields, context.evaluation)
        return cleared

    def apply_unchanged_samples(self, now: Instant) -> None:
        """Processes events of the only alert up to now with the last truths; nothing changed."""
        level_state = self.get_or_create("")
        level_state.last_input = now
        for level in level_state.levels:
            level.apply_unchanged_samples(now)
        if level_state.timer is not None:
            level_state.timer.set_due(self.next_expiry(level_state))

    def find_next_hold_completion(self) -> Instant | None:
        """Returns the instant from which the same truths change something."""
        return min(
            (
                level.hold_due_at
                for level_state in self.states.values()
                for level in level_state.levels
                if level.hold_due_at is not None
            ),
            default=None,
        )

    def process_late_sample(self, per: str, context: LevelContext) -> None:
        """Processes a late event: raises the levels that it makes true, and does nothing else."""
        level_state = self.get_or_create(per)
        previous = [level.is_active for level in level_state.levels]
        for compiled, level in zip(self.policy.levels, level_state.levels, strict=True):
            is_simple = (
                compiled.when is not None
                and not compiled.when.node.stateful
                and not compiled.spec.hold
            )
            if (
                is_simple
                and compiled.when
                and compiled.when.evaluate(context.fields, context.evaluation) is True
            ):
                level.raise_level(context.time)
        self._explain_and_emit(level_state, context, None, previous, keep_unknown=True)

    def raise_always_levels(self, per: str, context: LevelContext, reason: str) -> None:
        """Raises the levels that are `always`, after a firing."""
        level_state = self.get_or_create(per)
        level_state.last_input = max(level_state.last_input, context.time)
        for compiled, level in zip(self.policy.levels, level_state.levels, strict=True):
            if compiled.when is None:
                level.raise_level(context.time)
        self._emit_if_changed(level_state, context, reason, level_state.reported_unknown)

    def on_job_failed(self, per: str, context: LevelContext, reason: str) -> None:
        """Processes the final failure of the job."""
        level_state = self.get_or_create(per)
        level_state.failed_at = context.time
        self._emit_if_changed(level_state, context, reason, level_state.reported_unknown)

    def on_trigger_cleared(self, reason: str, context: LevelContext, clear_kind: ClearKind) -> None:
        """Clears levels as the trigger is no longer true; `always` ones hold until it is armed."""
        has_recovered = clear_kind == "recovered"
        for level_state in list(self.states.values()):
            level_state.failed_at = level_state.failed_at if has_recovered else None
            for compiled, level in zip(self.policy.levels, level_state.levels, strict=True):
                if clear_kind == "armed" or has_recovered == (compiled.when is None):
                    level.clear()
            self._emit_if_changed(
                level_state, context, reason, has_recovered and level_state.reported_unknown
            )

    # -- expiry -----------------------------------------------------------------------------

    def next_expiry(self, level_state: LevelState) -> Instant | None:
        """Returns when the first of its levels ends by timer."""
        lasts, ends = self.policy.lasts, list[Instant]()
        if lasts is not None:
            ends += [level.last_true + lasts for level in level_state.levels if level.is_active]
            if level_state.failed_at is not None:
                ends.append(level_state.failed_at + lasts)
            if level_state.reported_unknown and not ends:
                ends.append(level_state.last_input + lasts)
        if self.policy.expires is not None and level_state.is_active:
            ends.append(self._result_expires_at(level_state, level_state.last_input))
        if self.policy.expires is not None and level_state.failed_at is not None:
            ends.append(self._result_expires_at(level_state, level_state.failed_at))
        return min(ends, default=None)

    def _result_expires_at(self, level_state: LevelState, since: Instant) -> Instant:
        """Returns when a result, or a failure, has been the last one for too long."""
        return max(since, level_state.resumed_at) + (self.policy.expires or 0)

    def on_expiry_timer(
        self, level_state: LevelState, instant: Instant, context: LevelContext
    ) -> None:
        """Ends what has lasted long enough at a due instant."""
        reason = self._expire_results(level_state, instant)
        is_unknown = level_state.reported_unknown and not reason
        if self.policy.lasts is not None:
            reason = self._clear_expired_levels(level_state, instant, self.policy.lasts) or reason
            is_active = (
                any(level.is_active for level in level_state.levels)
                or level_state.failed_at is not None
            )
            is_unknown = is_unknown and is_active
        self._emit_if_changed(level_state, context, reason, is_unknown)

    def _expire_results(self, level_state: LevelState, instant: Instant) -> str:
        """Ends what has had no fresh result for too long; returns the reason if it was active."""
        expires = self.policy.expires
        if expires is None:
            return ""
        failure_expired = (
            level_state.failed_at is not None
            and self._result_expires_at(level_state, level_state.failed_at) <= instant
        )
        result_expired = (
            level_state.is_active
            and self._result_expires_at(level_state, level_state.last_input) <= instant
        )
        if failure_expired:
            level_state.failed_at = None
        if result_expired:
            level_state.clear_levels()
        if not failure_expired and not result_expired:
            return ""
        return f"no fresh result for {format_duration(expires)}: no longer evaluated"

    def _clear_expired_levels(self, level_state: LevelState, instant: Instant, lasts: Span) -> str:
        """Ends what has lasted long enough; returns the reason if there was anything."""
        expired = [
            candidate
            for candidate in level_state.levels
            if candidate.is_active and candidate.last_true + lasts <= instant
        ]
        failure_expired = (
            level_state.failed_at is not None and level_state.failed_at + lasts <= instant
        )
        for level in expired:
            level.clear()
        if failure_expired:
            level_state.failed_at = None
        if not expired and not failure_expired and not level_state.reported_unknown:
            return ""
        return f"not true again for {format_duration(lasts)}"

    def resume_after_downtime(self, start: Instant) -> None:
        """Resumes after downtime, which was not observed."""
        for level_state in self.states.values():
            level_state.resume_after_downtime(start)
            if level_state.timer is not None:
                level_state.timer.set_due(self.next_expiry(level_state))

    def end_all_alerts(self, now: Instant, reason: str) -> None:
        """Ends all alerts of the key, which is being removed."""
        for level_state in list(self.states.values()):
            self._end_alert(level_state, now, reason)

    def _end_alert(self, level_state: LevelState, now: Instant, reason: str) -> None:
        level_state.clear_levels_and_failure()
        self._emit_if_changed(
            level_state, LevelContext(now, {}, EvaluationContext(), dict), reason, False
        )
        self._remove_state(level_state)

    def _remove_state(self, level_state: LevelState) -> None:
        if level_state.timer is not None:
            level_state.timer.set_due(None)
        self.states.pop(level_state.per, None)

    # -- output -----------------------------------------------------------------------------

    def compute_severity(self, level_state: LevelState) -> Severity:
        """Returns the highest active level."""
        severities = [
            compiled.severity
            for compiled, level in zip(self.policy.levels, level_state.levels, strict=True)
            if level.is_active
        ]
        if level_state.failed_at is not None and self.policy.failed_severity is not None:
            severities.append(self.policy.failed_severity)
        return max(severities, default=Severity.NONE)

    def _explain_and_emit(
        self,
        level_state: LevelState,
        context: LevelContext,
        unknown: CompiledLevel | None,
        previous: list[bool],
        keep_unknown: bool = False,
    ) -> None:
        is_unknown = level_state.reported_unknown if keep_unknown else unknown is not None
        is_unchanged = (
            self.compute_severity(level_state) is level_state.reported_severity
            and is_unknown is level_state.reported_unknown
        )
        reason = (
            self._build_reason(level_state, context, unknown, previous) if not is_unchanged else ""
        )
        self._emit_if_changed(level_state, context, reason, is_unknown)

    def _build_reason(
        self,
        level_state: LevelState,
        context: LevelContext,
        unknown: CompiledLevel | None,
        previous: list[bool],
    ) -> str:
        severity = self.compute_severity(level_state)
        for compiled, level, was_active in zip(
            self.policy.levels, level_state.levels, previous, strict=True
        ):
            if compiled.when is None or level.is_active is was_active:
                continue
            if compiled.severity in (severity, level_state.reported_severity):
                return self._format_reason(compiled, level.is_active, context)
        if unknown is not None and unknown.when is not None:
            missing = unknown.when.describe_missing(context.fields, context.evaluation)
            return f"{unknown.when.node.text} is unknown: {missing}"
        conditional = next(
            (compiled for compiled in self.policy.levels if compiled.when is not None), None
        )
        if conditional is None or conditional.when is None:
            return "known again"
        return conditional.when.describe_reason(context.fields, context.evaluation)

    def _format_reason(
        self, compiled: CompiledLevel, is_active: bool, context: LevelContext
    ) -> str:
        condition = compiled.when if is_active or compiled.clear is None else compiled.clear
        text = (
            ""
            if condition is None
            else condition.describe_reason(context.fields, context.evaluation)
        )
        duration = compiled.spec.hold if is_active else compiled.spec.clear_hold
        suffix = f" held {format_duration(duration)}" if duration else ""
        return f"{text}{suffix}" if is_active else f"cleared: {text}{suffix}"

    def _emit_if_changed(
        self, level_state: LevelState, context: LevelContext, reason: str, is_unknown: bool
    ) -> None:
        """Emits a change, if there is one, then updates the timer or removes the idle alert."""
        severity = self.compute_severity(level_state)
        if (
            severity is not level_state.reported_severity
            or is_unknown is not level_state.reported_unknown
        ):
            level_state.reported_severity, level_state.reported_unknown = severity, is_unknown
            self.counts["level_changes"] += 1
            self.emit(
                LevelChange(
                    self.policy.rule, self.key, level_state.per, severity, context.time, reason,
                    context.values(), is_unknown, context.run, context.firing,
                )
            )  # fmt: skip
        if not self.policy.is_single and level_state.is_removable():
            self._remove_state(level_state)
        elif level_state.timer is not None:
            level_state.timer.set_due(self.next_expiry(level_state))

    # -- saving -----------------------------------------------------------------------------

    def save(self) -> list[dict[str, Any]]:
        """Returns the state as JSON values."""
        return [level_state.save() for level_state in self.states.values()]

    def load(self, state: list[Mapping[str, Any]]) -> None:
        """Restores a saved state."""
        for saved in state:
            level_state = self.get_or_create(saved["per"])
            level_state.load(saved)
            if level_state.timer is not None:
                level_state.timer.set_due(self.next_expiry(level_state))
