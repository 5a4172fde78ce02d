"""Which adapters a site may name, and how it names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from catcher.model.problem import Place
from catcher.site.binding import Section
from catcher.site.nodes import Branch, Entry, Report, Scalar, lost, quoted, shown
from catcher.site.reader import Table
from catcher.site.words import closest, suggestion

Adapters = Mapping[tuple[str, str], type]
"""The settings class of each adapter by port and kind, as `("source", "mqtt")`.

Ports are `source`, `ledger`, `history`, `metrics`, `objects`, `images`, `executor`, `sink`,
`heartbeat` and `announce`.
"""


@dataclass(frozen=True, slots=True)
class Kinds:
    """The adapters of one port. `later` are part of the grammar and not of this version.

    `schemes` maps the scheme of an address to its kind, for `objects: s3://bucket/prefix`;
    `classes` are the settings classes, where they are known.
    """

    port: str
    what: str
    here: tuple[str, ...]
    later: tuple[str, ...] = ()
    schemes: Mapping[str, str] = field(default_factory=dict)
    classes: Adapters = field(default_factory=dict)

    @property
    def all(self) -> tuple[str, ...]:
        """Every kind of the grammar."""
        return self.here + self.later


SOURCES = Kinds("source", "a source", ("mqtt", "kafka", "influxdb", "replay", "simulator", "http"))
LEDGERS = Kinds("ledger", "a ledger", ("sqlite", "postgresql"), (), {"postgresql": "postgresql",
    "postgres": "postgresql", "postgresql+psycopg": "postgresql", "sqlite": "sqlite"})  # fmt: skip
HISTORIES = Kinds("history", "a history", ("embedded", "influxdb"))
METRICS = Kinds("metrics", "a metric store", ("ledger", "influxdb"))
OBJECTS = Kinds("objects", "an object store", ("file", "s3", "gcs", "azure"), (),
    {"file": "file", "s3": "s3", "gs": "gcs", "az": "azure"})  # fmt: skip
RECORDS = Kinds("records", "a record store", ("consdb", "exposurelog", "narrativelog", "database"))
IMAGES = Kinds("images", "a place of images", ("file", "s3", "butler"))
EXECUTORS = Kinds("executor", "an executor", ("local", "dask", "http"), (),
    {"dask": "dask", "http": "http", "https": "http"})  # fmt: skip
SINKS = Kinds("sink", "a sink", ("console", "slack", "love", "mqtt", "kafka", "http", "apprise"))


ANNOUNCEMENTS = Kinds("announce", "an announcement", ("mqtt", "kafka"))
HEARTBEATS = Kinds("heartbeat", "a heartbeat", ("mqtt", "http", "love"))


def read_adapter(table: Table, key: str, kinds: Kinds) -> Section | None:
    """The adapter below a key: a word, an address, or `{kind: {settings}}`.

    None where it is absent or has a problem, which is reported.
    """
    node = table.raw(key)
    if node is None or lost(node):
        return None
    if isinstance(node, Branch):
        below = Table(node, table.report, f"`{key}`")
        made = one_of(below, kinds, key)
        below.done()
        return made
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return _word(table, key, node, kinds)
    hint = f"write one of {', '.join(kinds.here)}, alone or as {{kind: {{settings}}}}"
    table.report.error(node.place, f"`{key}` takes {kinds.what}, not {shown(node)}", hint)
    return None


def one_of(table: Table, kinds: Kinds, name: str) -> Section | None:
    """The one kind among the keys of a table, with its settings; None with a problem."""
    named = [kind for kind in kinds.all if table.has(kind)]
    for kind in kinds.all:
        table.raw(kind)
    if len(named) == 1:
        return _below(table, named[0], kinds, name)
    if not _mistaken(table, kinds):
        found = "does not say what kind it is"
        if named:
            found = f"names both `{named[0]}` and `{named[1]}`"
        table.report.error(table.place, f"{table.what} {found}", _hint(table, name, kinds))
    return None


def fit(section: Section, kinds: Kinds, report: Report) -> Section | None:
    """The section, if its settings are as the adapter's class wants them."""
    cls = kinds.classes.get((kinds.port, section.kind))
    return section if cls is None or section.check(cls, report) is not None else None


def _below(table: Table, kind: str, kinds: Kinds, name: str) -> Section | None:
    node, place = table.raw(kind), table.key_place(kind)
    if kind in kinds.later:
        _not_here(table.report, place, kind, kinds)
        return None
    if node is None or lost(node):
        return None
    if isinstance(node, Scalar) and node.value is None:
        return fit(Section(kind, place, Branch({}, place), name), kinds, table.report)
    below = table.table(kind, hint=f"write it like {kind}: {{key: value}}")
    return fit(Section(kind, place, below.node, name), kinds, table.report) if below else None


def _word(table: Table, key: str, node: Scalar, kinds: Kinds) -> Section | None:
    word = node.text.strip()
    scheme = _scheme(word)
    kind = kinds.schemes.get(scheme, scheme) if scheme else word
    if kind in kinds.later:
        _not_here(table.report, node.place, kind, kinds)
        return None
    if kind not in kinds.here:
        named = shown(node) if not scheme else quoted(f"{scheme}://")
        table.report.error(node.place, f"`{key}` cannot be {named}", suggestion(kind, kinds.here))
        return None
    if not scheme:
        bare = Section(kind, node.place, Branch({}, node.place), key)
        return fit(bare, kinds, table.report)
    entries = {"url": Entry("url", node.place, node)}
    return fit(Section(kind, node.place, Branch(entries, node.place), key), kinds, table.report)


def _scheme(word: str) -> str:
    try:
        return urlsplit(word).scheme if "://" in word else ""
    except ValueError:
        return ""


def _mistaken(table: Table, kinds: Kinds) -> bool:
    """Whether an unknown key is probably a misspelt kind; `done` will say so."""
    return any(closest(key, kinds.all) for key in table.node.entries if key not in kinds.all)


def _not_here(report: Report, place: Place, kind: str, kinds: Kinds) -> None:
    message = f"{kind} as {kinds.what} is not available in this version"
    report.error(place, message, f"use one of {', '.join(kinds.here)}")


def _hint(table: Table, name: str, kinds: Kinds) -> str:
    if not table.node.entries and (best := closest(name, kinds.here)):
        return f"did you mean {quoted(best)}?"
    return f"give exactly one of {', '.join(kinds.here)}, as {{kind: {{settings}}}}"
