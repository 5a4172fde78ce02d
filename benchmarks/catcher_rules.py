"""Catcher in the contest, and the function written by hand that nobody can beat by much."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import handwritten_rules
from benchmarks.stopwatch import Contestant, Stopwatch
from benchmarks.workloads import TOPIC, FiredRule, Sample, Workload
from catcher.evaluation import Admission, RuleEvaluator, SourceClock
from catcher.model.alert import LevelChange
from catcher.model.event import Event
from catcher.model.run import Firing

SOURCE = "bench"
BATCH = 1_000
"""Samples in a delivery, as the MQTT source makes them under load."""


def evaluate_events(
    workload: Workload, samples: list[Sample], stopwatch: Stopwatch
) -> list[FiredRule]:
    """What the engine does with a delivery: admission, network, timers."""
    events = [Event(TOPIC, sample["time"], sample, SOURCE) for sample in samples]
    return _evaluate(workload, events, stopwatch)


def evaluate_dicts(
    workload: Workload, samples: list[Sample], stopwatch: Stopwatch
) -> list[FiredRule]:
    """The same, making its events from the bare samples as well."""
    return _evaluate(workload, samples, stopwatch)


def _evaluate(
    workload: Workload, items: Sequence[Event] | Sequence[Sample], stopwatch: Stopwatch
) -> list[FiredRule]:
    admission, evaluator = (
        Admission({SOURCE: SourceClock()}),
        RuleEvaluator(workload.create_rules()),
    )
    decisions: list[Firing | LevelChange] = []
    batches = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    for batch in stopwatch.measure(batches, workload.warmup_count // BATCH):
        events = [
            item if isinstance(item, Event) else Event(TOPIC, item["time"], item, SOURCE)
            for item in batch
        ] if isinstance(batch[0], dict) else batch  # fmt: skip
        now = events[-1].time
        decisions += evaluator.process_events(admission.admit_events(SOURCE, events, now))
        admission.release_ready_events(now)
        decisions += evaluator.advance_watermarks(admission.get_watermarks(now))
    stopwatch.stop()
    return [_decision_to_fired_rule(decision) for decision in decisions]


def _decision_to_fired_rule(decision: Firing | LevelChange) -> FiredRule:
    outcome = (
        (int(decision.severity), decision.unknown)
        if isinstance(decision, LevelChange)
        else int(decision.rule[1:])
    )
    return outcome, int(decision.key or 0), decision.time


def evaluate_by_hand(
    workload: Workload, samples: list[Sample], stopwatch: Stopwatch
) -> list[FiredRule]:
    """The upper bound."""
    evaluate, fired = handwritten_rules.create_evaluator(workload), list[FiredRule]()
    for sample in stopwatch.measure(samples, workload.warmup_count):
        for outcome in evaluate(sample):
            fired.append((outcome, sample["salIndex"], sample["time"]))
    stopwatch.stop()
    return fired


CONTESTANTS: dict[str, Contestant] = {
    "catcher": evaluate_events,
    "catcher, from dicts": evaluate_dicts,
    "a function by hand": evaluate_by_hand,
}
