"""Texts as nobody should write them: good ones spoilt piece by piece, and bombs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from hypothesis import strategies as st

TOKEN_PATTERN = re.compile(r"\w+|[ \t]+|\n|.", re.DOTALL)

HOSTILE_TEXTS = (
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


def split_tokens(text: str) -> list[str]:
    """Words, blanks and single characters; joined they are the text."""
    return TOKEN_PATTERN.findall(text)


Mutation = Callable[[list[str], int, int, str], list[str]]


def _delete_tokens(tokens: list[str], index: int, count: int, token: str) -> list[str]:
    return tokens[:index] + tokens[index + count :]


def _duplicate_tokens(tokens: list[str], index: int, count: int, token: str) -> list[str]:
    return tokens[: index + count] + tokens[index:]


def _insert_token(tokens: list[str], index: int, count: int, token: str) -> list[str]:
    return [*tokens[:index], token, *tokens[index:]]


def _replace_token(tokens: list[str], index: int, count: int, token: str) -> list[str]:
    return [*tokens[:index], token, *tokens[index + 1 :]]


def _swap_tokens(tokens: list[str], index: int, count: int, token: str) -> list[str]:
    other_index = (index + 7 * count) % len(tokens)
    tokens = list(tokens)
    tokens[index], tokens[other_index] = tokens[other_index], tokens[index]
    return tokens


def _nest_tokens(tokens: list[str], index: int, count: int, token: str) -> list[str]:
    inner = "".join(tokens[index : index + count])
    return [*tokens[:index], "(" * count, inner, ")" * count, *tokens[index + count :]]


MUTATIONS: tuple[Mutation, ...] = (
    _delete_tokens,
    _duplicate_tokens,
    _insert_token,
    _replace_token,
    _swap_tokens,
    _nest_tokens,
)


@st.composite
def mutated_texts(
    draw: st.DrawFn, texts: Sequence[str], hostile_texts: Sequence[str] = HOSTILE_TEXTS
) -> str:
    """One of the texts with a few of its tokens deleted, doubled, swapped or replaced."""
    tokens = split_tokens(draw(st.sampled_from(texts)))
    own_tokens = sorted({token for token in tokens if token.strip()})
    for _ in range(draw(st.integers(1, 4))):
        if not tokens:
            break
        mutation = draw(st.sampled_from(MUTATIONS))
        index, count = draw(st.integers(0, len(tokens) - 1)), draw(st.integers(1, 8))
        token = draw(
            st.one_of(st.sampled_from(hostile_texts), st.sampled_from(own_tokens or ["x"]))
        )
        tokens = mutation(tokens, index, count, token)
    return "".join(tokens)


def fragment_mixes(fragments: Sequence[str], max_size: int = 20) -> st.SearchStrategy[str]:
    """Shards and bombs in any order, and any text."""
    fragment = st.one_of(
        st.sampled_from(fragments), st.sampled_from(HOSTILE_TEXTS), st.text(max_size=4)
    )
    return st.lists(fragment, max_size=max_size).map("".join)
