"""Reads the `job:` of a rule: what to run, on which inputs, and with which guarantees."""

from __future__ import annotations

import re
from typing import Any

from catcher.model.rule import DETECTOR, GatherSpec, InputSpec, JobSpec, OverlapPolicy
from catcher.model.time import MINUTE, Span, nanoseconds_to_seconds, parse_duration
from catcher.site.mapping_reader import MAX_SPAN, MappingReader
from catcher.site.suggestions import format_suggestion
from catcher.site.yaml_tree import (
    YamlEntry,
    YamlMapping,
    YamlNode,
    YamlScalar,
    YamlSequence,
    quote_text,
)

_PARALLEL_PATTERN = re.compile(r"parallel\((\d{1,4})\)", re.ASCII)
_JOB_HINT = "write it like job: {run: name_of_the_job}"
_INPUT_HINT = "write it like wind: {topic: TOPIC, last: 30m}"
_INPUT_KINDS = ("topic", "metric", "image")


def parse_job(rule_reader: MappingReader) -> JobSpec | None:
    """Reads the job of a rule; a plain text is the name of a job without inputs."""
    node = rule_reader.get_node("job")
    if isinstance(node, YamlScalar) and isinstance(node.value, str):
        return JobSpec(run=node.text, location=node.location)
    reader = rule_reader.get_child_reader("job", hint=_JOB_HINT)
    if reader is None:
        return None
    reader.require_key("run", "name the function, for instance run: wind_extrapolation")
    spec = JobSpec(
        run=reader.read_text("run"),
        inputs=reader.build_named_items("inputs", "the input", _parse_input, _INPUT_HINT),
        arguments=_parse_arguments(reader, "with"),
        timeout=reader.read_positive_span("timeout") or MINUTE,
        retry=reader.read_integer("retry", 0, 100) or 0,
        overlap=_parse_overlap_policy(reader),
        deadline=reader.read_positive_span("deadline"),
        critical=reader.read_bool("critical", False),
        priority=reader.read_integer("priority", -100, 100) or 0,
        memory=reader.read_size("memory"),
        each=reader.read_text("each"),
        last=_parse_lookback(reader),
        gather=_parse_gather(reader),
        degraded=_parse_degraded_mode(reader),
        keep_inputs=reader.read_bool("keep_inputs", False),
        location=reader.value_location("run"),
    )
    reader.check_keys()
    return spec


def _parse_input(entry: YamlEntry, reader: MappingReader) -> InputSpec | None:
    kinds = [kind for kind in _INPUT_KINDS if reader.has_any_key(kind)]
    if len(kinds) != 1:
        problem_text = (
            f"both `{kinds[0]}` and `{kinds[1]}`" if kinds else "no topic, metric or image"
        )
        hint = _INPUT_HINT if not kinds else "keep one of them"
        reader.collector.add_error(reader.location, f"{reader.title} has {problem_text}", hint)
        for kind in kinds:
            reader.get_node(kind)
        return None
    input_spec = {
        "topic": _parse_telemetry_input,
        "metric": _parse_metric_input,
        "image": _parse_image_input,
    }[kinds[0]](reader)
    reader.check_keys()
    return input_spec


def _parse_telemetry_input(reader: MappingReader) -> InputSpec:
    input_spec = InputSpec(
        topic=reader.read_text("topic"),
        fields=reader.read_text_list("fields"),
        where=reader.read_expression("where"),
        last=reader.read_positive_span("last"),
        during=reader.read_text("during"),
        start=reader.read_expression("from"),
        end=reader.read_expression("to"),
        packed=reader.read_text("packed"),
        max_wait=reader.read_span("patience"),
    )
    if input_spec.packed and not input_spec.fields:
        hint = "name them without their numbers: fields: [angle]"
        reader.collector.add_error(
            reader.value_location("packed"), "`packed` needs the packed `fields`", hint
        )
    range_flags = [
        reader.has_any_key("last"),
        reader.has_any_key("during"),
        reader.has_any_key("from", "to"),
    ]
    if sum(range_flags) != 1:
        hint = "give one of last: 30m, during: exposure, or from: and to:"
        problem_text = "several spans of time" if any(range_flags) else "no span of time"
        reader.collector.add_error(reader.location, f"{reader.title} has {problem_text}", hint)
    elif range_flags[2] and not (reader.has_any_key("from") and reader.has_any_key("to")):
        reader.collector.add_error(
            reader.location, f"{reader.title} has only one end", "give from: and to:"
        )
    return input_spec


def _parse_metric_input(reader: MappingReader) -> InputSpec:
    reader.require_key("of", "name the rule whose metric it is, for instance of: images")
    reader.require_key("last", "say how far back, for instance last: 2h")
    return InputSpec(
        metric=reader.read_text("metric"),
        of=reader.read_text("of"),
        last=reader.read_positive_span("last"),
        where=reader.read_expression("where"),
    )


def _parse_image_input(reader: MappingReader) -> InputSpec:
    return InputSpec(image=reader.read_text("image"))


def _parse_overlap_policy(reader: MappingReader) -> OverlapPolicy:
    policy = reader.read_text("overlap", "queue").replace(" ", "")
    if policy in ("queue", "latest", "skip"):
        return OverlapPolicy(policy)  # type: ignore[arg-type]
    match = _PARALLEL_PATTERN.fullmatch(policy)
    if match and int(match[1]) > 0:
        return OverlapPolicy("parallel", int(match[1]))
    options = ("queue", "latest", "skip", "parallel(4)")
    message = f"`overlap` cannot be {quote_text(policy)}"
    reader.collector.add_error(
        reader.value_location("overlap"), message, format_suggestion(policy, options)
    )
    return OverlapPolicy()


def _parse_gather(reader: MappingReader) -> GatherSpec | None:
    hint = "write it like gather: {run: visit_summary, patience: 20s}"
    child = reader.get_child_reader("gather", hint=hint)
    if child is None:
        return None
    child.require_key("run", hint)
    gather_spec = GatherSpec(
        child.read_text("run"),
        child.read_positive_span("patience"),
        _parse_arguments(child, "with"),
    )
    child.check_keys()
    return gather_spec


def _parse_lookback(reader: MappingReader) -> Span | None:
    """Reads how far back the observations of `each` may have begun."""
    last = reader.read_positive_span("last")
    if reader.has_any_key("last") and reader.read_text("each") in ("", DETECTOR):
        message = "`last` belongs to an `each` over observations"
        hint = "write it like each: exposure, or give it to an input"
        reader.collector.add_error(reader.key_location("last"), message, hint)
    return last


def _parse_degraded_mode(reader: MappingReader) -> dict[str, tuple[str, ...]]:
    """Reads what runs while the cluster is unavailable.
    That is which detectors and metrics, and what becomes of the rest.
    """
    hint = "write it like degraded: {detectors: [R22_S11], rest: wait}"
    child = reader.get_child_reader("degraded", hint=hint)
    if child is None:
        return {}
    degraded = {
        key: child.read_text_list(key) for key in ("detectors", "metrics") if child.has_any_key(key)
    }
    if child.has_any_key("rest"):
        degraded["rest"] = (child.read_choice("rest", {"wait": "wait", "skip": "skip"}, "wait"),)
    child.check_keys()
    return degraded


def _parse_arguments(reader: MappingReader, key: str) -> dict[str, Any]:
    child = reader.get_child_reader(key, hint="write it like with: {threshold: 15}")
    return (
        {entry.key: node_to_argument(entry.node) for entry in child.iter_entries()} if child else {}
    )


def node_to_argument(node: YamlNode) -> Any:
    """Returns the plain value of an argument; a text that is a duration becomes seconds."""
    if isinstance(node, YamlMapping):
        return {entry.key: node_to_argument(entry.node) for entry in node.entries.values()}
    if isinstance(node, YamlSequence):
        return [node_to_argument(item) for item in node.items]
    if not isinstance(node.value, str):
        return node.value
    try:
        span = parse_duration(node.value)
    except ValueError:
        return node.value
    return nanoseconds_to_seconds(span) if span <= MAX_SPAN else node.value
