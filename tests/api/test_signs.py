"""What machines that watch an engine are told: alive, ready, figures, and the handbook."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from catcher.api.guard import guard
from catcher.api.signs import signs
from catcher.app.selfwatch import SelfWatch
from catcher.model.time import wall_clock
from catcher.vitals import Pulse
from tests.cli.calling import call
from tests.servers import victoria_metrics
from tests.small_site import DOUBLING, PATIENCE, WIND, ThreadedEngine, engine_in_thread, write_site
from tests.vitals.prometheus import Page, read
from tests.vitals.test_pulse import Clock


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    top = tmp_path_factory.mktemp("signs")
    site = write_site(top / "site", f"{WIND}---{DOUBLING}")
    with engine_in_thread(site, top / "data") as running:
        yield running


def figures(engine: ThreadedEngine) -> Page:
    answer = engine.ask("GET", "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return read(answer.text)


# -- alive and ready ---------------------------------------------------------------------------


def test_an_engine_that_turns_is_alive_and_ready(engine: ThreadedEngine) -> None:
    answer = engine.ask("GET", "/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")
    engine.until(lambda: engine.ask("GET", "/readyz").status_code == 200, "readiness")
    assert engine.get("/readyz") == {"ready": True, "problems": []}
    row = engine.get("/healthz", verbose="")
    assert (row["alive"], row["phase"], row["site"]) == (True, "running", "small")
    assert row["turns"] > 0


class Door:
    """The routes of a self-watch whose time the test tells, as a foreign machine sees them."""

    def __init__(self, token: str = "") -> None:
        self.clock = Clock()
        self.pulse = Pulse(self.clock)
        self.api = FastAPI()
        guard(self.api, 1000, token)
        signs(self.api, SelfWatch("summit", "engine-1", wall_clock, {}, self.pulse))

    async def get(self, path: str, **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(self.api)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path, headers=headers)


async def test_an_engine_whose_loop_hangs_says_so_with_the_reason() -> None:
    door = Door()
    door.pulse.turn()
    door.clock.now += 20
    answer = await door.get("/healthz")
    assert answer.status_code == 503
    assert answer.text == "the engine's loop has not turned for 20 s\n"
    verbose = await door.get("/healthz?verbose")
    assert (verbose.status_code, verbose.json()["alive"]) == (503, False)
    answer = await door.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["problems"] == ["the engine's loop has not turned for 20 s"]


async def test_an_engine_that_stands_by_is_alive_and_not_ready() -> None:
    door = Door()
    door.pulse.become("standing by", "standing by for engine-0 at http://a:1")
    door.clock.now += 1000
    assert (await door.get("/healthz")).status_code == 200
    answer = await door.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["problems"] == ["standing by for engine-0 at http://a:1"]


async def test_without_the_token_all_that_is_told_is_whether_it_lives() -> None:
    door = Door("s3cret")
    assert (await door.get("/healthz", host="catcher.example")).text == "ok\n"
    for path in ("/healthz?verbose", "/readyz", "/metrics", "/backlog"):
        assert (await door.get(path)).status_code == 401
        let_in = await door.get(path, authorization="Bearer s3cret")
        assert let_in.status_code != 401
    refused = await door.get("/healthz", origin="http://evil.example")
    assert refused.status_code == 403


# -- a blocked loop ----------------------------------------------------------------------------


def test_whoever_blocks_the_loop_is_shown_with_the_stack(
    engine: ThreadedEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    watch = engine.running.watch
    assert watch is not None
    gone_on, told = threading.Event(), []

    def a_careless_sink() -> None:
        # Here nothing else of the loop can run: only the watchdog's thread can change this.
        pause = threading.Event()
        while "a_careless_sink" not in str(watch.vitals()["last_block"]):
            pause.wait(0.02)
        gone_on.set()

    async def follow() -> None:
        async with engine.running.live.watch() as updates:
            engine.loop.call_soon(a_careless_sink)
            async for update in updates:
                if update.kind == "problem" and "a_careless_sink" in str(update.body):
                    told.append(update.body)
                    return

    asyncio.run_coroutine_threadsafe(follow(), engine.loop).result(PATIENCE)
    assert gone_on.is_set()
    row = engine.get("/healthz", verbose="")
    assert row["blocks"] >= 1
    assert row["last_block"]["place"] and row["last_block"]["stack"]
    assert "a_careless_sink" in capfd.readouterr().err
    assert "the event loop was blocked for" in told[0]
    assert figures(engine).value("catcher_loop_blocks_total") == row["blocks"]
    found = call("doctor", "--json", "--site", engine.site, "--data", engine.data).rows
    (blocked,) = [one for one in found if one["found"].startswith("blocked")]
    assert (blocked["what"], blocked["state"]) == ("event loop", "warning")


# -- figures -----------------------------------------------------------------------------------


def test_the_figures_are_those_of_what_has_happened(engine: ThreadedEngine) -> None:
    engine.post("number", value=4, lane="figures")
    engine.post("number", value=13, lane="figures")
    engine.the_run(key="figures", state="failed")
    engine.post("wind", speed=25, mast="figures")
    engine.post("wind", speed=25, mast="figures")
    engine.until(lambda: figures(engine).value("catcher_sink_delivered_total") > 0, "delivery")
    page = figures(engine)
    assert page.value("catcher_source_admitted_total", source="http") == 4
    assert page.value("catcher_source_last_event_age_seconds", source="http") >= 0
    assert page.value("catcher_rule_firings_total", rule="doubling") == 2
    assert page.value("catcher_rule_evaluations_total", rule="wind") == 2
    assert page.value("catcher_runs_total", rule="doubling", state="done") == 1
    assert page.value("catcher_runs_total", rule="doubling", state="failed") == 1
    assert page.value("catcher_runs_waiting", rule="doubling") == 0
    assert page.value("catcher_alerts", severity="serious", state="firing") == 1
    assert page.value("catcher_alerts_opened_10m") == 1
    assert page.value("catcher_part_state", role="source", name="http", state="ok") == 1
    assert page.value("catcher_sink_oldest_undelivered_seconds", sink="console") == 0
    assert page.value("catcher_commit_duration_seconds_count") > 0
    assert page.value("catcher_loop_lag_seconds", quantile="0.99") >= 0
    assert page.value("process_resident_memory_bytes") > 10_000_000
    assert page.value("process_open_fds") > 0
    assert set(page.kinds) == set(page.help)


def test_a_database_for_figures_takes_them(
    engine: ThreadedEngine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = engine.ask("GET", "/metrics").text
    with victoria_metrics(tmp_path_factory.mktemp("figures")) as server:
        url = f"http://127.0.0.1:{server.port}"
        into = f"{url}/api/v1/import/prometheus"
        assert httpx.post(into, content=text, trust_env=False).is_success

        def kept() -> Any:
            asked = {"match[]": "catcher_info"}
            answer = httpx.get(f"{url}/api/v1/export", params=asked, trust_env=False)
            return answer.json() if answer.text else None

        assert engine.until(kept, "the export of a figure")["metric"]["site"] == "small"
        count = httpx.get(f"{url}/api/v1/series/count", trust_env=False).json()["data"][0]
    assert count == len(read(text).values)


# -- the handbook ------------------------------------------------------------------------------


def test_the_handbook_lists_every_operation_and_needs_no_internet(engine: ThreadedEngine) -> None:
    answer = engine.ask("GET", "/docs")
    assert answer.headers["content-type"].startswith("text/html")
    for path, operations in engine.get("/openapi.json")["paths"].items():
        for method in operations:
            assert f"<span class=method>{method.upper()}</span> {path}" in answer.text
    assert "src=" not in answer.text and "<script" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<code>who</code><td>body<td>string" in answer.text
