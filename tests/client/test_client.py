"""One door to what Catcher kept, while an engine runs and after it has gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from catcher.app import load_site, open_client, open_engine, resolve_data_folder
from catcher.model.errors import CatcherError, NotFound
from catcher.model.time import SECOND, parse_instant
from tests.sample_site import DOUBLING, WIND, engine_in_thread, write_site

T0 = "2025-04-24T00:00:00Z"
START = parse_instant(T0)


async def test_everything_is_readable_after_the_engine_has_stopped(tmp_path: Path) -> None:
    site, data = write_site(tmp_path / "site", f"{WIND}---{DOUBLING}"), tmp_path / "data"
    with engine_in_thread(site, data) as engine:
        engine.post_event("number", value=21, lane="a")
        engine.wait_for_run(key="a")
        for second in range(5):
            event = {
                "topic": "wind",
                "time": START / SECOND + second,
                "fields": {"speed": 8 + second, "mast": "m"},
            }
            assert engine.request("POST", "/events", json=event).status_code == 202
    async with open_client(site, data) as client:
        (run,) = await client.runs(rule="doubling")
        assert await client.run(run.id) == run
        (artifact,) = await client.artifacts(rule="doubling")
        assert await client.open(artifact) == await client.open(artifact.key) == "42.0"
        assert await client.read(artifact) == b"42.0"
        (alert,) = await client.alerts(rule="wind")
        assert await client.alert(alert.id) == alert
        assert [point.value for point in await client.metrics("doubled")] == [42.0]
        assert len(await client.firings(rule="doubling")) == 1
        assert {entry.what for entry in await client.audit()} == {"opened"}
        assert "wind" in await client.topics()
        series = await client.select_time_series("wind", "speed", T0, "2025-04-24T00:00:03Z")
        assert list(series["speed"]) == [8, 9, 10, 11]


async def test_missing_items_are_reported(tmp_path: Path) -> None:
    site, data = write_site(tmp_path / "site"), tmp_path / "data"
    with pytest.raises(CatcherError, match="there is no ledger"):
        async with open_client(site, data) as client:
            await client.runs()
    async with open_engine(site, data, 0), open_client(site, data) as client:
        with pytest.raises(NotFound, match="no run 'abc' is known"):
            await client.run("abc")
        with pytest.raises(NotFound, match="no alert 'abc' is known"):
            await client.alert("abc")
        with pytest.raises(CatcherError, match="there is no object"):
            await client.open("doubling/nothing.txt")
        assert await client.topics() == []
        with pytest.raises(NotFound, match="holds no topic 'wind'"):
            await client.select_time_series("wind", "speed", "-1h")


def test_data_folder_is_the_argument_then_the_environment_then_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CATCHER_DATA", raising=False)
    plain = load_site(write_site(tmp_path / "plain"))
    configured = load_site(write_site(tmp_path / "named", settings="site: a\ndata: ./kept"))
    assert resolve_data_folder(plain, None) == tmp_path / "plain" / ".catcher"
    assert resolve_data_folder(configured, None) == tmp_path / "named" / "kept"
    monkeypatch.setenv("CATCHER_DATA", str(tmp_path / "variable"))
    assert resolve_data_folder(configured, None) == tmp_path / "variable"
    assert resolve_data_folder(configured, tmp_path / "told") == tmp_path / "told"


async def test_a_ledger_and_a_folder_of_artifacts_may_be_elsewhere(tmp_path: Path) -> None:
    ledger, objects = tmp_path / "elsewhere.db", tmp_path / "artifacts"
    settings = f"""
site: a
stores:
  ledger: sqlite:///{ledger}
  objects: file://{objects}
"""
    site, data = write_site(tmp_path / "site", DOUBLING, settings=settings), tmp_path / "data"
    with engine_in_thread(site, data) as engine:
        engine.post_event("number", value=1, lane="a")
        run = engine.wait_for_run(key="a")
    assert ledger.is_file()
    assert run["artifacts"][0]["url"].startswith(objects.as_uri())
    async with open_client(site, data) as client:
        assert [record.id for record in await client.runs()] == [run["id"]]
        assert await client.open(run["artifacts"][0]["key"]) == "2.0"


async def test_a_rule_is_fired_for_an_observation_of_the_past(tmp_path: Path) -> None:
    settings = """
site: a
observations:
  exposure: {event: frame, id: name, length: exptime, columns: {value: counts}}
"""
    rules = "rule: measured\ntrigger: {event: frame, where: exptime > 100}\njob: {run: doubling}\n"
    jobs = """
from catcher import Event, Observation, Result, job

@job
async def doubling(event: Event, observation: Observation) -> Result:
    return Result({"doubled": 2.0 * observation.columns["value"]})
"""
    site = write_site(tmp_path / "site", rules, settings=settings, jobs=jobs)
    with engine_in_thread(site, tmp_path / "data") as engine:
        engine.post_event("frame", name="MC_1", exptime=30, counts=21)
        assert engine.get("/firings") == []
        body = {"observation": "MC_1", "who": "ana"}
        response = engine.request("POST", "/rules/measured/fire", json=body)
        assert response.status_code == 202, response.text
        run = engine.wait_for_run(id=response.json()["id"])
    assert (run["observation"], run["metrics"]) == ("MC_1", {"doubled": 42.0})
