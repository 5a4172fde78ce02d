"""durable_rules: a Rete network in C whose actions are Python."""

from __future__ import annotations

from typing import Any

from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import Fired, Sample, Workload


def durable_chains(workload: Workload, samples: list[Sample], watch: Stopwatch) -> list[Fired]:
    """Two rules for each of ours, above and below; what is armed is kept by their actions.

    A rule set for each, since a message is consumed by the first rule that it fits.
    """
    from durable.lang import get_host, m, ruleset, when_all

    fired: list[Fired] = []
    unarmed: set[tuple[int, int]] = set()

    def write(number: int, limit: float) -> str:
        def above(context: Any) -> None:
            place = number, context.m.salIndex
            if place not in unarmed:
                unarmed.add(place)
                fired.append((number, context.m.salIndex, context.m.time))

        def below(context: Any) -> None:
            unarmed.discard((number, context.m.salIndex))

        with ruleset(f"r{number}"):
            when_all(m.speed > limit)(above)
            when_all(m.speed <= limit)(below)
        return f"r{number}"

    names = [write(number, limit) for number, limit in enumerate(workload.limits)]
    host = get_host()
    for sample in watch.over(samples, workload.warm):
        for name in names:
            host.post(name, dict(sample))
    watch.stop()
    return fired
