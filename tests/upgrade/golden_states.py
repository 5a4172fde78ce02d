"""Sixty rules, the events that they are fed, and what of that is golden.

    python -m tests.upgrade.golden_states

wrote the golden files at c51c802. It is not run by tests, and never again: where today's code
makes something else, the code is to be changed, or an upgrade written that reads both forms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from catcher.evaluation import RuleEvaluator, rule_fingerprint
from catcher.model.commit import TriggerState
from catcher.model.event import AdmittedEvent, Event
from catcher.model.run import Firing
from catcher.site import load_site_folder
from catcher.stores.ledger.mappers import encode_json

FOLDER = Path(__file__).parent
DIGESTS_FILE, STATES_FILE = FOLDER / "digests.json", FOLDER / "states.json"
SITE_FOLDER = FOLDER / "rules_60"
START = 1_772_395_200
"""2026-03-01T20:00:00Z."""
SAVE_SECOND, END_SECOND = 300, 400
"""The second at which states are saved and restored, and that of the end."""


def create_events() -> Iterator[AdmittedEvent]:
    """Yields 400 seconds of seven topics, made of whole numbers and quarters alone."""
    for second in range(END_SECOND):
        yield create_event(second, "fast", value=(37 * second) % 101)
        if second % 5 == 0:
            yield from (
                create_event(second, "wind", **build_wind_fields(second, mast)) for mast in (1, 2)
            )
        if second % 8 == 3 and not 150 < second < 200:
            yield create_event(second, "dome", angle=(second * 7) % 360, mast=1)
        if second % 20 == 0:
            force = [(second * number) % 113 for number in range(1, 9)]
            yield create_event(second, "actuators", force=force)
        if second % 25 == 10:
            yield create_event(second, "shutter", open=second % 50 == 10, mast=None)
        if second % 30 == 15:
            yield create_event(second, "frame", **build_frame_fields(second))
            yield create_event(
                second, "catcher.event-job", **build_frame_fields(second), doubled=second / 4
            )
        if second % 60 == 40:
            yield create_event(second, "catcher.http.grafana", state="alerting", level=second // 60)
        if second % 60 == 41:
            yield create_event(second, "catcher.level-job", windows=second // 60)


def create_event(second: int, topic: str, **fields: Any) -> AdmittedEvent:
    """Makes an admitted event so many seconds after the start."""
    return AdmittedEvent(Event(topic, (START + second) * 10**9, fields, "posts"))


def build_wind_fields(second: int, mast: int) -> dict[str, Any]:
    """Returns the fields of a wind sample; some lack the speed."""
    speed = {} if second % 95 == 0 and second else {"speed": (mast * second) % 67 / 4}
    return {"mast": mast, "direction": (3 * second + 40 * mast) % 360, **speed}


def build_frame_fields(second: int) -> dict[str, Any]:
    """Returns the fields of a frame; every third name comes twice."""
    number = second // 30
    name = f"F{number - 1 if number % 3 == 2 else number}"
    return {"name": name, "seconds": second % 45, "filter": "ugr"[number % 3], "mast": 1}


def load_rules() -> dict[str, Any]:
    """Returns the sixty rules by their ids."""
    site = load_site_folder(SITE_FOLDER)
    assert not site.errors
    return dict(site.rules)


def state_to_row(state: TriggerState) -> list[Any]:
    """Returns a saved state as the ledger has it: rule, key, part, and the text of the state."""
    return [state.rule, state.key, state.part, encode_json(state.state)]


def decision_to_row(decision: Any) -> list[Any]:
    """Returns a firing or a level change without its words, which may change."""
    if isinstance(decision, Firing):
        return ["firing", decision.id, decision.rule, decision.key, decision.time, decision.cause]
    return [
        "level", decision.alert_id, decision.rule, decision.key, decision.per, decision.time,
        int(decision.severity), decision.unknown,
    ]  # fmt: skip


def process_seconds(evaluator: RuleEvaluator, start: int, end: int) -> list[list[Any]]:
    """Feeds the events of some seconds, and runs the timers after every ten."""
    decisions: list[Any] = []
    for chunk_start in range(start, end, 10):
        bounds = (START + chunk_start) * 10**9, (START + min(chunk_start + 10, end)) * 10**9
        events = [event for event in create_events() if bounds[0] <= event.event.time < bounds[1]]
        decisions += evaluator.process_events(events)
        decisions += evaluator.advance_watermarks({"posts": bounds[1]})
    return [decision_to_row(decision) for decision in decisions]


def build_golden() -> dict[str, list[Any]]:
    """Feeds the events and returns what is decided until and after `SAVE_SECOND`, and what is
    saved.

    States are saved twice before it, so that long lists are there as a base and what came since.
    """
    evaluator = RuleEvaluator(list(load_rules().values()))
    decisions_before, saved_rows = [], {}
    for start, end in ((0, SAVE_SECOND // 2), (SAVE_SECOND // 2, SAVE_SECOND)):
        decisions_before += process_seconds(evaluator, start, end)
        saved_rows.update(
            {tuple(row[:3]): row for row in map(state_to_row, evaluator.snapshot_changed_states())}
        )
    decisions_after = process_seconds(evaluator, SAVE_SECOND, END_SECOND)
    final_rows = [state_to_row(state) for state in evaluator.snapshot_changed_states()]
    return {
        "decided before": decisions_before,
        "saved": [saved_rows[name] for name in sorted(saved_rows)],
        "decided after": decisions_after,
        "saved at the end": final_rows,
    }


def write_golden() -> None:
    """Writes the digests, a rule a line, and the states and decisions, a row a line."""
    digests = {name: rule_fingerprint(rule) for name, rule in sorted(load_rules().items())}
    DIGESTS_FILE.write_text(json.dumps(digests, indent=1) + "\n")
    texts = []
    for part, rows in build_golden().items():
        lines = ",\n".join(json.dumps(row) for row in rows)
        texts.append(f'"{part}": [\n{lines}\n]')
    STATES_FILE.write_text("{\n" + ",\n".join(texts) + "\n}\n")


if __name__ == "__main__":
    write_golden()
