"""The tests that stand beside a rule, on the production engine and a fast clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catcher.authoring.feeds import START, read_feed
from catcher.authoring.rehearsal import OpenRehearsal
from catcher.model.problem import CatcherError
from catcher.model.rule import Rule
from catcher.model.time import Span, format_duration, parse_duration, parse_instant

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One test of a rule: what was expected and did not come, or came and was not expected."""

    rule: str
    name: str
    differences: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether all came as expected."""
        return not self.differences

    def as_json(self) -> Row:
        """The form of `catcher test --json`."""
        return {
            "rule": self.rule,
            "name": self.name,
            "passed": self.passed,
            "differences": list(self.differences),
        }


async def run_cases(rules: Sequence[Rule], open_rehearsal: OpenRehearsal) -> list[Case]:
    """Runs the tests of rules, each on an engine that holds this rule alone."""
    return [await _run(rule, test, open_rehearsal) for rule in rules for test in rule.tests]


async def _run(rule: Rule, test: Mapping[str, Any], open_rehearsal: OpenRehearsal) -> Case:
    name = str(test.get("name", "unnamed"))
    rows: list[Row] = []
    try:
        start = parse_instant(test["start"]) if "start" in test else START
        events = read_feed(test.get("feed", {}), start)
        async with open_rehearsal({rule.id: rule}) as rehearsal:
            rehearsal.listen(rows.append, [rule.id])
            await rehearsal.play(events)
        return Case(rule.id, name, tuple(_compare(test.get("expect", {}), rows, start)))
    except (CatcherError, ValueError) as trouble:
        return Case(rule.id, name, (str(trouble),))


def _compare(expect: Mapping[str, Any], rows: Sequence[Row], start: int) -> list[str]:
    found = {
        "firings": [row for row in rows if row["kind"] == "firing"],
        "runs": [row for row in rows if row["kind"] == "run"],
        "alerts": rises([row for row in rows if row["kind"] == "alert"]),
    }
    differences: list[str] = []
    for kind, wanted in expect.items():
        got = found[kind]
        if kind == "alerts" and isinstance(wanted, list) and any("state" in one for one in wanted):
            got = [row for row in rows if row["kind"] == "alert"]
        differences += _compare_kind(kind, wanted, got, start)
    return differences


def rises(rows: Sequence[Row]) -> list[Row]:
    """The changes at which an alert was opened or got worse: those that a person is told of."""
    severities = {"NONE": 1, "WARNING": 2, "SERIOUS": 3, "CRITICAL": 4}
    standing: dict[str, int] = {}
    risen = []
    for row in rows:
        severity = severities[row["severity"]]
        if severity > standing.get(row["id"], 1):
            risen.append(row)
        standing[row["id"]] = severity
    return risen


def _compare_kind(kind: str, wanted: Any, got: Sequence[Row], start: int) -> list[str]:
    if isinstance(wanted, int):
        return [] if len(got) == wanted else [f"{wanted} {kind} expected, {_list(got, start)} came"]
    differences = []
    for one, row in zip(wanted, got, strict=False):
        differences += [f"{kind}: {words}" for words in _differ(one, row, start)]
    for one in wanted[len(got) :]:
        differences.append(f"{kind}: {_words(one)} expected, nothing came")
    if len(got) > len(wanted):
        differences.append(f"{kind}: not expected: {_list(got[len(wanted) :], start)}")
    return differences


def _differ(one: Mapping[str, Any], row: Row, start: int) -> list[str]:
    differences = []
    for name, value in one.items():
        if name == "within":
            continue
        if name == "at":
            within = parse_duration(str(one.get("within", "0s")))
            differences += _differ_in_time(parse_duration(str(value)), within, row, start)
        elif name == "metrics":
            differences += _differ_in_metrics(value, row)
        elif str(row.get(name, "")).lower() != str(value).lower():
            differences.append(f"{name} {value} expected, {row.get(name)} came")
    return differences


def _differ_in_time(at: Span, within: Span, row: Row, start: int) -> list[str]:
    came = parse_instant(row["time"]) - start
    if abs(came - at) <= within:
        return []
    room = f" (within {format_duration(within)})" if within else ""
    return [f"at {format_duration(at)}{room} expected, came at {format_duration(came)}"]


def _differ_in_metrics(wanted: Mapping[str, Any], row: Row) -> list[str]:
    differences = []
    for name, value in wanted.items():
        low, high = value if isinstance(value, list) else (value, value)
        got = row["metrics"].get(name)
        if got is None or not low <= got <= high:
            differences.append(f"{name} in [{low}, {high}] expected, {got} came")
    return differences


def _words(one: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in one.items())


def _list(rows: Sequence[Row], start: int) -> str:
    words = [f"{row.get('severity', row['kind'])} at {_since(row, start)}" for row in rows[:5]]
    more = ", …" if len(rows) > 5 else ""
    return f"{len(rows)} ({', '.join(words)}{more})" if rows else "none"


def _since(row: Row, start: int) -> str:
    return format_duration(parse_instant(row["time"]) - start)
