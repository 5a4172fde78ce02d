"""A strict reader of the text form that Prometheus scrapes, after its published grammar."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
LINE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)?\}})? (NaN|[+-]Inf|-?[0-9.eE+-]+)")
COMMENT = re.compile(rf"# (HELP|TYPE) ({NAME}) (.*)")
SUFFIXES = {"summary": ("", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
ESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}

Labels = tuple[tuple[str, str], ...]


@dataclass
class Page:
    """What a scraper makes of a page: kinds and help by family, values by name and labels."""

    kinds: dict[str, str] = field(default_factory=dict)
    help: dict[str, str] = field(default_factory=dict)
    values: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def value(self, name: str, /, **labels: str) -> float:
        """The one sample that has these labels, whatever others it has."""
        (found,) = self._fitting(name, labels)
        return found

    def total(self, name: str, /, **labels: str) -> float:
        """The sum of all samples that have these labels; nought where there is none."""
        return sum(self._fitting(name, labels))

    def _fitting(self, name: str, labels: dict[str, str]) -> list[float]:
        return [
            value
            for (one, its), value in self.values.items()
            if one == name and labels.items() <= dict(its).items()
        ]


def read(text: str) -> Page:
    """AssertionError with the line that a scraper would refuse."""
    assert text == "" or text.endswith("\n"), "the last line is not ended"
    page, family, done = Page(), "", set[str]()
    for line in text.splitlines():
        if comment := COMMENT.fullmatch(line):
            what, name, rest = comment.groups()
            if name != family:
                assert name not in done, f"{name} is torn apart: {line}"
                done.add(family := name)
            kept = page.help if what == "HELP" else page.kinds
            assert name not in kept, line
            kept[name] = rest
            continue
        sample = LINE.fullmatch(line)
        assert sample, f"no sample: {line}"
        name, value = sample[1], float(sample[sample.lastindex or 0])
        assert name.removeprefix(family) in SUFFIXES[page.kinds[family]], f"out of place: {line}"
        labels = re.findall(LABEL, sample[2] or "")
        assert len({one for one, _ in labels}) == len(labels), f"a label twice: {line}"
        key = name, tuple(sorted((one, unescaped(text)) for one, text in labels))
        assert key not in page.values, f"a sample twice: {line}"
        page.values[key] = value
    return page


def unescaped(text: str) -> str:
    return re.sub(r'\\["\\n]', lambda found: ESCAPED[found[0]], text)
