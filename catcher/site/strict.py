"""Strict YAML: libyaml's parser, scalars as JSON has them, every value with its place.

`on`, `yes`, `12:30`, `010` and `1_000` stay text. Duplicate keys, tags, merge keys, alias bombs
and deep nesting are refused. The documents of a file are parsed one by one, so that a syntax
error costs one rule and not the file. Built from the parser's events, since libyaml's own
composer recurses on the C stack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from catcher.model.problem import Place, Problem
from catcher.site.nodes import Branch, Entry, Items, Node, Report, Scalar, quoted, typed
from catcher.site.syntax import BRACES, Source, directive, explain, split_expression

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_NODES = 100_000

_SEPARATOR = re.compile(r"^---(?=[ \t\r\n]|$)", re.MULTILINE)
_BLANK = re.compile(r"(?:---)?[ \t\r\n]*")
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file with what is wrong in its YAML.

    `node` is None where the syntax is broken; `chunk` is the text that it stands in.
    """

    node: Node | None
    source: Source
    place: Place
    problems: tuple[Problem, ...] = ()
    chunk: str = field(default="", repr=False)


def read_file(path: Path, name: str, report: Report) -> str | None:
    """The text of a UTF-8 file, None with a problem where it cannot be had."""
    place = Place(name, 1, 1)
    try:
        if not path.is_file():
            report.error(place, "this is not a regular file", "put a YAML file here")
            return None
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or "the system refuses"
        report.error(place, f"the file cannot be read: {reason}", "check its permissions")
        return None
    if len(data) > MAX_BYTES:
        message = f"the file is larger than {MAX_BYTES // 1_000_000} MB"
        report.error(place, message, "split it into several files")
        return None
    return decode(data, name, report)


def decode(data: bytes, name: str, report: Report) -> str | None:
    """UTF-8 with or without a byte order mark."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        report.error(Place(name, 1, 1), "the file is UTF-16", "save it as UTF-8")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig")
        place = Source(name, before).at(len(before))
        message = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        report.error(place, message, "save the file as UTF-8")
        return None


def documents(text: str, name: str) -> list[Document]:
    """All documents of a text; empty ones are left out. Never raises for what the text holds."""
    source = Source(name, text)
    found = []
    for start, chunk in _chunks(text):
        if _BLANK.fullmatch(chunk):
            continue
        if bad := _FORBIDDEN.search(chunk):
            found.append(_forbidden(source, start + bad.start(), chunk))
        elif index := directive(chunk):
            place = source.at(start + index - 1)
            problem = Problem(place, "YAML directives (%) are not supported", "delete this line")
            found.append(Document(None, source, place, (problem,), chunk))
        else:
            found += _parse(source, start, chunk)
    return found


def _forbidden(source: Source, index: int, chunk: str) -> Document:
    place = source.at(index)
    code = ord(source.rest(place, 1))
    message = f"the control character U+{code:04X} is not allowed"
    problem = Problem(place, message, "delete it and type the line again")
    return Document(None, source, place, (problem,), chunk)


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    starts = [match.start() for match in _SEPARATOR.finditer(text)]
    bounds = sorted({0, len(text), *starts})
    for start, end in pairwise(bounds):
        yield start, text[start:end]


def _parse(source: Source, start: int, chunk: str) -> list[Document]:
    report = Report()
    composer = _Composer(source, source.line_of(start), report)
    found: list[Document] = []

    def settle(node: Node | None, place: Place) -> None:
        if node is None or not _empty(node) or report.problems:
            found.append(Document(node, source, place, tuple(report.problems), chunk))
        report.problems.clear()

    try:
        for event in yaml.parse(chunk, Loader=yaml.CSafeLoader):
            composer.take(event)
            if isinstance(event, yaml.DocumentEndEvent):
                settle(composer.root, composer.root.place)
    except yaml.MarkedYAMLError as error:
        place, message, hint = explain(error, source, composer.offset)
        # What was said about this line before was about the same slip.
        report.problems[:] = [one for one in report.problems if one.place.line != place.line]
        report.error(place, message, hint)
        settle(None, place)
    except _RefusedError as error:
        report.error(error.place, str(error), error.hint)
        settle(None, error.place)
    return found


def _empty(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None and not node.quoted


class _RefusedError(Exception):
    """Something that cannot be read any further."""

    def __init__(self, place: Place, message: str, hint: str) -> None:
        super().__init__(message)
        self.place = place
        self.hint = hint


@dataclass(slots=True)
class _Frame:
    """A collection that is still open."""

    place: Place
    flow: bool
    mapping: bool
    anchor: str | None
    children: list[Node]
    size: int = 1


class _Composer:
    """Builds the tree of one document after another from the parser's events."""

    def __init__(self, source: Source, offset: int, report: Report) -> None:
        self.source, self.offset, self.report = source, offset, report
        self._reset()

    def _reset(self) -> None:
        self.root: Node = Scalar(None, "", Place(self.source.name, 1, 1))
        self._open: list[_Frame] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._size = 0

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._reset()
        elif isinstance(event, yaml.ScalarEvent):
            self._add(self._scalar(event), event.anchor, 1)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            frame = self._open.pop()
            self._add(self._close(frame), frame.anchor, frame.size)

    def _place(self, event: Any) -> Place:
        mark = event.start_mark
        return Place(self.source.name, mark.line + self.offset + 1, mark.column + 1)

    def _begin(self, event: Any) -> None:
        place = self._place(event)
        self._no_tag(event, place)
        if len(self._open) >= MAX_DEPTH:
            raise _RefusedError(place, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        mapping = isinstance(event, yaml.MappingStartEvent)
        self._open.append(_Frame(place, bool(event.flow_style), mapping, event.anchor, []))

    def _scalar(self, event: Any) -> Scalar:
        place = self._place(event)
        self._no_tag(event, place)
        is_quoted = not event.implicit[0]
        text = event.value
        if event.style in ("|", ">"):
            return Scalar(text, text, self.source.block_start(place), True)
        if is_quoted:
            inside = Place(place.file, place.line, place.column + 1)
            return Scalar(text, text, inside, True)
        return Scalar(typed(text), text, place)

    def _no_tag(self, event: Any, place: Place) -> None:
        if event.tag is not None:
            hint = "delete it, or put the text in quotes if it is meant to start with !"
            self.report.error(place, f"the tag {quoted(event.tag)} is not allowed", hint)

    def _alias(self, event: Any) -> None:
        place = self._place(event)
        if event.anchor not in self._anchors:
            hint = "put the text in quotes if it is meant to start with *"
            raise _RefusedError(place, f"there is no anchor &{event.anchor[:60]} above", hint)
        node, size = self._anchors[event.anchor]
        self._add(node, None, size, place)

    def _add(self, node: Node, anchor: str | None, size: int, place: Place | None = None) -> None:
        if anchor:
            self._anchors[anchor] = (node, size)
        self._size += 1 if place is None else size
        if self._size > MAX_NODES:
            hint = "split the file, or write out what the * aliases repeat"
            raise _RefusedError(place or node.place, f"more than {MAX_NODES} values", hint)
        if self._open:
            self._open[-1].children.append(node)
            self._open[-1].size += size
        else:
            self.root = node

    def _close(self, frame: _Frame) -> Node:
        if frame.flow:
            self._whole_expressions(frame)
        if not frame.mapping:
            return Items(tuple(frame.children), frame.place)
        if frame.flow and isinstance(next(iter(frame.children), None), Branch):
            self.report.error(frame.place, *BRACES)
            return Scalar("", "", frame.place, quoted=True)
        entries: dict[str, Entry] = {}
        pairs = zip(frame.children[::2], frame.children[1::2], strict=True)
        for key, value in pairs:
            self._entry(entries, key, value)
        return Branch(entries, frame.place)

    def _entry(self, entries: dict[str, Entry], key: Node, value: Node) -> None:
        if not isinstance(key, Scalar):
            hint = "put a text that starts with { or [ in quotes"
            self.report.error(key.place, "a key must be a plain text", hint)
        elif not key.text:
            self.report.error(key.place, "there is no key before the colon", "write one")
        elif key.text == "<<":
            hint = "write the keys out, or use an *alias for a whole value"
            self.report.error(key.place, "merge keys are not supported", hint)
        elif key.text in entries:
            first = entries[key.text].place.line
            message = f"the key {quoted(key.text)} is here twice (first in line {first})"
            self.report.error(key.place, message, "keep one of them")
        else:
            entries[key.text] = Entry(key.text, key.place, value)

    def _whole_expressions(self, frame: _Frame) -> None:
        """A comma inside an expression ends a flow entry: `{when: max(a, b) > 3}`."""
        for child in frame.children:
            if not isinstance(child, Scalar) or child.quoted:
                continue
            if child.text.count("(") > child.text.count(")"):
                raise _RefusedError(child.place, *split_expression(child.text))
