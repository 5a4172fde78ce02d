"""Loads strict YAML: libyaml's parser, scalars as in JSON, every value with its location.
`on`, `yes`, `12:30`, `010` and `1_000` stay text. Duplicate keys, tags, merge keys, alias bombs and
deep nesting are refused. The documents of a file are parsed one by one, so that a syntax error
costs one rule and not the file. Built from the parser's events, since libyaml's own composer
recurses on the C stack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from catcher.model.errors import Problem, SourceLocation
from catcher.site.yaml_errors import (
    BRACES_EXPLANATION,
    SourceText,
    explain_split_expression,
    explain_yaml_error,
    find_directive_position,
)
from catcher.site.yaml_tree import (
    ProblemCollector,
    YamlEntry,
    YamlMapping,
    YamlNode,
    YamlScalar,
    YamlSequence,
    parse_scalar,
    quote_text,
)

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_NODES = 100_000

_DOCUMENT_SEPARATOR = re.compile(r"^---(?=[ \t\r\n]|$)", re.MULTILINE)
_BLANK_DOCUMENT = re.compile(r"(?:---)?[ \t\r\n]*")
_FORBIDDEN_CHARS = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """One document of a file with the problems of its YAML.
    `node` is None if the syntax is broken; `chunk` is the text that contains the document.
    """

    node: YamlNode | None
    source: SourceText
    location: SourceLocation
    problems: tuple[Problem, ...] = ()
    chunk: str = field(default="", repr=False)


def read_text_file(path: Path, name: str, collector: ProblemCollector) -> str | None:
    """Reads a UTF-8 file; None, with a problem, if it cannot be read."""
    location = SourceLocation(name, 1, 1)
    try:
        if not path.is_file():
            collector.add_error(location, "this is not a regular file", "put a YAML file here")
            return None
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or "the system refuses"
        collector.add_error(location, f"the file cannot be read: {reason}", "check its permissions")
        return None
    if len(data) > MAX_BYTES:
        message = f"the file is larger than {MAX_BYTES // 1_000_000} MB"
        collector.add_error(location, message, "split it into several files")
        return None
    return decode_utf8(data, name, collector)


def decode_utf8(data: bytes, name: str, collector: ProblemCollector) -> str | None:
    """Decodes UTF-8 with or without a byte order mark."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        collector.add_error(SourceLocation(name, 1, 1), "the file is UTF-16", "save it as UTF-8")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        valid_text = data[: error.start].decode("utf-8-sig")
        location = SourceText(name, valid_text).location_at(len(valid_text))
        message = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        collector.add_error(location, message, "save the file as UTF-8")
        return None


def parse_documents(text: str, name: str) -> list[YamlDocument]:
    """Parses all documents of a text except empty ones. Never raises for the contents."""
    source = SourceText(name, text)
    parsed = []
    for start, chunk in _split_documents(text):
        if _BLANK_DOCUMENT.fullmatch(chunk):
            continue
        if match := _FORBIDDEN_CHARS.search(chunk):
            parsed.append(_build_rejected_document(source, start + match.start(), chunk))
        elif index := find_directive_position(chunk):
            location = source.location_at(start + index - 1)
            problem = Problem(location, "YAML directives (%) are not supported", "delete this line")
            parsed.append(YamlDocument(None, source, location, (problem,), chunk))
        else:
            parsed += _parse_chunk(source, start, chunk)
    return parsed


def _build_rejected_document(source: SourceText, index: int, chunk: str) -> YamlDocument:
    location = source.location_at(index)
    code_point = ord(source.get_text_from(location, 1))
    message = f"the control character U+{code_point:04X} is not allowed"
    problem = Problem(location, message, "delete it and type the line again")
    return YamlDocument(None, source, location, (problem,), chunk)


def _split_documents(text: str) -> Iterator[tuple[int, str]]:
    starts = [match.start() for match in _DOCUMENT_SEPARATOR.finditer(text)]
    bounds = sorted({0, len(text), *starts})
    for start, end in pairwise(bounds):
        yield start, text[start:end]


def _parse_chunk(source: SourceText, start: int, chunk: str) -> list[YamlDocument]:
    collector = ProblemCollector()
    composer = _YamlComposer(source, source.line_index_at(start), collector)
    parsed: list[YamlDocument] = []

    def add_document(node: YamlNode | None, location: SourceLocation) -> None:
        if node is None or not _is_empty_node(node) or collector.problems:
            parsed.append(YamlDocument(node, source, location, tuple(collector.problems), chunk))
        collector.problems.clear()

    try:
        for event in yaml.parse(chunk, Loader=yaml.CSafeLoader):
            composer.handle_event(event)
            if isinstance(event, yaml.DocumentEndEvent):
                add_document(composer.root, composer.root.location)
    except yaml.MarkedYAMLError as error:
        location, message, hint = explain_yaml_error(error, source, composer.offset)
        # Earlier problems in this line were about the same mistake.
        collector.problems[:] = [
            problem for problem in collector.problems if problem.location.line != location.line
        ]
        collector.add_error(location, message, hint)
        add_document(None, location)
    except _RefusedError as error:
        collector.add_error(error.location, str(error), error.hint)
        add_document(None, error.location)
    return parsed


def _is_empty_node(node: YamlNode) -> bool:
    return isinstance(node, YamlScalar) and node.value is None and not node.is_quoted


class _RefusedError(Exception):
    """The rest of a document cannot be read."""

    def __init__(self, location: SourceLocation, message: str, hint: str) -> None:
        super().__init__(message)
        self.location = location
        self.hint = hint


@dataclass(slots=True)
class _OpenCollection:
    """A collection whose end has not been parsed yet."""

    location: SourceLocation
    is_flow: bool
    is_mapping: bool
    anchor: str | None
    children: list[YamlNode]
    node_count: int = 1


class _YamlComposer:
    """Builds the tree of one document after another from the parser's events."""

    def __init__(self, source: SourceText, offset: int, collector: ProblemCollector) -> None:
        self.source, self.offset, self.collector = source, offset, collector
        self._reset()

    def _reset(self) -> None:
        self.root: YamlNode = YamlScalar(None, "", SourceLocation(self.source.name, 1, 1))
        self._open_collections: list[_OpenCollection] = []
        self._anchors: dict[str, tuple[YamlNode, int]] = {}
        self._node_count = 0

    def handle_event(self, event: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._reset()
        elif isinstance(event, yaml.ScalarEvent):
            self._add_node(self._build_scalar(event), event.anchor, 1)
        elif isinstance(event, yaml.AliasEvent):
            self._add_alias(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open_collection(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            collection = self._open_collections.pop()
            self._add_node(
                self._close_collection(collection), collection.anchor, collection.node_count
            )

    def _locate_event(self, event: Any) -> SourceLocation:
        start_mark = event.start_mark
        return SourceLocation(
            self.source.name, start_mark.line + self.offset + 1, start_mark.column + 1
        )

    def _open_collection(self, event: Any) -> None:
        location = self._locate_event(event)
        self._report_tag(event, location)
        if len(self._open_collections) >= MAX_DEPTH:
            raise _RefusedError(location, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self._open_collections.append(
            _OpenCollection(location, bool(event.flow_style), is_mapping, event.anchor, [])
        )

    def _build_scalar(self, event: Any) -> YamlScalar:
        location = self._locate_event(event)
        self._report_tag(event, location)
        is_quoted = not event.implicit[0]
        text = event.value
        if event.style in ("|", ">"):
            return YamlScalar(text, text, self.source.find_block_scalar_start(location), True)
        if is_quoted:
            inner_location = SourceLocation(location.file, location.line, location.column + 1)
            return YamlScalar(text, text, inner_location, True)
        return YamlScalar(parse_scalar(text), text, location)

    def _report_tag(self, event: Any, location: SourceLocation) -> None:
        if event.tag is not None:
            hint = "delete it, or put the text in quotes if it is meant to start with !"
            self.collector.add_error(
                location, f"the tag {quote_text(event.tag)} is not allowed", hint
            )

    def _add_alias(self, event: Any) -> None:
        location = self._locate_event(event)
        if event.anchor not in self._anchors:
            hint = "put the text in quotes if it is meant to start with *"
            raise _RefusedError(location, f"there is no anchor &{event.anchor[:60]} above", hint)
        node, node_count = self._anchors[event.anchor]
        self._add_node(node, None, node_count, location)

    def _add_node(
        self,
        node: YamlNode,
        anchor: str | None,
        node_count: int,
        location: SourceLocation | None = None,
    ) -> None:
        if anchor:
            self._anchors[anchor] = (node, node_count)
        self._node_count += 1 if location is None else node_count
        if self._node_count > MAX_NODES:
            hint = "split the file, or write out what the * aliases repeat"
            raise _RefusedError(location or node.location, f"more than {MAX_NODES} values", hint)
        if self._open_collections:
            self._open_collections[-1].children.append(node)
            self._open_collections[-1].node_count += node_count
        else:
            self.root = node

    def _close_collection(self, collection: _OpenCollection) -> YamlNode:
        if collection.is_flow:
            self._check_split_expressions(collection)
        if not collection.is_mapping:
            return YamlSequence(tuple(collection.children), collection.location)
        if collection.is_flow and isinstance(next(iter(collection.children), None), YamlMapping):
            self.collector.add_error(collection.location, *BRACES_EXPLANATION)
            return YamlScalar("", "", collection.location, is_quoted=True)
        entries: dict[str, YamlEntry] = {}
        pairs = zip(collection.children[::2], collection.children[1::2], strict=True)
        for key, value in pairs:
            self._add_entry(entries, key, value)
        return YamlMapping(entries, collection.location)

    def _add_entry(self, entries: dict[str, YamlEntry], key: YamlNode, value: YamlNode) -> None:
        if not isinstance(key, YamlScalar):
            hint = "put a text that starts with { or [ in quotes"
            self.collector.add_error(key.location, "a key must be a plain text", hint)
        elif not key.text:
            self.collector.add_error(key.location, "there is no key before the colon", "write one")
        elif key.text == "<<":
            hint = "write the keys out, or use an *alias for a whole value"
            self.collector.add_error(key.location, "merge keys are not supported", hint)
        elif key.text in entries:
            first_line = entries[key.text].location.line
            message = f"the key {quote_text(key.text)} is here twice (first in line {first_line})"
            self.collector.add_error(key.location, message, "keep one of them")
        else:
            entries[key.text] = YamlEntry(key.text, key.location, value)

    def _check_split_expressions(self, collection: _OpenCollection) -> None:
        """Reports a comma inside an expression, as it ends a flow entry: `{when: max(a, b)}`."""
        for child in collection.children:
            if not isinstance(child, YamlScalar) or child.is_quoted:
                continue
            if child.text.count("(") > child.text.count(")"):
                raise _RefusedError(child.location, *explain_split_expression(child.text))
