"""What streams say of their fields is held against the rules, and offered to their authors."""

from __future__ import annotations

import json
from pathlib import Path

from catcher.app import SETTINGS_CLASSES, load_site
from catcher.authoring.field_checks import check_fields
from catcher.authoring.schema import build_schema
from catcher.model.event import Event, Series
from catcher.model.telemetry import FieldInfo
from catcher.model.time import SECOND, wall_clock
from catcher.stores.history.embedded import EmbeddedHistory
from catcher.stores.topic_catalog import CATALOG_FILE, TopicCatalog
from tests.end_to_end.engine_process import run_catcher
from tests.sample_site import write_site

FIELDS = {
    "wind": [
        FieldInfo("speed", "float", "m/s", "Mean wind speed."),
        FieldInfo("mast", "integer"),
        FieldInfo("gusts", "float", "m/s"),
    ]
}
RULES = """
rule: misspelt
trigger: {telemetry: wind, by: mast, where: 'sped > 3 and true', when: 'mean(speed, "5m") > limit'}
job:
  run: counting
  with: {limit: 8}
  inputs: {samples: {topic: wind, fields: [speed, gusts3, sped], last: 5m}}
---
rule: reader
trigger: {event: other, where: anything > 1}
reads: {air: {topic: wind}}
alert: {warning: 'air.speed > 2 and air.direction < whatever'}
"""

JOBS = '''
"""A job that counts."""

from catcher import Metric, Result, Series, job


@job
def counting(samples: Series, limit: float) -> Result:
    """How many samples there are."""
    return Result({"count": Metric(float(len(samples)))})
'''


def test_field_missing_in_a_schema_is_reported_with_a_suggestion(tmp_path: Path) -> None:
    site = load_site(write_site(tmp_path, RULES, jobs=JOBS))
    assert [str(problem) for problem in site.problems] == []
    problems = [str(problem) for problem in check_fields(site.rules.values(), FIELDS)]
    assert [problem.partition(": ")[2] for problem in problems] == [
        "wind has no field 'sped', as its schema says; did you mean speed?",
        "wind has no field 'sped', as its schema says; did you mean speed?",
        "wind has no field 'direction', as its schema says; `catcher query fields wind` lists them",
    ]
    assert check_fields(site.rules.values(), {}) == []


def test_catalog_gives_units_to_commands(tmp_path: Path) -> None:
    path = tmp_path / CATALOG_FILE
    catalogue = TopicCatalog(path)
    assert catalogue.add_topics(FIELDS) and not catalogue.add_topics(FIELDS)
    catalogue.save()
    reloaded = TopicCatalog(path)
    assert reloaded.list_fields_by_topic() == FIELDS
    series = Series([1.0], {"speed": [2.0], "gusts0": [3.0], "mast": [1.0]}, topic="wind")  # type: ignore[dict-item,arg-type]
    assert reloaded.add_series_units(series).units == {"speed": "m/s", "gusts0": "m/s"}
    (field,) = reloaded.enrich_fields("wind", [FieldInfo("speed", "float")])
    assert field.about == "Mean wind speed."
    site = write_site(tmp_path / "site", RULES, jobs=JOBS)
    output = run_catcher("check", "--site", site, "--data", tmp_path)
    assert "did you mean speed?" in output
    rule_schema = json.loads(run_catcher("schema", "rule", "--site", site, "--data", tmp_path))
    assert "speed (m/s): Mean wind speed." in json.dumps(rule_schema)


def test_unreadable_catalog_is_replaced(tmp_path: Path) -> None:
    (tmp_path / CATALOG_FILE).write_text('{"wind": [{"name": 1}]}')
    assert len(TopicCatalog(tmp_path / CATALOG_FILE)) == 0


def test_schema_of_a_rule_suggests_topics_and_accepts_any() -> None:
    rule_schema = build_schema("rule", SETTINGS_CLASSES, FIELDS)
    assert {"$ref": "#/$defs/text"} in rule_schema["$defs"]["topic"]["anyOf"]
    assert '"$ref": "#/$defs/topic"' in json.dumps(rule_schema)


async def test_series_read_from_the_history_have_units(tmp_path: Path) -> None:
    async with EmbeddedHistory(tmp_path / "history") as history:
        history.catalog.add_topics(FIELDS)
        now = wall_clock()
        await history.append([Event("wind", now - SECOND, {"speed": 1.5, "mast": 1})])
        series = await history.read("wind", ["speed"], now - 10 * SECOND, now)
        assert series.units == {"speed": "m/s"}
        descriptions = {info.name: info.about for info in await history.list_fields("wind")}
    assert descriptions == {"speed": "Mean wind speed.", "mast": ""}
