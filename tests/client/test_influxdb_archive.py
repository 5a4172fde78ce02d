"""The door over a real InfluxDB, as the Rubin EFD is one: on a machine where no engine ever ran."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import catcher
from catcher.model.errors import CatcherError, NotFound
from catcher.model.time import SECOND, parse_instant, utc_to_tai
from tests.cli.command_runner import run_command
from tests.sample_site import engine_in_thread, write_site
from tests.servers import INFLUX_USER, ServerProcess, run_influxd, write_influx

NOON = parse_instant("2023-07-28T12:00:00Z")
WIND, PACKED = "lsst.sal.ESS.airFlow", "lsst.sal.MTM1M3.accelerometerData"
SETTINGS = """
site: summit
stores:
  history:
    influxdb: {{url: "http://127.0.0.1:{port}", database: efd, username: {name}, password: {word}}}
"""


def generate_lines() -> Iterator[str]:
    for n in range(3600):
        for index in (0, 301):
            yield f"{WIND} salIndex={index}i,speed={n + index} {NOON + n * SECOND + index}"
    for n in range(20):
        clock = utc_to_tai(NOON) / SECOND + n
        values = ",".join(
            f"{axis}{index}={100 * n + index}" for axis in "xy" for index in range(100)
        )
        yield f"{PACKED} {values},cRIO_timestamp={clock!r},salIndex=0i {NOON + n * SECOND}"


@pytest.fixture(scope="module")
def influx_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with run_influxd(tmp_path_factory.mktemp("influx"), auth=True) as running:
        write_influx(running.port, "efd", generate_lines())
        yield running


@pytest.fixture
def site(influx_server: ServerProcess, tmp_path: Path) -> Path:
    name, password = INFLUX_USER
    settings = SETTINGS.format(port=influx_server.port, name=name, word=password)
    return write_site(tmp_path / "site", settings=settings)


@pytest.mark.server
def test_an_archive_is_read_without_any_engine(site: Path) -> None:
    with catcher.SyncClient(site) as client:
        assert {WIND, PACKED} <= set(client.topics())
        assert [info.name for info in client.fields(WIND)] == ["salIndex", "speed"]
        hour = client.select_time_series(
            WIND, "speed", "2023-07-28T12:00", "2023-07-28T12:59:59", index=0
        )
        assert hour["speed"].tolist() == list(range(3600))
        blocks = client.stream_time_series(WIND, "speed", "2023-07-01", "2023-08-01", index=301)
        assert sum(len(block) for block in blocks) == 3600
        latest = client.select_top_n(WIND, "speed", 2, time_cut="2023-07-28T12:00:10Z", index=0)
        assert latest["speed"].tolist() == [8, 9]
        frame = hour.to_pandas()
        assert frame.index[1].isoformat() == "2023-07-28T12:00:01+00:00"
        with pytest.raises(NotFound, match=r"did you mean lsst.sal.ESS.airFlow"):
            client.select_top_n("lsst.sal.ESS.airflow", "speed", 1)
        with pytest.raises(NotFound, match=r"did you mean speed"):
            client.select_top_n(WIND, "sped", 1)
        with pytest.raises(CatcherError, match="there is no ledger"):
            client.runs()


@pytest.mark.server
def test_packed_rows_of_an_archive_are_unpacked(site: Path) -> None:
    with catcher.SyncClient(site) as client:
        series = client.select_packed_time_series(
            PACKED, ["x", "y"], "2023-07-28T12:00:00Z", "2023-07-28T12:00:19Z", index=0
        )
    assert len(series) == 2000
    assert series["y"].tolist() == [float(n) for n in range(2000)]
    assert series.time[0] == NOON / SECOND
    assert np.allclose(np.diff(series.time), 0.01, atol=1e-6)


@pytest.mark.server
def test_stopped_server_is_reported(influx_server: ServerProcess, site: Path) -> None:
    with catcher.SyncClient(site) as client:
        assert client.topics()
        influx_server.stop()
        try:
            with pytest.raises(CatcherError, match="InfluxDB"):
                client.select_top_n(WIND, "speed", 1)
        finally:
            influx_server.start()
        assert len(client.select_top_n(WIND, "speed", 1)) == 1


@pytest.mark.server
def test_the_command_line_reads_the_archive(site: Path) -> None:
    result = run_command(
        "query", "series", WIND, "--last", "1", "--index", "301", "--site", site, "--json"
    )
    assert result.status == 0, result.err
    assert result.rows == [{"time": "2023-07-28T12:59:59Z", "speed": 3900.0, "salIndex": 301.0}]


JOBS = """
from catcher import Result, Series, job


@job
async def still(wind: Series) -> Result:
    return Result({"mean": float(wind["speed"].mean())})
"""
RULE = """
rule: still
trigger: {event: asked}
job:
  run: still
  inputs: {wind: {topic: lsst.sal.ESS.airFlow, fields: [speed], last: 10m, where: salIndex == 301}}
"""


@pytest.mark.server
def test_a_run_on_an_archive_is_reproduced_from_it(
    influx_server: ServerProcess, site: Path, tmp_path: Path
) -> None:
    write_site(site, RULE, settings=(site / "catcher.yaml").read_text(), jobs=JOBS)
    data = tmp_path / "data"
    with engine_in_thread(site, data) as engine:
        event = {"topic": "asked", "time": NOON / SECOND + 1800, "fields": {}}
        assert engine.request("POST", "/events", json=event).status_code == 202
        run = engine.wait_for_run(rule="still")
    assert run["metrics"] == {"mean": 301 + 1499.5}
    result = run_command("reproduce", run["id"], "--site", site, "--data", data)
    assert result.status == 0, result.out + result.err
    influx_server.stop()
    try:
        result = run_command("reproduce", run["id"], "--site", site, "--data", data)
        assert (result.status, "InfluxDB" in result.err) == (2, True), result.out
    finally:
        influx_server.start()
    write_influx(
        influx_server.port, "efd", [f"{WIND} salIndex=301i,speed=9 {NOON + 1700 * SECOND + 5}"]
    )
    result = run_command("reproduce", run["id"], "--site", site, "--data", data)
    assert (result.status, "600 samples then, 601 now" in result.out) == (1, True), result.out
