"""Reads the `stores:` of `catcher.yaml`: where data is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from catcher.model.errors import SourceLocation
from catcher.model.large_files import NAME_PATTERN, LargeFiles
from catcher.model.time import Span
from catcher.site.adapters import (
    HISTORY_KINDS,
    IMAGE_KINDS,
    LEDGER_KINDS,
    METRIC_KINDS,
    OBJECT_KINDS,
    RECORD_KINDS,
    AdapterKinds,
    Adapters,
    parse_adapter,
    parse_adapter_mapping,
)
from catcher.site.mapping_reader import MappingReader
from catcher.site.settings_binding import AdapterSection, create_section
from catcher.site.yaml_tree import YamlEntry, quote_text

_START_LOCATION = SourceLocation("catcher.yaml", 1, 1)
_SQLITE_LEDGER, _EMBEDDED_HISTORY = (
    create_section("sqlite", _START_LOCATION),
    create_section("embedded", _START_LOCATION),
)
_LEDGER_METRICS, _FILE_STORE = (
    create_section("ledger", _START_LOCATION),
    create_section("file", _START_LOCATION),
)


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where data is stored; by default in the embedded stores.
    `spool` is how many bytes of artifacts may wait on disk while their store is unavailable,
    `patience` how long inputs wait for late telemetry; `large_files` stores artifacts by the
    conventions of a Large File Annex; `records` are tables of other services, read as telemetry.
    """

    ledger: AdapterSection = _SQLITE_LEDGER
    history: AdapterSection = _EMBEDDED_HISTORY
    metrics: AdapterSection = _LEDGER_METRICS
    objects: AdapterSection = _FILE_STORE
    images: AdapterSection = _FILE_STORE
    spool: int | None = None
    patience: Span | None = None
    large_files: LargeFiles | None = None
    records: Mapping[str, AdapterSection] = field(default_factory=dict)


def parse_stores(reader: MappingReader, adapters: Adapters) -> StoreSettings:
    """Reads the stores of a site; one with a problem stays at its default."""
    child = reader.get_child_reader("stores", hint="write it like stores: {ledger: sqlite}")
    default = StoreSettings()
    if child is None:
        return default

    def parse_store(key: str, kinds: AdapterKinds, fallback: AdapterSection) -> AdapterSection:
        return parse_adapter(child, key, replace(kinds, settings_classes=adapters)) or fallback

    stores = StoreSettings(
        ledger=parse_store("ledger", LEDGER_KINDS, default.ledger),
        history=parse_store("history", HISTORY_KINDS, default.history),
        metrics=parse_store("metrics", METRIC_KINDS, default.metrics),
        objects=parse_store("objects", OBJECT_KINDS, default.objects),
        images=parse_store("images", IMAGE_KINDS, default.images),
        spool=child.read_size("spool"),
        patience=child.read_span("patience"),
        large_files=_parse_large_file_annex(child),
        records=_parse_record_stores(child, adapters),
    )
    child.check_keys()
    return stores


def _parse_record_stores(
    stores_reader: MappingReader, adapters: Adapters
) -> dict[str, AdapterSection]:
    """Reads the services by name; the name is the prefix of their topics, so it has no dot."""
    kinds = replace(RECORD_KINDS, settings_classes=adapters)

    def parse_record_store(entry: YamlEntry, child: MappingReader) -> AdapterSection | None:
        section = parse_adapter_mapping(child, kinds, entry.key)
        child.check_keys()
        if "." in entry.key or not entry.key:
            message = f"{quote_text(entry.key)} cannot be the name of records"
            child.collector.add_error(
                entry.location, message, "leave the dots out: topics are NAME.TABLE"
            )
            return None
        return section

    hint = "write it like consdb: {consdb: {url: https://…/consdb}}"
    return stores_reader.build_named_items("records", "the records", parse_record_store, hint)


def _parse_large_file_annex(stores_reader: MappingReader) -> LargeFiles | None:
    hint = "write it like large_files: {salname: Catcher, index: 1}"
    child = stores_reader.get_child_reader("large_files", hint=hint)
    if child is None:
        return None
    child.require_key("salname", hint)
    name, index = child.read_text("salname"), child.read_integer("index", 0, 2**31 - 1)
    child.check_keys()
    if name and not NAME_PATTERN.fullmatch(name):
        message = f"{quote_text(name)} cannot be the name of a component"
        child.collector.add_error(
            child.value_location("salname"), message, "use letters, digits and _"
        )
        return None
    return LargeFiles(name, index) if name else None
