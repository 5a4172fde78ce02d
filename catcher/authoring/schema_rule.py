"""The JSON Schema of a rule document, for completion and hover in an editor."""

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
    table,
    word,
)
from catcher.model.alert import Severity
from catcher.site.alerts import FORMS

LEVELS = tuple(str(level).lower() for level in Severity if level > Severity.NONE)
NAME = "^[A-Za-z_][A-Za-z0-9_]{0,99}$"


def rule_schema() -> Schema:
    """One document of a rule file (documents are separated by `---`)."""
    root = table(
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
            "reads": names(ref("read"), "Other topics' latest events, as of now.", NAME),
            "let": names(ref("expression"), "Sub-expressions under names.", NAME),
            "job": either("What to run.", ref("text", "The name of a job."), ref("job")),
            "alert": ref("alert"),
            "expect": names(
                many({"type": "number"}, least=2),
                "Lowest and highest good value of a metric: colours tables, alerts nobody.",
            ),
            "tests": many(ref("test"), "Run by `catcher test`."),
        },
        "What to watch, what to run, whom to tell.",
        ("rule", "trigger"),
    )
    definitions = {**_TRIGGERS, **_JOB, **_ALERT, **_TEST}
    return document("A rule of Catcher", root, definitions)


_COMMON: Mapping[str, Schema] = {
    "by": ref("expression", "Keeps all of this apart for each value."),
    "once_per": ref("expression", "Fires once for each value, ever."),
    "forget_after": ref("duration", "A value of `by` that is silent for so long is forgotten."),
}
_STREAM: Mapping[str, Schema] = {
    "where": ref("expression", "Which events count; looks at one event only."),
    "when": ref("expression", "Fires when this becomes true; with `every`, while it is true."),
    "clear": ref("expression", "Arms it again; without it, not `when`."),
    "for": ref("duration", "How long `when` has to be true without a break."),
    "clear_for": ref("duration", "How long `clear` has to be true without a break."),
    "every": ref("duration", "Not sooner than so long after the last firing."),
    "stale_after": ref("duration", "A silence longer than this breaks `for` (1m)."),
    "on_recovery": word(
        "Whether true after unknown is a new edge.", "ignore", "fire", default="ignore"
    ),
    **_COMMON,
}
_KINDS: Mapping[str, str] = {
    "event": "A topic: fires at each event that passes `where`.",
    "telemetry": "A topic of samples: fires at an edge of `when`, or `every` so long.",
    "result": "The id of a rule: fires at the results of its job.",
    "http": "A name: fires at each post to /http/NAME.",
}
_TIMED: Mapping[str, Schema] = {
    "when": ref("expression", "Whether it fires at its time."),
    "catch_up": word("Times that passed while Catcher was down.", "run", "skip", default="skip"),
    **_COMMON,
}


def _stream(kind: str, about: str) -> Schema:
    return table({kind: ref("text", about), **_STREAM}, about, (kind,))


_TRIGGERS: Mapping[str, Schema] = {
    "trigger": either("When it fires.", *(ref(f"trigger-{kind}") for kind in (
        *_KINDS, "absent", "sequence", "schedule", "every", "any",
    ))),
    **{f"trigger-{kind}": _stream(kind, about) for kind, about in _KINDS.items()},
    "trigger-absent": table({
        "absent": table({
            "topic": ref("text", "The topic that should not be silent."),
            "for": ref("duration", "How long a silence is too long."),
        }, "", ("topic", "for")),
        **_COMMON,
    }, "Fires once when a stream falls silent.", ("absent",)),
    "trigger-sequence": table({
        "sequence": many(ref("step"), "The events, in their order.", 2),
        "within": ref("duration", "From the first to the last."),
        **_COMMON,
    }, "Fires when events came in this order.", ("sequence", "within")),
    "step": table({
        "event": ref("text", "The topic of this step."),
        "where": ref("expression", "Which of its events count."),
    }, "", ("event",)),
    "trigger-schedule": table({
        "schedule": ref("text", 'Minute, hour, day, month, weekday: "0 12 * * *".'),
        "zone": ref("text", "The time zone, such as America/Santiago (UTC)."),
        **_TIMED,
    }, "Fires at times of the calendar.", ("schedule",)),
    "trigger-every": table({
        "every": ref("duration", "How often, counted from 1970-01-01T00:00:00 UTC."), **_TIMED,
    }, "Fires at a steady pace.", ("every",)),
    "trigger-any": table({
        "any": many(ref("trigger"), "Triggers, each by itself.", 1),
        "where": ref("expression", "Which of their events count."),
        **_COMMON,
    }, "Fires when one of several does.", ("any",)),
    "read": table({
        "topic": ref("text", "The topic to read; a read never triggers."),
        "where": ref("expression", "Which of its events count."),
        "max_age": ref("duration", "Unknown when its latest event is older."),
    }, "", ("topic",)),
}  # fmt: skip

_JOB: Mapping[str, Schema] = {
    "job": table({
        "run": ref("text", "The name of the job: a function marked @job in jobs/."),
        "inputs": names(ref("input"), "Its arguments, fetched when it runs."),
        "with": {"type": "object", "description": "Fixed arguments; a duration becomes seconds."},
        "timeout": ref("duration", "After so long its worker is killed (1m)."),
        "retry": number("How often it is tried again after a failure.", 0, 100),
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
        "priority": number("The highest goes first.", -100, 100),
        "memory": ref("size", "What its worker may take."),
        "each": ref("text", "One part for each: detector, or a kind of observation."),
        "last": ref("duration", "How far back those observations may have begun (24h)."),
        "gather": table({
            "run": ref("text", "A job over the results of all parts."),
            "patience": ref("duration", "How long it waits for parts that do not come."),
            "with": {"type": "object", "description": "Fixed arguments."},
        }, "", ("run",)),
        "degraded": table({
            "detectors": ref("texts", "Only these are done, on the engine's machine."),
            "metrics": ref("texts", "Told to the job, if it takes `metrics`."),
            "rest": word("What is not done: done later, or left out.", "wait", "skip",
                         default="wait"),
        }, "What is done while the cluster is away."),
    }, "What to run, on what, under which promises.", ("run",)),
    "input": either("One argument of a job.", ref("input-telemetry"), ref("input-metric"),
                    ref("input-image")),
    "input-telemetry": {
        **table({
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
    "input-metric": table({
        "metric": ref("text", "The name of a metric of earlier runs."),
        "of": ref("text", "The rule that made it."),
        "last": ref("duration", "So far back from the firing."),
        "where": ref("expression", "Which of its values."),
    }, "A metric of earlier runs, as a Series.", ("metric", "of", "last")),
    "input-image": table({
        "image": ref("text", "The kind of observation whose image it is, such as exposure."),
    }, "An image, as a path.", ("image",)),
}  # fmt: skip

_LEVEL_ABOUT = "An expression, `always` (each firing), or {when, for, clear, clear_for}."
_SPOKEN_LEVEL: Schema = word("A severity.", *LEVELS)
_ALERT: Mapping[str, Schema] = {
    "alert": table({
        **{level: ref("level", _LEVEL_ABOUT) for level in LEVELS},
        "per": ref("expression", "Each value is an alert of its own."),
        "message": ref("text", "What operators read; Jinja: {{ speed | round(1) }}."),
        "attach": {
            "type": "string",
            "pattern": rf"\.({'|'.join(FORMS)})$",
            "description": "An artifact of the job that goes with it, such as jitter.png.",
        },
        "expires": ref("duration", "Resolved when no fresh result came for so long."),
        "lasts": ref("duration", "Resolved so long after the last true event (10m)."),
        "latch": word("It stays until acknowledged from this severity on.", *LEVELS,
                      default="serious"),
        "failed": word("The severity when the job failed after its retries.", *LEVELS),
        "unknown": either("When it cannot be judged.", _SPOKEN_LEVEL, table({
            "severity": _SPOKEN_LEVEL,
            "for": ref("duration", "Told after so long."),
        }, "", ("severity",))),
        "to": ref("texts", "Sinks that hear of it, beside those of its route."),
        "labels": ref("labels", "For routes to match."),
        "owner": ref("text", "In place of the rule's."),
    }, "Whom to tell, how loud, in which words."),
    "level": either("", {"const": "always"}, ref("expression"), table({
        "when": ref("expression", "Raises it; or `always`."),
        "for": ref("duration", "How long `when` has to be true without a break."),
        "clear": ref("expression", "Drops it; without it, not `when`."),
        "clear_for": ref("duration", "How long `clear` has to be true without a break."),
    }, "", ("when",))),
}  # fmt: skip


def _expected(about: str, *texts: str, **others: Schema) -> Schema:
    entry = table({
        "at": ref("duration", "How long after the start of the feed."),
        "within": ref("duration", "How much sooner or later it may come."),
        **{text: ref("text") for text in texts}, **others,
    })  # fmt: skip
    return either(about, number("So many.", 0, 1_000_000), many(entry))


_TEST: Mapping[str, Schema] = {
    "test": table({
        "name": ref("text", "What it shows, in words."),
        "start": ref("text", "The time of the first event (2025-01-01T00:00:00Z)."),
        "feed": names(either(
            "",
            {"type": "string", "description": '"{speed: 5} x 300 @ 1s, nothing x 60": fields '
                                              "and cadence carry over."},
            many({"type": "object", "properties": {"at": ref("duration")}, "required": ["at"]}),
        ), "The events of each topic."),
        "expect": table({
            "alerts": _expected(
                "Each time that an alert opens or gets worse; every change where one names "
                "`state`.", "state", "key", "per", "message", "reason",
                severity=word("", "none", *LEVELS),
            ),
            "firings": _expected("The firings.", "key", "reason"),
            "runs": _expected(
                "The runs.", "key", "state", "job",
                metrics=names({}, "A number, or [lowest, highest]."),
            ),
        }, "What has to come, and nothing else of its kind."),
    }, "One test of the rule.", ("name", "feed", "expect")),
}  # fmt: skip
