"""The JSON Schema of a rule document, for completion and hover in an editor."""

from __future__ import annotations

from collections.abc import Mapping

from catcher.authoring.schema_parts import (
    Schema,
    any_of,
    build_schema_document,
    enum_of,
    flag,
    list_of,
    map_of,
    number_in,
    object_of,
    ref,
)
from catcher.model.alert import Severity
from catcher.site.alerts import ARTIFACT_FORMATS

LEVELS = tuple(str(level).lower() for level in Severity if level > Severity.NONE)
NAME_PATTERN = "^[A-Za-z_][A-Za-z0-9_]{0,99}$"


def build_rule_schema() -> Schema:
    """Builds the schema of one document of a rule file (documents are separated by `---`)."""
    root = object_of(
        {
            "rule": {
                "type": ["string", "number"],
                "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$",
                "description": "The id of the rule, unique in the site.",
            },
            "about": ref("text", "What it is for, in one line."),
            "owner": ref("text", "Who looks after it; routes may match it."),
            "runbook": ref("text", "The address of what to do when it alerts."),
            "tags": ref("texts", "Words that routes and searches may match."),
            "enabled": flag("false switches it off.", True),
            "shadow": flag("true lets it run and record, but tell nobody.", False),
            "trigger": ref("trigger"),
            "reads": map_of(ref("read"), "Other topics' latest events, as of now.", NAME_PATTERN),
            "let": map_of(ref("expression"), "Sub-expressions under names.", NAME_PATTERN),
            "job": any_of("What to run.", ref("text", "The name of a job."), ref("job")),
            "alert": ref("alert"),
            "expect": map_of(
                list_of({"type": "number"}, min_items=2),
                "Lowest and highest good value of a metric: colours tables, alerts nobody.",
            ),
            "tests": list_of(ref("test"), "Run by `catcher test`."),
        },
        "What to watch, what to run, whom to tell.",
        ("rule", "trigger"),
    )
    definitions = {
        **_TRIGGER_DEFINITIONS,
        **_JOB_DEFINITIONS,
        **_ALERT_DEFINITIONS,
        **_TEST_DEFINITIONS,
    }
    return build_schema_document("A rule of Catcher", root, definitions)


_COMMON_KEYS: Mapping[str, Schema] = {
    "by": ref("expression", "Keeps all of this apart for each value."),
    "once_per": ref("expression", "Fires once for each value, ever."),
    "forget_after": ref("duration", "A value of `by` that is silent for so long is forgotten."),
}
_STREAM_KEYS: Mapping[str, Schema] = {
    "where": ref("expression", "Which events count; looks at one event only."),
    "when": ref("expression", "Fires when this becomes true; with `every`, while it is true."),
    "clear": ref("expression", "Arms it again; without it, not `when`."),
    "for": ref("duration", "How long `when` has to be true without a break."),
    "clear_for": ref("duration", "How long `clear` has to be true without a break."),
    "every": ref("duration", "Not sooner than so long after the last firing."),
    "stale_after": ref("duration", "A silence longer than this breaks `for` (1m)."),
    "on_recovery": enum_of(
        "Whether true after unknown is a new edge.", "ignore", "fire", default="ignore"
    ),
    **_COMMON_KEYS,
}
_STREAM_KINDS: Mapping[str, str] = {
    "event": "A topic: fires at each event that passes `where`.",
    "telemetry": "A topic of samples: fires at an edge of `when`, or `every` so long.",
    "result": "The id of a rule: fires at the results of its job.",
    "http": "A name: fires at each post to /http/NAME.",
}
_TIMED_KEYS: Mapping[str, Schema] = {
    "when": ref("expression", "Whether it fires at its time."),
    "catch_up": enum_of("Times that passed while Catcher was down.", "run", "skip", default="skip"),
    **_COMMON_KEYS,
}


def _build_stream(kind: str, description: str) -> Schema:
    return object_of({kind: ref("text", description), **_STREAM_KEYS}, description, (kind,))


_TRIGGER_DEFINITIONS: Mapping[str, Schema] = {
    "trigger": any_of("When it fires.", *(ref(f"trigger-{kind}") for kind in (
        *_STREAM_KINDS, "absent", "sequence", "schedule", "every", "any",
    ))),
    **{f"trigger-{kind}": _build_stream(kind, about) for kind, about in _STREAM_KINDS.items()},
    "trigger-absent": object_of({
        "absent": object_of({
            "topic": ref("text", "The topic that should not be silent."),
            "for": ref("duration", "How long a silence is too long."),
        }, "", ("topic", "for")),
        **_COMMON_KEYS,
    }, "Fires once when a stream falls silent.", ("absent",)),
    "trigger-sequence": object_of({
        "sequence": list_of(ref("step"), "The events, in their order.", 2),
        "within": ref("duration", "From the first to the last."),
        **_COMMON_KEYS,
    }, "Fires when events came in this order.", ("sequence", "within")),
    "step": object_of({
        "event": ref("text", "The topic of this step."),
        "where": ref("expression", "Which of its events count."),
    }, "", ("event",)),
    "trigger-schedule": object_of({
        "schedule": ref("text", 'Minute, hour, day, month, weekday: "0 12 * * *".'),
        "zone": ref("text", "The time zone, such as America/Santiago (UTC)."),
        **_TIMED_KEYS,
    }, "Fires at times of the calendar.", ("schedule",)),
    "trigger-every": object_of({
        "every": ref("duration", "How often, counted from 1970-01-01T00:00:00 UTC."), **_TIMED_KEYS,
    }, "Fires at a steady pace.", ("every",)),
    "trigger-any": object_of({
        "any": list_of(ref("trigger"), "Triggers, each by itself.", 1),
        "where": ref("expression", "Which of their events count."),
        **_COMMON_KEYS,
    }, "Fires when one of several does.", ("any",)),
    "read": object_of({
        "topic": ref("text", "The topic to read; a read never triggers."),
        "where": ref("expression", "Which of its events count."),
        "max_age": ref("duration", "Unknown when its latest event is older."),
    }, "", ("topic",)),
}  # fmt: skip

_JOB_DEFINITIONS: Mapping[str, Schema] = {
    "job": object_of({
        "run": ref("text", "The name of the job: a function marked @job in jobs/."),
        "inputs": map_of(ref("input"), "Its arguments, fetched when it runs."),
        "with": {"type": "object", "description": "Fixed arguments; a duration becomes seconds."},
        "timeout": ref("duration", "After so long its worker is killed (1m)."),
        "retry": number_in("How often it is tried again after a failure.", 0, 100),
        "overlap": {
            "anyOf": [
                {"enum": ["queue", "latest", "skip"]},
                {"type": "string", "pattern": r"^parallel\(\d{1,4}\)$"},
            ],
            "description": (
                "A firing during the earlier run: queue loses nothing, latest keeps the newest, "
                "skip leaves it out, parallel(4) runs so many at once."
            ),
        },
        "deadline": ref("duration", "A run that takes longer is counted as a miss."),
        "keep_inputs": flag("Keeps the telemetry that a run read, for `catcher reproduce`.", False),
        "critical": flag("Runs locally when the cluster is away.", False),
        "priority": number_in("The highest goes first.", -100, 100),
        "memory": ref("size", "What its worker may take."),
        "each": ref("text", "One part for each: detector, or a kind of observation."),
        "last": ref("duration", "How far back those observations may have begun (24h)."),
        "gather": object_of({
            "run": ref("text", "A job over the results of all parts."),
            "patience": ref("duration", "How long it waits for parts that do not come."),
            "with": {"type": "object", "description": "Fixed arguments."},
        }, "", ("run",)),
        "degraded": object_of({
            "detectors": ref("texts", "Only these are done, on the engine's machine."),
            "metrics": ref("texts", "Told to the job, if it takes `metrics`."),
            "rest": enum_of("What is not done: done later, or left out.", "wait", "skip",
                         default="wait"),
        }, "What is done while the cluster is away."),
    }, "What to run, on what, under which promises.", ("run",)),
    "input": any_of("One argument of a job.", ref("input-telemetry"), ref("input-metric"),
                    ref("input-image")),
    "input-telemetry": {
        **object_of({
            "topic": ref("text", "The topic of the samples."),
            "fields": ref("texts", "Which fields; without it all numeric ones."),
            "where": ref("expression", "Which samples."),
            "last": ref("duration", "So far back from the firing."),
            "during": ref("text", "The kind of observation, such as exposure."),
            "from": ref("expression", "Seconds since the epoch."),
            "to": ref("expression", "Seconds since the epoch."),
            "packed": ref("text", "The field with the time (TAI) of the first of a row's samples."),
            "patience": ref("duration", "How long it waits for samples that come late."),
        }, "Telemetry, as a Series.", ("topic",)),
        "anyOf": [{"required": ["last"]}, {"required": ["during"]}, {"required": ["from", "to"]}],
    },
    "input-metric": object_of({
        "metric": ref("text", "The name of a metric of earlier runs."),
        "of": ref("text", "The rule that made it."),
        "last": ref("duration", "So far back from the firing."),
        "where": ref("expression", "Which of its values."),
    }, "A metric of earlier runs, as a Series.", ("metric", "of", "last")),
    "input-image": object_of({
        "image": ref("text", "The kind of observation whose image it is, such as exposure."),
    }, "An image, as a path.", ("image",)),
}  # fmt: skip

_LEVEL_HELP = "An expression, `always` (each firing), or {when, for, clear, clear_for}."
_SEVERITY: Schema = enum_of("A severity.", *LEVELS)
_ALERT_DEFINITIONS: Mapping[str, Schema] = {
    "alert": object_of({
        **{level: ref("level", _LEVEL_HELP) for level in LEVELS},
        "per": ref("expression", "Each value is an alert of its own."),
        "message": ref("text", "What operators read; Jinja: {{ speed | round(1) }}."),
        "attach": {
            "type": "string",
            "pattern": rf"\.({'|'.join(ARTIFACT_FORMATS)})$",
            "description": "An artifact of the job that goes with it, such as jitter.png.",
        },
        "expires": ref("duration", "Resolved when no fresh result came for so long."),
        "lasts": ref("duration", "Resolved so long after the last true event (10m)."),
        "latch": enum_of("It stays until acknowledged from this severity on.", *LEVELS,
                      default="serious"),
        "failed": enum_of("The severity when the job failed after its retries.", *LEVELS),
        "unknown": any_of("When it cannot be judged.", _SEVERITY, object_of({
            "severity": _SEVERITY,
            "for": ref("duration", "Told after so long."),
        }, "", ("severity",))),
        "to": ref("texts", "Sinks that hear of it, beside those of its route."),
        "labels": ref("labels", "For routes to match."),
        "owner": ref("text", "In place of the rule's."),
    }, "Whom to tell, how loud, in which words."),
    "level": any_of("", {"const": "always"}, ref("expression"), object_of({
        "when": ref("expression", "Raises it; or `always`."),
        "for": ref("duration", "How long `when` has to be true without a break."),
        "clear": ref("expression", "Drops it; without it, not `when`."),
        "clear_for": ref("duration", "How long `clear` has to be true without a break."),
    }, "", ("when",))),
}  # fmt: skip


def _build_expectation(description: str, *texts: str, **extra_keys: Schema) -> Schema:
    entry = object_of({
        "at": ref("duration", "How long after the start of the feed."),
        "within": ref("duration", "How much sooner or later it may come."),
        **{text: ref("text") for text in texts}, **extra_keys,
    })  # fmt: skip
    return any_of(description, number_in("So many.", 0, 1_000_000), list_of(entry))


_TEST_DEFINITIONS: Mapping[str, Schema] = {
    "test": object_of({
        "name": ref("text", "What it shows, in words."),
        "start": ref("text", "The time of the first event (2025-01-01T00:00:00Z)."),
        "feed": map_of(any_of(
            "",
            {"type": "string", "description": '"{speed: 5} x 300 @ 1s, nothing x 60": fields '
                                              "and cadence carry over."},
            list_of({"type": "object", "properties": {"at": ref("duration")}, "required": ["at"]}),
        ), "The events of each topic."),
        "expect": object_of({
            "alerts": _build_expectation(
                "Each time that an alert opens or gets worse; every change where one names "
                "`state`.", "state", "key", "per", "message", "reason",
                severity=enum_of("", "none", *LEVELS),
            ),
            "firings": _build_expectation("The firings.", "key", "reason"),
            "runs": _build_expectation(
                "The runs.", "key", "state", "job",
                metrics=map_of({}, "A number, or [lowest, highest]."),
            ),
        }, "What has to come, and nothing else of its kind."),
    }, "One test of the rule.", ("name", "feed", "expect")),
}  # fmt: skip
