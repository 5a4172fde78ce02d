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
class MetricsPage:
    """What a scraper makes of a page: kinds and help by family, values by name and labels."""

    kinds: dict[str, str] = field(default_factory=dict)
    help: dict[str, str] = field(default_factory=dict)
    values: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def get_value(self, name: str, /, **labels: str) -> float:
        """The one sample that has these labels, whatever others it has."""
        (value,) = self._find_values(name, labels)
        return value

    def sum_values(self, name: str, /, **labels: str) -> float:
        """The sum of all samples that have these labels; nought where there is none."""
        return sum(self._find_values(name, labels))

    def _find_values(self, name: str, labels: dict[str, str]) -> list[float]:
        return [
            value
            for (sample_name, sample_labels), value in self.values.items()
            if sample_name == name and labels.items() <= dict(sample_labels).items()
        ]


def parse_page(text: str) -> MetricsPage:
    """AssertionError with the line that a scraper would refuse."""
    assert text == "" or text.endswith("\n"), "the last line is not ended"
    page, family, seen_families = MetricsPage(), "", set[str]()
    for line in text.splitlines():
        if comment := COMMENT.fullmatch(line):
            keyword, name, comment_text = comment.groups()
            if name != family:
                assert name not in seen_families, f"{name} is torn apart: {line}"
                seen_families.add(family := name)
            entries = page.help if keyword == "HELP" else page.kinds
            assert name not in entries, line
            entries[name] = comment_text
            continue
        sample = LINE.fullmatch(line)
        assert sample, f"no sample: {line}"
        name, value = sample[1], float(sample[sample.lastindex or 0])
        assert name.removeprefix(family) in SUFFIXES[page.kinds[family]], f"out of place: {line}"
        labels = re.findall(LABEL, sample[2] or "")
        assert len({label_name for label_name, _ in labels}) == len(labels), (
            f"a label twice: {line}"
        )
        key = name, tuple(sorted((label_name, unescape_label(text)) for label_name, text in labels))
        assert key not in page.values, f"a sample twice: {line}"
        page.values[key] = value
    return page


def unescape_label(text: str) -> str:
    return re.sub(r'\\["\\n]', lambda match: ESCAPED[match[0]], text)
