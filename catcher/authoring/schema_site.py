"""The JSON Schemas of `catcher.yaml` and `alerts/routes.yaml`.

What an adapter takes is read from its own settings class, so that a new one needs no word here.
"""

from __future__ import annotations

from collections.abc import Mapping

from catcher.authoring.schema_parts import (
    Schema,
    document,
    either,
    flag,
    many,
    names,
    number,
    ref,
    settings,
    table,
    word,
)
from catcher.site.adapters import (
    ANNOUNCEMENTS,
    EXECUTORS,
    HEARTBEATS,
    HISTORIES,
    IMAGES,
    LEDGERS,
    METRICS,
    OBJECTS,
    RECORDS,
    SINKS,
    SOURCES,
    Adapters,
    Kinds,
)

_BARE = {"type": ["object", "null"], "maxProperties": 0}


def site_schema(adapters: Adapters) -> Schema:
    """`catcher.yaml`; `adapters` are the settings classes by port and kind."""
    stores = {
        "ledger": _adapter(LEDGERS, adapters, "Runs, alerts, trigger states, audit."),
        "history": _adapter(HISTORIES, adapters, "The telemetry that rules and jobs look back at."),
        "metrics": _adapter(METRICS, adapters, "A further home for metrics."),
        "objects": _adapter(OBJECTS, adapters, "Artifacts."),
        "images": _adapter(IMAGES, adapters, "Images that are not found by a path alone."),
        "patience": ref("duration", "How long inputs wait for telemetry that comes late."),
        "large_files": _LARGE_FILES,
        "records": names(_records(adapters), "Tables of other services, read as telemetry."),
        "spool": ref("size", "Of artifacts that wait while their store is away (2GB)."),
    }
    root = table(
        {
            "site": ref("text", "The site's name."),
            "location": _LOCATION,
            "sources": names(ref("source"), "Where events come from, each under a name."),
            "stores": table(stores, "Where things are kept; the embedded defaults serve."),
            "executor": _adapter(EXECUTORS, adapters, "Where jobs run."),
            "observations": names(_OBSERVATION, "What has an id and a span of time."),
            "links": ref(
                "labels",
                "Addresses in alerts, with {id} for the observation, {alert}, {rule}, {key}.",
            ),
            "api": _API,
            "data": ref("text", "The folder of ledger, history and artifacts."),
            "limits": _LIMITS,
            "heartbeat": _heartbeat(adapters),
            "announce": _announce(adapters),
            "engine": _ENGINE,
        },
        "An observatory's settings. Secrets are written ${NAME} or ${file:/path}.",
    )
    return document("catcher.yaml", root, {"source": _source(adapters)})


def routes_schema(adapters: Adapters) -> Schema:
    """`alerts/routes.yaml`. A kind of sink that is not known here may be the site's own."""
    kinds = {kind: _settings(SINKS, kind, adapters) for kind in SINKS.here}
    known = {kind: either("", _BARE, schema) for kind, schema in kinds.items()}
    sink = either(
        "A sink: {kind: {settings}}.",
        _BARE,
        table(_OF_ANY_SINK),
        *(table({kind: schema, **_OF_ANY_SINK}, "", (kind,)) for kind, schema in known.items()),
        {"type": "object", "minProperties": 1, "maxProperties": 3, "propertyNames": {
            "not": {"enum": list(SINKS.all)}}},
    )  # fmt: skip
    root = table(
        {
            "sinks": names(sink, "Who may be told, each under a name."),
            "people": names(ref("texts"), "Who may be on shift, each with the names of sinks."),
            "noise": _NOISE,
            "route": ref("route", "The outermost route takes every alert."),
        },
        "Who hears of which alert.",
    )
    return document("alerts/routes.yaml", root, _ROUTES)


def _heartbeat(adapters: Adapters) -> Schema:
    ways = {kind: _settings(HEARTBEATS, kind, adapters) for kind in HEARTBEATS.here}
    every = ref("duration", "How often (10s).")
    whole = table({"every": every, **ways}, "A sign of life that leaves the engine.")
    whole["anyOf"] = [{"required": [kind]} for kind in ways]
    return whole


def _announce(adapters: Adapters) -> Schema:
    ways = {kind: _settings(ANNOUNCEMENTS, kind, adapters) for kind in ANNOUNCEMENTS.here}
    whole = table(ways, "Who else hears of each committed result (metric available).")
    whole["anyOf"] = [{"required": [kind]} for kind in ways]
    return whole


def _source(adapters: Adapters) -> Schema:
    kinds = {kind: _settings(SOURCES, kind, adapters) for kind in SOURCES.here}
    whole = table({**kinds, **_CLOCK})
    whole["oneOf"] = [{"required": [kind]} for kind in kinds]
    return whole


def _records(adapters: Adapters) -> Schema:
    whole = table({kind: _settings(RECORDS, kind, adapters) for kind in RECORDS.here})
    whole["oneOf"] = [{"required": [kind]} for kind in RECORDS.here]
    return whole


def _adapter(kinds: Kinds, adapters: Adapters, about: str) -> Schema:
    schemes = "|".join(name for name, kind in kinds.schemes.items() if kind in kinds.here)
    options: list[Schema] = [{"enum": list(kinds.here)}]
    if schemes:
        options.append({"type": "string", "pattern": rf"^({schemes.replace('+', '[+]')})://"})
    for kind in kinds.here:
        options.append(table({kind: _settings(kinds, kind, adapters)}, "", (kind,)))
    return either(about, *options)


def _settings(kinds: Kinds, kind: str, adapters: Adapters) -> Schema:
    cls = adapters.get((kinds.port, kind))
    return {"type": ["object", "null"]} if cls is None else settings(cls)


_LARGE_FILES = table({
    "salname": ref("text", "The name of the component that the files are of."),
    "index": number("Its index, where it has several.", 0, 2**31 - 1),
}, "Artifacts are kept as a Large File Annex has them.", ("salname",))  # fmt: skip
_CLOCK: Mapping[str, Schema] = {
    "clock": word("wall: the time of day; stream: what the events say (old data).",
                  "wall", "stream"),
    "lateness": ref("duration", "Timers wait so long for stragglers (1s)."),
    "reorder": ref("duration", "Events are held so long to be put in order (0s)."),
    "max_ahead": ref("duration", "An event from further in the future is set aside (5s)."),
}  # fmt: skip
_ENGINE = table({
    "rules": ref("texts", "Only rules with one of these tags."),
    "except": ref("texts", "All rules but those with one of these tags."),
    "shared": flag("Several engines carry these rules at once; they keep no state.", False),
}, "Which rules this engine carries, beside others on one PostgreSQL ledger.")  # fmt: skip
_LOCATION = table({
    "latitude": number("Degrees, north positive.", -90, 90, whole=False),
    "longitude": number("Degrees, east positive.", -180, 360, whole=False),
    "elevation": number("Metres above the sea.", -500, 10_000, whole=False),
}, "Where the observatory is.", ("latitude", "longitude"))  # fmt: skip
_OBSERVATION = table({
    "event": ref("text", "The topic of the event that declares one."),
    "id": ref("text", "The field that holds its id."),
    "start": ref("text", "The field that holds its start; without it, it ends with the event."),
    "length": ref("text", "The field that holds its length in seconds."),
    "scale": word("Of `start`.", "utc", "tai", default="utc"),
    "image": ref("text", "Where its images are, with {id} and {detector}; s3:// too."),
    "columns": ref("labels", "Names in expressions, and the fields they stand for."),
}, "", ("event", "id"))  # fmt: skip
_API = table({
    "host": ref("text", "Where it listens (127.0.0.1); beyond loopback it wants a token."),
    "port": {"type": ["integer", "string"], "minimum": 0, "maximum": 65_535, "default": 8787},
    "token": ref("text", "What others have to bring: ${CATCHER_TOKEN}."),
    "post_tokens": ref("labels", "Who may post events and nothing else, each under a name."),
    "read_tokens": ref("labels", "Who may read and nothing else, each under a name."),
}, "The HTTP API.")  # fmt: skip
_LIMITS = table({
    "workers": number("Worker processes.", 1, 1024),
    "memory": ref("size", "For each of them."),
    "payload": ref("size", "Of one message or post."),
    "stop": ref("duration", "How long jobs and notices may take to end at a stop (20s)."),
}, "How much of this machine may be used.")  # fmt: skip

_OF_ANY_SINK: Mapping[str, Schema] = {
    "rate": ref("text", "At most so many messages, such as 30 per 1m; worsenings always go."),
    "each": {"type": "boolean", "description": "Whether it hears of each alert by itself."},
}
_NOISE = table({
    "flapping": either("When an alert flaps: it came back too often.", {"const": "off"}, table({
        "swings": number("So often (4).", 2, 50),
        "within": ref("duration", "Within so long (10m)."),
        "calm": ref("duration", "It is calm after so long without (10m)."),
    })),
    "flood": either("When alerts are a flood: one summary then.", {"const": "off"}, table({
        "above": number("More new alerts than this begin one (10).", 1, 10_000),
        "below": number("Fewer than this end it (5).", 1, 10_000),
        "within": ref("duration", "Within so long (10m)."),
    })),
}, "What keeps the alerts bearable.")  # fmt: skip

_HAND_ON = table({
    "after": ref("duration"), "to": ref("texts", "The names of sinks."),
}, "", ("after", "to"))  # fmt: skip
_ROUTES: Mapping[str, Schema] = {
    "route": table({
        "match": ref("match", "Which alerts it takes; the outermost has none."),
        "to": ref("texts", "The names of sinks."),
        "group_by": ref("texts", "What is told together."),
        "group_wait": ref("duration", "How long it waits for others of a group."),
        "repeat": ref("duration", "Told again so often, while nobody has taken it."),
        "mute": ref("texts", 'When it tells nobody: "16:00-21:00 UTC", day, night.'),
        "inhibit_if": ref("match", "An alert during which it tells nobody."),
        "escalate": either("If nobody acknowledged it; or a list of steps.", _HAND_ON,
                           many(_HAND_ON, "Each `after` counts from the beginning.")),
        "undelivered": {**_HAND_ON, "description": "If the sink did not answer."},
        "auto_acknowledge": ref("duration", "So long after its end, where nobody took it."),
        "reminder": ref("duration", "So long after it was taken, if it goes on."),
        "continue": {"type": "boolean", "description": "Whether the next routes are tried, too."},
        "routes": many(ref("route"), "The first that matches takes it."),
    }),
    "match": table({
        "rule": ref("texts", "Rule ids; * stands for anything."),
        "severity": ref("texts", 'Such as ">= serious".'),
        "owner": ref("texts"),
        "tags": ref("texts", "One of them has to fit."),
        "labels": ref("labels", "All of them have to fit."),
        "time": ref("texts", 'Such as "Mon-Fri 08:00-17:00 America/Santiago", night, "sun < -12".'),
        "unknown": {"type": "boolean", "description": "Whether its level cannot be judged now."},
    }),
}  # fmt: skip
