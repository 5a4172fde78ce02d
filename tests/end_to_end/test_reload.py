"""Edits under a running `catcher run`, and what a restart goes on with."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from catcher.app import examine, open_client, open_engine
from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, format_instant, parse_instant
from tests.end_to_end.engine_process import EngineProcess, catcher, engine
from tests.small_site import WIND, write_site

START = parse_instant("2025-04-24T00:00:00Z")
EACH = """
rule: each
trigger: {event: lsst.sal.MTCamera.logevent_endReadout}
"""
MEAN = """
rule: mean
trigger: {telemetry: wind, by: mast, when: 'mean(speed, "30s") > 10'}
"""
NIGHT = """
sources:
  night: {replay: {files: [night.jsonl], speed: max}}
"""


def record(path: Path, start: int, count: int, topic: str = "wind") -> None:
    """Appends a sample a second."""
    with path.open("a") as file:
        for index in range(start, start + count):
            time = format_instant(START + index * SECOND)
            fields = {"mast": "north", "speed": 12 if index > 60 else 5, "index": index}
            file.write(json.dumps({"topic": topic, "time": time, "fields": fields}) + "\n")


def fired(running: EngineProcess, rule: str) -> int:
    return len(running.get("/firings", rule=rule, limit=1000))


def decided(running: EngineProcess, rule: str) -> int:
    """How often the rule has fired in this process."""
    (row,) = [row for row in running.get("/rules") if row["rule"] == rule]
    count: int = row["counts"]["firings"]
    return count


def kept(site: Path, data: Path) -> list[str]:
    """The firings that the ledger holds."""

    async def read() -> list[str]:
        async with open_client(site, data) as client:
            return [one.id for one in await client.firings()]

    return asyncio.run(read())


# -- edits ------------------------------------------------------------------------------------


def test_edit_break_mend_delete_and_add_while_it_runs(tmp_path: Path) -> None:
    site, rules = write_site(tmp_path / "site"), tmp_path / "site" / "rules" / "rules.yaml"
    with engine(site, tmp_path / "data") as running:

        def said(words: str) -> None:
            running.until(lambda: words in running.log.read_text(), words)

        def post(speed: float) -> None:
            event = {"topic": "wind", "fields": {"mast": 1, "speed": speed}}
            assert running.post("/events", event).status_code == 202

        def severity() -> str:
            found: str = running.get("/alerts")[0]["severity"]
            return found

        post(12)
        assert severity() == "WARNING"
        rules.write_text(WIND.replace("serious: speed > 20", "serious: speed > 11"))
        said("reload  the site was read anew: edited wind")
        post(12)
        assert severity() == "SERIOUS"

        rules.write_text(WIND.replace("speed > 20", "speed >"))
        said("(the rule runs on as it was)")
        post(13)
        assert severity() == "SERIOUS"

        more = site / "rules" / "more.yaml"
        more.write_text(EACH)
        said("added each")
        rules.write_text(WIND.replace("speed > 20", "speed > 12.5"))
        running.until(lambda: len(running.get("/rules")) == 2, "the mending")

        rules.unlink()
        said("gone wind")
        running.until(lambda: running.get("/alerts")[0]["state"] == "resolved", "its end")

        running.process.send_signal(signal.SIGHUP)
        said("nothing that runs has changed")
        assert running.stop() == 0


# -- restarts ---------------------------------------------------------------------------------


def test_a_replay_goes_on_where_it_was(tmp_path: Path) -> None:
    site = write_site(
        tmp_path / "site", EACH.replace("lsst.sal.MTCamera.logevent_endReadout", "frame"),
        settings=NIGHT,
    )  # fmt: skip
    record(site / "night.jsonl", 0, 20, "frame")
    with engine(site, tmp_path / "data") as running:
        running.until(lambda: fired(running, "each") == 20, "the first part")
        assert running.stop() == 0
    record(site / "night.jsonl", 20, 5, "frame")
    with engine(site, tmp_path / "data") as running:
        running.until(lambda: fired(running, "each") == 25, "the second part")
        assert decided(running, "each") == 5

    options = ["--site", site, "--data", tmp_path / "data", "--speed", "max", "--port", "0"]
    assert "data" in catcher("replay", site / "night.jsonl", *options)
    assert len(kept(site, tmp_path / "data")) == 25, (
        "a recording played from its beginning decides as before"
    )


def test_a_killed_engine_loses_no_sample_of_a_recording(tmp_path: Path) -> None:
    """Position and window go together, so that the samples in between come again."""
    site = write_site(tmp_path / "site", MEAN, settings=NIGHT)
    record(site / "night.jsonl", 0, 75)
    with engine(site, tmp_path / "data") as running:
        running.until(lambda: running.counts("night").get("admitted") == 75, "the first part")
        running.stop(signal.SIGKILL)
    record(site / "night.jsonl", 75, 60)
    with engine(site, tmp_path / "data") as running:
        running.until(lambda: fired(running, "mean") == 1, "the firing")
        running.stop()
    options = ["--site", site, "--data", site / "night.jsonl"]
    lines = [json.loads(line) for line in catcher("backtest", *options, "--json").splitlines()]
    expected = [row for row in lines if row["kind"] == "firing"]
    assert kept(site, tmp_path / "data") == [row["id"] for row in expected]


def test_a_demo_on_the_same_folder_takes_new_exposures(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", EACH)
    speed = ("--speed", "150")
    with engine(site, tmp_path / "data", command="demo", arguments=speed) as running:
        running.until(lambda: fired(running, "each") >= 2, "two exposures")
        assert running.stop() == 0
    before = len(kept(site, tmp_path / "data"))
    with engine(site, tmp_path / "data", command="demo", arguments=speed) as running:
        running.until(lambda: fired(running, "each") > before, "a new exposure")
        here = decided(running, "each")
        assert here <= fired(running, "each") - before


# -- a site that is not well ------------------------------------------------------------------


def test_run_refuses_a_broken_catcher_yaml_with_all_that_is_wrong(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", settings="site: small\nsorces: {}\nlimits: {workers: no}")
    with pytest.raises(CatcherError) as refused:
        open_engine(site, tmp_path / "data")
    assert "catcher.yaml:2:1" in refused.value.message
    assert "catcher.yaml:3:" in refused.value.message
    assert not (tmp_path / "data").exists()


def test_run_says_loudly_that_routes_are_broken(tmp_path: Path) -> None:
    routes = "sinks: {console: {}}\nroute: {to: [consle]}"
    site = write_site(tmp_path / "site", WIND, routes=routes)
    with engine(site, tmp_path / "data") as running:
        running.until(lambda: "MISCONFIGURED" in running.log.read_text(), "the warning")
        rows = asyncio.run(examine(site, running.data))
    (row,) = [row for row in rows if row["what"] == "settings"]
    assert "routes.yaml:2" in row["found"]
