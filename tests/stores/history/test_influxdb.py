"""Telemetry is read from a real InfluxDB as it was written, or not at all."""

from __future__ import annotations

import asyncio
import json
import math
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from catcher.model.errors import CatcherError, NotFound
from catcher.model.telemetry import PushdownPredicate, build_index_predicate, unpack_series
from catcher.model.time import SECOND, parse_instant, utc_to_tai
from catcher.ports import StoreUnavailable
from catcher.stores.history.influx_response import MSGPACK
from catcher.stores.history.influxdb import InfluxHistory, InfluxSettings
from tests.servers import (
    INFLUX_USER,
    ServerProcess,
    find_free_port,
    query_influx,
    run_influxd,
    write_influx,
)
from tests.stores.factories import FakeClock

WIND, FORCE, PACKED = "lsst.sal.ESS.airFlow", "lsst.sal.MTM1M3.force", "lsst.sal.MTMount.encoder"
NOON = parse_instant("2023-07-28T12:00:00Z")
ALL_TIME = (0, 2**62)
HOSTILE_NAME = "we\"ird\\x measure'ment; DROP"
MANY_ROWS = 25_000


def generate_lines() -> Iterator[str]:
    for n in range(100):
        for index in (301, 302):
            time = NOON + n * SECOND + index
            gust = "" if n % 2 else f",gust={n}.5"
            ok = "t" if n % 2 else "f"
            fields = f'salIndex={index}i,speed={n + index},ok={ok},note="n{n}"{gust}'
            yield f"{WIND} {fields} {time}"
    for n in range(3):
        values = ",".join(f"force{index}={100 * n + index}" for index in range(12))
        yield f"{FORCE} {values},forceSum=1 {NOON + n * SECOND}"
    for n in range(3):
        clock = utc_to_tai(NOON) / SECOND + n
        values = ",".join(f"angle{index}={50 * n + index}" for index in range(50))
        yield f"{PACKED} {values},cRIO_timestamp={clock!r} {NOON + (n + 2) * SECOND}"
    name = HOSTILE_NAME.replace(" ", "\\ ")
    yield f"{name} val'ue\"=7,salIndex=1i {NOON}"
    for n in range(MANY_ROWS):
        yield f"many a={n},b={math.sin(n)},c={n}i {NOON + n * 10_000_000}"


@pytest.fixture(scope="module")
def influx_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with run_influxd(tmp_path_factory.mktemp("influx"), auth=True) as server:
        write_influx(server.port, "efd", generate_lines())
        yield server


def create_settings(port: int, **options: Any) -> InfluxSettings:
    name, password = INFLUX_USER
    url = f"http://127.0.0.1:{port}"
    return replace(InfluxSettings(url, "efd", name, password, timeout=20 * SECOND), **options)


@pytest.fixture
async def history(influx_server: ServerProcess) -> AsyncIterator[InfluxHistory]:
    async with InfluxHistory(create_settings(influx_server.port), FakeClock()) as store:
        yield store


@pytest.mark.server
async def test_a_span_is_read_with_both_its_ends(history: InfluxHistory) -> None:
    start, end = NOON + 2 * SECOND + 301, NOON + 4 * SECOND + 301
    series = await history.read(WIND, ["speed", "gust"], start, end, build_index_predicate(301))
    assert series["speed"].tolist() == [303.0, 304.0, 305.0]
    np.testing.assert_array_equal(series["gust"], [2.5, np.nan, 4.5])
    np.testing.assert_allclose(series.time, [NOON / SECOND + n for n in (2, 3, 4)], atol=1e-6)
    assert series.topic == WIND


@pytest.mark.server
async def test_all_numeric_fields_come_when_none_is_named(history: InfluxHistory) -> None:
    series = await history.read(WIND, [], *ALL_TIME)
    assert list(series.columns) == ["gust", "ok", "salIndex", "speed"]
    assert len(series) == 200
    assert series["ok"][:4].tolist() == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.server
async def test_a_named_array_is_all_its_elements_in_order(history: InfluxHistory) -> None:
    series = await history.read(FORCE, ["force"], *ALL_TIME)
    assert list(series.columns) == [f"force{n}" for n in range(12)]
    assert series["force11"].tolist() == [11.0, 111.0, 211.0]


@pytest.mark.server
async def test_a_packed_series_is_unpacked_by_its_own_clock(history: InfluxHistory) -> None:
    rows = await history.read(PACKED, ["angle", "cRIO_timestamp"], *ALL_TIME)
    series = unpack_series(rows, ["angle"])
    assert series["angle"].tolist() == list(range(150))
    np.testing.assert_allclose(series.time, NOON / SECOND + np.arange(150) / 50, atol=1e-6)


@pytest.mark.server
async def test_a_where_sees_texts_arrays_and_other_fields(history: InfluxHistory) -> None:
    odd = await history.read(WIND, ["speed"], *ALL_TIME, lambda row: row["note"] in ("n7", "n8"))
    assert odd["speed"].tolist() == [308.0, 309.0, 309.0, 310.0]
    pushed_down = PushdownPredicate(
        lambda row: row["salIndex"] == 301 and row["note"] == "n7",
        {"salIndex": 301, "note": "n7"}, frozenset({"salIndex", "note"}),
    )  # fmt: skip
    assert (await history.read(WIND, ["speed"], *ALL_TIME, pushed_down))["speed"].tolist() == [
        308.0
    ]
    array_predicate = PushdownPredicate(
        lambda row: row["force"][11] > 100, {}, frozenset({"force"})
    )
    assert len(await history.read(FORCE, ["forceSum"], *ALL_TIME, array_predicate)) == 2


@pytest.mark.server
async def test_the_newest_samples_come_in_time_order(history: InfluxHistory) -> None:
    newest = await history.read_latest(WIND, ["speed"], 2, where=build_index_predicate(302))
    assert newest["speed"].tolist() == [400.0, 401.0]
    before = await history.read_latest(
        WIND, ["speed"], 1, end=NOON + 5 * SECOND, where=build_index_predicate(302)
    )
    assert before["speed"].tolist() == [306.0]
    tested = await history.read_latest(WIND, ["speed"], 1, where=lambda row: row["note"] == "n3")
    assert tested["speed"].tolist() == [305.0]
    assert await history.find_latest_time(WIND) == NOON + 99 * SECOND + 302
    assert await history.find_latest_time("lsst.sal.no.topic") is None


@pytest.mark.server
async def test_topics_and_fields_are_listed_with_their_types(history: InfluxHistory) -> None:
    assert await history.list_topics() == sorted([WIND, FORCE, PACKED, HOSTILE_NAME, "many"])
    field_types = [(field.name, field.type) for field in await history.list_fields(WIND)]
    assert field_types == [("gust", "float"), ("note", "string"), ("ok", "boolean"),
        ("salIndex", "integer"), ("speed", "float")]  # fmt: skip
    array_fields = [field.name for field in await history.list_fields(FORCE)]
    assert array_fields == [*(f"force{n}" for n in range(12)), "forceSum"]


@pytest.mark.server
async def test_rows_are_complete_once_they_are_there_or_their_lag_has_passed(
    influx_server: ServerProcess,
) -> None:
    clock = FakeClock(NOON)
    async with InfluxHistory(
        create_settings(influx_server.port, lag=11 * SECOND), clock
    ) as history:
        assert await history.get_watermark(WIND) == NOON + 99 * SECOND + 302
        clock.now = NOON + 1000 * SECOND
        assert await history.get_watermark(WIND) == NOON + 989 * SECOND


@pytest.mark.server
async def test_many_chunks_are_one_series_and_events_come_in_batches(
    history: InfluxHistory,
) -> None:
    series = await history.read("many", [], *ALL_TIME)
    assert series["a"].tolist() == list(range(MANY_ROWS)) == series["c"].tolist()
    np.testing.assert_array_equal(series["b"], [math.sin(n) for n in range(MANY_ROWS)])
    batches = [batch async for batch in history.read_events("many", *ALL_TIME)]
    assert sum(map(len, batches)) == MANY_ROWS and len(batches) > 1
    assert batches[0][1].fields == {"a": 1, "b": math.sin(1), "c": 1}
    wind_events = [
        event async for batch in history.read_events(WIND, NOON, NOON + SECOND) for event in batch
    ]
    assert wind_events[0].fields == {"gust": 0.5, "note": "n0", "ok": False, "salIndex": 301,
        "speed": 301}  # fmt: skip


@pytest.mark.server
async def test_too_many_rows_are_an_error_and_not_a_part_of_them(
    influx_server: ServerProcess,
) -> None:
    async with InfluxHistory(
        create_settings(influx_server.port, rows=MANY_ROWS - 1), FakeClock()
    ) as history:
        with pytest.raises(CatcherError, match=r"more than 24,999 samples.*shorter span"):
            await history.read("many", ["a"], *ALL_TIME)
    async with InfluxHistory(
        create_settings(influx_server.port, rows=MANY_ROWS), FakeClock()
    ) as history:
        assert len(await history.read("many", ["a"], *ALL_TIME)) == MANY_ROWS


@pytest.mark.server
async def test_unknown_names_are_reported_with_the_nearest(
    history: InfluxHistory, influx_server: ServerProcess
) -> None:
    with pytest.raises(
        NotFound, match=r"'lsst.sal.ESS.airflow'; did you mean lsst.sal.ESS.airFlow"
    ):
        await history.read("lsst.sal.ESS.airflow", [], *ALL_TIME)
    with pytest.raises(NotFound, match=r"has no field 'sped'; did you mean speed"):
        await history.read(WIND, ["sped"], *ALL_TIME)
    with pytest.raises(NotFound, match="has no field 'salindex'; did you mean salIndex"):
        await history.read(WIND, ["speed"], *ALL_TIME, build_index_predicate(1, "salindex"))
    async with InfluxHistory(
        create_settings(influx_server.port, database="edf"), FakeClock()
    ) as wrong:
        with pytest.raises(CatcherError, match=r"no database 'edf'; did you mean efd"):
            await wrong.list_topics()
    async with InfluxHistory(
        create_settings(influx_server.port, password="wrong"), FakeClock()
    ) as wrong:
        with pytest.raises(StoreUnavailable, match=r"refused the credentials.*see to the token"):
            await wrong.read(WIND, [], *ALL_TIME)
        assert wrong.health().state == "away"
        assert "wrong" not in str(wrong.health())


@pytest.mark.server
async def test_names_and_values_cannot_break_out_of_their_quotes(
    history: InfluxHistory, influx_server: ServerProcess
) -> None:
    series = await history.read(HOSTILE_NAME, ["val'ue\""], *ALL_TIME)
    assert series["val'ue\""].tolist() == [7.0]
    for hostile in (
        'x"; DROP DATABASE efd; SELECT * FROM "many', "x'; DROP DATABASE efd--", "x\\", 'x\\"',
        "/.*/", "many\nx", "", "a" * 5000, "\0",
    ):  # fmt: skip
        with pytest.raises(CatcherError):
            await history.read(hostile, [], *ALL_TIME)
        with pytest.raises(CatcherError):
            await history.read("many", [hostile], *ALL_TIME)
        text = PushdownPredicate(lambda row: True, {"note": hostile}, frozenset(), True)
        try:
            assert len(await history.read(WIND, ["speed"], *ALL_TIME, text)) == 0
        except CatcherError as error:
            assert "cannot be compared" in str(error)
    assert b'"efd"' in query_influx(influx_server.port, "SHOW DATABASES")
    assert len(await history.read("many", ["a"], *ALL_TIME)) == MANY_ROWS


@pytest.mark.server
@pytest.mark.parametrize("value", [1e-7, -2.5, 123456.789, 1e20, True, 3, -(2**63)])
async def test_any_value_can_be_compared_with(history: InfluxHistory, value: Any) -> None:
    field = "ok" if isinstance(value, bool) else "speed"
    where = PushdownPredicate(lambda row: True, {field: value}, frozenset(), True)
    assert len(await history.read(WIND, ["speed"], *ALL_TIME, where)) in (0, 100)


@pytest.mark.server
async def test_a_server_that_dies_is_unavailable_and_serves_again(tmp_path: Path) -> None:
    with run_influxd(tmp_path) as server:
        write_influx(server.port, "efd", [f"{WIND} speed=1 {NOON}"])
        async with InfluxHistory(create_settings(server.port), FakeClock()) as history:
            assert len(await history.read(WIND, ["speed"], *ALL_TIME)) == 1
            server.stop()
            with pytest.raises(StoreUnavailable, match=r"cannot be reached|broke"):
                await history.read(WIND, ["speed"], *ALL_TIME)
            assert history.health().state == "away"
            server.start()
            assert len(await history.read(WIND, ["speed"], *ALL_TIME)) == 1
            assert history.health().state == "ok"


# -- servers that lie ---------------------------------------------------------------------------

KEYS = {
    "results": [{"series": [{"columns": ["fieldKey", "fieldType"], "values": [["a", "float"]]}]}]
}


def encode_chunk(*values: Any, partial: bool = False, after: int = 0) -> str:
    rows = [[NOON + after + n, value] for n, value in enumerate(values)]
    result: dict[str, Any] = {"series": [{"columns": ["time", "a"], "values": rows}]}
    return json.dumps({"results": [{**result, **({"partial": True} if partial else {})}]}) + "\n"


MISMATCHED_ROWS = '{"results": [{"series": [{"columns": ["time"], "values": [[1, 2]]}]}]}'
MISSING_COLUMNS = '{"results": [{"series": [{"values": [[1, 2]]}]}]}'
KILLED_QUERY = encode_chunk(1.0, partial=True) + '{"results": [{"error": "query killed"}]}'
LIMIT_ERROR = '{"error": "max-select-point limit exceeded"}'


@asynccontextmanager
async def serve_faulty_influx(
    body: str,
    status: int = 200,
    content_type: str = "application/json",
    cut_short: bool = False,
    gate: asyncio.Event | None = None,
    timeout: int = SECOND,
) -> AsyncIterator[InfluxHistory]:
    """A server that answers every SELECT with this body, and may end in the middle of it."""

    async def handle_query(request: web.Request) -> web.StreamResponse:
        if request.query["q"].startswith("SHOW"):
            return web.json_response(KEYS)
        if gate is not None:
            await gate.wait()
        if not cut_short:
            return web.Response(text=body, status=status, content_type=content_type)
        stream = web.StreamResponse(headers={"Content-Type": content_type})
        stream.enable_chunked_encoding()
        await stream.prepare(request)
        await stream.write(body.encode())
        assert request.transport is not None
        request.transport.close()
        return stream

    application = web.Application()
    application.router.add_get("/query", handle_query)
    runner = web.AppRunner(application)
    await runner.setup()
    port = find_free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with InfluxHistory(create_settings(port, timeout=timeout), FakeClock()) as history:
            yield history
    finally:
        await runner.cleanup()


async def test_json_of_several_chunks_is_read_as_well() -> None:
    async with serve_faulty_influx(
        encode_chunk(1.0, None, partial=True) + encode_chunk(3, after=2)
    ) as history:
        series = await history.read("t", ["a"], *ALL_TIME)
    np.testing.assert_array_equal(series["a"], [1.0, np.nan, 3.0])


@pytest.mark.parametrize(
    ("response", "error", "message"),
    [
        (
            {"body": encode_chunk(1.0, partial=True), "cut_short": True},
            StoreUnavailable,
            "broke off in the middle",
        ),
        ({"body": encode_chunk(1.0, partial=True)}, StoreUnavailable, "before it was whole"),
        ({"body": encode_chunk(1.0, 2.0, partial=True)[:-20]}, StoreUnavailable, "no whole answer"),
        ({"body": ""}, StoreUnavailable, "before it was whole"),
        ({"body": "\x02\x02", "content_type": MSGPACK}, StoreUnavailable, "no answer to a query"),
        ({"body": "", "content_type": MSGPACK}, StoreUnavailable, "before it was whole"),
        (
            {"body": "<html>Log in</html>", "content_type": "text/html"},
            StoreUnavailable,
            "no InfluxDB does",
        ),
        ({"body": '{"error": "who?"}', "status": 401}, StoreUnavailable, "credentials: who"),
        ({"body": '{"error": "boom"}', "status": 500}, StoreUnavailable, "answered 500: boom"),
        ({"body": "", "status": 302}, StoreUnavailable, "answered 302"),
        ({"body": KILLED_QUERY}, CatcherError, "refused: query killed"),
        ({"body": LIMIT_ERROR, "status": 400}, CatcherError, "max-select"),
        ({"body": "[1, 2]"}, StoreUnavailable, "no answer to a query"),
        ({"body": MISMATCHED_ROWS}, StoreUnavailable, "do not fit"),
        ({"body": MISSING_COLUMNS}, StoreUnavailable, "do not fit"),
        ({"body": "[" * 100_000}, StoreUnavailable, "no whole answer"),
    ],
)
async def test_nothing_partial_is_accepted_as_complete(
    response: dict[str, Any], error: type[Exception], message: str
) -> None:
    async with serve_faulty_influx(**response) as history:
        with pytest.raises(error, match=message):
            await history.read("t", ["a"], *ALL_TIME)


async def test_a_silent_server_times_out() -> None:
    gate = asyncio.Event()
    async with serve_faulty_influx(encode_chunk(1.0), gate=gate, timeout=SECOND // 5) as history:
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            await history.read("t", ["a"], *ALL_TIME)
        gate.set()


@pytest.mark.server
async def test_an_hour_of_a_hundred_hertz_does_not_fill_memory(
    history: InfluxHistory, influx_server: ServerProcess
) -> None:
    values = ",".join(f"v{n}={n}.25" for n in range(20))
    write_influx(influx_server.port, "efd", (
        f"hour {values} {NOON + n * 10_000_000}" for n in range(60_000)
    ))  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    series = await history.read("hour", [], *ALL_TIME)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    arrays = 21 * 8 * len(series)
    assert len(series) == 60_000
    assert growth < 4 * arrays + 60_000_000, "as Python's numbers it would be ten times its arrays"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "localhost:8086"}, "no address of a server"),
        ({"url": "ftp://x"}, "no address of a server"),
        ({"token": "t"}, "both a token and a username"),
        ({"rows": 0}, "less than one"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CatcherError, match=message):
        InfluxHistory(create_settings(1, **options))


def test_secrets_are_not_shown() -> None:
    assert "s3cret" not in repr(InfluxSettings("http://x", "efd", "u", "s3cret"))
    assert "s3cret" not in repr(InfluxSettings("http://x", "efd", token="s3cret"))
