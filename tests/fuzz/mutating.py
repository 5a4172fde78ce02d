"""Texts as nobody should write them: good ones spoilt piece by piece, and bombs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from hypothesis import strategies as st

TOKEN = re.compile(r"\w+|[ \t]+|\n|.", re.DOTALL)

BOMBS = (
    "(" * 300, ")" * 300, "[" * 300, "{" * 300, "-" * 500 + "x", "not " * 200 + "x", "9" * 4_500,
    "0x" + "f" * 3_900, "x[-0x" + "f" * 3_800 + "]", "1" + "0" * 400 + ".0", "9**9**9**9**9",
    '"a" * 1000000000', "(1, 2) * 1000000000", "1 < " * 200 + "1", "x." * 300 + "x",
    "abs(" * 90 + "x" + ")" * 90, "(x < " * 45 + "1" + " < x)" * 45, "x if " * 50,
    "lambda: 0", "[x for x in y]", "().__class__.__bases__[0]", "x.__class__", "__import__('os')",
    "getattr(x, 'y')", "f'{x}'", "x := 1", "*x", "**x", "x; y", "# no", "\\", "'''", '"""',
    "1j", "b'x'", "...", "None", "True", "x is y", "x @ y", "x << 99999", "x // 0", "x % 0", "~x",
    "- &a [*a, *a]", "&a [1, 1]", "*a", "<<: *a", "!!python/object:os.system x", "!x", "%YAML 1.1",
    "{{ x }}", "{% for a in b %}", "${HOME}", "${file:/etc/passwd}", "${", "$$", "---", "...",
    "\t", "\r", "\x00", "\x1b[31m", "\x85", "\u2028", "\ufeff", "\u202e", "é", "😀", "ﬁ", "x²",
    "1e999", "-1e999", "nan", "inf", ".5", "5.", "1_000", "010", "0o17", "12:30", "on", "~", "null",
    "{a: 1, a: 2}", "? x", ": x", "- - - x", "|", ">", "'", '"', "`", "@", "5m", "-5m", "1e9d",
    "99999999999999999d", "every: 0s", "for: 0s", "by: ", "when: ", "clear: ", "any: []",
)  # fmt: skip


def tokens(text: str) -> list[str]:
    """Words, blanks and single characters; joined they are the text."""
    return TOKEN.findall(text)


Change = Callable[[list[str], int, int, str], list[str]]


def _delete(parts: list[str], at: int, size: int, other: str) -> list[str]:
    return parts[:at] + parts[at + size :]


def _double(parts: list[str], at: int, size: int, other: str) -> list[str]:
    return parts[: at + size] + parts[at:]


def _insert(parts: list[str], at: int, size: int, other: str) -> list[str]:
    return [*parts[:at], other, *parts[at:]]


def _replace(parts: list[str], at: int, size: int, other: str) -> list[str]:
    return [*parts[:at], other, *parts[at + 1 :]]


def _swap(parts: list[str], at: int, size: int, other: str) -> list[str]:
    there = (at + 7 * size) % len(parts)
    parts = list(parts)
    parts[at], parts[there] = parts[there], parts[at]
    return parts


def _nest(parts: list[str], at: int, size: int, other: str) -> list[str]:
    inner = "".join(parts[at : at + size])
    return [*parts[:at], "(" * size, inner, ")" * size, *parts[at + size :]]


CHANGES: tuple[Change, ...] = (_delete, _double, _insert, _replace, _swap, _nest)


@st.composite
def spoilt(draw: st.DrawFn, texts: Sequence[str], bombs: Sequence[str] = BOMBS) -> str:
    """One of the texts with a few of its tokens deleted, doubled, swapped or replaced."""
    parts = tokens(draw(st.sampled_from(texts)))
    own = sorted({part for part in parts if part.strip()})
    for _ in range(draw(st.integers(1, 4))):
        if not parts:
            break
        change = draw(st.sampled_from(CHANGES))
        at, size = draw(st.integers(0, len(parts) - 1)), draw(st.integers(1, 8))
        other = draw(st.one_of(st.sampled_from(bombs), st.sampled_from(own or ["x"])))
        parts = change(parts, at, size, other)
    return "".join(parts)


def soups(shards: Sequence[str], most: int = 20) -> st.SearchStrategy[str]:
    """Shards and bombs in any order, and any text."""
    shard = st.one_of(st.sampled_from(shards), st.sampled_from(BOMBS), st.text(max_size=4))
    return st.lists(shard, max_size=most).map("".join)
