"""The JSON Schemas of `catcher.yaml` and `alerts/routes.yaml`.
An adapter's keys are read from its settings class, so that a new adapter needs no change here.
"""

from __future__ import annotations

from collections.abc import Mapping

from catcher.authoring.schema_parts import (
    Schema,
    any_of,
    build_schema_document,
    build_settings_schema,
    enum_of,
    flag,
    list_of,
    map_of,
    number_in,
    object_of,
    ref,
)
from catcher.site.adapters import (
    ANNOUNCEMENT_KINDS,
    EXECUTOR_KINDS,
    HEARTBEAT_KINDS,
    HISTORY_KINDS,
    IMAGE_KINDS,
    LEDGER_KINDS,
    METRIC_KINDS,
    OBJECT_KINDS,
    RECORD_KINDS,
    SINK_KINDS,
    SOURCE_KINDS,
    AdapterKinds,
    Adapters,
)

_EMPTY_SETTINGS = {"type": ["object", "null"], "maxProperties": 0}


def build_site_schema(adapters: Adapters) -> Schema:
    """Builds the schema of `catcher.yaml`; `adapters` are the settings classes by port and kind."""
    stores = {
        "ledger": _build_adapter(LEDGER_KINDS, adapters, "Runs, alerts, trigger states, audit."),
        "history": _build_adapter(
            HISTORY_KINDS, adapters, "The telemetry that rules and jobs look back at."
        ),
        "metrics": _build_adapter(METRIC_KINDS, adapters, "A further home for metrics."),
        "objects": _build_adapter(OBJECT_KINDS, adapters, "Artifacts."),
        "images": _build_adapter(
            IMAGE_KINDS, adapters, "Images that are not found by a path alone."
        ),
        "patience": ref("duration", "How long inputs wait for telemetry that comes late."),
        "large_files": _LARGE_FILES,
        "records": map_of(_build_records(adapters), "Tables of other services, read as telemetry."),
        "spool": ref("size", "Of artifacts that wait while their store is away (2GB)."),
    }
    root = object_of(
        {
            "site": ref("text", "The site's name."),
            "location": _LOCATION,
            "sources": map_of(ref("source"), "Where events come from, each under a name."),
            "stores": object_of(stores, "Where things are kept; the embedded defaults serve."),
            "executor": _build_adapter(EXECUTOR_KINDS, adapters, "Where jobs run."),
            "observations": map_of(_OBSERVATION, "What has an id and a span of time."),
            "links": ref(
                "labels",
                "Addresses in alerts, with {id} for the observation, {alert}, {rule}, {key}.",
            ),
            "api": _API,
            "data": ref("text", "The folder of ledger, history and artifacts."),
            "limits": _LIMITS,
            "heartbeat": _build_heartbeat(adapters),
            "announce": _build_announce(adapters),
            "engine": _ENGINE,
        },
        "An observatory's settings. Secrets are written ${NAME} or ${file:/path}.",
    )
    return build_schema_document("catcher.yaml", root, {"source": _build_source(adapters)})


def build_routes_schema(adapters: Adapters) -> Schema:
    """Builds the schema of `alerts/routes.yaml`. An unknown kind of sink may be a custom one."""
    settings_schemas = {
        kind: _build_settings(SINK_KINDS, kind, adapters) for kind in SINK_KINDS.available
    }
    sink_schemas = {
        kind: any_of("", _EMPTY_SETTINGS, schema) for kind, schema in settings_schemas.items()
    }
    sink = any_of(
        "A sink: {kind: {settings}}.",
        _EMPTY_SETTINGS,
        object_of(_COMMON_SINK_KEYS),
        *(
            object_of({kind: schema, **_COMMON_SINK_KEYS}, "", (kind,))
            for kind, schema in sink_schemas.items()
        ),
        {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 3,
            "propertyNames": {"not": {"enum": list(SINK_KINDS.all_kinds)}},
        },
    )
    root = object_of(
        {
            "sinks": map_of(sink, "Who may be told, each under a name."),
            "people": map_of(ref("texts"), "Who may be on shift, each with the names of sinks."),
            "noise": _NOISE,
            "route": ref("route", "The outermost route takes every alert."),
        },
        "Who hears of which alert.",
    )
    return build_schema_document("alerts/routes.yaml", root, _ROUTE_DEFINITIONS)


def _build_heartbeat(adapters: Adapters) -> Schema:
    targets = {
        kind: _build_settings(HEARTBEAT_KINDS, kind, adapters) for kind in HEARTBEAT_KINDS.available
    }
    every = ref("duration", "How often (10s).")
    schema = object_of({"every": every, **targets}, "A sign of life that leaves the engine.")
    schema["anyOf"] = [{"required": [kind]} for kind in targets]
    return schema


def _build_announce(adapters: Adapters) -> Schema:
    targets = {
        kind: _build_settings(ANNOUNCEMENT_KINDS, kind, adapters)
        for kind in ANNOUNCEMENT_KINDS.available
    }
    schema = object_of(targets, "Who else hears of each committed result (metric available).")
    schema["anyOf"] = [{"required": [kind]} for kind in targets]
    return schema


def _build_source(adapters: Adapters) -> Schema:
    kinds = {kind: _build_settings(SOURCE_KINDS, kind, adapters) for kind in SOURCE_KINDS.available}
    schema = object_of({**kinds, **_CLOCK})
    schema["oneOf"] = [{"required": [kind]} for kind in kinds]
    return schema


def _build_records(adapters: Adapters) -> Schema:
    schema = object_of(
        {kind: _build_settings(RECORD_KINDS, kind, adapters) for kind in RECORD_KINDS.available}
    )
    schema["oneOf"] = [{"required": [kind]} for kind in RECORD_KINDS.available]
    return schema


def _build_adapter(kinds: AdapterKinds, adapters: Adapters, description: str) -> Schema:
    schemes = "|".join(name for name, kind in kinds.schemes.items() if kind in kinds.available)
    options: list[Schema] = [{"enum": list(kinds.available)}]
    if schemes:
        options.append({"type": "string", "pattern": rf"^({schemes.replace('+', '[+]')})://"})
    for kind in kinds.available:
        options.append(object_of({kind: _build_settings(kinds, kind, adapters)}, "", (kind,)))
    return any_of(description, *options)


def _build_settings(kinds: AdapterKinds, kind: str, adapters: Adapters) -> Schema:
    cls = adapters.get((kinds.port, kind))
    return {"type": ["object", "null"]} if cls is None else build_settings_schema(cls)


_LARGE_FILES = object_of({
    "salname": ref("text", "The name of the component that the files are of."),
    "index": number_in("Its index, where it has several.", 0, 2**31 - 1),
}, "Artifacts are kept as a Large File Annex has them.", ("salname",))  # fmt: skip
_CLOCK: Mapping[str, Schema] = {
    "clock": enum_of("wall: the time of day; stream: what the events say (old data).",
                  "wall", "stream"),
    "lateness": ref("duration", "Timers wait so long for stragglers (1s)."),
    "reorder": ref("duration", "Events are held so long to be put in order (0s)."),
    "max_ahead": ref("duration", "An event from further in the future is set aside (5s)."),
}  # fmt: skip
_ENGINE = object_of({
    "rules": ref("texts", "Only rules with one of these tags."),
    "except": ref("texts", "All rules but those with one of these tags."),
    "shared": flag("Several engines carry these rules at once; they keep no state.", False),
}, "Which rules this engine carries, beside others on one PostgreSQL ledger.")  # fmt: skip
_LOCATION = object_of({
    "latitude": number_in("Degrees, north positive.", -90, 90, is_integer=False),
    "longitude": number_in("Degrees, east positive.", -180, 360, is_integer=False),
    "elevation": number_in("Metres above the sea.", -500, 10_000, is_integer=False),
}, "Where the observatory is.", ("latitude", "longitude"))  # fmt: skip
_OBSERVATION = object_of({
    "event": ref("text", "The topic of the event that declares one."),
    "id": ref("text", "The field that holds its id."),
    "start": ref("text", "The field that holds its start; without it, it ends with the event."),
    "length": ref("text", "The field that holds its length in seconds."),
    "scale": enum_of("Of `start`.", "utc", "tai", default="utc"),
    "image": ref("text", "Where its images are, with {id} and {detector}; s3:// too."),
    "columns": ref("labels", "Names in expressions, and the fields they stand for."),
}, "", ("event", "id"))  # fmt: skip
_API = object_of({
    "host": ref("text", "Where it listens (127.0.0.1); beyond loopback it wants a token."),
    "port": {"type": ["integer", "string"], "minimum": 0, "maximum": 65_535, "default": 8787},
    "token": ref("text", "What others have to bring: ${CATCHER_TOKEN}."),
    "post_tokens": ref("labels", "Who may post events and nothing else, each under a name."),
    "read_tokens": ref("labels", "Who may read and nothing else, each under a name."),
}, "The HTTP API.")  # fmt: skip
_LIMITS = object_of({
    "workers": number_in("Worker processes.", 1, 1024),
    "memory": ref("size", "For each of them."),
    "payload": ref("size", "Of one message or post."),
    "stop": ref("duration", "How long jobs and notices may take to end at a stop (20s)."),
}, "How much of this machine may be used.")  # fmt: skip

_COMMON_SINK_KEYS: Mapping[str, Schema] = {
    "rate": ref("text", "At most so many messages, such as 30 per 1m; worsenings always go."),
    "each": {"type": "boolean", "description": "Whether it hears of each alert by itself."},
}
_NOISE = object_of({
    "flapping": any_of("When an alert flaps: it came back too often.", {"const": "off"}, object_of({
        "swings": number_in("So often (4).", 2, 50),
        "within": ref("duration", "Within so long (10m)."),
        "calm": ref("duration", "It is calm after so long without (10m)."),
    })),
    "flood": any_of("When alerts are a flood: one summary then.", {"const": "off"}, object_of({
        "above": number_in("More new alerts than this begin one (10).", 1, 10_000),
        "below": number_in("Fewer than this end it (5).", 1, 10_000),
        "within": ref("duration", "Within so long (10m)."),
    })),
}, "What keeps the alerts bearable.")  # fmt: skip

_ESCALATION_STEP = object_of({
    "after": ref("duration"), "to": ref("texts", "The names of sinks."),
}, "", ("after", "to"))  # fmt: skip
_ROUTE_DEFINITIONS: Mapping[str, Schema] = {
    "route": object_of({
        "match": ref("match", "Which alerts it takes; the outermost has none."),
        "to": ref("texts", "The names of sinks."),
        "group_by": ref("texts", "What is told together."),
        "group_wait": ref("duration", "How long it waits for others of a group."),
        "repeat": ref("duration", "Told again so often, while nobody has taken it."),
        "mute": ref("texts", 'When it tells nobody: "16:00-21:00 UTC", day, night.'),
        "inhibit_if": ref("match", "An alert during which it tells nobody."),
        "escalate": any_of("If nobody acknowledged it; or a list of steps.", _ESCALATION_STEP,
                           list_of(_ESCALATION_STEP, "Each `after` counts from the beginning.")),
        "undelivered": {**_ESCALATION_STEP, "description": "If the sink did not answer."},
        "auto_acknowledge": ref("duration", "So long after its end, where nobody took it."),
        "reminder": ref("duration", "So long after it was taken, if it goes on."),
        "continue": {"type": "boolean", "description": "Whether the next routes are tried, too."},
        "routes": list_of(ref("route"), "The first that matches takes it."),
    }),
    "match": object_of({
        "rule": ref("texts", "Rule ids; * stands for anything."),
        "severity": ref("texts", 'Such as ">= serious".'),
        "owner": ref("texts"),
        "tags": ref("texts", "One of them has to fit."),
        "labels": ref("labels", "All of them have to fit."),
        "time": ref("texts", 'Such as "Mon-Fri 08:00-17:00 America/Santiago", night, "sun < -12".'),
        "unknown": {"type": "boolean", "description": "Whether its level cannot be judged now."},
    }),
}  # fmt: skip
