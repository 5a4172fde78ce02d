"""Binds what is written under an adapter's name to the adapter's own settings class.
The class is a frozen dataclass whose fields are the keys. Its annotations define what each takes:
`str`, `int`, `float`, `bool`, `Path`, `Span` (a duration), `Size` (bytes), `Literal`, tuples,
mappings and other such dataclasses; a field without a default is required. A trailing underscore
keeps a key apart from Python's keywords, and `metadata={"key": "..."}` gives it another name.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from catcher.model.errors import CatcherError, SourceLocation
from catcher.site.mapping_reader import MAX_EXACT_INTEGER, MappingReader
from catcher.site.yaml_tree import (
    ProblemCollector,
    YamlEntry,
    YamlMapping,
    YamlNode,
    YamlScalar,
    node_to_value,
)

SettingsT = TypeVar("SettingsT")


@dataclasses.dataclass(frozen=True, slots=True)
class AdapterSection:
    """One adapter as the site names it: its kind (`mqtt`), and its settings still unbound.
    `name` is the name that the site gives it. Secrets are resolved and not shown by `repr`.
    """

    kind: str
    location: SourceLocation
    node: YamlMapping = dataclasses.field(repr=False, compare=False)
    name: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as plain values; secrets are wrapped as `Secret`."""
        return cast(dict[str, Any], node_to_value(self.node, wrap_secrets=True))

    def bind_settings(self, cls: type[SettingsT]) -> SettingsT:
        """Returns the settings as an instance of the adapter's class.
        Raises CatcherError with all problems if they do not fit.
        """
        collector = ProblemCollector()
        settings = self.try_bind_settings(cls, collector)
        if settings is None or collector.count_errors():
            raise CatcherError(
                "\n".join(map(str, collector.problems)) or f"{self.kind} is unusable"
            )
        return settings

    def try_bind_settings(
        self, cls: type[SettingsT], collector: ProblemCollector
    ) -> SettingsT | None:
        """Binds the settings like `bind_settings`, but reports each problem at its location."""
        return bind_dataclass(MappingReader(self.node, collector, self.kind), cls)


def create_section(
    kind: str, location: SourceLocation, name: str = "", **texts: str
) -> AdapterSection:
    """Creates a section that holds only its kind, or a few texts written elsewhere."""
    entries = {
        key: YamlEntry(key, location, YamlScalar(text, text, location))
        for key, text in texts.items()
    }
    return AdapterSection(kind, location, YamlMapping(entries, location), name)


def bind_dataclass(reader: MappingReader, cls: type[SettingsT]) -> SettingsT | None:
    """Creates an instance of a dataclass from a mapping; None, with problems, if that fails."""
    errors_before = reader.collector.count_errors()
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if not field.init:
            continue
        key = field.metadata.get("key", field.name.rstrip("_"))
        if reader.has_any_key(key):
            values[field.name] = _bind_value(reader, key, hints[field.name], str(field.type))
        elif _is_required(field):
            reader.require_key(key, f"write {key}: below {reader.title}:")
        else:
            reader.get_node(key)
    reader.check_keys()
    if reader.collector.count_errors() > errors_before:
        return None
    try:
        return cls(**values)
    except CatcherError as error:
        reader.collector.add_error(reader.location, error.message, error.hint)
    except (ValueError, TypeError) as error:
        reader.collector.add_error(reader.location, f"{reader.title}: {error}", "mend this section")
    return None


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _bind_value(reader: MappingReader, key: str, annotation: Any, annotation_text: str) -> Any:
    options = _list_union_members(annotation)
    members = [option for option in options if option is not type(None)]
    if members and all(get_origin(option) is Literal for option in members):
        choices = {str(choice): choice for option in members for choice in get_args(option)}
        return reader.read_choice(key, choices, next(iter(choices)))
    if int in members and "Span" in annotation_text:
        return reader.read_span(key)
    if int in members and "Size" in annotation_text:
        return reader.read_size(key)
    for option in members:
        if dataclasses.is_dataclass(option) and isinstance(option, type):
            child = reader.get_child_reader(key)
            return bind_dataclass(child, option) if child else None
    return _bind_scalar_or_collection(reader, key, members)


def _list_union_members(annotation: Any) -> Sequence[Any]:
    return (
        get_args(annotation)
        if get_origin(annotation) in (Union, types.UnionType)
        else (annotation,)
    )


def _bind_scalar_or_collection(reader: MappingReader, key: str, kinds: Sequence[Any]) -> Any:
    node = reader.get_node(key)
    if isinstance(node, YamlMapping) or not _has_scalar_type(kinds):
        return _bind_collection(reader, key, node, kinds)
    if bool in kinds and isinstance(node, YamlScalar) and isinstance(node.value, bool):
        return reader.read_bool(key, False)
    if Path in kinds:
        return Path(reader.read_text(key)).expanduser()
    is_number = isinstance(node, YamlScalar) and not isinstance(node.value, str)
    if str in kinds and not (is_number and (int in kinds or float in kinds)):
        return reader.read_text(key)
    if float in kinds:
        return reader.read_number(
            key, -MAX_EXACT_INTEGER * MAX_EXACT_INTEGER, MAX_EXACT_INTEGER * MAX_EXACT_INTEGER
        )
    if int in kinds:
        return reader.read_integer(key, -int(MAX_EXACT_INTEGER), int(MAX_EXACT_INTEGER))
    return reader.read_bool(key, False)


def _has_scalar_type(kinds: Iterable[Any]) -> bool:
    return any(kind in (str, int, float, bool, Path) for kind in kinds)


def _bind_collection(
    reader: MappingReader, key: str, node: YamlNode | None, kinds: Sequence[Any]
) -> Any:
    for kind in kinds:
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (dict, Mapping) and isinstance(node, YamlMapping):
            return _bind_mapping(reader, key, arguments)
        if origin in (tuple, list, Sequence, frozenset, set) and not isinstance(node, YamlMapping):
            return _bind_sequence(reader, key, arguments[0] if arguments else Any, origin)
    if any(kind in (str, int, float, bool, Path) for kind in kinds):
        return reader.read_text(key)
    if Any in kinds or dict in kinds or object in kinds:
        return node_to_value(node) if node is not None else None
    reader.get_child_reader(key)
    return None


def _bind_mapping(reader: MappingReader, key: str, arguments: Sequence[Any]) -> Any:
    child = reader.get_child_reader(key)
    kind = arguments[1] if len(arguments) == 2 else Any
    if child is None or kind is Any:
        return node_to_value(child.node) if child else {}
    return {
        entry.key: _bind_value(child, entry.key, kind, str(kind)) for entry in child.iter_entries()
    }


def _bind_sequence(reader: MappingReader, key: str, kind: Any, origin: Any) -> Any:
    elements: Iterable[Any]
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        elements = [
            element
            for child in reader.list_child_readers(key)
            if (element := bind_dataclass(child, kind)) is not None
        ]
    elif kind is str:
        elements = reader.read_text_list(key)
    else:
        elements = [node_to_value(item) for item in getattr(reader.get_node(key), "items", ())]
    return tuple(elements) if origin in (tuple, Sequence) else origin(elements)
