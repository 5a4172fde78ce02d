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

from catcher.authoring.feeds import read_feed
from catcher.model.event import Event
from catcher.model.time import SECOND, format_duration, parse_duration, parse_instant

HERE = Path(__file__).parent
PARTS = ("trigger", "reads", "let", "job", "alert")
START = "2025-01-01T00:00:00Z"
LEFT_OUT: Mapping[str, Any] = {"?": {}, "nan": {"x": float("nan")}, "null": {"x": None}}


@dataclass(frozen=True)
class Scenario:
    """One entry of a file, read."""

    file: str
    text: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.file}: {self.text['name']}"

    @property
    def start(self) -> int:
        """The time that offsets count from."""
        return parse_instant(self.text.get("start", START))

    @property
    def rules(self) -> str:
        """The rules as YAML (of which JSON is a part)."""
        one = {"rule": "it", **{part: self.text[part] for part in PARTS if part in self.text}}
        rules = self.text.get("rules", [one])
        return "\n---\n".join(json.dumps(rule, ensure_ascii=False) for rule in rules)

    def events(self) -> list[Event]:
        """What happened, in the order in which it comes."""
        streams = [
            list(self._samples()),
            list(read_feed(self.text.get("feed", {}), self.start)),
            [self._event(line) for line in self.text.get("events", "").splitlines()],
        ]
        if "until" in self.text:
            streams.append([Event("clock", self.start + parse_duration(self.text["until"]), {})])
        given = [stream for stream in streams if stream]
        if len(given) == 1:
            return given[0]
        return list(heapq.merge(*given, key=lambda event: event.time))

    def _samples(self) -> Iterator[Event]:
        time, step = self.start, parse_duration(self.text.get("step", "1s"))
        for word in str(self.text.get("samples", "")).split():
            value, _, count = word.partition("*")
            for _ in range(int(count or 1)):
                if value != ".":
                    yield Event("s", time, LEFT_OUT.get(value) or _sample(value))
                time += step

    def _event(self, line: str) -> Event:
        after, topic, *fields = line.split(maxsplit=2)
        sign = -1 if after.startswith("-") else 1
        time = self.start + sign * parse_duration(after.lstrip("-"))
        return Event(topic, time, yaml.safe_load(fields[0]) if fields else {})

    def expected(self, kind: str) -> dict[str, list[str]]:
        """By rule, the lines that `fires` or `alerts` give."""
        wanted = self.text.get(kind, [])
        by_rule = wanted if isinstance(wanted, dict) else {"it": wanted}
        return {rule: [str(line) for line in lines] for rule, lines in by_rule.items() if lines}

    def told(self, rows: list[dict[str, Any]], kind: str) -> dict[str, list[str]]:
        """By rule, what came, in the words of `fires` or `alerts`."""
        found: dict[str, list[str]] = {}
        for row in rows:
            if row["kind"] == {"fires": "firing", "alerts": "alert"}[kind]:
                after = _after(parse_instant(row["time"]) - self.start)
                names = ("key", "per", "severity", "state")
                words = [after, *(str(row[name]) for name in names if row.get(name))]
                found.setdefault(row["rule"], []).append(" ".join(words))
        return found


def _sample(value: str) -> Mapping[str, Any]:
    return {} if value == "?" else {"x": yaml.safe_load(value)}


def all_scenarios() -> list[Scenario]:
    """Every scenario of every file beside this one."""
    return [
        Scenario(path.stem, one)
        for path in sorted(HERE.glob("*.yaml"))
        for one in yaml.safe_load(path.read_text())
    ]


def _after(span: int) -> str:
    """As `format_duration`, with parts of a second in one figure: 3.5s."""
    whole, rest = divmod(span, SECOND)
    text = format_duration(whole * SECOND)
    if not rest:
        return text
    minutes, seconds = divmod(whole, 60)
    head = format_duration(minutes * 60 * SECOND) if minutes else ""
    return f"{head}{seconds}{f'{rest / SECOND:.9f}'.rstrip('0')[1:]}s"
