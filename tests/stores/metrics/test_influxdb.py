"""Metrics reach a real server as documented; whatever else answers has taken nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from aiohttp import web

from catcher.model.time import HOUR, SECOND, wall_clock
from catcher.ports import MetricPoint, StoreUnavailable
from catcher.stores.metrics.dead_letter_file import DeadLetterFile
from catcher.stores.metrics.influxdb import (
    InfluxMetrics,
    InfluxMetricSettings,
    format_line_protocol,
)
from tests.servers import (
    INFLUX_USER,
    ServerProcess,
    find_free_port,
    query_influx,
    run_influxd,
    run_victoria_metrics,
    write_influx,
)
from tests.stores.factories import FakeClock

ResultT = TypeVar("ResultT")
TOKEN = "s3cret-token"
DEPLOY_FOLDER = Path(__file__).resolve().parents[3] / "deploy"
ONE_HOUR_AGO = wall_clock() // SECOND * SECOND - HOUR
"""VictoriaMetrics keeps a month, counted from now."""


def create_point(value: float | None = 0.07, n: int = 0, **labels: str) -> MetricPoint:
    time = ONE_HOUR_AGO + n * SECOND
    return MetricPoint(
        "image_impact_rms", value, "arcsec", "mount-jitter", "301", "run1", time, labels
    )


def query_rows(port: int, statement: str) -> list[dict[str, Any]]:
    """The rows of an InfluxDB 1.x, times in nanoseconds."""
    response = json.loads(query_influx(port, statement, "catcher", epoch="ns"))
    return [
        dict(zip(series["columns"], row, strict=True))
        for series in response["results"][0]["series"]
        for row in series["values"]
    ]


def create_settings(port: int, **options: Any) -> InfluxMetricSettings:
    url = f"http://127.0.0.1:{port}"
    return InfluxMetricSettings(url, "catcher", "tma", TOKEN, timeout=5.0, **options)


async def read_exported(server: ServerProcess, count: int) -> list[dict[str, Any]]:
    """The series of the rule once they hold a number of samples, asked to be made visible."""
    parameters = {"match[]": '{__name__="catcher.mount-jitter_image_impact_rms"}'}
    address = f"http://127.0.0.1:{server.port}"

    async def read_visible_rows() -> list[dict[str, Any]]:
        await client.get(f"{address}/internal/force_flush")
        response = await client.get(
            f"{address}/api/v1/export", params={**parameters, "start": str(ONE_HOUR_AGO // SECOND)}
        )
        rows = [json.loads(line) for line in response.text.splitlines()]
        return rows if sum(len(row["values"]) for row in rows) >= count else []

    async with httpx.AsyncClient() as client:
        return await wait_until(read_visible_rows)


async def wait_until(read_result: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """What `read_result` finds, as soon as it finds something: the far side tells nobody."""
    async with asyncio.timeout(30):
        for pause in itertools.repeat(0.02):
            result = await read_result()
            if result:
                return result
            await asyncio.sleep(pause)
    raise AssertionError


@pytest.mark.server
async def test_metrics_are_found_on_a_real_server_as_documented(tmp_path: Path) -> None:
    with run_victoria_metrics(tmp_path) as server:
        async with InfluxMetrics(create_settings(server.port), FakeClock()) as metrics:
            await metrics.write(
                [create_point(0.07, band="r"), create_point(None, 1), create_point(float("nan"), 2)]
            )
        assert metrics.health().counts["written"] == 1
        (series,) = await read_exported(server, 1)
        assert series["metric"] == {
            "__name__": "catcher.mount-jitter_image_impact_rms",
            "rule": "mount-jitter",
            "key": "301",
            "band": "r",
        }
        assert (series["values"], series["timestamps"]) == ([0.07], [ONE_HOUR_AGO // 1_000_000])


@pytest.mark.server
async def test_metrics_are_written_to_an_influxdb_1_where_there_is_no_v2(tmp_path: Path) -> None:
    with run_influxd(tmp_path / "influx", ("catcher",), auth=True) as server:
        name, password = INFLUX_USER
        options = replace(create_settings(server.port), token="", username=name, password=password)
        dead_letters = DeadLetterFile(tmp_path / "dead" / "metrics.lp")
        write_influx(server.port, "catcher", [f'catcher.mount-jitter typed="text" {ONE_HOUR_AGO}'])
        async with InfluxMetrics(options, FakeClock(), dead_letters) as metrics:
            await metrics.write(
                [create_point(0.07, band="r"), create_point(None, 1), create_point(0.09, 2)]
            )
            await metrics.write([replace(create_point(1.0), name="typed"), create_point(0.11, 3)])
        assert metrics.health().counts["written"] == 3
        statement = 'SELECT image_impact_rms, band, "key", rule FROM "catcher.mount-jitter"'
        rows = query_rows(server.port, statement)
        assert [(row["image_impact_rms"], row["band"]) for row in rows] == [
            (0.07, "r"), (0.09, None), (0.11, None),
        ]  # fmt: skip
        assert (rows[0]["time"], rows[0]["key"]) == (ONE_HOUR_AGO, "301")
        assert rows[0]["rule"] == "mount-jitter"
    reason, line = dead_letters.path.read_text().splitlines()  # type: ignore[union-attr]
    assert "field type conflict" in reason
    assert line.startswith("catcher.mount-jitter,key=301,rule=mount-jitter typed=1 ")
    assert metrics.health().counts["refused"] == 1


@pytest.mark.server
async def test_what_an_influxdb_1_lacks_is_reported_with_a_hint(tmp_path: Path) -> None:
    with run_influxd(tmp_path, ("catcher",), auth=True) as server:
        name, password = INFLUX_USER
        complete = replace(create_settings(server.port), token="", username=name, password=password)
        async with InfluxMetrics(replace(complete, bucket="nowhere"), FakeClock()) as metrics:
            with pytest.raises(StoreUnavailable, match="answered 404: database not found"):
                await metrics.write([create_point()])
        async with InfluxMetrics(replace(complete, password="wrong"), FakeClock()) as metrics:
            with pytest.raises(StoreUnavailable, match="refused the credentials"):
                await metrics.write([create_point()])
            server.stop()
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await metrics.write([create_point()])
            assert "wrong" not in str(metrics.health())


@pytest.mark.server
async def test_the_sample_dashboard_shows_what_is_written(tmp_path: Path) -> None:
    text = (DEPLOY_FOLDER / "grafana-metrics.json").read_text(encoding="utf-8")
    panels = json.loads(text)["panels"]
    queries = [target["query"] for panel in panels for target in panel["targets"]]
    assert len(queries) >= 4
    with run_influxd(tmp_path, ("catcher",)) as server:
        options = replace(create_settings(server.port), token="")
        async with InfluxMetrics(options, FakeClock()) as metrics:
            await metrics.write(
                [create_point(0.07, n, band="r", detector="R22_S11") for n in range(9)]
            )
        for query in queries:
            statement = fill_dashboard_query(query)
            assert "$" not in statement
            assert query_rows(server.port, statement), statement


def fill_dashboard_query(query: str) -> str:
    """A query of the dashboard as Grafana asks it."""
    for name, value in {
        "$timeFilter": f"time >= {ONE_HOUR_AGO}", "$__interval": "1s", "${rule}": "mount-jitter",
        "${metric}": "image_impact_rms",
    }.items():  # fmt: skip
        query = query.replace(name, value)
    return query


def test_the_dead_letter_file_stays_within_its_bound(tmp_path: Path) -> None:
    dead_letters = DeadLetterFile(tmp_path / "dead.lp", max_bytes=200)
    for n in range(10):
        dead_letters.append_point(f"m v={n}", "no\nroom", ONE_HOUR_AGO)
    assert dead_letters.path is not None and dead_letters.path.stat().st_size <= 200
    assert 0 < dead_letters.lost_points < 10
    (tmp_path / "file").write_text("")
    blocked = DeadLetterFile(tmp_path / "file" / "dead.lp")
    blocked.append_point("m v=1", "why", ONE_HOUR_AGO)
    assert blocked.lost_points == 1


async def test_a_refused_point_does_not_affect_the_others() -> None:
    written: list[str] = []

    async def handle_write(request: web.Request) -> web.Response:
        lines = (await request.read()).decode().splitlines()
        if any("poison" in line for line in lines):
            return web.json_response({"message": "partial write: poison"}, status=400)
        written.extend(lines)
        return web.Response(status=204)

    async with (
        WriteServer(handle_write) as port,
        InfluxMetrics(create_settings(port), FakeClock()) as metrics,
    ):
        await metrics.write(
            [create_point(1.0, 1), create_point(2.0, 2, note="poison"), create_point(3.0, 3)]
        )
        counts = metrics.health().counts
    assert (counts["written"], counts["refused"]) == (2, 1)
    assert [line.split("=")[-1].split()[0] for line in written] == ["1", "3"]


async def test_a_refused_token_is_reported_without_naming_it() -> None:
    async def refuse_write(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Token {TOKEN}"
        return web.json_response({"message": "unauthorized access"}, status=401)

    async with WriteServer(refuse_write) as port:
        options = create_settings(port)
        async with InfluxMetrics(options, FakeClock()) as metrics:
            with pytest.raises(StoreUnavailable) as error_info:
                await metrics.write([create_point()])
            assert metrics.health().state == "away"
    assert error_info.value.message == 'the server answered 401: {"message": "unauthorized access"}'
    assert TOKEN not in repr(options)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, "<html>Please log in</html>", "answered 200, which no InfluxDB says"),
        (500, "<html>oops</html>", "answered 500"),
        (302, "", "302|cannot be reached"),
    ],
)
async def test_a_nonsense_response_is_no_receipt(status: int, body: str, message: str) -> None:
    async def send_response(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body, content_type="text/html")

    async with (
        WriteServer(send_response) as port,
        InfluxMetrics(create_settings(port), FakeClock()) as metrics,
    ):
        with pytest.raises(StoreUnavailable, match=message):
            await metrics.write([create_point()])
        assert metrics.health().counts["written"] == 0


async def test_an_overloaded_server_says_when_to_retry() -> None:
    async def throttle_write(request: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "17"})

    async with (
        WriteServer(throttle_write) as port,
        InfluxMetrics(create_settings(port), FakeClock()) as metrics,
    ):
        with pytest.raises(StoreUnavailable, match="answered 429") as error_info:
            await metrics.write([create_point()])
    assert error_info.value.retry_after == 17 * SECOND


async def test_a_server_that_hangs_times_out() -> None:
    gate = asyncio.Event()

    async def hang_write(request: web.Request) -> web.Response:
        await gate.wait()
        return web.Response(status=204)

    async with WriteServer(hang_write) as port:
        short_timeout = replace(create_settings(port), timeout=0.1)
        async with InfluxMetrics(short_timeout, FakeClock()) as metrics:
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await metrics.write([create_point()])
        gate.set()


def test_names_and_labels_cannot_break_out_of_their_line() -> None:
    line = format_line_protocol(
        create_point(1.0, **{"a b": "x,y=z\nw", "empty": "", "rule": "forged"})
    )
    assert line == (
        r"catcher.mount-jitter,a\ b=x\,y\=z\nw,key=301,rule=mount-jitter"
        f" image_impact_rms=1 {ONE_HOUR_AGO}"
    )


class WriteServer:
    """A local server for `/api/v2/write`; gives its port."""

    def __init__(self, handler: Any) -> None:
        application = web.Application()
        application.router.add_post("/api/v2/write", handler)
        self._runner = web.AppRunner(application)

    async def __aenter__(self) -> int:
        await self._runner.setup()
        port = find_free_port()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        return port

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
