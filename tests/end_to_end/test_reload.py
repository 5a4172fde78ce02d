"""Edits under a running `catcher run`, and what a restart goes on with."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from catcher.app import open_client, open_engine, run_doctor
from catcher.model.errors import CatcherError
from catcher.model.time import SECOND, format_instant, parse_instant
from tests.end_to_end.engine_process import EngineProcess, run_catcher, run_engine
from tests.sample_site import WIND, write_site

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


def append_samples(path: Path, start: int, count: int, topic: str = "wind") -> None:
    """Appends a sample a second."""
    with path.open("a") as file:
        for index in range(start, start + count):
            time = format_instant(START + index * SECOND)
            fields = {"mast": "north", "speed": 12 if index > 60 else 5, "index": index}
            file.write(json.dumps({"topic": topic, "time": time, "fields": fields}) + "\n")


def count_firings(running: EngineProcess, rule: str) -> int:
    return len(running.get("/firings", rule=rule, limit=1000))


def count_new_firings(running: EngineProcess, rule: str) -> int:
    """How often the rule has fired in this process."""
    (row,) = [row for row in running.get("/rules") if row["rule"] == rule]
    count: int = row["counts"]["firings"]
    return count


def read_firing_ids(site: Path, data: Path) -> list[str]:
    """The firings that the ledger holds."""

    async def fetch_ids() -> list[str]:
        async with open_client(site, data) as client:
            return [firing.id for firing in await client.firings()]

    return asyncio.run(fetch_ids())


# -- edits ------------------------------------------------------------------------------------


def test_edit_break_fix_delete_and_add_rules_while_running(tmp_path: Path) -> None:
    site, rules = write_site(tmp_path / "site"), tmp_path / "site" / "rules" / "rules.yaml"
    with run_engine(site, tmp_path / "data") as running:

        def wait_for_log(text: str) -> None:
            running.wait_until(lambda: text in running.log.read_text(), text)

        def post_speed(speed: float) -> None:
            event = {"topic": "wind", "fields": {"mast": 1, "speed": speed}}
            assert running.post("/events", event).status_code == 202

        def get_severity() -> str:
            value: str = running.get("/alerts")[0]["severity"]
            return value

        post_speed(12)
        assert get_severity() == "WARNING"
        rules.write_text(WIND.replace("serious: speed > 20", "serious: speed > 11"))
        wait_for_log("reload  the site was read anew: edited wind")
        post_speed(12)
        assert get_severity() == "SERIOUS"

        rules.write_text(WIND.replace("speed > 20", "speed >"))
        wait_for_log("(the rule runs on as it was)")
        post_speed(13)
        assert get_severity() == "SERIOUS"

        more_rules = site / "rules" / "more.yaml"
        more_rules.write_text(EACH)
        wait_for_log("added each")
        rules.write_text(WIND.replace("speed > 20", "speed > 12.5"))
        running.wait_until(lambda: len(running.get("/rules")) == 2, "the mending")

        rules.unlink()
        wait_for_log("gone wind")
        running.wait_until(lambda: running.get("/alerts")[0]["state"] == "resolved", "its end")

        running.process.send_signal(signal.SIGHUP)
        wait_for_log("nothing that runs has changed")
        assert running.stop() == 0


# -- restarts ---------------------------------------------------------------------------------


def test_replay_continues_where_it_stopped(tmp_path: Path) -> None:
    site = write_site(
        tmp_path / "site", EACH.replace("lsst.sal.MTCamera.logevent_endReadout", "frame"),
        settings=NIGHT,
    )  # fmt: skip
    append_samples(site / "night.jsonl", 0, 20, "frame")
    with run_engine(site, tmp_path / "data") as running:
        running.wait_until(lambda: count_firings(running, "each") == 20, "the first part")
        assert running.stop() == 0
    append_samples(site / "night.jsonl", 20, 5, "frame")
    with run_engine(site, tmp_path / "data") as running:
        running.wait_until(lambda: count_firings(running, "each") == 25, "the second part")
        assert count_new_firings(running, "each") == 5

    options = ["--site", site, "--data", tmp_path / "data", "--speed", "max", "--port", "0"]
    assert "data" in run_catcher("replay", site / "night.jsonl", *options)
    assert len(read_firing_ids(site, tmp_path / "data")) == 25, (
        "a recording played from its beginning decides as before"
    )


def test_a_killed_engine_loses_no_sample_of_a_recording(tmp_path: Path) -> None:
    """Position and window go together, so that the samples in between come again."""
    site = write_site(tmp_path / "site", MEAN, settings=NIGHT)
    append_samples(site / "night.jsonl", 0, 75)
    with run_engine(site, tmp_path / "data") as running:
        running.wait_until(
            lambda: running.get_counts("night").get("admitted") == 75, "the first part"
        )
        running.stop(signal.SIGKILL)
    append_samples(site / "night.jsonl", 75, 60)
    with run_engine(site, tmp_path / "data") as running:
        running.wait_until(lambda: count_firings(running, "mean") == 1, "the firing")
        running.stop()
    options = ["--site", site, "--data", site / "night.jsonl"]
    lines = [json.loads(line) for line in run_catcher("backtest", *options, "--json").splitlines()]
    expected = [row for row in lines if row["kind"] == "firing"]
    assert read_firing_ids(site, tmp_path / "data") == [row["id"] for row in expected]


def test_demo_on_the_same_folder_takes_new_exposures(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", EACH)
    speed = ("--speed", "150")
    with run_engine(site, tmp_path / "data", command="demo", arguments=speed) as running:
        running.wait_until(lambda: count_firings(running, "each") >= 2, "two exposures")
        assert running.stop() == 0
    before = len(read_firing_ids(site, tmp_path / "data"))
    with run_engine(site, tmp_path / "data", command="demo", arguments=speed) as running:
        running.wait_until(lambda: count_firings(running, "each") > before, "a new exposure")
        new_firings = count_new_firings(running, "each")
        assert new_firings <= count_firings(running, "each") - before


# -- a site that is not well ------------------------------------------------------------------


def test_run_rejects_a_broken_catcher_yaml_with_all_problems(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", settings="site: small\nsorces: {}\nlimits: {workers: no}")
    with pytest.raises(CatcherError) as error:
        open_engine(site, tmp_path / "data")
    assert "catcher.yaml:2:1" in error.value.message
    assert "catcher.yaml:3:" in error.value.message
    assert not (tmp_path / "data").exists()


def test_run_warns_about_broken_routes(tmp_path: Path) -> None:
    routes = "sinks: {console: {}}\nroute: {to: [consle]}"
    site = write_site(tmp_path / "site", WIND, routes=routes)
    with run_engine(site, tmp_path / "data") as running:
        running.wait_until(lambda: "MISCONFIGURED" in running.log.read_text(), "the warning")
        rows = asyncio.run(run_doctor(site, running.data))
    (row,) = [row for row in rows if row["what"] == "settings"]
    assert "routes.yaml:2" in row["found"]
