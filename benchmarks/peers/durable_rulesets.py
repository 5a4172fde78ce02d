"""durable_rules: a Rete network in C whose actions are Python."""

from __future__ import annotations

from typing import Any

from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import FiredRule, Sample, Workload


def durable_chains(
    workload: Workload, samples: list[Sample], stopwatch: Stopwatch
) -> list[FiredRule]:
    """Two rules for each of ours, above and below; what is armed is kept by their actions.

    A rule set for each, since a message is consumed by the first rule that it fits.
    """
    from durable.lang import get_host, m, ruleset, when_all

    fired: list[FiredRule] = []
    unarmed: set[tuple[int, int]] = set()

    def add_ruleset(number: int, limit: float) -> str:
        def fire_rule(context: Any) -> None:
            rule_key = number, context.m.salIndex
            if rule_key not in unarmed:
                unarmed.add(rule_key)
                fired.append((number, context.m.salIndex, context.m.time))

        def arm_rule(context: Any) -> None:
            unarmed.discard((number, context.m.salIndex))

        with ruleset(f"r{number}"):
            when_all(m.speed > limit)(fire_rule)
            when_all(m.speed <= limit)(arm_rule)
        return f"r{number}"

    names = [add_ruleset(number, limit) for number, limit in enumerate(workload.limits)]
    host = get_host()
    for sample in stopwatch.measure(samples, workload.warmup_count):
        for name in names:
            host.post(name, dict(sample))
    stopwatch.stop()
    return fired
