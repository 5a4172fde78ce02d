"""Reads one YAML document as one rule, or as problems with their locations."""

from __future__ import annotations

import re
from typing import Any

from catcher.model.event import RESULT_PREFIX, is_result_topic
from catcher.model.rule import Expression, JobSpec, Lookup, Rule, TriggerSpec
from catcher.site.alerts import parse_alert
from catcher.site.jobs import parse_job
from catcher.site.mapping_reader import (
    MappingReader,
    create_reader,
    parse_expression,
    scalar_to_number,
)
from catcher.site.rule_tests import parse_rule_tests
from catcher.site.triggers import parse_trigger
from catcher.site.yaml_tree import (
    ProblemCollector,
    YamlEntry,
    YamlMapping,
    YamlNode,
    YamlScalar,
    describe_node,
    quote_text,
)

NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}", re.ASCII)
_ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", re.ASCII)
_START_HINT = "a rule starts with `rule: its-name` in the first line"


def parse_rule(node: YamlNode, collector: ProblemCollector) -> Rule | None:
    """Reads the rule of a document; None if it is no mapping.
    If `collector` has errors the rule is as much of it as could be read, for further checks.
    """
    name = get_rule_id(node)
    reader = create_reader(node, "a rule", collector.for_rule(name), _START_HINT)
    if reader is None:
        return None
    reader.title = "the rule"
    rule = _parse_rule_keys(reader, name)
    reader.check_keys()
    return rule


def get_rule_id(node: YamlNode | None) -> str:
    """Returns the id that a document claims; empty if it has none."""
    id_node = node.get("rule") if isinstance(node, YamlMapping) else None
    return id_node.text[:100] if isinstance(id_node, YamlScalar) else ""


def _parse_rule_keys(reader: MappingReader, name: str) -> Rule:
    _check_rule_id(reader)
    job = parse_job(reader) if reader.has_any_key("job") else None
    reader.get_node("job")
    alert = (
        parse_alert(reader, job is not None or reader.has_any_key("job"))
        if reader.has_any_key("alert")
        else None
    )
    reader.get_node("alert")
    return Rule(
        id=name,
        trigger=_parse_trigger(reader),
        about=reader.read_text("about"),
        owner=reader.read_text("owner"),
        runbook=reader.read_text("runbook"),
        tags=reader.read_text_list("tags"),
        enabled=reader.read_bool("enabled", True),
        shadow=reader.read_bool("shadow", False),
        reads=reader.build_named_items(
            "reads", "the read", _parse_lookup, "write it like wind: {topic: …}"
        ),
        let=_parse_let_expressions(reader),
        job=job if isinstance(job, JobSpec) else None,
        alert=alert,
        expect=_parse_expected_limits(reader),
        tests=parse_rule_tests(reader),
        location=reader.value_location("rule"),
    )


def _check_rule_id(reader: MappingReader) -> None:
    if not reader.require_key("rule", _START_HINT):
        return
    name = reader.read_text("rule")
    node = reader.get_node("rule")
    if isinstance(node, YamlScalar) and node.value is not None and not _ID_PATTERN.fullmatch(name):
        message = f"{quote_text(name)} cannot be the name of a rule"
        reader.collector.add_error(
            node.location, message, "use letters, digits, - and _, at most 100"
        )
    elif isinstance(node, YamlScalar) and not is_result_topic(RESULT_PREFIX + name):
        message = f"{quote_text(name)} cannot be the name of a rule: the topic is Catcher's own"
        reader.collector.add_error(node.location, message, "choose another")


def _parse_trigger(reader: MappingReader) -> TriggerSpec:
    hint = "say when it fires, for instance trigger: {event: TOPIC}"
    if not reader.require_key("trigger", hint):
        return TriggerSpec("event")
    child = reader.get_child_reader("trigger", "trigger", "write it like trigger: {event: TOPIC}")
    return parse_trigger(child) if child else TriggerSpec("event")


def check_identifier(entry: YamlEntry, noun: str, collector: ProblemCollector) -> None:
    """Reports a name that expressions or jobs could not use."""
    if not NAME_PATTERN.fullmatch(entry.key):
        message = f"{quote_text(entry.key)} cannot be the name of {noun}"
        collector.add_error(entry.location, message, "use letters, digits and _, not a digit first")


def _parse_lookup(entry: YamlEntry, reader: MappingReader) -> Lookup:
    check_identifier(entry, "a read", reader.collector)
    reader.require_key("topic", "name the topic to read")
    lookup = Lookup(
        reader.read_text("topic"),
        reader.read_expression("where"),
        reader.read_positive_span("max_age"),
    )
    reader.check_keys()
    return lookup


def _parse_let_expressions(reader: MappingReader) -> dict[str, Expression]:
    child = reader.get_child_reader("let", hint='write it like gust: max_over(speed, "1m")')
    expressions: dict[str, Expression] = {}
    for entry in child.iter_entries() if child else ():
        check_identifier(entry, "a sub-expression", reader.collector)
        if not isinstance(entry.node, YamlScalar):
            message = f"`{entry.key[:40]}` takes an expression, not {describe_node(entry.node)}"
            reader.collector.add_error(entry.node.location, message, "write it like speed > 10")
        elif expression := parse_expression(entry.node, entry.key[:40], reader.collector):
            expressions[entry.key] = expression
    return expressions


def _parse_expected_limits(reader: MappingReader) -> dict[str, tuple[float, float]]:
    child = reader.get_child_reader("expect", hint="write it like image_impact_rms: [0, 0.05]")
    expected_limits: dict[str, tuple[float, float]] = {}
    for entry in child.iter_entries() if child else ():
        limits = _parse_limits(entry.node)
        if limits is None or limits[0] > limits[1]:
            message = f"`{entry.key[:40]}` takes its lowest and highest good value"
            reader.collector.add_error(entry.node.location, message, "write it like [0, 0.05]")
        else:
            expected_limits[entry.key] = limits
    return expected_limits


def _parse_limits(node: Any) -> tuple[float, float] | None:
    items = getattr(node, "items", ())
    if isinstance(node, YamlMapping) or len(items) != 2:
        return None
    low, high = (scalar_to_number(item) if isinstance(item, YamlScalar) else None for item in items)
    return None if low is None or high is None else (float(low), float(high))
