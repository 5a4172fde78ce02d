"""The schemas for editors: what the loader takes fits, and what it refuses does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catcher.app import SETTINGS_CLASSES
from catcher.authoring.schema import SchemaFile, build_schema
from catcher.site import load_site_folder
from catcher.site.mapping_reader import node_to_plain_value
from catcher.site.yaml_loader import parse_documents
from tests.authoring.json_schema import JsonSchemaValidator

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "tests" / "site"
ROUTES = REPOSITORY / "alerts" / "routes.yaml"
FILES: list[tuple[SchemaFile, Path]] = [
    *(("rule", path) for path in sorted((REPOSITORY / "rules").glob("*.yaml"))),
    ("rule", EXAMPLES / "design_rules.yaml"),
    ("site", REPOSITORY / "catcher.yaml"),
    ("site", EXAMPLES / "design_catcher.yaml"),
    ("routes", ROUTES),
    ("routes", EXAMPLES / "design_routes.yaml"),
]


def create_validator(file: SchemaFile) -> JsonSchemaValidator:
    """The schema as a program reads it: through JSON."""
    return JsonSchemaValidator(json.loads(json.dumps(build_schema(file, SETTINGS_CLASSES))))


def parse_documents_as_json(text: str) -> list[Any]:
    """The documents of a YAML text as JSON values, read as the loader reads them."""
    nodes = [document for document in parse_documents(text, "it") if document.node is not None]
    assert not [problem for document in nodes for problem in document.problems]
    return [node_to_plain_value(document.node) for document in nodes if document.node is not None]


@pytest.mark.parametrize(("file", "path"), FILES, ids=lambda one: getattr(one, "name", one))
def test_shipped_and_example_files_are_valid(file: SchemaFile, path: Path) -> None:
    values = parse_documents_as_json(path.read_text())
    assert values
    for value in values:
        assert create_validator(file).find_errors(value) == []


def test_tests_of_a_rule_are_valid() -> None:
    text = "rule: a\ntrigger: {event: t}\n" + (EXAMPLES / "design_tests.yaml").read_text()
    assert create_validator("rule").find_errors(parse_documents_as_json(text)[0]) == []


RULE = "rule: a\ntrigger: {event: t}\n"


@pytest.mark.parametrize(
    "text",
    [
        "trigger: {event: t}",
        "rule: a",
        "rule: a b\ntrigger: {event: t}",
        "rule: a\ntrigger: {evnt: t}",
        "rule: a\ntrigger: {event: t, telemetry: u}",
        "rule: a\ntrigger: {event: t, for: 5}",
        "rule: a\ntrigger: {event: t, for: often}",
        "rule: a\ntrigger: {absent: {topic: t}}",
        "rule: a\ntrigger: {sequence: [{event: t}], within: 5m}",
        "rule: a\ntrigger: {any: []}",
        f"{RULE}enabled: maybe",
        f"{RULE}owner: [a, b]",
        f"{RULE}job: {{inputs: {{}}}}",
        f"{RULE}job: {{run: j, retry: -1}}",
        f"{RULE}job: {{run: j, overlap: parallel}}",
        f"{RULE}job: {{run: j, inputs: {{a: {{topic: t}}}}}}",
        f"{RULE}job: {{run: j, inputs: {{a: {{metric: m, last: 1h}}}}}}",
        f"{RULE}alert: {{warning: {{for: 5s}}}}",
        f"{RULE}alert: {{warning: always, latch: severe}}",
        f"{RULE}alert: {{warning: always, attach: plot.exe}}",
        f"{RULE}expect: {{m: 5}}",
        f"{RULE}tests: [{{feed: {{}}, expect: {{}}}}]",
        f"{RULE}tests: [{{name: n, feed: {{t: 5}}, expect: {{}}}}]",
        f"{RULE}tests: [{{name: n, feed: {{}}, expect: {{alerts: [{{severity: loud}}]}}}}]",
        f"{RULE}zzqzz: 1",
    ],
)
def test_rule_that_the_loader_rejects_is_invalid(tmp_path: Path, text: str) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "catcher.yaml").write_text("site: a")
    (tmp_path / "rules" / "a.yaml").write_text(text)
    assert load_site_folder(tmp_path, {}).errors
    assert create_validator("rule").find_errors(parse_documents_as_json(text)[0])


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("site", "location: {latitude: 91, longitude: 0}"),
        ("site", "sources: {a: {mqtt: {host: h}}}"),
        ("site", "sources: {a: {clock: wall}}"),
        ("site", "sources: {a: {http: {}, replay: {files: [x]}}}"),
        ("site", "stores: {ledger: oracle}"),
        ("site", "stores: {metrics: {influxdb: {bucket: b}}}"),
        ("site", "observations: {visit: {event: t}}"),
        ("site", "limits: {workers: 0}"),
        ("site", "limits: {stop: soon}"),
        ("site", "heartbeat: {every: 10s}"),
        ("site", "heartbeat: {http: {}}"),
        ("site", "heartbeat: {mqtt: {hots: a}}"),
        ("routes", "sinks: {a: {slack: {channel: c}}}\nroute: {to: [a]}"),
        ("routes", "sinks: {a: {mqtt: {}, love: {}}}\nroute: {to: [a]}"),
        ("routes", "route: {to: [console], escalate: {after: 5m}}"),
        ("routes", "route: {to: [console], routes: [{zzqzz: 1}]}"),
    ],
)
def test_settings_and_routes_that_the_loader_rejects_are_invalid(
    tmp_path: Path, file: SchemaFile, text: str
) -> None:
    name = "catcher.yaml" if file == "site" else "alerts/routes.yaml"
    (tmp_path / "alerts").mkdir()
    (tmp_path / "catcher.yaml").write_text("site: a")
    (tmp_path / name).write_text(text)
    assert load_site_folder(tmp_path, {}, SETTINGS_CLASSES).errors
    assert create_validator(file).find_errors(parse_documents_as_json(text)[0])


def test_custom_sink_is_valid() -> None:
    assert (
        create_validator("routes").find_errors(
            parse_documents_as_json("sinks: {a: {pager: {number: 1}}}")[0]
        )
        == []
    )


OBJECTS: list[tuple[SchemaFile, str, str]] = [
    ("rule", "", f"{RULE}zzqzz: 1"),
    *(
        ("rule", f"trigger-{kind}", f"rule: a\ntrigger: {{{text}, zzqzz: 1}}")
        for kind, text in {
            "event": "event: t",
            "telemetry": "telemetry: t",
            "result": "result: b",
            "http": "http: t",
            "absent": "absent: {topic: t, for: 5s}",
            "sequence": "sequence: [{event: t}, {event: u}], within: 5s",
            "schedule": 'schedule: "0 12 * * *"',
            "every": "every: 5m",
            "any": "any: [{event: t}]",
        }.items()
    ),
    ("rule", "step", "rule: a\ntrigger: {within: 5s, sequence: [{event: t, zzqzz: 1}, {}]}"),
    ("rule", "read", f"{RULE}reads: {{b: {{topic: u, zzqzz: 1}}}}"),
    ("rule", "job", f"{RULE}job: {{run: j, zzqzz: 1}}"),
    ("rule", "input-telemetry", f"{RULE}job: {{run: j, inputs: {{b: {{topic: u, zzqzz: 1}}}}}}"),
    ("rule", "input-metric", f"{RULE}job: {{run: j, inputs: {{b: {{metric: u, zzqzz: 1}}}}}}"),
    ("rule", "input-image", f"{RULE}job: {{run: j, inputs: {{b: {{image: u, zzqzz: 1}}}}}}"),
    ("rule", "alert", f"{RULE}alert: {{warning: always, zzqzz: 1}}"),
    ("rule", "test", f"{RULE}tests: [{{name: n, feed: {{}}, expect: {{}}, zzqzz: 1}}]"),
    ("site", "", "zzqzz: 1"),
    ("routes", "match", "route: {to: [console], routes: [{match: {zzqzz: 1}}]}"),
    ("routes", "route", "route: {to: [console], group_by: [rule], zzqzz: 1}"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "name", "text"), OBJECTS, ids=lambda one: str(one)[:30])
def test_each_mapping_has_the_keys_that_the_loader_knows(
    tmp_path: Path, file: SchemaFile, name: str, text: str
) -> None:
    """Asked for a key that nothing resembles, the loader names those that there are."""
    file_path = {"rule": "rules/a.yaml", "site": "catcher.yaml", "routes": "alerts/routes.yaml"}[
        file
    ]
    (tmp_path / "catcher.yaml").write_text("site: a")
    (tmp_path / file_path).parent.mkdir(exist_ok=True)
    (tmp_path / file_path).write_text(text)
    hints = [
        problem.hint
        for problem in load_site_folder(tmp_path, {}).errors
        if "'zzqzz'" in problem.message
    ]
    known_keys = hints[0].removeprefix("choose from ").split(", ")
    file_schema = build_schema(file, SETTINGS_CLASSES)
    properties = (file_schema["$defs"][name] if name else file_schema)["properties"]
    assert set(properties) == set(known_keys)


def test_every_key_has_a_description() -> None:
    for file in ("rule", "site", "routes"):
        file_schema = build_schema(file, SETTINGS_CLASSES)  # type: ignore[arg-type]
        undescribed = [
            key
            for key, key_schema in file_schema["properties"].items()
            if not key_schema.get("description")
            and not JsonSchemaValidator(file_schema)
            .resolve_reference(key_schema)
            .get("description")
        ]
        assert not undescribed, (file, undescribed)
