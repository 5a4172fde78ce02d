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
from catcher.stores.ledger.sql_views import format_views_markdown
from tests.client.test_local_and_remote import SHIPPED
from tests.conftest import SHARED
from tests.sample_site import ThreadedEngine, engine_in_thread

DOCS = Path(__file__).resolve().parents[2] / "docs" / "client.md"
EXPOSURES = {
    "MC_O_20230728_000001": "2023-07-28T23:36:15Z",
    "MC_O_20230728_000002": "2023-07-28T23:36:27Z",
    "MC_O_20230728_000003": "2023-07-28T23:36:39Z",
}
LENGTH = 10


def read_example(title: str) -> str:
    """The block of the documentation that begins with a comment."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return next(block for block in blocks if block.startswith(f"# {title}\n"))


def read_recording(name: str) -> list[dict[str, Any]]:
    path = SHARED / name
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return [json.loads(line) for line in file]


def load_night() -> list[dict[str, Any]]:
    """The mount's telemetry as it was; the wind of another night, moved to this one."""
    topics = ("lsst.sal.MTMount.azimuth", "lsst.sal.MTMount.elevation")
    mount = [
        row for row in read_recording("efd-night-2023-07-28.jsonl.gz") if row["topic"] in topics
    ]
    wind = read_recording("ess-airflow-2025-04-24.jsonl")
    offset = parse_instant("2023-07-28T23:25:00Z") - parse_instant(wind[0]["time"])
    for row in wind:
        row["time"] = (parse_instant(row["time"]) + offset) / SECOND
        row["fields"] = {**row["fields"], "salIndex": 301}
    return mount + wind


def create_readout_event(name: str, start: str) -> dict[str, Any]:
    start_time = parse_instant(start)
    fields = {
        "imageName": name, "requestedExposureTime": LENGTH, "filterName": "r",
        "timestampAcquisitionStart": utc_to_tai(start_time) / SECOND,
    }  # fmt: skip
    time = (start_time + (LENGTH + 2) * SECOND) / SECOND
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
        response = running.request("POST", "/events", json=load_night())
        assert response.status_code == 202, response.text
        for name, start in EXPOSURES.items():
            running.request("POST", "/events", json=[create_readout_event(name, start)])
            for rule in ("mount-jitter", "images"):
                running.wait_for_run(rule=rule, observation=name, part="")
        yield running


@pytest.fixture(params=["site", "url"])
def namespace(request: pytest.FixtureRequest, engine: ThreadedEngine) -> Iterator[dict[str, Any]]:
    address = engine.site if request.param == "site" else engine.handle.url
    data = engine.data if request.param == "site" else None
    with catcher.SyncClient(address, data=data) as client:
        yield {"client": client}


def test_everything_about_an_exposure(namespace: dict[str, Any]) -> None:
    exec(read_example("everything about an exposure"), namespace)
    assert namespace["numbers"]["image_impact_rms"][1] == "arcsec"
    assert namespace["numbers"]["image_impact_rms"][0] > 0.1  # the end of a slew is among them
    assert [alert.max_severity.name for alert in namespace["alerts"]] == ["SERIOUS"]
    assert "overscan_median" in namespace["numbers"]
    assert namespace["made"]["jitter.png"].startswith(b"\x89PNG")
    assert {"azimuth", "elevation", "frame"} <= {record.name for record in namespace["inputs"]}
    samples = {record.name: record.samples for record in namespace["inputs"]}
    assert 150 < samples["azimuth"] < 170  # ten seconds, 16 a second


def test_jitter_against_wind(namespace: dict[str, Any]) -> None:
    exec(read_example("jitter against wind"), namespace)
    table = namespace["table"]
    assert len(table) == len(EXPOSURES)
    assert len(namespace["wind"]) == 65
    speeds = namespace["wind"]["speed"]
    assert table["wind"].between(speeds.min(), speeds.max()).all()
    assert table["image_impact_rms"].notna().all()
    assert namespace["jitter"].units == {"image_impact_rms": "arcsec"}


def test_the_latest_seeing(namespace: dict[str, Any]) -> None:
    exec(read_example("the latest seeing"), namespace)
    assert namespace["latest"].observation == max(EXPOSURES)
    assert namespace["unit"] == "pixel"
    assert namespace["seeing"] is None or namespace["seeing"] > 0.5


def test_the_worst_exposures(namespace: dict[str, Any]) -> None:
    exec(read_example("the worst exposures"), namespace)
    worst = namespace["worst"]
    assert set(worst["observation"]) == set(EXPOSURES)
    assert worst["rms"].is_monotonic_decreasing
    assert worst["max_severity"][0] == "serious"


def test_documentation_lists_the_views() -> None:
    section = re.search(r"<!-- views -->\n(.*?)\n<!-- /views -->", DOCS.read_text(), re.DOTALL)
    assert section is not None
    assert section[1] == format_views_markdown()
