"""Explains YAML syntax errors in terms of the rule being written."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Any

from catcher.model.errors import SourceLocation

Explanation = tuple[SourceLocation, str, str]

_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_MISSING_SPACE = re.compile(r"\s*(?:- )?([A-Za-z_][\w-]*):(?=[^\s:/])")
_MAX_SCAN_CHARS = 10_000
_DIRECTIVE_PATTERN = re.compile(r"(?:[ \t]*(?:#[^\r\n]*)?[\r\n]+)*%")
BRACES_EXPLANATION = (
    "a text that starts with {{ is taken for a mapping",
    "put the whole text in double quotes",
)


class SourceText:
    """A file's text with its lines, to find locations in it."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._line_starts = [0, *(match.end() for match in _LINE_BREAK.finditer(text))]
        self._text = text

    def line_index_at(self, index: int) -> int:
        """Returns the line number (from 0) of a character index."""
        return bisect_right(self._line_starts, index) - 1

    def location_at(self, index: int) -> SourceLocation:
        """Returns the location of a character index."""
        line = self.line_index_at(index)
        return SourceLocation(self.name, line + 1, index - self._line_starts[line] + 1)

    def get_line(self, number: int) -> str:
        """Returns a line by its number from 1, without its end; empty outside the file."""
        if not 1 <= number <= len(self._line_starts):
            return ""
        end = self._line_starts[number] if number < len(self._line_starts) else len(self._text)
        return self._text[self._line_starts[number - 1] : end].rstrip("\r\n\x85\u2028\u2029")

    def location_to_index(self, location: SourceLocation) -> int:
        """Returns the character index of a location."""
        return (
            self._line_starts[min(max(location.line, 1), len(self._line_starts)) - 1]
            + location.column
            - 1
        )

    def get_text_from(self, location: SourceLocation, max_chars: int = 2_000) -> str:
        """Returns the text from a location on."""
        start = self.location_to_index(location)
        return self._text[start : start + max_chars]

    def find_block_scalar_start(self, location: SourceLocation) -> SourceLocation:
        """Returns where the text of a block scalar (`|` or `>`) begins: its first line below."""
        for number in range(location.line + 1, len(self._line_starts) + 1):
            line = self.get_line(number)
            if line.strip():
                return SourceLocation(self.name, number, len(line) - len(line.lstrip()) + 1)
        return location

    def normalize_location(self, location: SourceLocation) -> SourceLocation:
        """Converts a column that counts on over several lines to a real location."""
        line, column = min(max(location.line, 1), len(self._line_starts)), max(location.column, 1)
        while (excess := column - len(self.get_line(line)) - 1) > 0 and line < len(
            self._line_starts
        ):
            text = self.get_line(line + 1)
            line, column = line + 1, excess + len(text) - len(text.lstrip())
        return SourceLocation(self.name, line, min(column, len(self.get_line(line)) + 1))


def explain_split_expression(text: str) -> tuple[str, str]:
    """Returns the message and hint for an expression that a comma has cut in two."""
    start = text.strip()[:40]
    message = f"the comma inside '{start}…' ends the entry here"
    return message, "put this expression on its own line, or in quotes"


def explain_yaml_error(error: Any, source: SourceText, offset: int) -> Explanation:
    """Returns location, message and hint for an error of the YAML parser in a chunk of a file."""
    location = _mark_to_location(error.problem_mark or error.context_mark, source, offset)
    context = _mark_to_location(error.context_mark, source, offset) if error.context_mark else None
    problem = error.problem or ""
    if context and "flow" in (error.context or ""):
        return _explain_flow_collection(location, context, source)
    if context and "quoted scalar" in (error.context or "") and "end of" in problem:
        return context, "the quote that opens here is never closed", "close it"
    if context and "simple key" in (error.context or ""):
        return _explain_missing_colon(context, source)
    for pattern, explainer in _EXPLAINERS:
        if pattern in problem:
            return explainer(location, source)
    hint = "check the quotes and the indentation of this line and the one above"
    return location, f"this is no YAML ({problem or 'it cannot be parsed'})", hint


def _mark_to_location(yaml_mark: Any, source: SourceText, offset: int) -> SourceLocation:
    if yaml_mark is None:
        return SourceLocation(source.name, offset + 1, 1)
    return source.normalize_location(
        SourceLocation(source.name, yaml_mark.line + offset + 1, yaml_mark.column + 1)
    )


def _explain_flow_collection(
    location: SourceLocation, context: SourceLocation, source: SourceText
) -> Explanation:
    length = source.location_to_index(location) - source.location_to_index(context) + 1
    span = source.get_text_from(context, min(length, _MAX_SCAN_CHARS))
    if split := _find_split_expression(span + source.get_line(location.line)[location.column :]):
        start, text = split
        return source.location_at(
            source.location_to_index(context) + start
        ), *explain_split_expression(text)
    if "${" in span + source.get_line(location.line)[location.column - 1 :]:
        message = "a text with ${…} among { } needs quotes"
        return location, message, "write it like '${NAME}'"
    opening = span[:1]
    closing = {"{": "}", "[": "]"}.get(opening, "")
    if not closing:
        return location, "a value is missing here", "see that each { and [ above is closed"
    if location.line > context.line:
        message = f"the {opening} that opens here is not closed with {closing}"
        return context, message, f"close it, and put a text that holds {opening} in quotes"
    if span.startswith("{{"):
        return _explain_double_braces(context)
    message = f"a comma or {closing} is missing here"
    return location, message, "put a text that holds , : { } [ ] or quotes into quotes as a whole"


def _find_split_expression(text: str) -> tuple[int, str] | None:
    """Finds where an unquoted expression with a comma inside its parentheses starts."""
    quote, depth, start = "", 0, 0
    for index, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'" and not text[start:index].strip():
            quote = char
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif char == "," and depth > 0:
            indent = len(text[start:index]) - len(text[start:index].lstrip())
            return start + indent, text[start:index].strip()
        elif char in "{[," or (char == ":" and text[index + 1 : index + 2] in (" ", "")):
            start, depth = index + 1, 0
    return None


def _explain_missing_colon(context: SourceLocation, source: SourceText) -> Explanation:
    line = source.get_line(context.line)
    if match := _MISSING_SPACE.match(line):
        return _explain_missing_space(context.line, match, source)
    excerpt = line.strip()[:40]
    return context, f"'{excerpt}' is neither a key nor a value", "write it as `key: value`"


def _explain_missing_space(
    line_number: int, match: re.Match[str], source: SourceText
) -> Explanation:
    location = SourceLocation(source.name, line_number, match.end() + 1)
    key = match[1][:40]
    return location, f"there is no space after `{key}:`", f"write `{key}: …` with a space"


def _explain_double_braces(location: SourceLocation) -> Explanation:
    return location, *BRACES_EXPLANATION


def _explain_token_start(location: SourceLocation, source: SourceText) -> Explanation:
    char = source.get_text_from(location, 1)
    if char == "\t":
        return location, "a tab is used for indentation", "use spaces"
    return location, f"a text cannot start with {char}", "put it in quotes"


def _explain_second_colon(location: SourceLocation, source: SourceText) -> Explanation:
    for line_number in (location.line, location.line - 1):
        if match := _MISSING_SPACE.match(source.get_line(line_number)):
            return _explain_missing_space(line_number, match, source)
    prefix = source.get_line(location.line)[: location.column - 1]
    if ": " in prefix:
        return location, "a second ': ' in one line", "put the text after the first one in quotes"
    message = "this line is indented further than the key above, which has a value already"
    column = len(prefix) - len(prefix.lstrip()) + 1
    return SourceLocation(source.name, location.line, column), message, "line the keys up"


def _explain_expected_key(location: SourceLocation, source: SourceText) -> Explanation:
    line = source.get_line(location.line)
    prefix, remainder = line[: location.column - 1], line[location.column - 1 :].strip()
    if "{{" in prefix and prefix.rstrip().endswith("}}"):
        return _explain_double_braces(
            SourceLocation(source.name, location.line, prefix.index("{{") + 1)
        )
    if prefix.rstrip()[-1:] in ("'", '"') and remainder:
        hint = "put the whole value into one pair of quotes, the other kind inside"
        return location, "the value goes on after its closing quote", hint
    if prefix.strip() and remainder[:1] in ("}", "]"):
        return (
            location,
            f"there is a {remainder[0]} too many",
            "delete it, or put the text in quotes",
        )
    if remainder.startswith("- ") or remainder == "-":
        return location, "a list entry stands where a key should", "indent it under its key"
    if prefix.strip():
        return location, f"'{remainder[:40]}' is too much here", "put the whole value in quotes"
    return location, "this line is indented like none of the lines above", "line the keys up"


def _explain_list_on_key_line(location: SourceLocation, source: SourceText) -> Explanation:
    message = "a list cannot start in the line of its key"
    return location, message, "write [a, b], or each entry as `- …` on a line of its own below"


def _explain_escape(location: SourceLocation, source: SourceText) -> Explanation:
    escape = source.get_text_from(location, 2)
    message = f"{escape} is no escape that double quotes know"
    return location, message, "use single quotes, in which a backslash is just a backslash"


def _explain_key_in_list(location: SourceLocation, source: SourceText) -> Explanation:
    message = "a key stands between the entries of a list"
    return location, message, "start the line with `- `, or line it up with the keys above"


def find_directive_position(chunk: str) -> int:
    """Returns the position from 1 of the % that starts a chunk's first line of text; 0 if none."""
    match = _DIRECTIVE_PATTERN.match(chunk)
    return match.end() if match else 0


def _explain_outdented_line(location: SourceLocation, source: SourceText) -> Explanation:
    return location, "this line stands further left than the first one", "line the keys up"


def _explain_block_scalar(location: SourceLocation, source: SourceText) -> Explanation:
    message = "a value that starts with > or | announces a text on the lines below"
    return location, message, "put an expression that starts so in quotes"


def _explain_anchor(location: SourceLocation, source: SourceText) -> Explanation:
    return location, "a text that starts with * or & has a meaning in YAML", "put it in quotes"


_EXPLAINERS = (
    ("cannot start any token", _explain_token_start),
    ("mapping values are not allowed", _explain_second_colon),
    ("could not find expected ':'", _explain_missing_colon),
    ("did not find expected key", _explain_expected_key),
    ("block sequence entries are not allowed", _explain_list_on_key_line),
    ("unknown escape character", _explain_escape),
    ("did not find expected '-' indicator", _explain_key_in_list),
    ("<document start>", _explain_outdented_line),
    ("expected comment or line break", _explain_block_scalar),
    ("alphabetic or numeric character", _explain_anchor),
)
