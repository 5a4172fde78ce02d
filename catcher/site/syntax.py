"""What a YAML syntax error means in the words of somebody who wrote a rule."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Any

from catcher.model.problem import Place

Explanation = tuple[Place, str, str]

_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_NO_SPACE = re.compile(r"\s*(?:- )?([A-Za-z_][\w-]*):(?=[^\s:/])")
_LONGEST_LOOK = 10_000
_DIRECTIVE = re.compile(r"(?:[ \t]*(?:#[^\r\n]*)?[\r\n]+)*%")
BRACES = (
    "a text that starts with {{ is taken for a mapping",
    "put the whole text in double quotes",
)


class Source:
    """A file's text with its lines, to find places in it."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._starts = [0, *(match.end() for match in _BREAK.finditer(text))]
        self._text = text

    def line_of(self, index: int) -> int:
        """The number of the line (from 0) of a character's index."""
        return bisect_right(self._starts, index) - 1

    def at(self, index: int) -> Place:
        """The place of a character's index."""
        line = self.line_of(index)
        return Place(self.name, line + 1, index - self._starts[line] + 1)

    def line(self, number: int) -> str:
        """A line by its number from 1, without its end; empty outside the file."""
        if not 1 <= number <= len(self._starts):
            return ""
        end = self._starts[number] if number < len(self._starts) else len(self._text)
        return self._text[self._starts[number - 1] : end].rstrip("\r\n\x85\u2028\u2029")

    def index(self, place: Place) -> int:
        """The index of a place's character."""
        return self._starts[min(max(place.line, 1), len(self._starts)) - 1] + place.column - 1

    def rest(self, place: Place, size: int = 2_000) -> str:
        """The text from a place on."""
        start = self.index(place)
        return self._text[start : start + size]

    def block_start(self, place: Place) -> Place:
        """Where the text of a block scalar (`|` or `>`) begins: its first line below."""
        for number in range(place.line + 1, len(self._starts) + 1):
            line = self.line(number)
            if line.strip():
                return Place(self.name, number, len(line) - len(line.lstrip()) + 1)
        return place

    def settle(self, place: Place) -> Place:
        """A real place for one that counts on in a text of several lines."""
        line, column = min(max(place.line, 1), len(self._starts)), max(place.column, 1)
        while (over := column - len(self.line(line)) - 1) > 0 and line < len(self._starts):
            text = self.line(line + 1)
            line, column = line + 1, over + len(text) - len(text.lstrip())
        return Place(self.name, line, min(column, len(self.line(line)) + 1))


def split_expression(text: str) -> tuple[str, str]:
    """The words about an expression that a comma has cut in two."""
    start = text.strip()[:40]
    message = f"the comma inside '{start}…' ends the entry here"
    return message, "put this expression on its own line, or in quotes"


def explain(error: Any, source: Source, offset: int) -> Explanation:
    """Place, message and hint for an error of the YAML parser in a chunk of a file."""
    place = _place(error.problem_mark or error.context_mark, source, offset)
    context = _place(error.context_mark, source, offset) if error.context_mark else None
    problem = error.problem or ""
    if context and "flow" in (error.context or ""):
        return _in_flow(place, context, source)
    if context and "quoted scalar" in (error.context or "") and "end of" in problem:
        return context, "the quote that opens here is never closed", "close it"
    if context and "simple key" in (error.context or ""):
        return _without_colon(context, source)
    for words, explainer in _EXPLAINERS:
        if words in problem:
            return explainer(place, source)
    hint = "check the quotes and the indentation of this line and the one above"
    return place, f"this is no YAML ({problem or 'it cannot be parsed'})", hint


def _place(mark: Any, source: Source, offset: int) -> Place:
    if mark is None:
        return Place(source.name, offset + 1, 1)
    return source.settle(Place(source.name, mark.line + offset + 1, mark.column + 1))


def _in_flow(place: Place, context: Place, source: Source) -> Explanation:
    length = source.index(place) - source.index(context) + 1
    span = source.rest(context, min(length, _LONGEST_LOOK))
    if comma := _cut_expression(span + source.line(place.line)[place.column :]):
        start, text = comma
        return source.at(source.index(context) + start), *split_expression(text)
    if "${" in span + source.line(place.line)[place.column - 1 :]:
        message = "a text with ${…} among { } needs quotes"
        return place, message, "write it like '${NAME}'"
    opening = span[:1]
    closing = {"{": "}", "[": "]"}.get(opening, "")
    if not closing:
        return place, "a value is missing here", "see that each { and [ above is closed"
    if place.line > context.line:
        message = f"the {opening} that opens here is not closed with {closing}"
        return context, message, f"close it, and put a text that holds {opening} in quotes"
    if span.startswith("{{"):
        return _braces(context)
    message = f"a comma or {closing} is missing here"
    return place, message, "put a text that holds , : { } [ ] or quotes into quotes as a whole"


def _cut_expression(text: str) -> tuple[int, str] | None:
    """Where an expression starts that has a comma inside its brackets, outside of quotes."""
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
            lead = len(text[start:index]) - len(text[start:index].lstrip())
            return start + lead, text[start:index].strip()
        elif char in "{[," or (char == ":" and text[index + 1 : index + 2] in (" ", "")):
            start, depth = index + 1, 0
    return None


def _without_colon(context: Place, source: Source) -> Explanation:
    line = source.line(context.line)
    if missing := _NO_SPACE.match(line):
        return _no_space(context.line, missing, source)
    word = line.strip()[:40]
    return context, f"'{word}' is neither a key nor a value", "write it as `key: value`"


def _no_space(number: int, missing: re.Match[str], source: Source) -> Explanation:
    place = Place(source.name, number, missing.end() + 1)
    key = missing[1][:40]
    return place, f"there is no space after `{key}:`", f"write `{key}: …` with a space"


def _braces(place: Place) -> Explanation:
    return place, *BRACES


def _start(place: Place, source: Source) -> Explanation:
    char = source.rest(place, 1)
    if char == "\t":
        return place, "a tab is used for indentation", "use spaces"
    return place, f"a text cannot start with {char}", "put it in quotes"


def _second_colon(place: Place, source: Source) -> Explanation:
    for number in (place.line, place.line - 1):
        if missing := _NO_SPACE.match(source.line(number)):
            return _no_space(number, missing, source)
    before = source.line(place.line)[: place.column - 1]
    if ": " in before:
        return place, "a second ': ' in one line", "put the text after the first one in quotes"
    message = "this line is indented further than the key above, which has a value already"
    column = len(before) - len(before.lstrip()) + 1
    return Place(source.name, place.line, column), message, "line the keys up"


def _expected_key(place: Place, source: Source) -> Explanation:
    line = source.line(place.line)
    before, rest = line[: place.column - 1], line[place.column - 1 :].strip()
    if "{{" in before and before.rstrip().endswith("}}"):
        return _braces(Place(source.name, place.line, before.index("{{") + 1))
    if before.rstrip()[-1:] in ("'", '"') and rest:
        hint = "put the whole value into one pair of quotes, the other kind inside"
        return place, "the value goes on after its closing quote", hint
    if before.strip() and rest[:1] in ("}", "]"):
        return place, f"there is a {rest[0]} too many", "delete it, or put the text in quotes"
    if rest.startswith("- ") or rest == "-":
        return place, "a list entry stands where a key should", "indent it under its key"
    if before.strip():
        return place, f"'{rest[:40]}' is too much here", "put the whole value in quotes"
    return place, "this line is indented like none of the lines above", "line the keys up"


def _dash(place: Place, source: Source) -> Explanation:
    message = "a list cannot start in the line of its key"
    return place, message, "write [a, b], or each entry as `- …` on a line of its own below"


def _escape(place: Place, source: Source) -> Explanation:
    letter = source.rest(place, 2)
    message = f"{letter} is no escape that double quotes know"
    return place, message, "use single quotes, in which a backslash is just a backslash"


def _list_entry(place: Place, source: Source) -> Explanation:
    message = "a key stands between the entries of a list"
    return place, message, "start the line with `- `, or line it up with the keys above"


def directive(chunk: str) -> int:
    """The position from 1 of the % that starts a chunk's first line of weight; 0 without one."""
    match = _DIRECTIVE.match(chunk)
    return match.end() if match else 0


def _document(place: Place, source: Source) -> Explanation:
    return place, "this line stands further left than the first one", "line the keys up"


def _block(place: Place, source: Source) -> Explanation:
    message = "a value that starts with > or | announces a text on the lines below"
    return place, message, "put an expression that starts so in quotes"


def _name(place: Place, source: Source) -> Explanation:
    return place, "a text that starts with * or & has a meaning in YAML", "put it in quotes"


_EXPLAINERS = (
    ("cannot start any token", _start),
    ("mapping values are not allowed", _second_colon),
    ("could not find expected ':'", _without_colon),
    ("did not find expected key", _expected_key),
    ("block sequence entries are not allowed", _dash),
    ("unknown escape character", _escape),
    ("did not find expected '-' indicator", _list_entry),
    ("<document start>", _document),
    ("expected comment or line break", _block),
    ("alphabetic or numeric character", _name),
)
