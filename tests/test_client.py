"""One door to what Catcher kept, while an engine runs and after it has gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from catcher.app import data_folder, load_site, open_client, open_engine
from catcher.model.problem import CatcherError, Unknown
from catcher.model.time import SECOND, parse_instant
from tests.small_site import DOUBLING, WIND, engine_in_thread, write_site

T0 = "2025-04-24T00:00:00Z"
START = parse_instant(T0)


async def test_everything_is_found_again_when_the_engine_has_gone(tmp_path: Path) -> None:
    site, data = write_site(tmp_path / "site", f"{WIND}---{DOUBLING}"), tmp_path / "data"
    with engine_in_thread(site, data) as engine:
        engine.post("number", value=21, lane="a")
        engine.the_run(key="a")
        for second in range(5):
            event = {
                "topic": "wind",
                "time": START / SECOND + second,
                "fields": {"speed": 8 + second, "mast": "m"},
            }
            assert engine.ask("POST", "/events", json=event).status_code == 202
    async with open_client(site, data) as client:
        (run,) = await client.runs(rule="doubling")
        assert await client.run(run.id) == run
        (artifact,) = await client.artifacts(rule="doubling")
        assert await client.open(artifact) == await client.open(artifact.key) == "42.0"
        assert await client.read(artifact) == b"42.0"
        (alert,) = await client.alerts(rule="wind")
        assert await client.alert(alert.id) == alert
        assert [one.value for one in await client.metrics("doubled")] == [42.0]
        assert len(await client.firings(rule="doubling")) == 1
        assert {one.what for one in await client.audit()} == {"opened"}
        assert "wind" in await client.topics()
        series = await client.select_time_series("wind", "speed", T0, "2025-04-24T00:00:03Z")
        assert list(series["speed"]) == [8, 9, 10, 11]


async def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    site, data = write_site(tmp_path / "site"), tmp_path / "data"
    with pytest.raises(CatcherError, match="there is no ledger"):
        async with open_client(site, data) as client:
            await client.runs()
    async with open_engine(site, data, 0), open_client(site, data) as client:
        with pytest.raises(Unknown, match="no run 'abc' is known"):
            await client.run("abc")
        with pytest.raises(Unknown, match="no alert 'abc' is known"):
            await client.alert("abc")
        with pytest.raises(CatcherError, match="there is no object"):
            await client.open("doubling/nothing.txt")
        assert await client.topics() == []
        with pytest.raises(Unknown, match="holds no topic 'wind'"):
            await client.select_time_series("wind", "speed", "-1h")


def test_the_data_folder_is_the_one_told_then_that_of_the_environment_then_the_sites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CATCHER_DATA", raising=False)
    plain = load_site(write_site(tmp_path / "plain"))
    named = load_site(write_site(tmp_path / "named", settings="site: a\ndata: ./kept"))
    assert data_folder(plain, None) == tmp_path / "plain" / ".catcher"
    assert data_folder(named, None) == tmp_path / "named" / "kept"
    monkeypatch.setenv("CATCHER_DATA", str(tmp_path / "variable"))
    assert data_folder(named, None) == tmp_path / "variable"
    assert data_folder(named, tmp_path / "told") == tmp_path / "told"


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
        engine.post("number", value=1, lane="a")
        run = engine.the_run(key="a")
    assert ledger.is_file()
    assert run["artifacts"][0]["url"].startswith(objects.as_uri())
    async with open_client(site, data) as client:
        assert [one.id for one in await client.runs()] == [run["id"]]
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
        engine.post("frame", name="MC_1", exptime=30, counts=21)
        assert engine.get("/firings") == []
        body = {"observation": "MC_1", "who": "ana"}
        fired = engine.ask("POST", "/rules/measured/fire", json=body)
        assert fired.status_code == 202, fired.text
        run = engine.the_run(id=fired.json()["id"])
    assert (run["observation"], run["metrics"]) == ("MC_1", {"doubled": 42.0})
