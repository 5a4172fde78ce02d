"""The whole of `catcher.yaml`: one frozen tree, all of it optional.

site: cerro-pachon
location: {latitude: -30.2446, longitude: -70.7494}
sources:
  efd: {mqtt: {host: localhost, topics: {"sal/+/+": "lsst.sal.{1}.{2}"}}, lateness: 2s}
stores: {ledger: sqlite, history: embedded, metrics: ledger, objects: file, spool: 2GB,
  patience: 30s}
executor: local
observations:
  exposure: {event: TOPIC, id: imageName, image: "/data/{id}/{detector}.fits"}
links: {rubintv: "https://rubintv.example/{id}"}
api: {host: 127.0.0.1, port: 8787, post_tokens: {telegraf: "${TELEGRAF_TOKEN}"}}
data: ./catcher-data
limits: {workers: 4, memory: 2GiB, payload: 1MB, stop: 20s}
heartbeat: {every: 10s, mqtt: {host: localhost}}
announce: {mqtt: {host: localhost, topic: "catcher/results/{rule}"}}
engine: {rules: [wind]}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from catcher.model.observation import ObservationSpec
from catcher.model.portion import WHOLE, Portion
from catcher.model.problem import Place
from catcher.model.time import Span
from catcher.site.adapters import (
    EXECUTORS,
    SOURCES,
    Adapters,
    Kinds,
    one_of,
    read_adapter,
)
from catcher.site.binding import Section, section
from catcher.site.heartbeat import Heartbeat, read_announcements, read_heartbeat
from catcher.site.nodes import Entry, Node, Report, Secret, quoted, shown
from catcher.site.portions import read_portion
from catcher.site.reader import Table, table_of
from catcher.site.stores import Stores, read_stores
from catcher.watching import SourceClock

FILE = "catcher.yaml"
_START = Place(FILE, 1, 1)
_WALL = SourceClock()
_LOCAL = section("local", _START)
_STORES = Stores()
_NO_HEARTBEAT = Heartbeat()
SHORTEST_TOKEN = 16
_STREAMED = ("replay", "simulator")


@dataclass(frozen=True, slots=True)
class Location:
    """Where the observatory is: degrees, east positive, and metres above the sea."""

    latitude: float
    longitude: float
    elevation: float = 0.0


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One source: its adapter, and how its time is to be understood."""

    name: str
    adapter: Section
    clock: SourceClock = _WALL


@dataclass(frozen=True, slots=True)
class Api:
    """Where the API listens. Beyond loopback it needs a token.

    `posts` are tokens that let programs post events and do nothing else, by name, and `readers`
    those that let them read what was kept and do nothing else.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    token: Secret | None = None
    posts: Mapping[str, Secret] = field(default_factory=dict)
    readers: Mapping[str, Secret] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """Worker processes, bytes of memory for each, bytes of a payload, and how long a stop may
    take; None: the default."""

    workers: int | None = None
    memory: int | None = None
    payload: int | None = None
    stop: Span | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What `catcher.yaml` says. `data` is absolute, None where the file does not name it."""

    site: str = ""
    location: Location | None = None
    sources: Mapping[str, SourceSpec] = field(default_factory=dict)
    stores: Stores = _STORES
    executor: Section = _LOCAL
    observations: Mapping[str, ObservationSpec] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    api: Api = Api()
    data: Path | None = None
    limits: Limits = Limits()
    heartbeat: Heartbeat = _NO_HEARTBEAT
    announce: tuple[Section, ...] = ()
    engine: Portion = WHOLE


def read_settings(node: Node, report: Report, root: Path, adapters: Adapters) -> Settings:
    """The settings of a document; a part with a problem is left out or stays at its default."""
    table = table_of(node, FILE, report, "write it like site: my-observatory")
    if table is None:
        return Settings(site=root.name)
    sources = replace(SOURCES, classes=adapters)
    settings = Settings(
        site=table.text("site", root.name),
        location=_location(table),
        sources=table.named(
            "sources",
            "the source",
            lambda entry, below: _source(entry, below, sources),
            "write it like efd: {mqtt: {…}}",
        ),
        stores=read_stores(table, adapters),
        executor=read_adapter(table, "executor", replace(EXECUTORS, classes=adapters)) or _LOCAL,
        observations=table.named("observations", "the observation", _observation),
        links=_links(table),
        api=_api(table),
        data=_data(table, root),
        limits=_limits(table),
        heartbeat=read_heartbeat(table, adapters),
        announce=read_announcements(table, adapters),
    )
    clocks = {name: spec.clock for name, spec in settings.sources.items()}
    portion = read_portion(table, settings.stores.ledger.kind, clocks)
    settings = replace(settings, engine=portion)
    table.done()
    return settings


def _location(table: Table) -> Location | None:
    below = table.table("location", hint="write it like {latitude: -30.2, longitude: -70.7}")
    if below is None:
        return None
    for key in ("latitude", "longitude"):
        below.require(key, "give it in degrees")
    latitude = below.number("latitude", -90, 90)
    longitude = below.number("longitude", -180, 360)
    elevation = below.number("elevation", -500, 10_000) or 0.0
    below.done()
    if latitude is None or longitude is None:
        return None
    return Location(latitude, longitude, elevation)


def _source(entry: Entry, table: Table, kinds: Kinds) -> SourceSpec | None:
    adapter = one_of(table, kinds, entry.key)
    streamed = adapter is not None and adapter.kind in _STREAMED
    clocks: dict[str, Literal["wall", "stream"]] = {"wall": "wall", "stream": "stream"}
    spans = {key: table.span(key) for key in ("lateness", "reorder", "max_ahead")}
    clock = SourceClock(
        clock=table.choice("clock", clocks, "stream" if streamed else "wall"),
        lateness=_or(spans["lateness"], _WALL.lateness),
        reorder=_or(spans["reorder"], _WALL.reorder),
        max_ahead=_or(spans["max_ahead"], _WALL.max_ahead),
    )
    table.done()
    return SourceSpec(entry.key, adapter, clock) if adapter else None


def _or(span: int | None, default: int) -> int:
    return default if span is None else span


def _observation(entry: Entry, table: Table) -> ObservationSpec | None:
    hint = "name the event that declares an observation, and the field that holds its id"
    whole = [table.require(key, hint) for key in ("event", "id")]
    scales: dict[str, Literal["utc", "tai"]] = {"utc": "utc", "tai": "tai"}
    spec = ObservationSpec(
        kind=entry.key,
        event=table.text("event"),
        id=table.text("id"),
        start=table.text("start"),
        length=table.text("length"),
        scale=table.choice("scale", scales, "utc"),
        image=table.text("image"),
        columns=table.labels("columns"),
    )
    table.done()
    return spec if all(whole) else None


def _links(table: Table) -> dict[str, str]:
    links = table.labels("links")
    below = table.table("links")
    for name, address in links.items():
        if below and not _is_web(address):
            message = f"the link {quoted(name)} is no web address"
            table.report.error(below.place_of(name), message, "write it like https://…/{id}")
    return {name: address for name, address in links.items() if _is_web(address)}


def _is_web(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def _api(table: Table) -> Api:
    below = table.table("api", hint="write it like api: {port: 8787}")
    if below is None:
        return Api()
    host, port = below.text("host", "127.0.0.1"), below.integer("port", 0, 65_535)
    token = below.text("token")
    posts, readers = _named_tokens(below, "post_tokens"), _named_tokens(below, "read_tokens")
    below.done()
    if not token and not is_loopback(host):
        named = below.raw("host")
        message = f"`host` {shown(named) if named else ''} is open to the network"
        hint = "add token: ${CATCHER_TOKEN}, or listen on 127.0.0.1"
        table.report.error(below.place_of("host"), message, hint)
        host = "127.0.0.1"
    own = Secret(token) if token else None
    return Api(host, 8787 if port is None else port, own, posts, readers)


def _named_tokens(table: Table, key: str) -> dict[str, Secret]:
    """Who may post events, or read, each under a name."""
    named = table.labels(key)
    below = table.table(key)
    for name, token in named.items():
        if below and len(token) < SHORTEST_TOKEN:
            message = f"the token of {quoted(name)} can be guessed"
            hint = f"take at least {SHORTEST_TOKEN} random characters: openssl rand -hex 24"
            table.report.error(below.place_of(name), message, hint)
    return {name: Secret(token) for name, token in named.items() if len(token) >= SHORTEST_TOKEN}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _data(table: Table, root: Path) -> Path | None:
    text = table.text("data")
    if not text:
        return None
    try:
        return (root / Path(text).expanduser()).absolute()
    except RuntimeError:
        message = f"there is no home folder for {quoted(text)}"
        table.report.error(table.place_of("data"), message, "write an absolute path")
        return None


def _limits(table: Table) -> Limits:
    below = table.table("limits", hint="write it like limits: {workers: 4, memory: 2GiB}")
    if below is None:
        return Limits()
    workers, memory = below.integer("workers", 1, 1024), below.size("memory")
    limits = Limits(workers, memory, below.size("payload"), below.span("stop"))
    below.done()
    return limits
