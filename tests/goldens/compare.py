"""Compares what Catcher says with a golden file beside the tests.

`CATCHER_UPDATE_GOLDENS=1` writes the files anew; `git diff` then shows what has changed.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
UPDATE = "CATCHER_UPDATE_GOLDENS"
LONGEST_DIFFERENCE = 200


def compare_text(name: str, text: str) -> None:
    """Fails with the difference where a golden file holds another text."""
    path = FOLDER / name
    if os.environ.get(UPDATE) == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    assert path.is_file(), f"{name} is missing; write it with {UPDATE}=1"
    golden = path.read_text(encoding="utf-8")
    if text == golden:
        return
    lines = difflib.unified_diff(
        golden.splitlines(), text.splitlines(), f"golden {name}", "now", lineterm="", n=2
    )
    shown = "\n".join([*lines][:LONGEST_DIFFERENCE])
    raise AssertionError(f"{name} differs; {UPDATE}=1 writes it anew\n{shown}")


def compare_json(name: str, value: Any) -> None:
    """The same for a value that JSON can hold; the order of keys counts."""
    compare_text(name, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def replace_texts(value: Any, texts: Mapping[str, str]) -> Any:
    """A JSON value in which these texts are replaced wherever they stand, longest first."""
    if isinstance(value, dict):
        return {
            replace_texts(key, texts): replace_texts(below, texts) for key, below in value.items()
        }
    if isinstance(value, list):
        return [replace_texts(below, texts) for below in value]
    if isinstance(value, str):
        for text in sorted(texts, key=len, reverse=True):
            value = value.replace(text, texts[text])
    return value


def hide_keys(value: Any, keys: Iterable[str]) -> Any:
    """A JSON value in which what stands under these keys is shown by its type alone."""
    hidden = frozenset(keys)
    if isinstance(value, dict):
        return {
            key: describe_types(below) if key in hidden else hide_keys(below, hidden)
            for key, below in value.items()
        }
    if isinstance(value, list):
        return [hide_keys(below, hidden) for below in value]
    return value


def describe_types(value: Any) -> Any:
    """The nested keys of a JSON value with the type of each value."""
    if isinstance(value, dict):
        return {key: describe_types(below) for key, below in value.items()}
    if isinstance(value, list):
        return merge_types(describe_types(below) for below in value)
    names = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    return "null" if value is None else f"<{names[type(value)]}>"


def merge_types(described: Iterable[Any]) -> list[Any]:
    """Each description once, in the order of first appearance."""
    kept: list[Any] = []
    for one in described:
        if one not in kept:
            kept.append(one)
    return kept
