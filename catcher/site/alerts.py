"""Reads the `alert:` of a rule: whom to notify, at which severity, with which message."""

from __future__ import annotations

import re

from catcher.model.alert import Severity
from catcher.model.rule import AlertSpec, LevelSpec, UnknownSpec
from catcher.site.mapping_reader import MappingReader
from catcher.site.yaml_tree import YamlMapping, YamlScalar, quote_text

ARTIFACT_FORMATS = ("json", "npz", "parquet", "csv", "png", "svg", "html", "fits", "txt")
_ARTIFACT_NAME = re.compile(
    rf"[A-Za-z0-9_][\w.-]{{0,99}}\.(?:{'|'.join(ARTIFACT_FORMATS)})", re.ASCII
)
_LEVELS = tuple(level for level in Severity if level > Severity.NONE)
_LEVEL_HINT = "write an expression, `always`, or {when: …, for: …, clear: …}"


def parse_alert(rule_reader: MappingReader, has_job: bool) -> AlertSpec | None:
    """Reads the alert of a rule."""
    reader = rule_reader.get_child_reader(
        "alert", hint="write it like alert: {warning: speed > 10}"
    )
    if reader is None:
        return None
    spec = AlertSpec(
        levels=_parse_levels(reader),
        per=reader.read_expression("per"),
        message=reader.read_text("message"),
        message_location=reader.value_location("message"),
        attach=_parse_attachment_name(reader),
        expires=reader.read_positive_span("expires"),
        lasts=reader.read_positive_span("lasts"),
        latch=reader.read_severity("latch") or Severity.SERIOUS,
        failed=reader.read_severity("failed"),
        unknown=_parse_unknown_spec(reader),
        to=reader.read_text_list("to"),
        labels=reader.read_text_mapping("labels"),
        owner=reader.read_text("owner"),
    )
    has_known_keys = reader.check_keys()
    _check_alert_keys(reader, has_job, has_known_keys)
    return spec


def _check_alert_keys(reader: MappingReader, has_job: bool, has_known_keys: bool) -> None:
    if has_known_keys and not reader.has_any_key(
        "warning", "serious", "critical", "failed", "unknown"
    ):
        hint = "add one, for instance warning: speed > 10"
        message = "the alert has no level: warning, serious or critical"
        reader.collector.add_error(reader.location, message, hint)
    for key, remedy in (
        ("expires", "use `lasts`"),
        ("failed", "delete it"),
        ("attach", "delete it"),
    ):
        if reader.has_any_key(key) and not has_job:
            message = f"`{key}` speaks of a job, and this rule has none"
            reader.collector.add_error(
                reader.key_location(key), message, f"{remedy}, or give the rule a job"
            )


def _parse_levels(reader: MappingReader) -> dict[Severity, LevelSpec]:
    specs = {level: _parse_level(reader, str(level).lower()) for level in _LEVELS}
    return {level: spec for level, spec in specs.items() if spec is not None}


def _parse_level(reader: MappingReader, key: str) -> LevelSpec | None:
    node = reader.get_node(key)
    if node is None:
        return None
    if isinstance(node, YamlMapping):
        return _parse_level_mapping(reader, key)
    if isinstance(node, YamlScalar) and node.text.strip() == "always":
        return LevelSpec(when=None)
    if isinstance(node, YamlScalar) and node.value is True:
        message = f"`{key}` takes an expression, not {node.text}"
        reader.collector.add_error(node.location, message, "write `always` for every firing")
        return None
    when = reader.read_expression(key)
    return LevelSpec(when) if when else None


def _parse_level_mapping(reader: MappingReader, key: str) -> LevelSpec | None:
    child = reader.get_child_reader(key, hint=_LEVEL_HINT)
    if child is None:
        return None
    child.require_key("when", _LEVEL_HINT)
    when = child.read_expression("when")
    spec = LevelSpec(
        when=None if when and when.text.strip() == "always" else when,
        hold=child.read_positive_span("for"),
        clear=child.read_expression("clear"),
        clear_hold=child.read_positive_span("clear_for"),
    )
    child.check_keys()
    if spec.when is None and when and (spec.hold or spec.clear or spec.clear_hold):
        message = "`always` takes neither `for`, `clear` nor `clear_for`"
        child.collector.add_error(child.location, message, f"write {key}: always")
    return spec


def _parse_attachment_name(reader: MappingReader) -> str:
    name = reader.read_text("attach")
    if name and not _ARTIFACT_NAME.fullmatch(name):
        message = f"`attach` cannot be {quote_text(name)}"
        hint = f"name an artifact of the job, ending in .{', .'.join(ARTIFACT_FORMATS)}"
        reader.collector.add_error(reader.value_location("attach"), message, hint)
    return name


def _parse_unknown_spec(reader: MappingReader) -> UnknownSpec | None:
    if not isinstance(reader.get_node("unknown"), YamlMapping):
        severity = reader.read_severity("unknown")
        return UnknownSpec(severity) if severity else None
    child = reader.get_child_reader("unknown")
    if child is None:
        return None
    child.require_key("severity", "write it like unknown: {severity: warning, for: 5m}")
    severity = child.read_severity("severity")
    after = child.read_span("for") or 0
    child.check_keys()
    return UnknownSpec(severity, after) if severity else None
