"""What machines that watch an engine are told: alive, ready, figures, and the handbook."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from catcher.api.access_control import add_access_control
from catcher.api.health_routes import add_health_routes
from catcher.app.monitoring import EngineMonitor
from catcher.model.time import wall_clock
from catcher.monitoring import Liveness
from tests.cli.command_runner import run_command
from tests.monitoring.prometheus_parser import MetricsPage, parse_page
from tests.monitoring.test_liveness import ManualMonotonicClock
from tests.sample_site import DOUBLING, TIMEOUT, WIND, ThreadedEngine, engine_in_thread, write_site
from tests.servers import run_victoria_metrics


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    folder = tmp_path_factory.mktemp("signs")
    site = write_site(folder / "site", f"{WIND}---{DOUBLING}")
    with engine_in_thread(site, folder / "data") as running:
        yield running


def read_metrics(engine: ThreadedEngine) -> MetricsPage:
    response = engine.request("GET", "/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse_page(response.text)


# -- alive and ready ---------------------------------------------------------------------------


def test_running_engine_is_alive_and_ready(engine: ThreadedEngine) -> None:
    response = engine.request("GET", "/healthz")
    assert (response.status_code, response.text) == (200, "ok\n")
    engine.wait_until(lambda: engine.request("GET", "/readyz").status_code == 200, "readiness")
    assert engine.get("/readyz") == {"ready": True, "problems": []}
    row = engine.get("/healthz", verbose="")
    assert (row["alive"], row["phase"], row["site"]) == (True, "running", "small")
    assert row["turns"] > 0


class HealthApiHarness:
    """The routes of a self-watch whose time the test tells, as a foreign machine sees them."""

    def __init__(self, token: str = "") -> None:
        self.clock = ManualMonotonicClock()
        self.liveness = Liveness(self.clock)
        self.api = FastAPI()
        add_access_control(self.api, 1000, token)
        add_health_routes(
            self.api, EngineMonitor("summit", "engine-1", wall_clock, {}, self.liveness)
        )

    async def get(self, path: str, **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(self.api)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path, headers=headers)


async def test_engine_with_a_blocked_loop_reports_the_reason() -> None:
    harness = HealthApiHarness()
    harness.liveness.record_iteration()
    harness.clock.now += 20
    response = await harness.get("/healthz")
    assert response.status_code == 503
    assert response.text == "the engine's loop has not turned for 20 s\n"
    verbose = await harness.get("/healthz?verbose")
    assert (verbose.status_code, verbose.json()["alive"]) == (503, False)
    response = await harness.get("/readyz")
    assert response.status_code == 503
    assert response.json()["problems"] == ["the engine's loop has not turned for 20 s"]


async def test_standby_engine_is_alive_and_not_ready() -> None:
    harness = HealthApiHarness()
    harness.liveness.set_phase("standing by", "standing by for engine-0 at http://a:1")
    harness.clock.now += 1000
    assert (await harness.get("/healthz")).status_code == 200
    response = await harness.get("/readyz")
    assert response.status_code == 503
    assert response.json()["problems"] == ["standing by for engine-0 at http://a:1"]


async def test_without_the_token_only_liveness_is_available() -> None:
    harness = HealthApiHarness("s3cret")
    assert (await harness.get("/healthz", host="catcher.example")).text == "ok\n"
    for path in ("/healthz?verbose", "/readyz", "/metrics", "/backlog"):
        assert (await harness.get(path)).status_code == 401
        accepted = await harness.get(path, authorization="Bearer s3cret")
        assert accepted.status_code != 401
    refused = await harness.get("/healthz", origin="http://evil.example")
    assert refused.status_code == 403


# -- a blocked loop ----------------------------------------------------------------------------


def test_blocking_call_is_reported_with_its_stack(
    engine: ThreadedEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    monitor = engine.handle.monitor
    assert monitor is not None
    released, problems = threading.Event(), []

    def a_careless_sink() -> None:
        # Here nothing else of the loop can run: only the watchdog's thread can change this.
        pause = threading.Event()
        while "a_careless_sink" not in str(monitor.get_runtime_status()["last_block"]):
            pause.wait(0.02)
        released.set()

    async def follow() -> None:
        async with engine.handle.event_bus.subscribe() as updates:
            engine.loop.call_soon(a_careless_sink)
            async for update in updates:
                if update.kind == "problem" and "a_careless_sink" in str(update.body):
                    problems.append(update.body)
                    return

    asyncio.run_coroutine_threadsafe(follow(), engine.loop).result(TIMEOUT)
    assert released.is_set()
    health = engine.get("/healthz", verbose="")
    assert health["blocks"] >= 1
    assert health["last_block"]["place"] and health["last_block"]["stack"]
    assert "a_careless_sink" in capfd.readouterr().err
    assert "the event loop was blocked for" in problems[0]
    assert read_metrics(engine).get_value("catcher_event_loop_blocks_total") == health["blocks"]
    rows = run_command("doctor", "--json", "--site", engine.site, "--data", engine.data).rows
    (blocked,) = [row for row in rows if row["found"].startswith("blocked")]
    assert (blocked["what"], blocked["state"]) == ("event loop", "warning")


# -- figures -----------------------------------------------------------------------------------


def test_metrics_count_what_has_happened(engine: ThreadedEngine) -> None:
    engine.post_event("number", value=4, lane="figures")
    engine.post_event("number", value=13, lane="figures")
    engine.wait_for_run(key="figures", state="failed")
    engine.post_event("wind", speed=25, mast="figures")
    engine.post_event("wind", speed=25, mast="figures")
    engine.wait_until(
        lambda: read_metrics(engine).get_value("catcher_sink_delivered_total") > 0, "delivery"
    )
    page = read_metrics(engine)
    assert page.get_value("catcher_source_admitted_total", source="http") == 4
    assert page.get_value("catcher_source_last_event_age_seconds", source="http") >= 0
    assert page.get_value("catcher_rule_firings_total", rule="doubling") == 2
    assert page.get_value("catcher_rule_evaluations_total", rule="wind") == 2
    assert page.get_value("catcher_runs_total", rule="doubling", state="done") == 1
    assert page.get_value("catcher_runs_total", rule="doubling", state="failed") == 1
    assert page.get_value("catcher_runs_queued", rule="doubling") == 0
    assert page.get_value("catcher_alerts", severity="serious", state="firing") == 1
    assert page.get_value("catcher_alerts_opened_10m") == 1
    assert page.get_value("catcher_component_state", role="source", name="http", state="ok") == 1
    assert page.get_value("catcher_sink_oldest_undelivered_seconds", sink="console") == 0
    assert page.get_value("catcher_commit_duration_seconds_count") > 0
    assert page.get_value("catcher_event_loop_lag_seconds", quantile="0.99") >= 0
    assert page.get_value("process_resident_memory_bytes") > 10_000_000
    assert page.get_value("process_open_fds") > 0
    assert set(page.kinds) == set(page.help)


def test_metrics_can_be_imported_by_victoria_metrics(
    engine: ThreadedEngine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = engine.request("GET", "/metrics").text
    with run_victoria_metrics(tmp_path_factory.mktemp("figures")) as server:
        url = f"http://127.0.0.1:{server.port}"
        import_url = f"{url}/api/v1/import/prometheus"
        assert httpx.post(import_url, content=text, trust_env=False).is_success

        def read_exported() -> Any:
            parameters = {"match[]": "catcher_info"}
            response = httpx.get(f"{url}/api/v1/export", params=parameters, trust_env=False)
            return response.json() if response.text else None

        assert (
            engine.wait_until(read_exported, "the export of a figure")["metric"]["site"] == "small"
        )
        count = httpx.get(f"{url}/api/v1/series/count", trust_env=False).json()["data"][0]
    assert count == len(parse_page(text).values)


# -- the handbook ------------------------------------------------------------------------------


def test_api_docs_list_every_operation_and_need_no_internet(engine: ThreadedEngine) -> None:
    response = engine.request("GET", "/docs")
    assert response.headers["content-type"].startswith("text/html")
    for path, operations in engine.get("/openapi.json")["paths"].items():
        for method in operations:
            assert f"<span class=method>{method.upper()}</span> {path}" in response.text
    assert "src=" not in response.text and "<script" not in response.text
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<code>who</code><td>body<td>string" in response.text
