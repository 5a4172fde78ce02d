"""What a rule would have done with other limits: variants of it, played side by side."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from catcher.model.alert import Severity
from catcher.model.problem import CatcherError
from catcher.model.rule import Expr, LevelSpec, Rule
from catcher.model.time import Instant, format_instant, parse_instant, to_seconds

Row = dict[str, Any]
FACTORS = (0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)
"""By which the limits of a rule are multiplied, unless told otherwise."""
MARK = "~"


@dataclass
class Variant:
    """A rule with the limits of one level (or of its trigger) multiplied, and what it did."""

    what: str
    factor: float
    words: str
    rule: Rule
    firings: int = 0
    alerts: int = 0
    lasted: float = 0.0
    _open: dict[str, Instant] = field(default_factory=dict)

    def take(self, row: Mapping[str, Any]) -> None:
        """Counts one row of a backtest."""
        if row["kind"] == "firing":
            self.firings += 1
        elif row["kind"] == "alert":
            self._alert(f"{row['key']}\0{row.get('per', '')}", row)

    def _alert(self, key: str, row: Mapping[str, Any]) -> None:
        now = parse_instant(row["time"])
        stands = row["severity"] != str(Severity.NONE) and row["state"] != "resolved"
        if stands and key not in self._open:
            self._open[key] = now
            self.alerts += 1
        elif not stands and key in self._open:
            self.lasted += to_seconds(now - self._open.pop(key))

    def end(self, last: Instant) -> None:
        """The recording is over: what is open was so until then."""
        self.lasted += sum(to_seconds(max(0, last - start)) for start in self._open.values())
        self._open.clear()

    def as_json(self) -> Row:
        """A row of `catcher tune --json`."""
        return {
            "what": self.what, "factor": self.factor, "limits": self.words,
            "firings": self.firings, "alerts": self.alerts, "lasted_s": round(self.lasted, 3),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tuned:
    """All variants of a rule after a recording, and the span that this had."""

    variants: Sequence[Variant]
    first: Instant
    last: Instant

    @property
    def span(self) -> str:
        """From when to when."""
        return f"{format_instant(self.first)[:19]} to {format_instant(self.last)[:19]}"


def variants_of(rule: Rule, factors: Sequence[float]) -> list[Variant]:
    """Each level of a rule, and its trigger, with each factor; CatcherError without a limit."""
    found = [*_of_trigger(rule, factors), *_of_levels(rule, factors)]
    if not found:
        raise CatcherError(
            f"the rule {rule.id!r} compares nothing with a number",
            "limits stand in `when` of its trigger and levels, such as speed > 10",
        )
    return found


def _of_trigger(rule: Rule, factors: Sequence[float]) -> Iterator[Variant]:
    trigger = rule.trigger
    if trigger.when is None or not _limits(trigger.when.text):
        return
    for factor in factors:
        when = _scaled(trigger.when, factor)
        clear = None if trigger.clear is None else _scaled(trigger.clear, factor)
        changed = replace(trigger, when=when, clear=clear)
        yield _variant(rule, "trigger", factor, when, clear, trigger=changed)


def _of_levels(rule: Rule, factors: Sequence[float]) -> Iterator[Variant]:
    levels = rule.alert.levels if rule.alert is not None else {}
    for severity, level in levels.items():
        if rule.alert is None or level.when is None or not _limits(level.when.text):
            continue
        for factor in factors:
            when = _scaled(level.when, factor)
            clear = None if level.clear is None else _scaled(level.clear, factor)
            one: Mapping[Severity, LevelSpec] = {severity: replace(level, when=when, clear=clear)}
            alert = replace(rule.alert, levels=one)
            yield _variant(rule, str(severity).lower(), factor, when, clear, alert=alert)


def _variant(
    rule: Rule, what: str, factor: float, when: Expr, clear: Expr | None, **changes: Any
) -> Variant:
    words = when.text + (f", clear: {clear.text}" if clear is not None else "")
    name = f"{rule.id}{MARK}{what}{MARK}{factor:g}"
    return Variant(what, factor, words, replace(rule, id=name, **changes))


def _limits(text: str) -> list[tuple[int, int, float]]:
    """Where the numbers stand that something is compared with: start, end, value."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError):
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            found += [one for side in (node.left, *node.comparators) if (one := _limit(side))]
    return sorted(set(found))


def _limit(node: ast.expr) -> tuple[int, int, float] | None:
    inner = (
        node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else node
    )
    value = inner.value if isinstance(inner, ast.Constant) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or node.lineno != 1:
        return None
    return inner.col_offset, inner.end_col_offset or 0, float(value)


def _scaled(expr: Expr, factor: float) -> Expr:
    """The expression with each limit multiplied; columns count bytes of UTF-8."""
    data = expr.text.encode()
    for start, end, value in reversed(_limits(expr.text)):
        data = data[:start] + f"{value * factor:.6g}".encode() + data[end:]
    return Expr(data.decode(), expr.place)
