"""Tries a rule with other limits: plays variants of it side by side."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from catcher.model.alert import Severity
from catcher.model.errors import CatcherError
from catcher.model.rule import Expression, LevelSpec, Rule
from catcher.model.time import Instant, format_instant, nanoseconds_to_seconds, parse_instant

Row = dict[str, Any]
DEFAULT_FACTORS = (0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)
"""The default factors by which the limits of a rule are multiplied."""
VARIANT_SEPARATOR = "~"


@dataclass
class ThresholdVariant:
    """A rule with the limits of one level (or of its trigger) multiplied, and what it did."""

    target: str
    factor: float
    limits_text: str
    rule: Rule
    firings: int = 0
    alerts: int = 0
    open_seconds: float = 0.0
    _open_since: dict[str, Instant] = field(default_factory=dict)

    def count_row(self, row: Mapping[str, Any]) -> None:
        """Counts one row of a backtest."""
        if row["kind"] == "firing":
            self.firings += 1
        elif row["kind"] == "alert":
            self._track_open_alert(f"{row['key']}\0{row.get('per', '')}", row)

    def _track_open_alert(self, key: str, row: Mapping[str, Any]) -> None:
        now = parse_instant(row["time"])
        is_open = row["severity"] != str(Severity.NONE) and row["state"] != "resolved"
        if is_open and key not in self._open_since:
            self._open_since[key] = now
            self.alerts += 1
        elif not is_open and key in self._open_since:
            self.open_seconds += nanoseconds_to_seconds(now - self._open_since.pop(key))

    def close_open_alerts(self, end: Instant) -> None:
        """Counts open alerts as open until the end of the recording."""
        self.open_seconds += sum(
            nanoseconds_to_seconds(max(0, end - start)) for start in self._open_since.values()
        )
        self._open_since.clear()

    def to_json(self) -> Row:
        """Returns a row of `catcher tune --json`."""
        return {
            "what": self.target, "factor": self.factor, "limits": self.limits_text,
            "firings": self.firings, "alerts": self.alerts, "lasted_s": round(self.open_seconds, 3),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class SweepResult:
    """All variants of a rule after a recording, and the time range of the recording."""

    variants: Sequence[ThresholdVariant]
    start: Instant
    end: Instant

    @property
    def span_text(self) -> str:
        """The time range as text."""
        return f"{format_instant(self.start)[:19]} to {format_instant(self.end)[:19]}"


def build_variants(rule: Rule, factors: Sequence[float]) -> list[ThresholdVariant]:
    """Builds each level of a rule, and its trigger, with each factor.
    Raises CatcherError if the rule has no limit.
    """
    variants = [*_build_trigger_variants(rule, factors), *_build_level_variants(rule, factors)]
    if not variants:
        raise CatcherError(
            f"the rule {rule.id!r} compares nothing with a number",
            "limits stand in `when` of its trigger and levels, such as speed > 10",
        )
    return variants


def _build_trigger_variants(rule: Rule, factors: Sequence[float]) -> Iterator[ThresholdVariant]:
    trigger = rule.trigger
    if trigger.when is None or not _find_thresholds(trigger.when.text):
        return
    for factor in factors:
        when = _scale_thresholds(trigger.when, factor)
        clear = None if trigger.clear is None else _scale_thresholds(trigger.clear, factor)
        scaled_trigger = replace(trigger, when=when, clear=clear)
        yield _build_variant(rule, "trigger", factor, when, clear, trigger=scaled_trigger)


def _build_level_variants(rule: Rule, factors: Sequence[float]) -> Iterator[ThresholdVariant]:
    levels = rule.alert.levels if rule.alert is not None else {}
    for severity, level in levels.items():
        if rule.alert is None or level.when is None or not _find_thresholds(level.when.text):
            continue
        for factor in factors:
            when = _scale_thresholds(level.when, factor)
            clear = None if level.clear is None else _scale_thresholds(level.clear, factor)
            scaled_levels: Mapping[Severity, LevelSpec] = {
                severity: replace(level, when=when, clear=clear)
            }
            alert = replace(rule.alert, levels=scaled_levels)
            yield _build_variant(rule, str(severity).lower(), factor, when, clear, alert=alert)


def _build_variant(
    rule: Rule,
    target: str,
    factor: float,
    when: Expression,
    clear: Expression | None,
    **changes: Any,
) -> ThresholdVariant:
    limits_text = when.text + (f", clear: {clear.text}" if clear is not None else "")
    name = f"{rule.id}{VARIANT_SEPARATOR}{target}{VARIANT_SEPARATOR}{factor:g}"
    return ThresholdVariant(target, factor, limits_text, replace(rule, id=name, **changes))


def _find_thresholds(text: str) -> list[tuple[int, int, float]]:
    """Finds the numbers that something is compared with: start, end, value."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError):
        return []
    limits = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            limits += [
                limit
                for operand in (node.left, *node.comparators)
                if (limit := _parse_threshold(operand))
            ]
    return sorted(set(limits))


def _parse_threshold(node: ast.expr) -> tuple[int, int, float] | None:
    inner = (
        node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else node
    )
    value = inner.value if isinstance(inner, ast.Constant) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or node.lineno != 1:
        return None
    return inner.col_offset, inner.end_col_offset or 0, float(value)


def _scale_thresholds(expression: Expression, factor: float) -> Expression:
    """Returns the expression with each limit multiplied; columns count bytes of UTF-8."""
    data = expression.text.encode()
    for start, end, value in reversed(_find_thresholds(expression.text)):
        data = data[:start] + f"{value * factor:.6g}".encode() + data[end:]
    return Expression(data.decode(), expression.location)
