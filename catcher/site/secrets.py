"""`${NAME}` and `${file:/path}` in settings: put in their place, and kept out of every text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from catcher.model.problem import CatcherError
from catcher.site.nodes import Branch, Entry, Items, Node, Report, Scalar, quoted, typed

SHORTEST = 4
"""Values of fewer characters are not redacted: they would blacken ordinary words."""

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]{0,1000})\}?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SENSITIVE = re.compile(r"(?i)(^|_)(password|passwd|token|secret|api_?key|secret_?key)$")
_NAMED = re.compile(r"(?i)(^|_)(passwords|tokens|secrets)$")
"""A mapping under such a key holds secrets under names of the user's own."""
_MAX_FILE = 65_536


@dataclass(frozen=True, slots=True)
class Redactor:
    """Takes secret values out of texts. Its own representation shows none of them."""

    values: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Redactor({len(self.values)} secrets)"

    def __call__(self, text: str) -> str:
        """The text with `***` for every secret, also in its quoted and escaped forms."""
        for value in self.values:
            text = text.replace(value, "***")
        return text


def redactor(values: set[str]) -> Redactor:
    """A redactor for these values and the forms they take in URLs, JSON and Python."""
    forms: set[str] = set()
    for value in values:
        if len(value) >= SHORTEST:
            forms |= {value, quote(value, safe=""), quote(value)}
            forms |= {json.dumps(value)[1:-1], repr(value)[1:-1]}
    return Redactor(tuple(sorted(forms, key=lambda form: (-len(form), form))))


class Secrets:
    """Resolves the references of one site. `values` collects what must never be shown."""

    def __init__(self, environ: Mapping[str, str], root: Path) -> None:
        self._environ, self._root = environ, root
        self.values: set[str] = set()

    def resolve(self, node: Node, report: Report) -> Node:
        """The tree with every reference replaced; what is missing is a problem at its place."""
        if isinstance(node, Branch):
            return Branch(
                {key: self._entry(entry, report) for key, entry in node.entries.items()},
                node.place,
            )
        if isinstance(node, Items):
            return replace(node, items=tuple(self.resolve(item, report) for item in node.items))
        return self._scalar(node, report)

    def _entry(self, entry: Entry, report: Report, secret: bool = False) -> Entry:
        if isinstance(entry.node, Branch) and _NAMED.search(entry.key):
            below = entry.node.entries
            named = {key: self._entry(one, report, True) for key, one in below.items()}
            return replace(entry, node=replace(entry.node, entries=named))
        node = self.resolve(entry.node, report)
        secret = secret or _SENSITIVE.search(entry.key) is not None
        if isinstance(node, Scalar) and secret and node.text:
            self.values.add(node.text)
            if not node.secret:
                hint = f"take it from the environment: ${{{entry.key.upper()}}}"
                message = f"the `{entry.key}` is written into the file"
                report.warning(node.place, message, hint)
            node = replace(node, secret=True)
        return replace(entry, node=node)

    def _scalar(self, node: Scalar, report: Report) -> Scalar:
        if not isinstance(node.value, str) or "${" not in node.text:
            return node
        found: list[str] = []

        def fill(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            found.append(self._value(match))
            return found[-1]

        try:
            text = _REFERENCE.sub(fill, node.text)
        except CatcherError as error:
            report.error(node.place, error.message, error.hint)
            return Scalar(None, "", node.place, node.quoted, secret=True)
        finally:
            self.values.update(found)
        value = text if node.quoted else typed(text)
        return Scalar(value, text, node.place, node.quoted, bool(found))

    def _value(self, match: re.Match[str]) -> str:
        name = match[1].strip()
        if not match[0].endswith("}"):
            raise CatcherError("the ${ is not closed", "write ${NAME}, or $${ for a plain ${")
        if name.startswith("file:"):
            return self._file(name.removeprefix("file:").strip())
        if not _NAME.fullmatch(name):
            message = f"{quoted(name)} is no name of an environment variable"
            raise CatcherError(message, "write ${NAME} or ${file:/path}, or $${ for a plain ${")
        value = self._environ.get(name)
        if not value:
            state = "not set" if value is None else "empty"
            message = f"the environment variable {name} is {state}"
            raise CatcherError(message, f"set it, for instance: export {name}=...")
        return value

    def _file(self, name: str) -> str:
        path = self._root / Path(name)
        hint = "name a readable file that holds nothing but the secret"
        try:
            if not path.is_file():
                raise CatcherError(f"there is no file {quoted(name)}", hint)
            with path.open("rb") as file:
                data = file.read(_MAX_FILE + 1)
            value = data.decode("utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise CatcherError(f"{quoted(name)} cannot be read: {reason}", hint) from None
        if not value or len(data) > _MAX_FILE:
            state = "empty" if not value else "larger than 64 kB"
            raise CatcherError(f"the file {quoted(name)} is {state}", hint)
        return value
