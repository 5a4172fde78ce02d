"""The same questions, the same answers: over a site's stores, and over its engine's API."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import catcher
from catcher.client import Client as AnyClient
from catcher.client import SyncClient as AnySyncClient
from catcher.model.errors import CatcherError, NotFound
from catcher.model.time import SECOND, parse_instant
from tests.sample_site import ThreadedEngine, engine_in_thread, write_site
from tests.servers import find_free_port

SHIPPED = Path(__file__).resolve().parents[2]
T0 = "2025-04-24T00:00:00Z"
START = parse_instant(T0) / SECOND
RULES = """
rule: wind
trigger: {telemetry: wind, by: mast}
alert:
  warning: {when: speed > 10, clear: speed < 8}
---
rule: forms
trigger: {event: made, once_per: name}
job: {run: forms, inputs: {wind: {topic: wind, fields: [speed], last: 5s}}, with: {scale: 2.5}}
---
rule: packed
trigger: {event: accelerations, where: salIndex > 99}
"""
JOBS = '''
"""Every form of artifact, metrics with labels, a field."""

import numpy as np

from catcher import Event, Field, Metric, Result, Series, job


@job
async def forms(event: Event, wind: Series, scale: float) -> Result:
    """Everything that a job may make."""
    numbers = np.arange(3.0)
    return Result(
        {
            "mean": Metric(scale * float(wind["speed"].mean()), "m/s", {"band": "r"}),
            "lost": Metric(None, reason="cloud"),
        },
        {"psf": Field("detector", ["R22_S11", "R22_S12"], np.array([0.7, np.nan]), "arcsec")},
        {
            "a.json": {"name": event.fields["name"], "n": [1, 2]},
            "b.npz": {"x": numbers},
            "c.parquet": {"x": numbers, "word": ["a", "b", "c"]},
            "d.csv": {"x": numbers},
            "e.svg": "<svg/>",
            "f.html": "<p>here</p>",
            "g.fits": numbers.reshape(1, 3),
            "h.txt": "words",
            "i.png": b"\\x89PNG\\r\\n\\x1a\\n rest",
        },
    )
'''
SETTINGS = """
site: door
observations: {exposure: {event: made, id: name}}
"""


def post_sample_events(engine: ThreadedEngine) -> None:
    """A minute of wind at two masts, three rows of packed accelerations, one made thing."""
    events: list[dict[str, Any]] = [
        {"topic": "wind", "time": START + n,
         "fields": {"speed": n / 2, "mast": "m", "salIndex": n % 2, "gusts": [n, n + 0.5]}}
        for n in range(60)
    ]  # fmt: skip
    events += [
        {"topic": "accelerations", "time": START + row,
         "fields": {"salIndex": 0, "cRIO_timestamp": START + row + 37.0,
                    **{f"x{n}": row * 100.0 + n for n in range(100)}}}
        for row in range(3)
    ]  # fmt: skip
    events.append({"topic": "made", "time": START + 60, "fields": {"name": "MC_1"}})
    assert engine.request("POST", "/events", json=events).status_code == 202


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    folder = tmp_path_factory.mktemp("door")
    site = write_site(folder / "site", RULES, settings=SETTINGS, jobs=JOBS)
    with engine_in_thread(site, folder / "data") as running:
        post_sample_events(running)
        running.wait_for_run(rule="forms", state="done")
        yield running


@pytest.fixture(params=["site", "url"])
def client(request: pytest.FixtureRequest, engine: ThreadedEngine) -> Iterator[catcher.SyncClient]:
    address = engine.site if request.param == "site" else engine.handle.url
    data = engine.data if request.param == "site" else None
    with catcher.SyncClient(address, data=data) as client:
        yield client


# -- telemetry ----------------------------------------------------------------------------------


def test_topics_and_fields_are_named(client: catcher.SyncClient) -> None:
    assert {"wind", "accelerations"} <= set(client.topics())
    assert {info.name for info in client.fields("wind")} >= {"speed", "mast", "salIndex", "gusts0"}
    assert "speed" in client.fields("wind").to_pandas()["name"].tolist()


def test_time_range_of_a_topic_in_every_format(client: catcher.SyncClient) -> None:
    from astropy.time import Time, TimeDelta

    speeds = [0, 0.5, 1, 1.5]
    starts: list[Any] = [T0, START, datetime(2025, 4, 24, tzinfo=UTC), Time(T0[:-1]),
                         Time(T0[:-1]).tai, np.datetime64("2025-04-24")]  # fmt: skip
    for start in starts:
        for length in ("2025-04-24T00:00:03Z", timedelta(seconds=3), TimeDelta(3, format="sec")):
            series = client.select_time_series("wind", ["speed"], start, length)
            assert series["speed"].tolist() == speeds, (start, length)
    window = client.select_time_series(
        "wind", "speed", START + 10, timedelta(seconds=2), is_window=True
    )
    assert window.time.tolist() == [START + 9, START + 10, START + 11]
    series_of_two = client.select_time_series("wind", ["gusts", "speed"], T0, START + 1)
    assert list(series_of_two.columns) == ["gusts0", "gusts1", "speed"]
    assert "mast" not in client.select_time_series("wind", "*", T0, START + 1)


def test_index_and_time_cut_are_respected(client: catcher.SyncClient) -> None:
    indexed = client.select_time_series("wind", "speed", T0, START + 5, index=0)
    assert indexed.time.tolist() == [START, START + 2, START + 4]
    newest = client.select_top_n("wind", ["speed"], 2)
    assert newest.time.tolist() == [START + 58, START + 59]
    cut = client.select_top_n("wind", ["speed"], 2, time_cut=START + 10, index=1)
    assert cut.time.tolist() == [START + 7, START + 9]
    with pytest.raises(CatcherError, match="0 is no number of samples"):
        client.select_top_n("wind", "speed", 0)


def test_packed_rows_are_unpacked_by_their_clock(client: catcher.SyncClient) -> None:
    series = client.select_packed_time_series("accelerations", "x", T0, START + 2, index=0)
    assert len(series) == 300
    assert series["x"].tolist() == [float(n) for n in range(300)]
    assert series.time[0] == START  # the clock is of TAI
    assert np.allclose(np.diff(series.time), 0.01, atol=1e-6)
    with pytest.raises(NotFound, match="no packed field 'y'"):
        client.select_packed_time_series("accelerations", "y", T0, START + 2)
    with pytest.raises(CatcherError, match="a clock of the form 'jd'"):
        client.select_packed_time_series(
            "accelerations", "x", T0, START + 2, ref_timestamp_fmt="jd"
        )


def test_streamed_blocks_are_the_complete_series(client: catcher.SyncClient) -> None:
    expected = client.select_time_series("wind", "speed", "2025-04-01", "2025-05-01")
    blocks = list(client.stream_time_series("wind", "speed", "2025-04-01", "2025-05-01"))
    assert len(expected) == 60
    assert np.concatenate([block.time for block in blocks]).tolist() == expected.time.tolist()


# -- results ------------------------------------------------------------------------------------


def test_metrics_by_name_label_observation_and_time(client: catcher.SyncClient) -> None:
    (point,) = client.metrics("mean", {"band": "r"})
    assert (point.value, point.unit, point.observation) == (2.5 * 28.75, "m/s", "MC_1")
    assert len(client.metrics(obs="MC_1")) == 2
    assert not client.metrics("mean", {"band": "g"})
    assert not client.metrics("mean", start="2025-04-25")
    (missing,) = client.metrics("lost")
    assert missing.value is None
    series = client.metrics(rule="forms").series()
    assert series["mean"].tolist() == [2.5 * 28.75]
    assert series.units == {"mean": "m/s"}
    assert client.metrics("mean").to_pandas()["labels.band"].tolist() == ["r"]


def test_a_field_of_an_observation(client: catcher.SyncClient) -> None:
    field = client.field("psf", "MC_1")
    assert (field.over, field.ids, field.unit) == ("detector", ("R22_S11", "R22_S12"), "arcsec")
    assert field.values[0] == 0.7
    assert np.isnan(field.values[1])
    with pytest.raises(NotFound, match="no field 'seeing' of MC_1 is known; it has psf"):
        client.field("seeing", "MC_1")


def test_artifacts_round_trip(client: catcher.SyncClient) -> None:
    records = {record.name: record for record in client.artifacts(rule="forms", obs="MC_1")}
    values = {name: client.open(record) for name, record in records.items()}
    assert values["a.json"] == {"name": "MC_1", "n": [1, 2]}
    assert values["b.npz"]["x"].tolist() == values["c.parquet"]["x"].tolist() == [0, 1, 2]
    assert values["c.parquet"]["word"].tolist() == ["a", "b", "c"]
    assert values["d.csv"]["x"].tolist() == [0, 1, 2]
    assert (values["e.svg"], values["f.html"], values["h.txt"]) == (
        "<svg/>",
        "<p>here</p>",
        "words",
    )
    assert values["g.fits"].tolist() == [[0, 1, 2]]
    assert values["i.png"].startswith(b"\x89PNG")
    assert [record.name for record in client.artifacts(kind="png")] == ["i.png"]
    assert [record.name for record in client.artifacts(kind=".svg")] == ["e.svg"]
    assert client.read(records["h.txt"].key) == b"words"


def test_runs_firings_alerts_and_audit(client: catcher.SyncClient) -> None:
    (run,) = client.runs(rule="forms")
    assert client.run(run.id).inputs == run.inputs
    assert run.metrics["mean"].unit == "m/s"
    assert run.firing.event is not None
    assert run.firing.event.fields == {"name": "MC_1"}
    assert client.firings(rule="forms")[0].id == run.id
    (alert,) = client.alerts(rule="wind", state="active")
    assert client.alert(alert.id).key == "m"
    assert client.audit(what="opened")[0].subject == alert.id
    assert client.runs(limit=1).cut is False
    assert client.metrics(limit=1).cut is True
    for method in (client.run, client.alert):
        with pytest.raises(NotFound, match="is known"):
            method("nothing")


# -- the same either way ------------------------------------------------------------------------


async def test_site_and_url_return_the_same(engine: ThreadedEngine) -> None:
    async with (
        catcher.Client(engine.site, data=engine.data) as site,
        catcher.Client(engine.handle.url) as url,
    ):
        for client in (site, url):
            assert isinstance(client, AnyClient)
        assert (await site.runs()).rows() == (await url.runs()).rows()
        assert (await site.alerts()).rows() == (await url.alerts()).rows()
        assert (await site.metrics()).rows() == (await url.metrics()).rows()
        assert list(await site.artifacts()) == list(await url.artifacts())
        assert list(await site.firings()) == list(await url.firings())
        assert list(await site.audit()) == list(await url.audit())
        statement = "SELECT name, value, time, ns FROM metrics ORDER BY name"
        assert (await site.sql(statement)).rows() == (await url.sql(statement)).rows()
        assert await site.silences() == await url.silences() == []
        assert await site.shifts() == await url.shifts() == []
        assert await site.dead_letters() == await url.dead_letters() == []


def test_both_clients_have_the_same_calls() -> None:
    def list_methods(client_class: type) -> dict[str, list[tuple[str, Any]]]:
        methods = {}
        for name, function in inspect.getmembers(client_class, inspect.isfunction):
            if not name.startswith("_") and name not in ("open_backend", "close"):
                parameters = inspect.signature(function).parameters.values()
                methods[name] = [(parameter.name, parameter.default) for parameter in parameters]
        return methods

    assert list_methods(AnyClient) == list_methods(AnySyncClient)


async def test_a_sync_client_works_where_a_loop_already_runs(engine: ThreadedEngine) -> None:
    """As in a notebook."""
    assert asyncio.get_running_loop().is_running()
    client = catcher.SyncClient(engine.handle.url)
    assert "wind" in client.topics()
    client.close()
    with pytest.raises(CatcherError, match="this client is closed"):
        client.topics()


def test_telemetry_is_readable_after_the_engine_has_stopped(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", RULES, settings=SETTINGS, jobs=JOBS)
    with engine_in_thread(site, tmp_path / "data") as running:
        post_sample_events(running)
        running.wait_for_run(rule="forms", state="done")
        client = catcher.SyncClient(site, data=tmp_path / "data")
        assert len(client.select_time_series("wind", "speed", T0, START + 59)) == 60
    assert len(client.select_time_series("wind", "speed", T0, START + 59)) == 60
    # An engine that was killed could not take its address away.
    address = {"url": f"http://127.0.0.1:{find_free_port()}", "pid": 1}
    (tmp_path / "data" / "engine.json").write_text(json.dumps(address))
    assert len(client.select_time_series("wind", "speed", T0, START + 59)) == 60
    assert len(client.select_top_n("wind", "speed", 3, time_cut=START + 9)) == 3
    client.close()
