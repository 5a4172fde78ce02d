"""The queries of docs/client.md, on a recorded night of the Rubin EFD and a real CCD frame."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import catcher
from catcher.model.time import SECOND, parse_instant, utc_to_tai
from catcher.stores.ledger_views import described
from tests.client.test_one_door import SHIPPED
from tests.conftest import SHARED
from tests.small_site import ThreadedEngine, engine_in_thread

DOCS = Path(__file__).resolve().parents[2] / "docs" / "client.md"
EXPOSURES = {
    "MC_O_20230728_000001": "2023-07-28T23:36:15Z",
    "MC_O_20230728_000002": "2023-07-28T23:36:27Z",
    "MC_O_20230728_000003": "2023-07-28T23:36:39Z",
}
LENGTH = 10


def code(title: str) -> str:
    """The block of the documentation that begins with a comment."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return next(block for block in blocks if block.startswith(f"# {title}\n"))


def recorded(name: str) -> list[dict[str, Any]]:
    path = SHARED / name
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return [json.loads(line) for line in lines]


def the_night() -> list[dict[str, Any]]:
    """The mount's telemetry as it was; the wind of another night, moved to this one."""
    topics = ("lsst.sal.MTMount.azimuth", "lsst.sal.MTMount.elevation")
    mount = [one for one in recorded("efd-night-2023-07-28.jsonl.gz") if one["topic"] in topics]
    wind = recorded("ess-airflow-2025-04-24.jsonl")
    moved = parse_instant("2023-07-28T23:25:00Z") - parse_instant(wind[0]["time"])
    for one in wind:
        one["time"] = (parse_instant(one["time"]) + moved) / SECOND
        one["fields"] = {**one["fields"], "salIndex": 301}
    return mount + wind


def read_out(name: str, start: str) -> dict[str, Any]:
    began = parse_instant(start)
    fields = {
        "imageName": name, "requestedExposureTime": LENGTH, "filterName": "r",
        "timestampAcquisitionStart": utc_to_tai(began) / SECOND,
    }  # fmt: skip
    time = (began + (LENGTH + 2) * SECOND) / SECOND
    return {"topic": "lsst.sal.MTCamera.logevent_endReadout", "time": time, "fields": fields}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    if not SHARED.is_dir():
        pytest.skip("the recorded data (../shared/data) is not here")
    folder = tmp_path_factory.mktemp("night")
    for part in ("rules", "jobs", "alerts"):
        shutil.copytree(SHIPPED / part, folder / "site" / part)
    shutil.copy(SHIPPED / "catcher.yaml", folder / "site")
    for name in EXPOSURES:
        (folder / "data" / "images" / name).mkdir(parents=True)
        frame = folder / "data" / "images" / name / "R22_S11.fits"
        shutil.copy(SHARED / "ccd-overscan-a8280271.fits", frame)
    with engine_in_thread(folder / "site", folder / "data") as running:
        answer = running.ask("POST", "/events", json=the_night())
        assert answer.status_code == 202, answer.text
        for name, start in EXPOSURES.items():
            running.ask("POST", "/events", json=[read_out(name, start)])
            for rule in ("mount-jitter", "images"):
                running.the_run(rule=rule, observation=name, part="")
        yield running


@pytest.fixture(params=["site", "url"])
def names(request: pytest.FixtureRequest, engine: ThreadedEngine) -> Iterator[dict[str, Any]]:
    where = engine.site if request.param == "site" else engine.running.url
    data = engine.data if request.param == "site" else None
    with catcher.SyncClient(where, data=data) as client:
        yield {"client": client}


def test_everything_about_an_exposure(names: dict[str, Any]) -> None:
    exec(code("everything about an exposure"), names)
    assert names["numbers"]["image_impact_rms"][1] == "arcsec"
    assert names["numbers"]["image_impact_rms"][0] > 0.1  # the end of a slew is among them
    assert [one.max_severity.name for one in names["alerts"]] == ["SERIOUS"]
    assert "overscan_median" in names["numbers"]
    assert names["made"]["jitter.png"].startswith(b"\x89PNG")
    assert {"azimuth", "elevation", "frame"} <= {one.name for one in names["inputs"]}
    samples = {one.name: one.samples for one in names["inputs"]}
    assert 150 < samples["azimuth"] < 170  # ten seconds, 16 a second


def test_jitter_against_wind(names: dict[str, Any]) -> None:
    exec(code("jitter against wind"), names)
    table = names["table"]
    assert len(table) == len(EXPOSURES)
    assert len(names["wind"]) == 65
    speeds = names["wind"]["speed"]
    assert table["wind"].between(speeds.min(), speeds.max()).all()
    assert table["image_impact_rms"].notna().all()
    assert names["jitter"].units == {"image_impact_rms": "arcsec"}


def test_the_latest_seeing(names: dict[str, Any]) -> None:
    exec(code("the latest seeing"), names)
    assert names["latest"].observation == max(EXPOSURES)
    assert names["unit"] == "pixel"
    assert names["seeing"] is None or names["seeing"] > 0.5


def test_the_worst_exposures(names: dict[str, Any]) -> None:
    exec(code("the worst exposures"), names)
    worst = names["worst"]
    assert set(worst["observation"]) == set(EXPOSURES)
    assert worst["rms"].is_monotonic_decreasing
    assert worst["max_severity"][0] == "serious"


def test_the_documentation_has_the_views_as_they_are() -> None:
    listed = re.search(r"<!-- views -->\n(.*?)\n<!-- /views -->", DOCS.read_text(), re.DOTALL)
    assert listed is not None
    assert listed[1] == described()
