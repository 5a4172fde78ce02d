"""YAML as strict as JSON, each value with its place."""

from __future__ import annotations

from typing import Any

import pytest

from catcher.model.errors import SourceLocation
from catcher.site.yaml_loader import MAX_DEPTH, parse_documents
from catcher.site.yaml_tree import YamlMapping, YamlScalar, node_to_value


def parse_value(text: str) -> Any:
    """The value below `a:` in a text without problems."""
    (document,) = parse_documents(f"a: {text}\n", "f.yaml")
    assert document.problems == ()
    assert document.node is not None
    return node_to_value(document.node)["a"]


def list_problem_texts(text: str) -> list[str]:
    return [
        str(problem)
        for document in parse_documents(text, "f.yaml")
        for problem in document.problems
    ]


@pytest.mark.parametrize(
    "text",
    ["on", "yes", "no", "off", "y", "True", "NULL", "12:30", "010", "1_000", "0x1f", "0o7", "+5",
     ".5", "5.", "1e999", ".inf", ".nan", "2025-04-24", "1.2.3", "=", "٣", "1 000"],
)  # fmt: skip
def test_what_yaml_would_guess_stays_text(text: str) -> None:
    assert parse_value(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("-7", -7), ("301", 301), ("0.05", 0.05), ("1e-3", 1e-3), ("2E+3", 2000.0),
     ("-0.5", -0.5), ("true", True), ("false", False), ("null", None), ("~", None), ("", None)],
)  # fmt: skip
def test_the_scalars_of_json_are_typed(text: str, value: object) -> None:
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("text", ['"5"', "'5'", '"true"', "'null'", '""'])
def test_what_is_quoted_is_text(text: str) -> None:
    assert parse_value(text) == text[1:-1]


def test_a_huge_number_becomes_no_infinity() -> None:
    assert parse_value("9" * 400) == "9" * 400
    assert parse_value("9" * 300) == float("9" * 300)


def test_every_value_has_the_location_of_its_first_character() -> None:
    text = "a: x > 1\nb: 'y > 2'\nc: {d: z}\ne: |\n\n    long\n    text\nf:\n  - g\n"
    (document,) = parse_documents(text, "f.yaml")
    node = document.node
    assert isinstance(node, YamlMapping)
    locations = {key: node.entries[key].node.location for key in ("a", "b", "e")}
    assert locations == {
        "a": SourceLocation("f.yaml", 1, 4),
        "b": SourceLocation("f.yaml", 2, 5),
        "e": SourceLocation("f.yaml", 6, 5),
    }
    mapping = node.get("c")
    assert isinstance(mapping, YamlMapping)
    assert mapping.entries["d"].location == SourceLocation("f.yaml", 3, 5)


def test_locations_count_characters_and_not_bytes() -> None:
    (document,) = parse_documents('a: {"é😀": x}\n', "f.yaml")
    assert isinstance(document.node, YamlMapping)
    mapping = document.node.get("a")
    assert isinstance(mapping, YamlMapping)
    assert mapping.entries["é😀"].node.location == SourceLocation("f.yaml", 1, 11)


def test_documents_of_a_file_are_independent() -> None:
    parsed = parse_documents(
        "a: 1\n---\nb: [\n---\nc: 3\n...\n---\n# nothing\n--- {d: 4}\n", "f.yaml"
    )
    values = [
        None if document.node is None else node_to_value(document.node) for document in parsed
    ]
    assert values == [{"a": 1}, None, {"c": 3}, {"d": 4}]
    assert [document.location.line for document in parsed] == [1, 4, 5, 9]


@pytest.mark.parametrize("text", ["", "\n", "# a comment\n", "---\n---\n"])
def test_an_empty_file_has_no_documents(text: str) -> None:
    assert parse_documents(text, "f.yaml") == []


def test_windows_line_ends_change_nothing() -> None:
    (document,) = parse_documents("a: 1\r\nb:\r\n  c: |\r\n    x\r\n    y\r\n", "f.yaml")
    assert document.node is not None
    assert node_to_value(document.node) == {"a": 1, "b": {"c": "x\ny\n"}}


def test_an_alias_repeats_its_anchor() -> None:
    (document,) = parse_documents("a: &x {b: 1}\nc: *x\n", "f.yaml")
    assert document.node is not None
    assert node_to_value(document.node) == {"a": {"b": 1}, "c": {"b": 1}}


def test_alias_expansion_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert list_problem_texts("\n".join(lines)) == [
        "f.yaml:6:10: more than 100000 values; "
        "split the file, or write out what the * aliases repeat"
    ]


def test_an_alias_inside_its_own_anchor_is_refused() -> None:
    assert list_problem_texts("a: &a [*a]\n") == [
        "f.yaml:1:8: there is no anchor &a above; "
        "put the text in quotes if it is meant to start with *"
    ]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused(opening: str) -> None:
    (problem,) = list_problem_texts(opening * 50_000)
    assert f"nested deeper than {MAX_DEPTH} levels; flatten it" in problem


def test_a_syntax_error_leaves_a_document_without_a_value() -> None:
    (document,) = parse_documents("a: [1,\nb: 2\n", "f.yaml")
    assert document.node is None
    assert document.chunk == "a: [1,\nb: 2\n"


def test_thousands_of_documents_are_read() -> None:
    text = "---\n".join(f"rule: r{n}\ntrigger: {{event: T, where: x > {n}}}\n" for n in range(3000))
    parsed = parse_documents(text, "f.yaml")
    assert len(parsed) == 3_000
    assert all(isinstance(document.node, YamlMapping) for document in parsed)


def test_block_text_of_several_lines_has_real_locations() -> None:
    (document,) = parse_documents("a: >\n  x > 1\n  and y > 2\n", "f.yaml")
    assert isinstance(document.node, YamlMapping)
    scalar = document.node.get("a")
    assert isinstance(scalar, YamlScalar)
    assert scalar.text == "x > 1 and y > 2\n"
    location = SourceLocation(
        "f.yaml", scalar.location.line, scalar.location.column + scalar.text.index("y")
    )
    assert document.source.normalize_location(location) == SourceLocation("f.yaml", 3, 7)
