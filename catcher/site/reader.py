"""Reading a mapping as a grammar: each key asked for by name and kind, the rest refused.

A method that cannot read its key reports why, where and how to mend it, and returns what an
absent key would give, so that one pass finds every problem of a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from catcher.model.alert import Severity
from catcher.model.problem import Place
from catcher.model.rule import Expr
from catcher.model.time import DAY, Span, parse_duration
from catcher.site.nodes import (
    Branch,
    Entry,
    Items,
    Node,
    Report,
    Scalar,
    bare,
    quoted,
    shown,
    typed,
)
from catcher.site.words import MOST_SUGGESTIONS, closest, suggestion

LONGEST: Span = 36_525 * DAY
HUGE = 2.0**53
MOST_NAMES = 1_000

Choice = TypeVar("Choice", bound=str)
Made = TypeVar("Made")

_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,3})?) ?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?")
_SIZES = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip


class Table:
    """A mapping being read. `what` is its name in messages, as in `trigger has no key 'wen'`."""

    def __init__(self, node: Branch, report: Report, what: str) -> None:
        self.node, self.report, self.what = node, report, what
        self._asked: list[str] = []
        self._lacking: dict[str, str] = {}

    @property
    def place(self) -> Place:
        """Where the mapping begins."""
        return self.node.place

    def has(self, *keys: str) -> bool:
        """Whether one of the keys is there."""
        return any(key in self.node.entries for key in keys)

    def place_of(self, key: str) -> Place:
        """Where a key's value stands, or the mapping where it is absent."""
        node = self.node.get(key)
        return node.place if node else self.place

    def key_place(self, key: str) -> Place:
        """Where a key itself stands, or the mapping where it is absent."""
        entry = self.node.entries.get(key)
        return entry.place if entry else self.place

    def require(self, key: str, hint: str) -> bool:
        """Whether a key is there; `done` reports its lack, unless it was only misspelt."""
        if self.has(key):
            return True
        self._asked.append(key)
        self._lacking[key] = hint
        return False

    def raw(self, key: str) -> Node | None:
        """A key's node, whatever it is; None where it is absent."""
        self._asked.append(key)
        return self.node.get(key)

    def text(self, key: str, default: str = "") -> str:
        """A text; a number or truth value stands for how it is written."""
        node = self._scalar(key, "a text")
        return node.text.strip("\n") if node else default

    def choice(self, key: str, options: Mapping[str, Choice], default: Choice) -> Choice:
        """One of several words."""
        node = self._scalar(key, "one of " + ", ".join(options))
        if node is None:
            return default
        if node.text in options:
            return options[node.text]
        message = f"`{key}` cannot be {shown(node)}"
        self.report.error(node.place, message, suggestion(node.text, options))
        return default

    def severity(self, key: str, default: Severity | None = None) -> Severity | None:
        """`warning`, `serious` or `critical`."""
        names = {str(level).lower(): str(level) for level in Severity if level > Severity.NONE}
        word = self.choice(key, names, str(default) if default else "")
        return Severity.parse(word) if word else None

    def duration(self, key: str) -> Span | None:
        """A span such as `30s`, more than nought."""
        span = self.span(key)
        if span == 0:
            self.report.error(self.place_of(key), f"`{key}` cannot be nought", "write it like 30s")
            return None
        return span

    def span(self, key: str) -> Span | None:
        """A span such as `30s`, or nought."""
        node = self._scalar(key, "a duration", "write it like 30s, 5m, 1h30m or 2d")
        return span_of(node, key, self.report) if node else None

    def size(self, key: str) -> int | None:
        """A number of bytes such as `512 MB`."""
        node = self._scalar(key, "a size", "write it like 512MB or 2GiB")
        if node is None:
            return None
        match = _SIZE.fullmatch(node.text)
        if match is None or (count := int(float(match[1]) * _SIZES[match[2] or "B"])) <= 0:
            message = f"`{key}` takes a size, not {shown(node)}"
            self.report.error(node.place, message, "write it like 512MB or 2GiB")
            return None
        return count

    def expression(self, key: str) -> Expr | None:
        """An expression with the place of its first character."""
        node = self._scalar(key, "an expression", "write it like speed > 10")
        return expression_of(node, key, self.report) if node else None

    def integer(self, key: str, low: int, high: int) -> int | None:
        """A whole number from `low` to `high`."""
        number = self._number(key, "a whole number", low, high, whole=True)
        return None if number is None else int(number)

    def number(self, key: str, low: float, high: float) -> float | None:
        """A number from `low` to `high`."""
        return self._number(key, "a number", low, high)

    def _number(
        self, key: str, kind: str, low: float, high: float, whole: bool = False
    ) -> float | None:
        node = self._scalar(key, kind)
        if node is None:
            return None
        value = number_of(node)
        if value is None or not low <= value <= high or (whole and value != int(value)):
            limits = f" from {low:g} to {high:g}" if high < HUGE else ""
            message = f"`{key}` takes {kind}{limits}, not {shown(node)}"
            hint = "write the number without quotes" if node.quoted else ""
            self.report.error(node.place, message, hint)
            return None
        return value

    def flag(self, key: str, default: bool) -> bool:
        """`true` or `false`."""
        node = self._scalar(key, "true or false")
        if node is None:
            return default
        value = {"true": True, "false": False}.get(node.text)
        if value is None:
            hint = "write true or false, in small letters"
            self.report.error(node.place, f"`{key}` is true or false, not {shown(node)}", hint)
            return default
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; a single text is a list of one."""
        node = self._value(key, "a list of texts", "write it like [a, b]")
        return texts_of(node, key, self.report) if node else ()

    def labels(self, key: str) -> dict[str, str]:
        """A mapping of texts to texts."""
        table = self.table(key)
        return {entry.key: table.text(entry.key) for entry in table.entries()} if table else {}

    def table(self, key: str, what: str = "", hint: str = "") -> Table | None:
        """A mapping below a key."""
        node = self._value(key, "a mapping", hint)
        return table_of(node, what or f"`{key}`", self.report, hint) if node else None

    def tables(self, key: str, what: str = "") -> list[Table]:
        """A list of mappings below a key."""
        node = self._value(key, "a list", "start each entry with `- `")
        if node is None:
            return []
        if not isinstance(node, Items):
            message = f"`{key}` takes a list, not {shown(node)}"
            self.report.error(node.place, message, "start each entry with `- `")
            return []
        made = (table_of(item, what or f"an entry of `{key}`", self.report) for item in node.items)
        return [table for table in made if table is not None]

    def entries(self) -> Iterator[Entry]:
        """All keys with their values, for a mapping whose keys are names of the user's own."""
        self._asked += self.node.entries
        for number, entry in enumerate(self.node.entries.values()):
            if number == MOST_NAMES:
                message = f"{self.what} has more than {MOST_NAMES} entries"
                self.report.error(entry.place, message, "nobody can read so many; take fewer")
                return
            yield entry

    def named(self, key: str, what: str, make: Callable[[Entry, Table], Made | None],
              hint: str = "") -> dict[str, Made]:  # fmt: skip
        """Mappings under names of the user's own, each made into something."""
        table, made = self.table(key, hint=hint), {}
        for entry in table.entries() if table else ():
            below = table_of(entry.node, f"{what} '{entry.key[:40]}'", self.report, hint)
            thing = make(entry, below) if below else None
            if thing is not None:
                made[entry.key] = thing
        return made

    def done(self) -> bool:
        """Reports every key that nobody has asked for and every one that is lacking.

        The answer is whether all keys were known.
        """
        asked = dict.fromkeys(self._asked)
        unknown = [one for one in self.node.entries.values() if one.key not in asked]
        for number, entry in enumerate(unknown):
            message = f"{self.what} has no key {quoted(entry.key)}"
            hint = suggestion(entry.key, asked) if number < MOST_SUGGESTIONS else "delete it"
            self.report.error(entry.place, message, hint)
        meant = {closest(entry.key, list(asked)) for entry in unknown[:MOST_SUGGESTIONS]}
        for key, hint in self._lacking.items():
            if key not in meant:
                self.report.error(self.place, f"{self.what} lacks `{key}`", hint)
        return not unknown

    def _value(self, key: str, kind: str, hint: str = "") -> Node | None:
        node = self.raw(key)
        if node is None or not (isinstance(node, Scalar) and node.value is None):
            return node
        if node.secret:
            return None
        comment = "a # starts a comment unless it is in quotes"
        hint = hint or f"write {kind} after `{key}:` ({comment})"
        self.report.error(node.place, f"`{key}` is empty", hint)
        return None

    def _scalar(self, key: str, kind: str, hint: str = "") -> Scalar | None:
        node = self._value(key, kind, hint)
        if node is None or isinstance(node, Scalar):
            return node
        hint = hint or "put a text that starts with { or [ in quotes"
        self.report.error(node.place, f"`{key}` takes {kind}, not {shown(node)}", hint)
        return None


def table_of(node: Node, what: str, report: Report, hint: str = "") -> Table | None:
    """A node as a table; a problem where it is no mapping."""
    if isinstance(node, Branch):
        return Table(node, report, what)
    hint = hint or "write it as `key: value` on lines of its own, indented"
    report.error(node.place, f"{what} takes a mapping, not {shown(node)}", hint)
    return None


def span_of(node: Scalar, key: str, report: Report) -> Span | None:
    """A span from a scalar."""
    try:
        span = parse_duration(node.text)
        if span <= LONGEST:
            return span
        report.error(node.place, f"`{key}` is longer than 100 years", "write a shorter one")
        return None
    except ValueError:
        bare_number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
        hint = f"did you mean {node.text[:20]}s?" if bare_number else "write it like 30s or 1h30m"
        report.error(node.place, f"`{key}` takes a duration, not {shown(node)}", hint)
        return None


def expression_of(node: Scalar, key: str, report: Report) -> Expr | None:
    """An expression from a scalar; line breaks in it count as spaces."""
    if isinstance(node.value, bool) or not node.text.strip():
        message = f"`{key}` takes an expression, not {shown(node)}"
        report.error(node.place, message, "write it like speed > 10, or leave it out")
        return None
    return Expr(node.text.rstrip().replace("\n", " "), node.place)


def texts_of(node: Node, key: str, report: Report) -> tuple[str, ...]:
    """Texts from a list, or from a single one."""
    items = node.items if isinstance(node, Items) else (node,)
    texts = []
    for item in items:
        if isinstance(item, Scalar) and item.value is not None:
            texts.append(item.text)
        else:
            message = f"`{key}` takes a list of texts, not {shown(item)}"
            report.error(item.place, message, "write it like [a, b]")
    return tuple(texts)


def number_of(node: Scalar) -> float | None:
    """The number of a scalar; that of a secret counts too, for `port: ${PORT}`."""
    value = typed(node.text) if node.secret else node.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value


def json_of(node: Node) -> Any:
    """The plain values of a node."""
    return bare(node)
