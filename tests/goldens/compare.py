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

GOLDEN_FOLDER = Path(__file__).parent
UPDATE_VARIABLE = "CATCHER_UPDATE_GOLDENS"
MAX_DIFF_LINES = 200


def compare_text(name: str, text: str) -> None:
    """Fails with the difference where a golden file holds another text."""
    path = GOLDEN_FOLDER / name
    if os.environ.get(UPDATE_VARIABLE) == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    assert path.is_file(), f"{name} is missing; write it with {UPDATE_VARIABLE}=1"
    golden = path.read_text(encoding="utf-8")
    if text == golden:
        return
    diff_lines = difflib.unified_diff(
        golden.splitlines(), text.splitlines(), f"golden {name}", "now", lineterm="", n=2
    )
    diff_text = "\n".join([*diff_lines][:MAX_DIFF_LINES])
    raise AssertionError(f"{name} differs; {UPDATE_VARIABLE}=1 writes it anew\n{diff_text}")


def compare_json(name: str, value: Any) -> None:
    """The same for a value that JSON can hold; the order of keys counts."""
    compare_text(name, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def replace_texts(value: Any, texts: Mapping[str, str]) -> Any:
    """A JSON value in which these texts are replaced wherever they stand, longest first."""
    if isinstance(value, dict):
        return {
            replace_texts(key, texts): replace_texts(child, texts) for key, child in value.items()
        }
    if isinstance(value, list):
        return [replace_texts(child, texts) for child in value]
    if isinstance(value, str):
        for text in sorted(texts, key=len, reverse=True):
            value = value.replace(text, texts[text])
    return value


def hide_keys(value: Any, keys: Iterable[str]) -> Any:
    """A JSON value in which what stands under these keys is shown by its type alone."""
    hidden_keys = frozenset(keys)
    if isinstance(value, dict):
        return {
            key: describe_types(child) if key in hidden_keys else hide_keys(child, hidden_keys)
            for key, child in value.items()
        }
    if isinstance(value, list):
        return [hide_keys(child, hidden_keys) for child in value]
    return value


def describe_types(value: Any) -> Any:
    """The nested keys of a JSON value with the type of each value."""
    if isinstance(value, dict):
        return {key: describe_types(child) for key, child in value.items()}
    if isinstance(value, list):
        return merge_types(describe_types(child) for child in value)
    type_names = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    return "null" if value is None else f"<{type_names[type(value)]}>"


def merge_types(descriptions: Iterable[Any]) -> list[Any]:
    """Each description once, in the order of first appearance."""
    unique: list[Any] = []
    for description in descriptions:
        if description not in unique:
            unique.append(description)
    return unique
