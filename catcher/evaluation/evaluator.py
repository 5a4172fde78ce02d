"""The rule evaluator: turns admitted events into firings and level changes, for all rules.

It is pure: the same events in the same order give the same decisions, whenever and in whatever
batches they come. Timers run when the watermarks have passed them, or when a later event of the
rule's own trigger shows that their instant has passed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from catcher.evaluation.backfill import create_backfiller, create_manual_firing
from catcher.evaluation.checkpoints import (
    collect_basic_counts,
    collect_full_counts,
    restore_key_state,
    snapshot_changed_keys,
)
from catcher.evaluation.dispatch import (
    TopicSubscribers,
    build_subscribers,
    dispatch_batch,
    dispatch_one_by_one,
    split_batches,
)
from catcher.evaluation.explain import Explanation, explain_runtime
from catcher.evaluation.firing_payload import EventDigests
from catcher.evaluation.incremental_snapshots import split_state_parts
from catcher.evaluation.rule_compiler import compile_rule
from catcher.evaluation.rule_runtime import Decision, RuleRuntime
from catcher.evaluation.shared.column_batch import OrderedBatch
from catcher.evaluation.shared.group_evaluator import GroupEvaluator
from catcher.evaluation.timers import RuleTimerQueue
from catcher.evaluation.validation import check_rule
from catcher.model.alert import LevelChange, Severity
from catcher.model.commit import TriggerState
from catcher.model.errors import CatcherError, Problem
from catcher.model.event import AdmittedEvent, Event
from catcher.model.rule import Rule
from catcher.model.run import Firing
from catcher.model.time import Instant, Span

# The alerts of rules that were removed, or changed their meaning, end.


def build_end_changes_from_state(state: TriggerState) -> list[LevelChange]:
    """Returns the changes that end the alerts in the saved state of a changed rule."""
    saved = state.state.get("cell") or {}
    return [
        LevelChange(
            state.rule, state.key, level_state["per"], Severity.NONE, int(level_state["fed"]),
            "the rule was changed",
        )
        for level_state in saved.get("levels", ())
        if level_state["said"] > Severity.NONE or level_state["unknown"]
    ]  # fmt: skip


def build_end_changes_from_runtime(
    runtime: RuleRuntime, now: Instant, was_edited: bool
) -> list[LevelChange]:
    """Returns the changes that end all alerts of a rule that was removed or changed."""
    reason = "the rule was changed" if was_edited else "the rule is gone"
    return [
        LevelChange(runtime.rule.id, partition.key, level_state.per, Severity.NONE, now, reason)
        for partition in runtime.partitions.by_key.values()
        if partition.levels is not None
        for level_state in partition.levels.states.values()
        if level_state.reported_severity is not Severity.NONE or level_state.reported_unknown
    ]


TimeLimit = Callable[[RuleRuntime], Instant]


class RuleEvaluator:
    """The running rules. `start` is when evaluation starts; without it, with the first event."""

    def __init__(self, rules: Sequence[Rule], *, start: Instant | None = None) -> None:
        self.broken_rules: dict[str, list[Problem]] = {}
        self._start = start
        self._now: Instant = start or 0
        self._runtimes: dict[str, RuleRuntime] = {}
        self._subscribers: dict[str, TopicSubscribers] = {}
        self.timer_queue = RuleTimerQueue()
        self._digests = EventDigests()
        for rule in rules:
            self._add_rule(rule, start)
        self._rebuild_subscribers()

    @property
    def topics(self) -> frozenset[str]:
        """Every topic that a rule listens to."""
        return frozenset(self._subscribers)

    def _add_rule(self, rule: Rule, start: Instant | None) -> None:
        problems = [problem for problem in check_rule(rule) if problem.severity == "error"]
        if problems:
            self.broken_rules[rule.id] = problems
            return
        if not rule.enabled:
            return
        runtime = RuleRuntime(compile_rule(rule), self.timer_queue.schedule, self._digests)
        self._runtimes[rule.id] = runtime
        if start is not None:
            runtime.start(start)

    def _rebuild_subscribers(self) -> None:
        self._subscribers = build_subscribers(self._runtimes)

    def _iter_groups(self) -> Iterator[GroupEvaluator]:
        for subscribers in self._subscribers.values():
            yield from subscribers.groups

    def _flush_groups(self) -> None:
        """Hands the counted events over to the triggers, whose state is about to be read."""
        for group in self._iter_groups():
            group.flush_counts()

    def _reset_groups(self) -> None:
        """Makes the groups rebuild their state, as that of the triggers is about to change."""
        for group in self._iter_groups():
            group.unshare_and_clear_keys()

    # -- events -----------------------------------------------------------------------------

    def process_events(self, events: Iterable[AdmittedEvent]) -> list[Decision]:
        """Processes events in their admitted order; the decisions come in the same order.

        Those of one event are ordered by time, rule and key.
        """
        decisions: list[Decision] = []
        batch = events if isinstance(events, OrderedBatch | list) else list(events)
        if not batch:
            return decisions
        if self._start is None:
            self._start_rules(batch[0].event.time)
        for part in split_batches(batch):
            if isinstance(part, OrderedBatch):
                decisions += dispatch_batch(part, self._subscribers)
                latest_time = part.events[-1].time
            else:
                decisions += dispatch_one_by_one(part, self._subscribers)
                latest_time = max(event.time for event, _ in part)
            self._now = max(self._now, latest_time)
        return decisions

    def _start_rules(self, start: Instant) -> None:
        self._start = start
        for runtime in self._runtimes.values():
            runtime.start(start)

    def collect_topic_lookbacks(self) -> dict[str, Span]:
        """Returns how far back the rules look over each topic."""
        lookbacks: dict[str, Span] = {}
        for runtime in self._runtimes.values():
            for topic, span in runtime.compiled_rule.iter_lookbacks():
                lookbacks[topic] = max(span, lookbacks.get(topic, 0))
        return lookbacks

    def backfill_events(self, events: Iterable[AdmittedEvent]) -> None:
        """Fills windows and reads with history, in order of time; never fires."""
        self._reset_groups()
        backfillers = [create_backfiller(self._runtimes[name]) for name in sorted(self._runtimes)]
        for event, late in events:
            for backfill in backfillers if not late else ():
                backfill(event)

    # -- time -------------------------------------------------------------------------------

    def advance_watermarks(self, watermarks: Mapping[str, Instant]) -> list[Decision]:
        """Runs the timers that the watermarks of their rules' sources have passed.

        `watermarks` are by source; a rule that has seen no source waits for all of them.
        """
        if not watermarks:
            return []
        max_time = max(watermarks.values())
        self._now = max(self._now, max_time)
        return self._run_due_timers(
            max_time,
            lambda runtime: _compute_rule_watermark(runtime, watermarks, self._start is not None),
        )

    def run_remaining_timers(self, end: Instant) -> list[Decision]:
        """Runs the timers due until the end of a recording, that instant included."""
        return self._run_due_timers(end + 1, lambda runtime: end + 1)

    def _run_due_timers(self, max_time: Instant, limit: TimeLimit) -> list[Decision]:
        decisions: list[Decision] = []
        deferred: list[tuple[str, Instant]] = []
        while (entry := self.timer_queue.pop_due(self._next_rule_due, max_time)) is not None:
            name, due_at = entry
            runtime = self._runtimes[name]
            if due_at >= limit(runtime):
                deferred.append(entry)
                continue
            runtime.run_next_timer(due_at)
            decisions += runtime.drain_decisions()
            next_due_at = runtime.timers.find_next_due()
            if next_due_at is not None:
                self.timer_queue.schedule(name, next_due_at)
        for name, due_at in deferred:
            self.timer_queue.schedule(name, due_at)
        return decisions

    def next_timer_due(self) -> Instant | None:
        """Returns the next instant at which any timer falls due."""
        return self.timer_queue.find_next_due(self._next_rule_due)

    def _next_rule_due(self, name: str) -> Instant | None:
        runtime = self._runtimes.get(name)
        return runtime.timers.find_next_due() if runtime else None

    # -- commands and jobs ------------------------------------------------------------------

    def on_job_failed(self, firing: Firing, run: str, reason: str) -> list[LevelChange]:
        """Processes a job failure after its retries: the level `failed` of its rule, if any."""
        runtime = self._runtimes.get(firing.rule)
        if runtime is None:
            return []
        runtime.on_job_failed(firing, run, reason)
        return [
            decision for decision in runtime.drain_decisions() if isinstance(decision, LevelChange)
        ]

    def create_manual_firing(
        self, rule: str, event: Event | None, now: Instant, who: str
    ) -> Firing:
        """Returns a manual firing: a new run, marked, which `once_per` does not stop.

        Its time is that of its event, else `now`, and it is quiet unless changed. Raises
        CatcherError if the rule is not running.
        """
        self._flush_groups()
        return create_manual_firing(self._get_runtime(rule), event, now, who)

    def _get_runtime(self, rule: str) -> RuleRuntime:
        if rule not in self._runtimes:
            running = ", ".join(sorted(self._runtimes)) or "none"
            raise CatcherError(f"no rule {rule!r} is running", f"running: {running}")
        return self._runtimes[rule]

    # -- saving and changing ----------------------------------------------------------------

    def snapshot_changed_states(self, rules: Collection[str] | None = None) -> list[TriggerState]:
        """Returns the states that changed since the last call, of some rules or of all."""
        self._flush_groups()
        states: list[TriggerState] = []
        for name in sorted(self._runtimes):
            if rules is None or name in rules:
                states += snapshot_changed_keys(self._runtimes[name])
        return states

    def restore_states(self, states: Iterable[TriggerState]) -> list[LevelChange]:
        """Restores saved states; those of rules that changed their meaning are left out.

        Returns the changes that end the alerts of these.
        """
        self._reset_groups()
        resumed: set[str] = set()
        changes: list[LevelChange] = []
        key_states, parts = split_state_parts(states)
        for state in sorted(key_states, key=lambda item: (item.rule, item.key)):
            runtime = self._runtimes.get(state.rule)
            if runtime is not None and runtime.fingerprint == state.fingerprint:
                if restore_key_state(runtime, state, parts.get((state.rule, state.key), {})):
                    resumed.add(state.rule)
            elif runtime is not None:
                changes += build_end_changes_from_state(state)
        if self._start is not None:
            for name in resumed:
                self._runtimes[name].resume_after_downtime(self._start)
        for name, runtime in self._runtimes.items():
            due_at = runtime.timers.find_next_due()
            if due_at is not None:
                self.timer_queue.schedule(name, due_at)
        return changes

    def resume_after_downtime(
        self, start: Instant, sources: Collection[str], all_sources: bool
    ) -> None:
        """Resumes after unobserved downtime, for the rules that listen to some sources.

        Where there are no others (`all_sources`), evaluation starts now, for all rules.
        """
        self._reset_groups()
        for runtime in self._runtimes.values():
            is_affected = (
                not runtime.sources.isdisjoint(sources) if runtime.sources else all_sources
            )
            if runtime.started and is_affected:
                runtime.resume_after_downtime(start)
        if all_sources and self._start is None:
            self._start_rules(start)

    def replace_rules(self, rules: Sequence[Rule]) -> list[LevelChange]:
        """Replaces the rules; a rule that keeps its meaning keeps its state.

        Returns the changes that end the alerts of rules that were removed or changed.
        """
        for group in self._iter_groups():
            group.clear_keys()
        previous, self._runtimes, self.broken_rules = self._runtimes, {}, {}
        for rule in rules:
            if rule.id in previous and previous[rule.id].rule == rule:
                self._runtimes[rule.id] = previous[rule.id]
            else:
                self._add_rule(rule, None if self._start is None else self._now)
        changes: list[LevelChange] = []
        for name in sorted(previous):
            current = self._runtimes.get(name)
            if current is not None and current.fingerprint == previous[name].fingerprint:
                previous[name].replace_rule(current.rule)
                self._runtimes[name] = previous[name]
            elif name in self.broken_rules:
                self._runtimes[name] = previous[name]
            else:
                changes += build_end_changes_from_runtime(
                    previous[name], self._now, current is not None
                )
        self._rebuild_subscribers()
        return changes

    # -- queries ----------------------------------------------------------------------------

    def explain_rule(self, rule: str, until: Instant | None = None) -> list[Explanation]:
        """Returns the last decisions of each key of a rule, and the current state of each."""
        self._flush_groups()
        return explain_runtime(self._get_runtime(rule), self._now, until)

    def collect_rule_counts(self, memory: bool = True) -> Mapping[str, dict[str, int]]:
        """Returns the counters of each rule, and, with `memory`, what it holds, which is slow."""
        self._flush_groups()
        collect = collect_full_counts if memory else collect_basic_counts
        return {name: collect(runtime) for name, runtime in self._runtimes.items()}


def _compute_rule_watermark(
    runtime: RuleRuntime, watermarks: Mapping[str, Instant], has_started: bool
) -> Instant:
    """Returns the watermark of a rule: the minimum of its own sources, or if it knows none, of all.

    Such a rule waits until evaluation has started: only then is the time known.

    A watermark of 0 means that the source has sent nothing yet; a rule that knows the source
    from before a restart waits for it, others do not.
    """
    own_watermarks = [
        watermark for source, watermark in watermarks.items() if source in runtime.sources
    ]
    return min(
        own_watermarks
        or [watermark for watermark in watermarks.values() if watermark and has_started]
        or [0]
    )
