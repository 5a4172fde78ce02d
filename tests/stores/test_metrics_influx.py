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
from catcher.ports import MetricPoint, StoreAway
from catcher.stores.metrics_influx import InfluxMetrics, InfluxMetricSettings, line_of
from catcher.stores.metrics_letters import DeadPoints
from tests.servers import (
    INFLUX_USER,
    Server,
    free_port,
    influx_ask,
    influx_write,
    influxd,
    victoria_metrics,
)
from tests.stores.making import FakeClock

Answer = TypeVar("Answer")
TOKEN = "s3cret-token"
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
LATELY = wall_clock() // SECOND * SECOND - HOUR
"""VictoriaMetrics keeps a month, counted from now."""


def point(value: float | None = 0.07, n: int = 0, **labels: str) -> MetricPoint:
    time = LATELY + n * SECOND
    return MetricPoint(
        "image_impact_rms", value, "arcsec", "mount-jitter", "301", "run1", time, labels
    )


def influx_rows(port: int, statement: str) -> list[dict[str, Any]]:
    """The rows of an InfluxDB 1.x, times in nanoseconds."""
    answer = json.loads(influx_ask(port, statement, "catcher", epoch="ns"))
    return [
        dict(zip(series["columns"], row, strict=True))
        for series in answer["results"][0]["series"]
        for row in series["values"]
    ]


def settings(port: int, **more: Any) -> InfluxMetricSettings:
    url = f"http://127.0.0.1:{port}"
    return InfluxMetricSettings(url, "catcher", "tma", TOKEN, timeout=5.0, **more)


async def exported(server: Server, count: int) -> list[dict[str, Any]]:
    """The series of the rule once they hold a number of samples, asked to be made visible."""
    match = {"match[]": '{__name__="catcher.mount-jitter_image_impact_rms"}'}
    address = f"http://127.0.0.1:{server.port}"

    async def look() -> list[dict[str, Any]]:
        await client.get(f"{address}/internal/force_flush")
        answer = await client.get(
            f"{address}/api/v1/export", params={**match, "start": str(LATELY // SECOND)}
        )
        rows = [json.loads(line) for line in answer.text.splitlines()]
        return rows if sum(len(row["values"]) for row in rows) >= count else []

    async with httpx.AsyncClient() as client:
        return await until(look)


async def until(look: Callable[[], Awaitable[Answer]]) -> Answer:
    """What `look` finds, as soon as it finds something: the far side tells nobody."""
    async with asyncio.timeout(30):
        for pause in itertools.repeat(0.02):
            found = await look()
            if found:
                return found
            await asyncio.sleep(pause)
    raise AssertionError


@pytest.mark.server
async def test_metrics_are_found_on_a_real_server_as_documented(tmp_path: Path) -> None:
    with victoria_metrics(tmp_path) as server:
        async with InfluxMetrics(settings(server.port), FakeClock()) as metrics:
            await metrics.write([point(0.07, band="r"), point(None, 1), point(float("nan"), 2)])
        assert metrics.health().counts["written"] == 1
        (series,) = await exported(server, 1)
        assert series["metric"] == {
            "__name__": "catcher.mount-jitter_image_impact_rms",
            "rule": "mount-jitter",
            "key": "301",
            "band": "r",
        }
        assert (series["values"], series["timestamps"]) == ([0.07], [LATELY // 1_000_000])


@pytest.mark.server
async def test_metrics_are_written_to_an_influxdb_1_where_there_is_no_v2(tmp_path: Path) -> None:
    with influxd(tmp_path / "influx", ("catcher",), auth=True) as server:
        name, password = INFLUX_USER
        options = replace(settings(server.port), token="", username=name, password=password)
        dead = DeadPoints(tmp_path / "dead" / "metrics.lp")
        influx_write(server.port, "catcher", [f'catcher.mount-jitter typed="text" {LATELY}'])
        async with InfluxMetrics(options, FakeClock(), dead) as metrics:
            await metrics.write([point(0.07, band="r"), point(None, 1), point(0.09, 2)])
            await metrics.write([replace(point(1.0), name="typed"), point(0.11, 3)])
        assert metrics.health().counts["written"] == 3
        asked = 'SELECT image_impact_rms, band, "key", rule FROM "catcher.mount-jitter"'
        rows = influx_rows(server.port, asked)
        assert [(row["image_impact_rms"], row["band"]) for row in rows] == [
            (0.07, "r"), (0.09, None), (0.11, None),
        ]  # fmt: skip
        assert (rows[0]["time"], rows[0]["key"]) == (LATELY, "301")
        assert rows[0]["rule"] == "mount-jitter"
    reason, line = dead.path.read_text().splitlines()  # type: ignore[union-attr]
    assert "field type conflict" in reason
    assert line.startswith("catcher.mount-jitter,key=301,rule=mount-jitter typed=1 ")
    assert metrics.health().counts["refused"] == 1


@pytest.mark.server
async def test_what_an_influxdb_1_lacks_is_told_with_what_to_do(tmp_path: Path) -> None:
    with influxd(tmp_path, ("catcher",), auth=True) as server:
        name, password = INFLUX_USER
        whole = replace(settings(server.port), token="", username=name, password=password)
        async with InfluxMetrics(replace(whole, bucket="nowhere"), FakeClock()) as metrics:
            with pytest.raises(StoreAway, match="answered 404: database not found"):
                await metrics.write([point()])
        async with InfluxMetrics(replace(whole, password="wrong"), FakeClock()) as metrics:
            with pytest.raises(StoreAway, match="refused the credentials"):
                await metrics.write([point()])
            server.stop()
            with pytest.raises(StoreAway, match="cannot be reached"):
                await metrics.write([point()])
            assert "wrong" not in str(metrics.health())


@pytest.mark.server
async def test_the_sample_dashboard_shows_what_is_written(tmp_path: Path) -> None:
    text = (DEPLOY / "grafana-metrics.json").read_text(encoding="utf-8")
    panels = json.loads(text)["panels"]
    queries = [one["query"] for panel in panels for one in panel["targets"]]
    assert len(queries) >= 4
    with influxd(tmp_path, ("catcher",)) as server:
        options = replace(settings(server.port), token="")
        async with InfluxMetrics(options, FakeClock()) as metrics:
            await metrics.write([point(0.07, n, band="r", detector="R22_S11") for n in range(9)])
        for query in queries:
            asked = filled(query)
            assert "$" not in asked
            assert influx_rows(server.port, asked), asked


def filled(query: str) -> str:
    """A query of the dashboard as Grafana asks it."""
    for name, value in {
        "$timeFilter": f"time >= {LATELY}", "$__interval": "1s", "${rule}": "mount-jitter",
        "${metric}": "image_impact_rms",
    }.items():  # fmt: skip
        query = query.replace(name, value)
    return query


def test_dead_points_are_kept_within_a_bound(tmp_path: Path) -> None:
    dead = DeadPoints(tmp_path / "dead.lp", largest=200)
    for n in range(10):
        dead.keep(f"m v={n}", "no\nroom", LATELY)
    assert dead.path is not None and dead.path.stat().st_size <= 200
    assert 0 < dead.lost < 10
    (tmp_path / "file").write_text("")
    blocked = DeadPoints(tmp_path / "file" / "dead.lp")
    blocked.keep("m v=1", "why", LATELY)
    assert blocked.lost == 1


async def test_a_point_that_the_server_refuses_takes_no_other_with_it() -> None:
    taken: list[str] = []

    async def take(request: web.Request) -> web.Response:
        lines = (await request.read()).decode().splitlines()
        if any("poison" in line for line in lines):
            return web.json_response({"message": "partial write: poison"}, status=400)
        taken.extend(lines)
        return web.Response(status=204)

    async with serving(take) as port, InfluxMetrics(settings(port), FakeClock()) as metrics:
        await metrics.write([point(1.0, 1), point(2.0, 2, note="poison"), point(3.0, 3)])
        counts = metrics.health().counts
    assert (counts["written"], counts["refused"]) == (2, 1)
    assert [line.split("=")[-1].split()[0] for line in taken] == ["1", "3"]


async def test_a_refused_token_is_told_without_naming_it() -> None:
    async def refuse(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Token {TOKEN}"
        return web.json_response({"message": "unauthorized access"}, status=401)

    async with serving(refuse) as port:
        options = settings(port)
        async with InfluxMetrics(options, FakeClock()) as metrics:
            with pytest.raises(StoreAway) as caught:
                await metrics.write([point()])
            assert metrics.health().state == "away"
    assert caught.value.message == 'the server answered 401: {"message": "unauthorized access"}'
    assert TOKEN not in repr(options)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, "<html>Please log in</html>", "answered 200, which no InfluxDB says"),
        (500, "<html>oops</html>", "answered 500"),
        (302, "", "302|cannot be reached"),
    ],
)
async def test_an_answer_that_is_nonsense_is_no_receipt(status: int, body: str, words: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body, content_type="text/html")

    async with serving(answer) as port, InfluxMetrics(settings(port), FakeClock()) as metrics:
        with pytest.raises(StoreAway, match=words):
            await metrics.write([point()])
        assert metrics.health().counts["written"] == 0


async def test_a_server_that_is_asked_too_much_says_when_to_come_again() -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "17"})

    async with serving(refuse) as port, InfluxMetrics(settings(port), FakeClock()) as metrics:
        with pytest.raises(StoreAway, match="answered 429") as caught:
            await metrics.write([point()])
    assert caught.value.retry_after == 17 * SECOND


async def test_a_server_that_hangs_is_given_up() -> None:
    hanging = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await hanging.wait()
        return web.Response(status=204)

    async with serving(hang) as port:
        impatient = replace(settings(port), timeout=0.1)
        async with InfluxMetrics(impatient, FakeClock()) as metrics:
            with pytest.raises(StoreAway, match="cannot be reached"):
                await metrics.write([point()])
        hanging.set()


def test_names_and_labels_cannot_break_out_of_their_line() -> None:
    line = line_of(point(1.0, **{"a b": "x,y=z\nw", "empty": "", "rule": "forged"}))
    assert line == (
        r"catcher.mount-jitter,a\ b=x\,y\=z\nw,key=301,rule=mount-jitter"
        f" image_impact_rms=1 {LATELY}"
    )


class serving:
    """A local server for `/api/v2/write`; gives its port."""

    def __init__(self, handler: Any) -> None:
        application = web.Application()
        application.router.add_post("/api/v2/write", handler)
        self._runner = web.AppRunner(application)

    async def __aenter__(self) -> int:
        await self._runner.setup()
        port = free_port()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        return port

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
