"""All settings of `catcher.yaml`: one frozen tree, all of it optional.

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

from catcher.evaluation import SourceClock
from catcher.model.errors import SourceLocation
from catcher.model.observation import ObservationSpec
from catcher.model.rule_subset import ALL_RULES, RuleSubset
from catcher.model.time import Span
from catcher.site.adapters import (
    EXECUTOR_KINDS,
    SOURCE_KINDS,
    AdapterKinds,
    Adapters,
    parse_adapter,
    parse_adapter_mapping,
)
from catcher.site.heartbeat import HeartbeatSettings, parse_announcements, parse_heartbeat
from catcher.site.mapping_reader import MappingReader, create_reader
from catcher.site.rule_subsets import parse_rule_subset
from catcher.site.settings_binding import AdapterSection, create_section
from catcher.site.stores import StoreSettings, parse_stores
from catcher.site.yaml_tree import (
    ProblemCollector,
    Secret,
    YamlEntry,
    YamlNode,
    describe_node,
    quote_text,
)

SETTINGS_FILE = "catcher.yaml"
_START_LOCATION = SourceLocation(SETTINGS_FILE, 1, 1)
_WALL_CLOCK = SourceClock()
_LOCAL_EXECUTOR = create_section("local", _START_LOCATION)
_DEFAULT_STORES = StoreSettings()
_NO_HEARTBEAT = HeartbeatSettings()
MIN_TOKEN_LENGTH = 16
_STREAM_CLOCK_KINDS = ("replay", "simulator")


@dataclass(frozen=True, slots=True)
class SiteLocation:
    """Where the observatory is: degrees, east positive, and metres above the sea."""

    latitude: float
    longitude: float
    elevation: float = 0.0


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One source: its adapter, and its clock settings."""

    name: str
    adapter: AdapterSection
    clock: SourceClock = _WALL_CLOCK


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Where the API listens. Beyond loopback it needs a token.
    `post_tokens` are tokens that let programs post events and do nothing else, by name, and
    `read_tokens` those that let them read stored data and do nothing else.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    token: Secret | None = None
    post_tokens: Mapping[str, Secret] = field(default_factory=dict)
    read_tokens: Mapping[str, Secret] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Limits of the engine; None: the default.
    Worker processes, bytes of memory for each, bytes of a payload, and how long a stop may take.
    """

    workers: int | None = None
    memory: int | None = None
    payload: int | None = None
    stop: Span | None = None


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """The settings of `catcher.yaml`. `data` is absolute, None if the file does not name it."""

    site: str = ""
    location: SiteLocation | None = None
    sources: Mapping[str, SourceSpec] = field(default_factory=dict)
    stores: StoreSettings = _DEFAULT_STORES
    executor: AdapterSection = _LOCAL_EXECUTOR
    observations: Mapping[str, ObservationSpec] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    api: ApiSettings = ApiSettings()
    data: Path | None = None
    limits: LimitSettings = LimitSettings()
    heartbeat: HeartbeatSettings = _NO_HEARTBEAT
    announce: tuple[AdapterSection, ...] = ()
    engine: RuleSubset = ALL_RULES


def parse_settings(
    node: YamlNode, collector: ProblemCollector, root: Path, adapters: Adapters
) -> SiteSettings:
    """Reads the settings of a document; an invalid part is left out or stays at its default."""
    reader = create_reader(node, SETTINGS_FILE, collector, "write it like site: my-observatory")
    if reader is None:
        return SiteSettings(site=root.name)
    source_kinds = replace(SOURCE_KINDS, settings_classes=adapters)
    settings = SiteSettings(
        site=reader.read_text("site", root.name),
        location=_parse_location(reader),
        sources=reader.build_named_items(
            "sources",
            "the source",
            lambda entry, child: _parse_source(entry, child, source_kinds),
            "write it like efd: {mqtt: {…}}",
        ),
        stores=parse_stores(reader, adapters),
        executor=parse_adapter(
            reader, "executor", replace(EXECUTOR_KINDS, settings_classes=adapters)
        )
        or _LOCAL_EXECUTOR,
        observations=reader.build_named_items(
            "observations", "the observation", _parse_observation
        ),
        links=_parse_links(reader),
        api=_parse_api_settings(reader),
        data=_parse_data_folder(reader, root),
        limits=_parse_engine_limits(reader),
        heartbeat=parse_heartbeat(reader, adapters),
        announce=parse_announcements(reader, adapters),
    )
    clocks = {name: spec.clock for name, spec in settings.sources.items()}
    rule_subset = parse_rule_subset(reader, settings.stores.ledger.kind, clocks)
    settings = replace(settings, engine=rule_subset)
    reader.check_keys()
    return settings


def _parse_location(reader: MappingReader) -> SiteLocation | None:
    child = reader.get_child_reader(
        "location", hint="write it like {latitude: -30.2, longitude: -70.7}"
    )
    if child is None:
        return None
    for key in ("latitude", "longitude"):
        child.require_key(key, "give it in degrees")
    latitude = child.read_number("latitude", -90, 90)
    longitude = child.read_number("longitude", -180, 360)
    elevation = child.read_number("elevation", -500, 10_000) or 0.0
    child.check_keys()
    if latitude is None or longitude is None:
        return None
    return SiteLocation(latitude, longitude, elevation)


def _parse_source(
    entry: YamlEntry, reader: MappingReader, kinds: AdapterKinds
) -> SourceSpec | None:
    adapter = parse_adapter_mapping(reader, kinds, entry.key)
    uses_stream_clock = adapter is not None and adapter.kind in _STREAM_CLOCK_KINDS
    clock_options: dict[str, Literal["wall", "stream"]] = {"wall": "wall", "stream": "stream"}
    spans = {key: reader.read_span(key) for key in ("lateness", "reorder", "max_ahead")}
    clock = SourceClock(
        clock=reader.read_choice("clock", clock_options, "stream" if uses_stream_clock else "wall"),
        lateness=_span_or_default(spans["lateness"], _WALL_CLOCK.lateness),
        reorder=_span_or_default(spans["reorder"], _WALL_CLOCK.reorder),
        max_ahead=_span_or_default(spans["max_ahead"], _WALL_CLOCK.max_ahead),
    )
    reader.check_keys()
    return SourceSpec(entry.key, adapter, clock) if adapter else None


def _span_or_default(span: int | None, default: int) -> int:
    return default if span is None else span


def _parse_observation(entry: YamlEntry, reader: MappingReader) -> ObservationSpec | None:
    hint = "name the event that declares an observation, and the field that holds its id"
    has_required = [reader.require_key(key, hint) for key in ("event", "id")]
    scale_options: dict[str, Literal["utc", "tai"]] = {"utc": "utc", "tai": "tai"}
    spec = ObservationSpec(
        kind=entry.key,
        event=reader.read_text("event"),
        id=reader.read_text("id"),
        start=reader.read_text("start"),
        length=reader.read_text("length"),
        scale=reader.read_choice("scale", scale_options, "utc"),
        image=reader.read_text("image"),
        columns=reader.read_text_mapping("columns"),
    )
    reader.check_keys()
    return spec if all(has_required) else None


def _parse_links(reader: MappingReader) -> dict[str, str]:
    links = reader.read_text_mapping("links")
    child = reader.get_child_reader("links")
    for name, address in links.items():
        if child and not _is_web_url(address):
            message = f"the link {quote_text(name)} is no web address"
            reader.collector.add_error(
                child.value_location(name), message, "write it like https://…/{id}"
            )
    return {name: address for name, address in links.items() if _is_web_url(address)}


def _is_web_url(address: str) -> bool:
    try:
        url_parts = urlsplit(address)
    except ValueError:
        return False
    return url_parts.scheme in ("http", "https") and bool(url_parts.netloc)


def _parse_api_settings(reader: MappingReader) -> ApiSettings:
    child = reader.get_child_reader("api", hint="write it like api: {port: 8787}")
    if child is None:
        return ApiSettings()
    host, port = child.read_text("host", "127.0.0.1"), child.read_integer("port", 0, 65_535)
    token = child.read_text("token")
    post_tokens, read_tokens = (
        _parse_named_tokens(child, "post_tokens"),
        _parse_named_tokens(child, "read_tokens"),
    )
    child.check_keys()
    if not token and not is_loopback(host):
        host_node = child.get_node("host")
        message = f"`host` {describe_node(host_node) if host_node else ''} is open to the network"
        hint = "add token: ${CATCHER_TOKEN}, or listen on 127.0.0.1"
        reader.collector.add_error(child.value_location("host"), message, hint)
        host = "127.0.0.1"
    own_token = Secret(token) if token else None
    return ApiSettings(host, 8787 if port is None else port, own_token, post_tokens, read_tokens)


def _parse_named_tokens(reader: MappingReader, key: str) -> dict[str, Secret]:
    """Reads the tokens of programs that may post events, or read, by name."""
    tokens = reader.read_text_mapping(key)
    child = reader.get_child_reader(key)
    for name, token in tokens.items():
        if child and len(token) < MIN_TOKEN_LENGTH:
            message = f"the token of {quote_text(name)} can be guessed"
            hint = f"take at least {MIN_TOKEN_LENGTH} random characters: openssl rand -hex 24"
            reader.collector.add_error(child.value_location(name), message, hint)
    return {name: Secret(token) for name, token in tokens.items() if len(token) >= MIN_TOKEN_LENGTH}


def is_loopback(host: str) -> bool:
    """True if only this machine can reach the host."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _parse_data_folder(reader: MappingReader, root: Path) -> Path | None:
    text = reader.read_text("data")
    if not text:
        return None
    try:
        return (root / Path(text).expanduser()).absolute()
    except RuntimeError:
        message = f"there is no home folder for {quote_text(text)}"
        reader.collector.add_error(reader.value_location("data"), message, "write an absolute path")
        return None


def _parse_engine_limits(reader: MappingReader) -> LimitSettings:
    child = reader.get_child_reader(
        "limits", hint="write it like limits: {workers: 4, memory: 2GiB}"
    )
    if child is None:
        return LimitSettings()
    workers, memory = child.read_integer("workers", 1, 1024), child.read_size("memory")
    limits = LimitSettings(workers, memory, child.read_size("payload"), child.read_span("stop"))
    child.check_keys()
    return limits
