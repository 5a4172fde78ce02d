"""Which adapters a site may name, and how it names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from catcher.model.errors import SourceLocation
from catcher.site.mapping_reader import MappingReader
from catcher.site.settings_binding import AdapterSection
from catcher.site.suggestions import find_closest_name, format_suggestion
from catcher.site.yaml_tree import (
    ProblemCollector,
    YamlEntry,
    YamlMapping,
    YamlScalar,
    describe_node,
    has_missing_secret,
    quote_text,
)

Adapters = Mapping[tuple[str, str], type]
"""The settings class of each adapter by port and kind, as `("source", "mqtt")`.
Ports are `source`, `ledger`, `history`, `metrics`, `objects`, `images`, `executor`, `sink`,
`heartbeat` and `announce`.
"""


@dataclass(frozen=True, slots=True)
class AdapterKinds:
    """The adapters of one port. `planned` ones are in the grammar but not in this version.
    `schemes` maps the scheme of an address to its kind, for `objects: s3://bucket/prefix`;
    `settings_classes` are the settings classes, where they are known.
    """

    port: str
    noun: str
    available: tuple[str, ...]
    planned: tuple[str, ...] = ()
    schemes: Mapping[str, str] = field(default_factory=dict)
    settings_classes: Adapters = field(default_factory=dict)

    @property
    def all_kinds(self) -> tuple[str, ...]:
        """Every kind of the grammar."""
        return self.available + self.planned


SOURCE_KINDS = AdapterKinds(
    "source", "a source", ("mqtt", "kafka", "influxdb", "replay", "simulator", "http")
)
LEDGER_KINDS = AdapterKinds(
    "ledger",
    "a ledger",
    ("sqlite", "postgresql"),
    (),
    {
        "postgresql": "postgresql",
        "postgres": "postgresql",
        "postgresql+psycopg": "postgresql",
        "sqlite": "sqlite",
    },
)
HISTORY_KINDS = AdapterKinds("history", "a history", ("embedded", "influxdb"))
METRIC_KINDS = AdapterKinds("metrics", "a metric store", ("ledger", "influxdb"))
OBJECT_KINDS = AdapterKinds("objects", "an object store", ("file", "s3", "gcs", "azure"), (),
    {"file": "file", "s3": "s3", "gs": "gcs", "az": "azure"})  # fmt: skip
RECORD_KINDS = AdapterKinds(
    "records", "a record store", ("consdb", "exposurelog", "narrativelog", "database")
)
IMAGE_KINDS = AdapterKinds("images", "a place of images", ("file", "s3", "butler"))
EXECUTOR_KINDS = AdapterKinds("executor", "an executor", ("local", "dask", "http"), (),
    {"dask": "dask", "http": "http", "https": "http"})  # fmt: skip
SINK_KINDS = AdapterKinds(
    "sink", "a sink", ("console", "slack", "love", "mqtt", "kafka", "http", "apprise")
)


ANNOUNCEMENT_KINDS = AdapterKinds("announce", "an announcement", ("mqtt", "kafka"))
HEARTBEAT_KINDS = AdapterKinds("heartbeat", "a heartbeat", ("mqtt", "http", "love"))


def parse_adapter(reader: MappingReader, key: str, kinds: AdapterKinds) -> AdapterSection | None:
    """Reads the adapter below a key: a word, an address, or `{kind: {settings}}`.
    None if it is absent or has a problem, which is reported.
    """
    node = reader.get_node(key)
    if node is None or has_missing_secret(node):
        return None
    if isinstance(node, YamlMapping):
        child = MappingReader(node, reader.collector, f"`{key}`")
        section = parse_adapter_mapping(child, kinds, key)
        child.check_keys()
        return section
    if isinstance(node, YamlScalar) and isinstance(node.value, str):
        return _parse_adapter_text(reader, key, node, kinds)
    hint = f"write one of {', '.join(kinds.available)}, alone or as {{kind: {{settings}}}}"
    reader.collector.add_error(
        node.location, f"`{key}` takes {kinds.noun}, not {describe_node(node)}", hint
    )
    return None


def parse_adapter_mapping(
    reader: MappingReader, kinds: AdapterKinds, name: str
) -> AdapterSection | None:
    """Reads the one kind among a mapping's keys, with its settings; None if there is a problem."""
    named_kinds = [kind for kind in kinds.all_kinds if reader.has_any_key(kind)]
    for kind in kinds.all_kinds:
        reader.get_node(kind)
    if len(named_kinds) == 1:
        return _parse_adapter_settings(reader, named_kinds[0], kinds, name)
    if not _has_misspelt_kind(reader, kinds):
        problem_text = "does not say what kind it is"
        if named_kinds:
            problem_text = f"names both `{named_kinds[0]}` and `{named_kinds[1]}`"
        reader.collector.add_error(
            reader.location, f"{reader.title} {problem_text}", _build_kind_hint(reader, name, kinds)
        )
    return None


def validate_section(
    section: AdapterSection, kinds: AdapterKinds, collector: ProblemCollector
) -> AdapterSection | None:
    """Returns the section if its settings fit the adapter's class, else None."""
    cls = kinds.settings_classes.get((kinds.port, section.kind))
    return section if cls is None or section.try_bind_settings(cls, collector) is not None else None


def _parse_adapter_settings(
    reader: MappingReader, kind: str, kinds: AdapterKinds, name: str
) -> AdapterSection | None:
    node, location = reader.get_node(kind), reader.key_location(kind)
    if kind in kinds.planned:
        _report_planned_kind(reader.collector, location, kind, kinds)
        return None
    if node is None or has_missing_secret(node):
        return None
    if isinstance(node, YamlScalar) and node.value is None:
        return validate_section(
            AdapterSection(kind, location, YamlMapping({}, location), name), kinds, reader.collector
        )
    child = reader.get_child_reader(kind, hint=f"write it like {kind}: {{key: value}}")
    return (
        validate_section(AdapterSection(kind, location, child.node, name), kinds, reader.collector)
        if child
        else None
    )


def _parse_adapter_text(
    reader: MappingReader, key: str, node: YamlScalar, kinds: AdapterKinds
) -> AdapterSection | None:
    text = node.text.strip()
    scheme = _parse_scheme(text)
    kind = kinds.schemes.get(scheme, scheme) if scheme else text
    if kind in kinds.planned:
        _report_planned_kind(reader.collector, node.location, kind, kinds)
        return None
    if kind not in kinds.available:
        description = describe_node(node) if not scheme else quote_text(f"{scheme}://")
        reader.collector.add_error(
            node.location,
            f"`{key}` cannot be {description}",
            format_suggestion(kind, kinds.available),
        )
        return None
    if not scheme:
        section = AdapterSection(kind, node.location, YamlMapping({}, node.location), key)
        return validate_section(section, kinds, reader.collector)
    entries = {"url": YamlEntry("url", node.location, node)}
    return validate_section(
        AdapterSection(kind, node.location, YamlMapping(entries, node.location), key),
        kinds,
        reader.collector,
    )


def _parse_scheme(text: str) -> str:
    try:
        return urlsplit(text).scheme if "://" in text else ""
    except ValueError:
        return ""


def _has_misspelt_kind(reader: MappingReader, kinds: AdapterKinds) -> bool:
    """True if an unknown key is probably a misspelt kind; `check_keys` reports it."""
    return any(
        find_closest_name(key, kinds.all_kinds)
        for key in reader.node.entries
        if key not in kinds.all_kinds
    )


def _report_planned_kind(
    collector: ProblemCollector, location: SourceLocation, kind: str, kinds: AdapterKinds
) -> None:
    message = f"{kind} as {kinds.noun} is not available in this version"
    collector.add_error(location, message, f"use one of {', '.join(kinds.available)}")


def _build_kind_hint(reader: MappingReader, name: str, kinds: AdapterKinds) -> str:
    if not reader.node.entries and (match := find_closest_name(name, kinds.available)):
        return f"did you mean {quote_text(match)}?"
    return f"give exactly one of {', '.join(kinds.available)}, as {{kind: {{settings}}}}"
