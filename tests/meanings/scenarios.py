"""The scenarios of `tests/meanings/*.yaml`: a rule, what happened, and what it has to decide.

Each names the sentence that it `holds`. Its rule stands in `trigger`, `reads`, `let`, `job`,
`alert` (a rule called `it`), or there are several in `rules`. What happened stands in

- `samples: "5 12 ? . 12*3"`: one sample a second (or `step`) of the topic `s` with the field `x`;
  `?` is a sample without `x`, `nan` one that is not a number, `.` a second without a sample,
  `*3` three of them;
- `feed`: as in a rule's own tests;
- `events`: a line each, `1.5s topic {field: 1}`, in the order in which they come;
- `until: 60s`: an event of the topic `clock`, so that time passes.

What is expected stands in `fires: [5s, 7s a]` (time since the start, then the key) and
`alerts: [1s WARNING firing, 5s a NONE resolved]` (time, key, what `per` gave, severity, state),
or for each rule by its name. Both are told whole: what is not written must not come.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from catcher.authoring.test_feeds import parse_feed
from catcher.model.event import Event
from catcher.model.time import SECOND, format_duration, parse_duration, parse_instant

SCENARIO_FOLDER = Path(__file__).parent
RULE_KEYS = ("trigger", "reads", "let", "job", "alert")
START = "2025-01-01T00:00:00Z"
SPECIAL_SAMPLES: Mapping[str, Any] = {"?": {}, "nan": {"x": float("nan")}, "null": {"x": None}}


@dataclass(frozen=True)
class Scenario:
    """One entry of a file, read."""

    file: str
    entry: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.file}: {self.entry['name']}"

    @property
    def start(self) -> int:
        """The time that offsets count from."""
        return parse_instant(self.entry.get("start", START))

    @property
    def rules_text(self) -> str:
        """The rules as YAML (of which JSON is a part)."""
        single_rule = {
            "rule": "it",
            **{part: self.entry[part] for part in RULE_KEYS if part in self.entry},
        }
        rules = self.entry.get("rules", [single_rule])
        return "\n---\n".join(json.dumps(rule, ensure_ascii=False) for rule in rules)

    def build_events(self) -> list[Event]:
        """What happened, in the order in which it comes."""
        streams = [
            list(self._iter_samples()),
            list(parse_feed(self.entry.get("feed", {}), self.start)),
            [self._parse_event(line) for line in self.entry.get("events", "").splitlines()],
        ]
        if "until" in self.entry:
            streams.append([Event("clock", self.start + parse_duration(self.entry["until"]), {})])
        non_empty = [stream for stream in streams if stream]
        if len(non_empty) == 1:
            return non_empty[0]
        return list(heapq.merge(*non_empty, key=lambda event: event.time))

    def _iter_samples(self) -> Iterator[Event]:
        time, step = self.start, parse_duration(self.entry.get("step", "1s"))
        for token in str(self.entry.get("samples", "")).split():
            value, _, count = token.partition("*")
            for _ in range(int(count or 1)):
                if value != ".":
                    yield Event("s", time, SPECIAL_SAMPLES.get(value) or _parse_sample(value))
                time += step

    def _parse_event(self, line: str) -> Event:
        offset, topic, *fields = line.split(maxsplit=2)
        sign = -1 if offset.startswith("-") else 1
        time = self.start + sign * parse_duration(offset.lstrip("-"))
        return Event(topic, time, yaml.safe_load(fields[0]) if fields else {})

    def get_expected(self, kind: str) -> dict[str, list[str]]:
        """By rule, the lines that `fires` or `alerts` give."""
        expected = self.entry.get(kind, [])
        by_rule = expected if isinstance(expected, dict) else {"it": expected}
        return {rule: [str(line) for line in lines] for rule, lines in by_rule.items() if lines}

    def format_rows(self, rows: list[dict[str, Any]], kind: str) -> dict[str, list[str]]:
        """By rule, what came, in the words of `fires` or `alerts`."""
        lines_by_rule: dict[str, list[str]] = {}
        for row in rows:
            if row["kind"] == {"fires": "firing", "alerts": "alert"}[kind]:
                offset = _format_offset(parse_instant(row["time"]) - self.start)
                names = ("key", "per", "severity", "state")
                columns = [offset, *(str(row[name]) for name in names if row.get(name))]
                lines_by_rule.setdefault(row["rule"], []).append(" ".join(columns))
        return lines_by_rule


def _parse_sample(value: str) -> Mapping[str, Any]:
    return {} if value == "?" else {"x": yaml.safe_load(value)}


def load_scenarios() -> list[Scenario]:
    """Every scenario of every file beside this one."""
    return [
        Scenario(path.stem, entry)
        for path in sorted(SCENARIO_FOLDER.glob("*.yaml"))
        for entry in yaml.safe_load(path.read_text())
    ]


def _format_offset(duration: int) -> str:
    """As `format_duration`, with parts of a second in one figure: 3.5s."""
    whole_seconds, remainder = divmod(duration, SECOND)
    text = format_duration(whole_seconds * SECOND)
    if not remainder:
        return text
    minutes, seconds = divmod(whole_seconds, 60)
    head = format_duration(minutes * 60 * SECOND) if minutes else ""
    return f"{head}{seconds}{f'{remainder / SECOND:.9f}'.rstrip('0')[1:]}s"
