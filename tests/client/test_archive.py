"""The door over a real InfluxDB, as the Rubin EFD is one: on a machine where no engine ever ran."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import catcher
from catcher.model.problem import CatcherError, Unknown
from catcher.model.time import SECOND, parse_instant, utc_to_tai
from tests.cli.calling import call
from tests.servers import INFLUX_USER, Server, influx_write, influxd
from tests.small_site import engine_in_thread, write_site

NOON = parse_instant("2023-07-28T12:00:00Z")
WIND, PACKED = "lsst.sal.ESS.airFlow", "lsst.sal.MTM1M3.accelerometerData"
SETTINGS = """
site: summit
stores:
  history:
    influxdb: {{url: "http://127.0.0.1:{port}", database: efd, username: {name}, password: {word}}}
"""


def lines() -> Iterator[str]:
    for n in range(3600):
        for index in (0, 301):
            yield f"{WIND} salIndex={index}i,speed={n + index} {NOON + n * SECOND + index}"
    for n in range(20):
        clock = utc_to_tai(NOON) / SECOND + n
        values = ",".join(
            f"{axis}{place}={100 * n + place}" for axis in "xy" for place in range(100)
        )
        yield f"{PACKED} {values},cRIO_timestamp={clock!r},salIndex=0i {NOON + n * SECOND}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with influxd(tmp_path_factory.mktemp("influx"), auth=True) as running:
        influx_write(running.port, "efd", lines())
        yield running


@pytest.fixture
def site(server: Server, tmp_path: Path) -> Path:
    name, word = INFLUX_USER
    settings = SETTINGS.format(port=server.port, name=name, word=word)
    return write_site(tmp_path / "site", settings=settings)


@pytest.mark.server
def test_an_archive_is_read_without_any_engine(site: Path) -> None:
    with catcher.SyncClient(site) as client:
        assert {WIND, PACKED} <= set(client.topics())
        assert [one.name for one in client.fields(WIND)] == ["salIndex", "speed"]
        hour = client.select_time_series(
            WIND, "speed", "2023-07-28T12:00", "2023-07-28T12:59:59", index=0
        )
        assert hour["speed"].tolist() == list(range(3600))
        pieces = client.stream_time_series(WIND, "speed", "2023-07-01", "2023-08-01", index=301)
        assert sum(len(one) for one in pieces) == 3600
        last = client.select_top_n(WIND, "speed", 2, time_cut="2023-07-28T12:00:10Z", index=0)
        assert last["speed"].tolist() == [8, 9]
        frame = hour.to_pandas()
        assert frame.index[1].isoformat() == "2023-07-28T12:00:01+00:00"
        with pytest.raises(Unknown, match=r"did you mean lsst.sal.ESS.airFlow"):
            client.select_top_n("lsst.sal.ESS.airflow", "speed", 1)
        with pytest.raises(Unknown, match=r"did you mean speed"):
            client.select_top_n(WIND, "sped", 1)
        with pytest.raises(CatcherError, match="there is no ledger"):
            client.runs()


@pytest.mark.server
def test_packed_rows_of_an_archive(site: Path) -> None:
    with catcher.SyncClient(site) as client:
        series = client.select_packed_time_series(
            PACKED, ["x", "y"], "2023-07-28T12:00:00Z", "2023-07-28T12:00:19Z", index=0
        )
    assert len(series) == 2000
    assert series["y"].tolist() == [float(n) for n in range(2000)]
    assert series.time[0] == NOON / SECOND
    assert np.allclose(np.diff(series.time), 0.01, atol=1e-6)


@pytest.mark.server
def test_a_server_that_went_away_is_said(server: Server, site: Path) -> None:
    with catcher.SyncClient(site) as client:
        assert client.topics()
        server.stop()
        try:
            with pytest.raises(CatcherError, match="InfluxDB"):
                client.select_top_n(WIND, "speed", 1)
        finally:
            server.start()
        assert len(client.select_top_n(WIND, "speed", 1)) == 1


@pytest.mark.server
def test_the_command_line_reads_it_too(site: Path) -> None:
    found = call("query", "series", WIND, "--last", "1", "--index", "301", "--site", site, "--json")
    assert found.status == 0, found.err
    assert found.rows == [{"time": "2023-07-28T12:59:59Z", "speed": 3900.0, "salIndex": 301.0}]


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
    server: Server, site: Path, tmp_path: Path
) -> None:
    write_site(site, RULE, settings=(site / "catcher.yaml").read_text(), jobs=JOBS)
    data = tmp_path / "data"
    with engine_in_thread(site, data) as engine:
        event = {"topic": "asked", "time": NOON / SECOND + 1800, "fields": {}}
        assert engine.ask("POST", "/events", json=event).status_code == 202
        run = engine.the_run(rule="still")
    assert run["metrics"] == {"mean": 301 + 1499.5}
    found = call("reproduce", run["id"], "--site", site, "--data", data)
    assert found.status == 0, found.out + found.err
    server.stop()
    try:
        found = call("reproduce", run["id"], "--site", site, "--data", data)
        assert (found.status, "InfluxDB" in found.err) == (2, True), found.out
    finally:
        server.start()
    influx_write(server.port, "efd", [f"{WIND} salIndex=301i,speed=9 {NOON + 1700 * SECOND + 5}"])
    found = call("reproduce", run["id"], "--site", site, "--data", data)
    assert (found.status, "600 samples then, 601 now" in found.out) == (1, True), found.out
