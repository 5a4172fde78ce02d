"""What streams say of their fields is held against the rules, and offered to their authors."""

from __future__ import annotations

import json
from pathlib import Path

from catcher.app import SETTINGS, load_site
from catcher.authoring.field_checks import check_fields
from catcher.authoring.schema import schema
from catcher.model.event import Event, Series
from catcher.model.telemetry import FieldInfo
from catcher.model.time import SECOND, wall_clock
from catcher.stores.catalogue import NAME, Catalogue
from catcher.stores.history import EmbeddedHistory
from tests.end_to_end.engine_process import catcher
from tests.small_site import write_site

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


def test_a_field_that_a_schema_does_not_have_is_told_with_what_was_meant(tmp_path: Path) -> None:
    site = load_site(write_site(tmp_path, RULES, jobs=JOBS))
    assert [str(one) for one in site.problems] == []
    told = [str(one) for one in check_fields(site.rules.values(), FIELDS)]
    assert [one.partition(": ")[2] for one in told] == [
        "wind has no field 'sped', as its schema says; did you mean speed?",
        "wind has no field 'sped', as its schema says; did you mean speed?",
        "wind has no field 'direction', as its schema says; `catcher query fields wind` lists them",
    ]
    assert check_fields(site.rules.values(), {}) == []


def test_the_catalogue_is_there_for_commands_and_tells_units(tmp_path: Path) -> None:
    place = tmp_path / NAME
    catalogue = Catalogue(place)
    assert catalogue.learn(FIELDS) and not catalogue.learn(FIELDS)
    catalogue.save()
    again = Catalogue(place)
    assert again.topics() == FIELDS
    series = Series([1.0], {"speed": [2.0], "gusts0": [3.0], "mast": [1.0]}, topic="wind")  # type: ignore[dict-item,arg-type]
    assert again.with_units(series).units == {"speed": "m/s", "gusts0": "m/s"}
    (field,) = again.described("wind", [FieldInfo("speed", "float")])
    assert field.about == "Mean wind speed."
    site = write_site(tmp_path / "site", RULES, jobs=JOBS)
    told = catcher("check", "--site", site, "--data", tmp_path)
    assert "did you mean speed?" in told
    hover = json.loads(catcher("schema", "rule", "--site", site, "--data", tmp_path))
    assert "speed (m/s): Mean wind speed." in json.dumps(hover)


def test_a_catalogue_that_cannot_be_read_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"wind": [{"name": 1}]}')
    assert len(Catalogue(tmp_path / NAME)) == 0


def test_the_schema_of_a_rule_offers_topics_and_takes_any() -> None:
    whole = schema("rule", SETTINGS, FIELDS)
    assert {"$ref": "#/$defs/text"} in whole["$defs"]["topic"]["anyOf"]
    assert '"$ref": "#/$defs/topic"' in json.dumps(whole)


async def test_what_jobs_and_clients_read_has_its_units(tmp_path: Path) -> None:
    async with EmbeddedHistory(tmp_path / "history") as history:
        history.catalogue.learn(FIELDS)
        now = wall_clock()
        await history.append([Event("wind", now - SECOND, {"speed": 1.5, "mast": 1})])
        series = await history.read("wind", ["speed"], now - 10 * SECOND, now)
        assert series.units == {"speed": "m/s"}
        told = {one.name: one.about for one in await history.fields("wind")}
    assert told == {"speed": "Mean wind speed.", "mast": ""}
