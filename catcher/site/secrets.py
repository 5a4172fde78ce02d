"""Resolves `${NAME}` and `${file:/path}` in settings, and redacts their values in every text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from catcher.model.errors import CatcherError
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

MIN_SECRET_LENGTH = 4
"""Shorter values (in characters) are not redacted: they would blacken ordinary words."""

_REFERENCE_PATTERN = re.compile(r"\$\$\{|\$\{([^}]{0,1000})\}?")
_NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SENSITIVE_KEY = re.compile(r"(?i)(^|_)(password|passwd|token|secret|api_?key|secret_?key)$")
_SECRET_MAPPING_KEY = re.compile(r"(?i)(^|_)(passwords|tokens|secrets)$")
"""A mapping under such a key holds secrets under user-defined names."""
_MAX_FILE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Redactor:
    """Redacts secret values in texts. Its own representation shows none of them."""

    values: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Redactor({len(self.values)} secrets)"

    def __call__(self, text: str) -> str:
        """Returns the text with `***` for every secret, also in its quoted and escaped forms."""
        for value in self.values:
            text = text.replace(value, "***")
        return text


def create_redactor(values: set[str]) -> Redactor:
    """Creates a redactor for these values and the forms they take in URLs, JSON and Python."""
    forms: set[str] = set()
    for value in values:
        if len(value) >= MIN_SECRET_LENGTH:
            forms |= {value, quote(value, safe=""), quote(value)}
            forms |= {json.dumps(value)[1:-1], repr(value)[1:-1]}
    return Redactor(tuple(sorted(forms, key=lambda form: (-len(form), form))))


class Secrets:
    """Resolves the references of one site. `values` collects what must never be shown."""

    def __init__(self, environ: Mapping[str, str], root: Path) -> None:
        self._environ, self._root = environ, root
        self.values: set[str] = set()

    def resolve_references(self, node: YamlNode, collector: ProblemCollector) -> YamlNode:
        """Returns the tree with every reference replaced; reports a missing one at its location."""
        if isinstance(node, YamlMapping):
            return YamlMapping(
                {key: self._resolve_entry(entry, collector) for key, entry in node.entries.items()},
                node.location,
            )
        if isinstance(node, YamlSequence):
            return replace(
                node, items=tuple(self.resolve_references(item, collector) for item in node.items)
            )
        return self._resolve_scalar(node, collector)

    def _resolve_entry(
        self, entry: YamlEntry, collector: ProblemCollector, is_secret: bool = False
    ) -> YamlEntry:
        if isinstance(entry.node, YamlMapping) and _SECRET_MAPPING_KEY.search(entry.key):
            child_entries = entry.node.entries
            resolved = {
                key: self._resolve_entry(child, collector, True)
                for key, child in child_entries.items()
            }
            return replace(entry, node=replace(entry.node, entries=resolved))
        node = self.resolve_references(entry.node, collector)
        is_secret = is_secret or _SENSITIVE_KEY.search(entry.key) is not None
        if isinstance(node, YamlScalar) and is_secret and node.text:
            self.values.add(node.text)
            if not node.is_secret:
                hint = f"take it from the environment: ${{{entry.key.upper()}}}"
                message = f"the `{entry.key}` is written into the file"
                collector.add_warning(node.location, message, hint)
            node = replace(node, is_secret=True)
        return replace(entry, node=node)

    def _resolve_scalar(self, node: YamlScalar, collector: ProblemCollector) -> YamlScalar:
        if not isinstance(node.value, str) or "${" not in node.text:
            return node
        secret_values: list[str] = []

        def replace_reference(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            secret_values.append(self._resolve_reference(match))
            return secret_values[-1]

        try:
            text = _REFERENCE_PATTERN.sub(replace_reference, node.text)
        except CatcherError as error:
            collector.add_error(node.location, error.message, error.hint)
            return YamlScalar(None, "", node.location, node.is_quoted, is_secret=True)
        finally:
            self.values.update(secret_values)
        value = text if node.is_quoted else parse_scalar(text)
        return YamlScalar(value, text, node.location, node.is_quoted, bool(secret_values))

    def _resolve_reference(self, match: re.Match[str]) -> str:
        name = match[1].strip()
        if not match[0].endswith("}"):
            raise CatcherError("the ${ is not closed", "write ${NAME}, or $${ for a plain ${")
        if name.startswith("file:"):
            return self._read_secret_file(name.removeprefix("file:").strip())
        if not _NAME_PATTERN.fullmatch(name):
            message = f"{quote_text(name)} is no name of an environment variable"
            raise CatcherError(message, "write ${NAME} or ${file:/path}, or $${ for a plain ${")
        value = self._environ.get(name)
        if not value:
            state = "not set" if value is None else "empty"
            message = f"the environment variable {name} is {state}"
            raise CatcherError(message, f"set it, for instance: export {name}=...")
        return value

    def _read_secret_file(self, name: str) -> str:
        path = self._root / Path(name)
        hint = "name a readable file that holds nothing but the secret"
        try:
            if not path.is_file():
                raise CatcherError(f"there is no file {quote_text(name)}", hint)
            with path.open("rb") as file:
                data = file.read(_MAX_FILE_BYTES + 1)
            value = data.decode("utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise CatcherError(f"{quote_text(name)} cannot be read: {reason}", hint) from None
        if not value or len(data) > _MAX_FILE_BYTES:
            state = "empty" if not value else "larger than 64 kB"
            raise CatcherError(f"the file {quote_text(name)} is {state}", hint)
        return value
