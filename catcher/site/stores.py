"""The `stores:` of `catcher.yaml`: where things are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from catcher.model.large_files import NAME, LargeFiles
from catcher.model.problem import Place
from catcher.model.time import Span
from catcher.site.adapters import (
    HISTORIES,
    IMAGES,
    LEDGERS,
    METRICS,
    OBJECTS,
    RECORDS,
    Adapters,
    Kinds,
    one_of,
    read_adapter,
)
from catcher.site.binding import Section, section
from catcher.site.nodes import Entry, quoted
from catcher.site.reader import Table

_START = Place("catcher.yaml", 1, 1)
_SQLITE, _EMBEDDED = section("sqlite", _START), section("embedded", _START)
_LEDGER, _FOLDER = section("ledger", _START), section("file", _START)


@dataclass(frozen=True, slots=True)
class Stores:
    """Where things are kept; without a word, the embedded ones.

    `spool` is how many bytes of artifacts may wait on disk while their store is away, `patience`
    how long inputs wait for telemetry that comes late; `large_files` keeps artifacts under the
    conventions of a Large File Annex; `records` are tables of other services, read as telemetry.
    """

    ledger: Section = _SQLITE
    history: Section = _EMBEDDED
    metrics: Section = _LEDGER
    objects: Section = _FOLDER
    images: Section = _FOLDER
    spool: int | None = None
    patience: Span | None = None
    large_files: LargeFiles | None = None
    records: Mapping[str, Section] = field(default_factory=dict)


def read_stores(table: Table, adapters: Adapters) -> Stores:
    """The stores of a site; one with a problem stays at its default."""
    below = table.table("stores", hint="write it like stores: {ledger: sqlite}")
    default = Stores()
    if below is None:
        return default

    def read(key: str, kinds: Kinds, otherwise: Section) -> Section:
        return read_adapter(below, key, replace(kinds, classes=adapters)) or otherwise

    stores = Stores(
        ledger=read("ledger", LEDGERS, default.ledger),
        history=read("history", HISTORIES, default.history),
        metrics=read("metrics", METRICS, default.metrics),
        objects=read("objects", OBJECTS, default.objects),
        images=read("images", IMAGES, default.images),
        spool=below.size("spool"),
        patience=below.span("patience"),
        large_files=_large_files(below),
        records=_records(below, adapters),
    )
    below.done()
    return stores


def _records(stores: Table, adapters: Adapters) -> dict[str, Section]:
    """The services by name; the name is how their topics begin, so that it holds no dot."""
    kinds = replace(RECORDS, classes=adapters)

    def read(entry: Entry, below: Table) -> Section | None:
        section = one_of(below, kinds, entry.key)
        below.done()
        if "." in entry.key or not entry.key:
            message = f"{quoted(entry.key)} cannot be the name of records"
            below.report.error(entry.place, message, "leave the dots out: topics are NAME.TABLE")
            return None
        return section

    hint = "write it like consdb: {consdb: {url: https://…/consdb}}"
    return stores.named("records", "the records", read, hint)


def _large_files(stores: Table) -> LargeFiles | None:
    hint = "write it like large_files: {salname: Catcher, index: 1}"
    below = stores.table("large_files", hint=hint)
    if below is None:
        return None
    below.require("salname", hint)
    name, index = below.text("salname"), below.integer("index", 0, 2**31 - 1)
    below.done()
    if name and not NAME.fullmatch(name):
        message = f"{quoted(name)} cannot be the name of a component"
        below.report.error(below.place_of("salname"), message, "use letters, digits and _")
        return None
    return LargeFiles(name, index) if name else None
