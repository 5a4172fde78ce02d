"""Runs the tests of rules on the production engine with a virtual clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catcher.authoring.test_feeds import DEFAULT_START, parse_feed
from catcher.authoring.virtual_engine import OpenVirtualEngine
from catcher.model.errors import CatcherError
from catcher.model.rule import Rule
from catcher.model.time import Span, format_duration, parse_duration, parse_instant

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RuleTestResult:
    """The result of one test of a rule: what was missing, and what was not expected."""

    rule: str
    name: str
    differences: tuple[str, ...] = ()

    @property
    def has_passed(self) -> bool:
        """True if all was as expected."""
        return not self.differences

    def to_json(self) -> Row:
        """Returns the form of `catcher test --json`."""
        return {
            "rule": self.rule,
            "name": self.name,
            "passed": self.has_passed,
            "differences": list(self.differences),
        }


async def run_tests(
    rules: Sequence[Rule], open_virtual_engine: OpenVirtualEngine
) -> list[RuleTestResult]:
    """Runs the tests of rules, each on an engine that holds this rule alone."""
    return [
        await _run_rule_test(rule, test, open_virtual_engine)
        for rule in rules
        for test in rule.tests
    ]


async def _run_rule_test(
    rule: Rule, test: Mapping[str, Any], open_virtual_engine: OpenVirtualEngine
) -> RuleTestResult:
    name = str(test.get("name", "unnamed"))
    rows: list[Row] = []
    try:
        start = parse_instant(test["start"]) if "start" in test else DEFAULT_START
        events = parse_feed(test.get("feed", {}), start)
        async with open_virtual_engine({rule.id: rule}) as virtual_engine:
            virtual_engine.subscribe_rows(rows.append, [rule.id])
            await virtual_engine.play_events(events)
        return RuleTestResult(
            rule.id, name, tuple(_compare_rows(test.get("expect", {}), rows, start))
        )
    except (CatcherError, ValueError) as error:
        return RuleTestResult(rule.id, name, (str(error),))


def _compare_rows(expect: Mapping[str, Any], rows: Sequence[Row], start: int) -> list[str]:
    rows_by_kind = {
        "firings": [row for row in rows if row["kind"] == "firing"],
        "runs": [row for row in rows if row["kind"] == "run"],
        "alerts": filter_severity_increases([row for row in rows if row["kind"] == "alert"]),
    }
    differences: list[str] = []
    for kind, expected in expect.items():
        actual = rows_by_kind[kind]
        if (
            kind == "alerts"
            and isinstance(expected, list)
            and any("state" in expectation for expectation in expected)
        ):
            actual = [row for row in rows if row["kind"] == "alert"]
        differences += _compare_kind_rows(kind, expected, actual, start)
    return differences


def filter_severity_increases(rows: Sequence[Row]) -> list[Row]:
    """Returns the changes that opened an alert or made it worse: those that notify a person."""
    severities = {"NONE": 1, "WARNING": 2, "SERIOUS": 3, "CRITICAL": 4}
    severity_by_alert: dict[str, int] = {}
    increases = []
    for row in rows:
        severity = severities[row["severity"]]
        if severity > severity_by_alert.get(row["id"], 1):
            increases.append(row)
        severity_by_alert[row["id"]] = severity
    return increases


def _compare_kind_rows(kind: str, expected: Any, actual: Sequence[Row], start: int) -> list[str]:
    if isinstance(expected, int):
        return (
            []
            if len(actual) == expected
            else [f"{expected} {kind} expected, {_format_rows(actual, start)} came"]
        )
    differences = []
    for expectation, row in zip(expected, actual, strict=False):
        differences += [
            f"{kind}: {difference}" for difference in _compare_row(expectation, row, start)
        ]
    for expectation in expected[len(actual) :]:
        differences.append(f"{kind}: {_format_expectation(expectation)} expected, nothing came")
    if len(actual) > len(expected):
        differences.append(f"{kind}: not expected: {_format_rows(actual[len(expected) :], start)}")
    return differences


def _compare_row(expectation: Mapping[str, Any], row: Row, start: int) -> list[str]:
    differences = []
    for name, value in expectation.items():
        if name == "within":
            continue
        if name == "at":
            within = parse_duration(str(expectation.get("within", "0s")))
            differences += _compare_time(parse_duration(str(value)), within, row, start)
        elif name == "metrics":
            differences += _compare_metrics(value, row)
        elif str(row.get(name, "")).lower() != str(value).lower():
            differences.append(f"{name} {value} expected, {row.get(name)} came")
    return differences


def _compare_time(at: Span, within: Span, row: Row, start: int) -> list[str]:
    offset = parse_instant(row["time"]) - start
    if abs(offset - at) <= within:
        return []
    tolerance_text = f" (within {format_duration(within)})" if within else ""
    return [f"at {format_duration(at)}{tolerance_text} expected, came at {format_duration(offset)}"]


def _compare_metrics(expected: Mapping[str, Any], row: Row) -> list[str]:
    differences = []
    for name, value in expected.items():
        low, high = value if isinstance(value, list) else (value, value)
        actual = row["metrics"].get(name)
        if actual is None or not low <= actual <= high:
            differences.append(f"{name} in [{low}, {high}] expected, {actual} came")
    return differences


def _format_expectation(expectation: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in expectation.items())


def _format_rows(rows: Sequence[Row], start: int) -> str:
    descriptions = [
        f"{row.get('severity', row['kind'])} at {_format_offset(row, start)}" for row in rows[:5]
    ]
    suffix = ", …" if len(rows) > 5 else ""
    return f"{len(rows)} ({', '.join(descriptions)}{suffix})" if rows else "none"


def _format_offset(row: Row, start: int) -> str:
    return format_duration(parse_instant(row["time"]) - start)
