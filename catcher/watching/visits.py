"""What comes to a rule from outside its streams: history, and a person's hand."""

from __future__ import annotations

from collections.abc import Callable

from catcher.model.event import Event
from catcher.model.run import Firing
from catcher.model.time import Instant
from catcher.watching.blueprint import Branch
from catcher.watching.judging import names_of
from catcher.watching.machines import NOTHING
from catcher.watching.values import text_of
from catcher.watching.watch import Watch


def primer(watch: Watch) -> Callable[[Event], None]:
    """What takes history in for a rule: it fills windows and reads, and never fires.

    What a restored state has already is fixed before the first event, since several samples may
    share an instant.
    """
    known = {name: read.newest for name, read in watch.reads.items()}

    def prime(event: Event) -> None:
        for name, read in watch.reads.items():
            newest = known[name]
            if read.plan.read.topic == event.topic and (newest is None or event.time > newest):
                read.take(event)
        for branch in watch.blueprint.branches:
            if event.topic in branch.topics:
                _prime(watch, branch, event)

    return prime


def _prime(watch: Watch, branch: Branch, event: Event) -> None:
    cell = watch.cell_for(branch, event)
    if cell is None or event.time <= cell.primed:
        return
    cell.machines[branch.index].prime(event)
    if watch.judge is not None:
        watch.judge.prime(cell, event)


def by_hand(watch: Watch, event: Event | None, now: Instant, who: str) -> Firing:
    """A firing that a person made; nothing of the rule's state changes."""
    time = event.time if event else now
    fields = event.fields if event else NOTHING
    branch = watch.blueprint.branches[0]
    key = "" if branch.by is None else text_of(branch.by(fields, watch.frame([], time))) or ""
    cell = watch.keys.cells.get(key)
    slots = cell.machines[0].slots if cell else branch.plan.make_slots()
    values = names_of(watch.rule, watch.reads, fields, watch.frame(slots, time), branch.lets)
    words = f"fired by hand by {who}"
    return Firing(
        watch.rule.id, key, time, f"hand:{who}:{now}", words, event, values,
        manual=True, quiet=True,
    )  # fmt: skip
