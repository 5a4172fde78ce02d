"""Sixty rules, the events that they are fed, and what of that is golden.

    python -m tests.upgrade.sixty

wrote the golden files at c51c802. It is not run by tests, and never again: where today's code
makes something else, the code is to be changed, or an upgrade written that reads both forms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from catcher.model.commit import TriggerState
from catcher.model.event import Admitted, Event
from catcher.model.run import Firing
from catcher.site import load
from catcher.stores.documents import document
from catcher.watching import Network, meaning

HERE = Path(__file__).parent
DIGESTS, STATES = HERE / "digests.json", HERE / "states.json"
SITE = HERE / "rules_60"
START = 1_772_395_200
"""2026-03-01T20:00:00Z."""
SAVED, SECONDS = 300, 400
"""The second at which states are saved and restored, and that of the end."""


def make_events() -> Iterator[Admitted]:
    """Yields 400 seconds of seven topics, made of whole numbers and quarters alone."""
    for second in range(SECONDS):
        yield make_event(second, "fast", value=(37 * second) % 101)
        if second % 5 == 0:
            yield from (make_event(second, "wind", **wind(second, mast)) for mast in (1, 2))
        if second % 8 == 3 and not 150 < second < 200:
            yield make_event(second, "dome", angle=(second * 7) % 360, mast=1)
        if second % 20 == 0:
            force = [(second * number) % 113 for number in range(1, 9)]
            yield make_event(second, "actuators", force=force)
        if second % 25 == 10:
            yield make_event(second, "shutter", open=second % 50 == 10, mast=None)
        if second % 30 == 15:
            yield make_event(second, "frame", **frame(second))
            yield make_event(second, "catcher.event-job", **frame(second), doubled=second / 4)
        if second % 60 == 40:
            yield make_event(second, "catcher.http.grafana", state="alerting", level=second // 60)
        if second % 60 == 41:
            yield make_event(second, "catcher.level-job", windows=second // 60)


def make_event(second: int, topic: str, **fields: Any) -> Admitted:
    """Makes an admitted event so many seconds after the start."""
    return Admitted(Event(topic, (START + second) * 10**9, fields, "posts"))


def wind(second: int, mast: int) -> dict[str, Any]:
    """Returns the fields of a wind sample; some lack the speed."""
    speed = {} if second % 95 == 0 and second else {"speed": (mast * second) % 67 / 4}
    return {"mast": mast, "direction": (3 * second + 40 * mast) % 360, **speed}


def frame(second: int) -> dict[str, Any]:
    """Returns the fields of a frame; every third name comes twice."""
    number = second // 30
    name = f"F{number - 1 if number % 3 == 2 else number}"
    return {"name": name, "seconds": second % 45, "filter": "ugr"[number % 3], "mast": 1}


def load_rules() -> dict[str, Any]:
    """Returns the sixty rules by their ids."""
    site = load(SITE)
    assert not site.errors
    return dict(site.rules)


def row_of(state: TriggerState) -> list[Any]:
    """Returns a saved state as the ledger has it: rule, key, part, and the text of the state."""
    return [state.rule, state.key, state.part, document(state.state)]


def row_of_decision(decision: Any) -> list[Any]:
    """Returns a firing or a level change without its words, which may change."""
    if isinstance(decision, Firing):
        return ["firing", decision.id, decision.rule, decision.key, decision.time, decision.cause]
    return [
        "level", decision.alert, decision.rule, decision.key, decision.per, decision.time,
        int(decision.severity), decision.unknown,
    ]  # fmt: skip


def feed_seconds(network: Network, start: int, end: int) -> list[list[Any]]:
    """Feeds the events of some seconds, and runs the timers after every ten."""
    decisions: list[Any] = []
    for first in range(start, end, 10):
        some = (START + first) * 10**9, (START + min(first + 10, end)) * 10**9
        events = [one for one in make_events() if some[0] <= one.event.time < some[1]]
        decisions += network.feed(events)
        decisions += network.advance({"posts": some[1]})
    return [row_of_decision(one) for one in decisions]


def take_golden() -> dict[str, list[Any]]:
    """Feeds the events and returns what is decided until and after `SAVED`, and what is saved.

    States are saved twice before it, so that long lists are there as a base and what came since.
    """
    network = Network(list(load_rules().values()))
    before, saved = [], {}
    for start, end in ((0, SAVED // 2), (SAVED // 2, SAVED)):
        before += feed_seconds(network, start, end)
        saved.update({tuple(row[:3]): row for row in map(row_of, network.take_states())})
    after = feed_seconds(network, SAVED, SECONDS)
    later = [row_of(state) for state in network.take_states()]
    return {
        "decided before": before,
        "saved": [saved[name] for name in sorted(saved)],
        "decided after": after,
        "saved at the end": later,
    }


def write_golden() -> None:
    """Writes the digests, a rule a line, and the states and decisions, a row a line."""
    digests = {name: meaning(rule) for name, rule in sorted(load_rules().items())}
    DIGESTS.write_text(json.dumps(digests, indent=1) + "\n")
    texts = []
    for part, rows in take_golden().items():
        lines = ",\n".join(json.dumps(row) for row in rows)
        texts.append(f'"{part}": [\n{lines}\n]')
    STATES.write_text("{\n" + ",\n".join(texts) + "\n}\n")


if __name__ == "__main__":
    write_golden()
