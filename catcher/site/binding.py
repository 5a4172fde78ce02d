"""An adapter's settings: what was written under its name, bound to the adapter's own class.

The class is a frozen dataclass whose fields are the keys. Its annotations say what each takes:
`str`, `int`, `float`, `bool`, `Path`, `Span` (a duration), `Size` (bytes), `Literal`, tuples,
mappings and other such dataclasses; a field without a default is required. A trailing underscore
keeps a key apart from Python's keywords, and `metadata={"key": "..."}` names it otherwise.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from catcher.model.problem import CatcherError, Place
from catcher.site.nodes import Branch, Entry, Node, Report, Scalar, bare
from catcher.site.reader import HUGE, Table

Settings = TypeVar("Settings")


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """One adapter as the site names it: its kind (`mqtt`), and its settings still unbound.

    `name` is the name that the site gives it. Secrets are in place and not shown by `repr`.
    """

    kind: str
    place: Place
    node: Branch = dataclasses.field(repr=False, compare=False)
    name: str = ""

    def values(self) -> dict[str, Any]:
        """The settings as plain values; secrets are wrapped as `Secret`."""
        return cast(dict[str, Any], bare(self.node, wrap=True))

    def bind(self, cls: type[Settings]) -> Settings:
        """The settings as an instance of the adapter's class; CatcherError says what is wrong."""
        report = Report()
        made = self.check(cls, report)
        if made is None or report.errors():
            raise CatcherError("\n".join(map(str, report.problems)) or f"{self.kind} is unusable")
        return made

    def check(self, cls: type[Settings], report: Report) -> Settings | None:
        """The same, with each problem reported at its place."""
        return bind(Table(self.node, report, self.kind), cls)


def section(kind: str, place: Place, name: str = "", **texts: str) -> Section:
    """A section that says no more than its kind, or a few texts written elsewhere."""
    entries = {key: Entry(key, place, Scalar(text, text, place)) for key, text in texts.items()}
    return Section(kind, place, Branch(entries, place), name)


def bind(table: Table, cls: type[Settings]) -> Settings | None:
    """An instance of a dataclass from a mapping, None with problems where it cannot be made."""
    before = table.report.errors()
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if not field.init:
            continue
        key = field.metadata.get("key", field.name.rstrip("_"))
        if table.has(key):
            values[field.name] = _value(table, key, hints[field.name], str(field.type))
        elif _required(field):
            table.require(key, f"write {key}: below {table.what}:")
        else:
            table.raw(key)
    table.done()
    if table.report.errors() > before:
        return None
    try:
        return cls(**values)
    except CatcherError as error:
        table.report.error(table.place, error.message, error.hint)
    except (ValueError, TypeError) as error:
        table.report.error(table.place, f"{table.what}: {error}", "mend this section")
    return None


def _required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _value(table: Table, key: str, kind: Any, written: str) -> Any:
    options = _options(kind)
    plain = [option for option in options if option is not type(None)]
    if plain and all(get_origin(option) is Literal for option in plain):
        words = {str(word): word for option in plain for word in get_args(option)}
        return table.choice(key, words, next(iter(words)))
    if int in plain and "Span" in written:
        return table.span(key)
    if int in plain and "Size" in written:
        return table.size(key)
    for option in plain:
        if dataclasses.is_dataclass(option) and isinstance(option, type):
            below = table.table(key)
            return bind(below, option) if below else None
    return _simple(table, key, plain)


def _options(kind: Any) -> Sequence[Any]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _simple(table: Table, key: str, kinds: Sequence[Any]) -> Any:
    node = table.raw(key)
    if isinstance(node, Branch) or not _scalar_kinds(kinds):
        return _collection(table, key, node, kinds)
    if bool in kinds and isinstance(node, Scalar) and isinstance(node.value, bool):
        return table.flag(key, False)
    if Path in kinds:
        return Path(table.text(key)).expanduser()
    number = isinstance(node, Scalar) and not isinstance(node.value, str)
    if str in kinds and not (number and (int in kinds or float in kinds)):
        return table.text(key)
    if float in kinds:
        return table.number(key, -HUGE * HUGE, HUGE * HUGE)
    if int in kinds:
        return table.integer(key, -int(HUGE), int(HUGE))
    return table.flag(key, False)


def _scalar_kinds(kinds: Iterable[Any]) -> bool:
    return any(kind in (str, int, float, bool, Path) for kind in kinds)


def _collection(table: Table, key: str, node: Node | None, kinds: Sequence[Any]) -> Any:
    for kind in kinds:
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (dict, Mapping) and isinstance(node, Branch):
            return _mapping(table, key, arguments)
        if origin in (tuple, list, Sequence, frozenset, set) and not isinstance(node, Branch):
            return _sequence(table, key, arguments[0] if arguments else Any, origin)
    if any(kind in (str, int, float, bool, Path) for kind in kinds):
        return table.text(key)
    if Any in kinds or dict in kinds or object in kinds:
        return bare(node) if node is not None else None
    table.table(key)
    return None


def _mapping(table: Table, key: str, arguments: Sequence[Any]) -> Any:
    below = table.table(key)
    kind = arguments[1] if len(arguments) == 2 else Any
    if below is None or kind is Any:
        return bare(below.node) if below else {}
    return {entry.key: _value(below, entry.key, kind, str(kind)) for entry in below.entries()}


def _sequence(table: Table, key: str, kind: Any, origin: Any) -> Any:
    made: Iterable[Any]
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        made = [one for below in table.tables(key) if (one := bind(below, kind)) is not None]
    elif kind is str:
        made = table.texts(key)
    else:
        made = [bare(item) for item in getattr(table.raw(key), "items", ())]
    return tuple(made) if origin in (tuple, Sequence) else origin(made)
