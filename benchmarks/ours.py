"""Catcher in the contest, and the function written by hand that nobody can beat by much."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import hand
from benchmarks.stopwatch import Contestant, Stopwatch
from benchmarks.workloads import TOPIC, Fired, Sample, Workload
from catcher.model.alert import LevelChange
from catcher.model.event import Event
from catcher.model.run import Firing
from catcher.watching import Admission, Network, SourceClock

SOURCE = "bench"
BATCH = 1_000
"""Samples in a delivery, as the MQTT source makes them under load."""


def catcher(workload: Workload, samples: list[Sample], watch: Stopwatch) -> list[Fired]:
    """What the engine does with a delivery: admission, network, timers."""
    events = [Event(TOPIC, sample["time"], sample, SOURCE) for sample in samples]
    return _play(workload, events, watch)


def catcher_from_dicts(workload: Workload, samples: list[Sample], watch: Stopwatch) -> list[Fired]:
    """The same, making its events from the bare samples as well."""
    return _play(workload, samples, watch)


def _play(
    workload: Workload, given: Sequence[Event] | Sequence[Sample], watch: Stopwatch
) -> list[Fired]:
    admission, network = Admission({SOURCE: SourceClock()}), Network(workload.rules())
    decisions: list[Firing | LevelChange] = []
    batches = [given[start : start + BATCH] for start in range(0, len(given), BATCH)]
    for batch in watch.over(batches, workload.warm // BATCH):
        events = [
            one if isinstance(one, Event) else Event(TOPIC, one["time"], one, SOURCE)
            for one in batch
        ] if isinstance(batch[0], dict) else batch  # fmt: skip
        now = events[-1].time
        decisions += network.feed(admission.admit(SOURCE, events, now))
        admission.tick(now)
        decisions += network.advance(admission.watermarks(now))
    watch.stop()
    return [_fired(one) for one in decisions]


def _fired(decision: Firing | LevelChange) -> Fired:
    what = (
        (int(decision.severity), decision.unknown)
        if isinstance(decision, LevelChange)
        else int(decision.rule[1:])
    )
    return what, int(decision.key or 0), decision.time


def by_hand(workload: Workload, samples: list[Sample], watch: Stopwatch) -> list[Fired]:
    """The upper bound."""
    told, fired = hand.judge(workload), list[Fired]()
    for sample in watch.over(samples, workload.warm):
        for one in told(sample):
            fired.append((one, sample["salIndex"], sample["time"]))
    watch.stop()
    return fired


CONTESTANTS: dict[str, Contestant] = {
    "catcher": catcher,
    "catcher, from dicts": catcher_from_dicts,
    "a function by hand": by_hand,
}
