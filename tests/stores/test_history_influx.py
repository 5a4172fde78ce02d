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

from catcher.model.problem import CatcherError, Unknown
from catcher.model.telemetry import Where, indexed, unpacked
from catcher.model.time import SECOND, parse_instant, utc_to_tai
from catcher.ports import StoreAway
from catcher.stores.history_influx import InfluxHistory, InfluxSettings
from catcher.stores.influx_wire import MSGPACK
from tests.servers import INFLUX_USER, Server, free_port, influx_ask, influx_write, influxd
from tests.stores.making import FakeClock

WIND, FORCE, PACKED = "lsst.sal.ESS.airFlow", "lsst.sal.MTM1M3.force", "lsst.sal.MTMount.encoder"
NOON = parse_instant("2023-07-28T12:00:00Z")
ALWAYS = (0, 2**62)
NASTY = "we\"ird\\x measure'ment; DROP"
MANY = 25_000


def lines() -> Iterator[str]:
    for n in range(100):
        for index in (301, 302):
            time = NOON + n * SECOND + index
            gust = "" if n % 2 else f",gust={n}.5"
            ok = "t" if n % 2 else "f"
            fields = f'salIndex={index}i,speed={n + index},ok={ok},note="n{n}"{gust}'
            yield f"{WIND} {fields} {time}"
    for n in range(3):
        values = ",".join(f"force{place}={100 * n + place}" for place in range(12))
        yield f"{FORCE} {values},forceSum=1 {NOON + n * SECOND}"
    for n in range(3):
        clock = utc_to_tai(NOON) / SECOND + n
        values = ",".join(f"angle{place}={50 * n + place}" for place in range(50))
        yield f"{PACKED} {values},cRIO_timestamp={clock!r} {NOON + (n + 2) * SECOND}"
    name = NASTY.replace(" ", "\\ ")
    yield f"{name} val'ue\"=7,salIndex=1i {NOON}"
    for n in range(MANY):
        yield f"many a={n},b={math.sin(n)},c={n}i {NOON + n * 10_000_000}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with influxd(tmp_path_factory.mktemp("influx"), auth=True) as running:
        influx_write(running.port, "efd", lines())
        yield running


def settings(port: int, **more: Any) -> InfluxSettings:
    name, password = INFLUX_USER
    url = f"http://127.0.0.1:{port}"
    return replace(InfluxSettings(url, "efd", name, password, timeout=20 * SECOND), **more)


@pytest.fixture
async def history(server: Server) -> AsyncIterator[InfluxHistory]:
    async with InfluxHistory(settings(server.port), FakeClock()) as opened:
        yield opened


@pytest.mark.server
async def test_a_span_is_read_with_both_its_ends(history: InfluxHistory) -> None:
    start, end = NOON + 2 * SECOND + 301, NOON + 4 * SECOND + 301
    series = await history.read(WIND, ["speed", "gust"], start, end, indexed(301))
    assert series["speed"].tolist() == [303.0, 304.0, 305.0]
    np.testing.assert_array_equal(series["gust"], [2.5, np.nan, 4.5])
    np.testing.assert_allclose(series.time, [NOON / SECOND + n for n in (2, 3, 4)], atol=1e-6)
    assert series.topic == WIND


@pytest.mark.server
async def test_all_numeric_fields_come_when_none_is_named(history: InfluxHistory) -> None:
    series = await history.read(WIND, [], *ALWAYS)
    assert list(series.columns) == ["gust", "ok", "salIndex", "speed"]
    assert len(series) == 200
    assert series["ok"][:4].tolist() == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.server
async def test_a_named_array_is_all_its_places_in_their_order(history: InfluxHistory) -> None:
    series = await history.read(FORCE, ["force"], *ALWAYS)
    assert list(series.columns) == [f"force{n}" for n in range(12)]
    assert series["force11"].tolist() == [11.0, 111.0, 211.0]


@pytest.mark.server
async def test_a_packed_series_is_unpacked_by_its_own_clock(history: InfluxHistory) -> None:
    rows = await history.read(PACKED, ["angle", "cRIO_timestamp"], *ALWAYS)
    series = unpacked(rows, ["angle"])
    assert series["angle"].tolist() == list(range(150))
    np.testing.assert_allclose(series.time, NOON / SECOND + np.arange(150) / 50, atol=1e-6)


@pytest.mark.server
async def test_a_where_sees_texts_arrays_and_other_fields(history: InfluxHistory) -> None:
    odd = await history.read(WIND, ["speed"], *ALWAYS, lambda row: row["note"] in ("n7", "n8"))
    assert odd["speed"].tolist() == [308.0, 309.0, 309.0, 310.0]
    narrowed = Where(
        lambda row: row["salIndex"] == 301 and row["note"] == "n7",
        {"salIndex": 301, "note": "n7"}, frozenset({"salIndex", "note"}),
    )  # fmt: skip
    assert (await history.read(WIND, ["speed"], *ALWAYS, narrowed))["speed"].tolist() == [308.0]
    places = Where(lambda row: row["force"][11] > 100, {}, frozenset({"force"}))
    assert len(await history.read(FORCE, ["forceSum"], *ALWAYS, places)) == 2


@pytest.mark.server
async def test_the_newest_samples_come_in_time_order(history: InfluxHistory) -> None:
    newest = await history.newest(WIND, ["speed"], 2, where=indexed(302))
    assert newest["speed"].tolist() == [400.0, 401.0]
    before = await history.newest(WIND, ["speed"], 1, end=NOON + 5 * SECOND, where=indexed(302))
    assert before["speed"].tolist() == [306.0]
    tested = await history.newest(WIND, ["speed"], 1, where=lambda row: row["note"] == "n3")
    assert tested["speed"].tolist() == [305.0]
    assert await history.latest(WIND) == NOON + 99 * SECOND + 302
    assert await history.latest("lsst.sal.no.topic") is None


@pytest.mark.server
async def test_topics_and_fields_are_told_with_their_types(history: InfluxHistory) -> None:
    assert await history.topics() == sorted([WIND, FORCE, PACKED, NASTY, "many"])
    known = [(one.name, one.type) for one in await history.fields(WIND)]
    assert known == [("gust", "float"), ("note", "string"), ("ok", "boolean"),
        ("salIndex", "integer"), ("speed", "float")]  # fmt: skip
    places = [one.name for one in await history.fields(FORCE)]
    assert places == [*(f"force{n}" for n in range(12)), "forceSum"]


@pytest.mark.server
async def test_rows_are_whole_once_they_are_there_or_their_lag_is_over(server: Server) -> None:
    clock = FakeClock(NOON)
    async with InfluxHistory(settings(server.port, lag=11 * SECOND), clock) as history:
        assert await history.watermark(WIND) == NOON + 99 * SECOND + 302
        clock.now = NOON + 1000 * SECOND
        assert await history.watermark(WIND) == NOON + 989 * SECOND


@pytest.mark.server
async def test_many_chunks_are_one_series_and_events_come_in_batches(
    history: InfluxHistory,
) -> None:
    series = await history.read("many", [], *ALWAYS)
    assert series["a"].tolist() == list(range(MANY)) == series["c"].tolist()
    np.testing.assert_array_equal(series["b"], [math.sin(n) for n in range(MANY)])
    batches = [batch async for batch in history.events("many", *ALWAYS)]
    assert sum(map(len, batches)) == MANY and len(batches) > 1
    assert batches[0][1].fields == {"a": 1, "b": math.sin(1), "c": 1}
    winds = [one async for batch in history.events(WIND, NOON, NOON + SECOND) for one in batch]
    assert winds[0].fields == {"gust": 0.5, "note": "n0", "ok": False, "salIndex": 301,
        "speed": 301}  # fmt: skip


@pytest.mark.server
async def test_too_many_rows_are_an_error_and_not_a_part_of_them(server: Server) -> None:
    async with InfluxHistory(settings(server.port, rows=MANY - 1), FakeClock()) as history:
        with pytest.raises(CatcherError, match=r"more than 24,999 samples.*shorter span"):
            await history.read("many", ["a"], *ALWAYS)
    async with InfluxHistory(settings(server.port, rows=MANY), FakeClock()) as history:
        assert len(await history.read("many", ["a"], *ALWAYS)) == MANY


@pytest.mark.server
async def test_what_is_not_there_is_told_with_what_was_meant(
    history: InfluxHistory, server: Server
) -> None:
    with pytest.raises(Unknown, match=r"'lsst.sal.ESS.airflow'; did you mean lsst.sal.ESS.airFlow"):
        await history.read("lsst.sal.ESS.airflow", [], *ALWAYS)
    with pytest.raises(Unknown, match=r"has no field 'sped'; did you mean speed"):
        await history.read(WIND, ["sped"], *ALWAYS)
    with pytest.raises(Unknown, match="has no field 'salindex'; did you mean salIndex"):
        await history.read(WIND, ["speed"], *ALWAYS, indexed(1, "salindex"))
    async with InfluxHistory(settings(server.port, database="edf"), FakeClock()) as other:
        with pytest.raises(CatcherError, match=r"no database 'edf'; did you mean efd"):
            await other.topics()
    async with InfluxHistory(settings(server.port, password="wrong"), FakeClock()) as other:
        with pytest.raises(StoreAway, match=r"refused the credentials.*see to the token"):
            await other.read(WIND, [], *ALWAYS)
        assert other.health().state == "away"
        assert "wrong" not in str(other.health())


@pytest.mark.server
async def test_names_and_values_cannot_break_out_of_their_quotes(
    history: InfluxHistory, server: Server
) -> None:
    series = await history.read(NASTY, ["val'ue\""], *ALWAYS)
    assert series["val'ue\""].tolist() == [7.0]
    for hostile in (
        'x"; DROP DATABASE efd; SELECT * FROM "many', "x'; DROP DATABASE efd--", "x\\", 'x\\"',
        "/.*/", "many\nx", "", "a" * 5000, "\0",
    ):  # fmt: skip
        with pytest.raises(CatcherError):
            await history.read(hostile, [], *ALWAYS)
        with pytest.raises(CatcherError):
            await history.read("many", [hostile], *ALWAYS)
        text = Where(lambda row: True, {"note": hostile}, frozenset(), True)
        try:
            assert len(await history.read(WIND, ["speed"], *ALWAYS, text)) == 0
        except CatcherError as error:
            assert "cannot be compared" in str(error)
    assert b'"efd"' in influx_ask(server.port, "SHOW DATABASES")
    assert len(await history.read("many", ["a"], *ALWAYS)) == MANY


@pytest.mark.server
@pytest.mark.parametrize("value", [1e-7, -2.5, 123456.789, 1e20, True, 3, -(2**63)])
async def test_any_value_can_be_compared_with(history: InfluxHistory, value: Any) -> None:
    field = "ok" if isinstance(value, bool) else "speed"
    where = Where(lambda row: True, {field: value}, frozenset(), True)
    assert len(await history.read(WIND, ["speed"], *ALWAYS, where)) in (0, 100)


@pytest.mark.server
async def test_a_server_that_dies_is_away_and_serves_again(tmp_path: Path) -> None:
    with influxd(tmp_path) as server:
        influx_write(server.port, "efd", [f"{WIND} speed=1 {NOON}"])
        async with InfluxHistory(settings(server.port), FakeClock()) as history:
            assert len(await history.read(WIND, ["speed"], *ALWAYS)) == 1
            server.stop()
            with pytest.raises(StoreAway, match=r"cannot be reached|broke"):
                await history.read(WIND, ["speed"], *ALWAYS)
            assert history.health().state == "away"
            server.start()
            assert len(await history.read(WIND, ["speed"], *ALWAYS)) == 1
            assert history.health().state == "ok"


# -- servers that lie ---------------------------------------------------------------------------

KEYS = {
    "results": [{"series": [{"columns": ["fieldKey", "fieldType"], "values": [["a", "float"]]}]}]
}


def chunk(*values: Any, partial: bool = False, after: int = 0) -> str:
    rows = [[NOON + after + n, value] for n, value in enumerate(values)]
    result: dict[str, Any] = {"series": [{"columns": ["time", "a"], "values": rows}]}
    return json.dumps({"results": [{**result, **({"partial": True} if partial else {})}]}) + "\n"


ILL_FITTING = '{"results": [{"series": [{"columns": ["time"], "values": [[1, 2]]}]}]}'
NAMELESS = '{"results": [{"series": [{"values": [[1, 2]]}]}]}'
KILLED = chunk(1.0, partial=True) + '{"results": [{"error": "query killed"}]}'
LIMIT = '{"error": "max-select-point limit exceeded"}'


@asynccontextmanager
async def liar(
    body: str,
    status: int = 200,
    kind: str = "application/json",
    cut: bool = False,
    gate: asyncio.Event | None = None,
    timeout: int = SECOND,
) -> AsyncIterator[InfluxHistory]:
    """A server that answers every SELECT with this body, and may end in the middle of it."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.query["q"].startswith("SHOW"):
            return web.json_response(KEYS)
        if gate is not None:
            await gate.wait()
        if not cut:
            return web.Response(text=body, status=status, content_type=kind)
        stream = web.StreamResponse(headers={"Content-Type": kind})
        stream.enable_chunked_encoding()
        await stream.prepare(request)
        await stream.write(body.encode())
        assert request.transport is not None
        request.transport.close()
        return stream

    application = web.Application()
    application.router.add_get("/query", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with InfluxHistory(settings(port, timeout=timeout), FakeClock()) as history:
            yield history
    finally:
        await runner.cleanup()


async def test_json_of_several_chunks_is_read_as_well() -> None:
    async with liar(chunk(1.0, None, partial=True) + chunk(3, after=2)) as history:
        series = await history.read("t", ["a"], *ALWAYS)
    np.testing.assert_array_equal(series["a"], [1.0, np.nan, 3.0])


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ({"body": chunk(1.0, partial=True), "cut": True}, StoreAway, "broke off in the middle"),
        ({"body": chunk(1.0, partial=True)}, StoreAway, "before it was whole"),
        ({"body": chunk(1.0, 2.0, partial=True)[:-20]}, StoreAway, "no whole answer"),
        ({"body": ""}, StoreAway, "before it was whole"),
        ({"body": "\x02\x02", "kind": MSGPACK}, StoreAway, "no answer to a query"),
        ({"body": "", "kind": MSGPACK}, StoreAway, "before it was whole"),
        ({"body": "<html>Log in</html>", "kind": "text/html"}, StoreAway, "no InfluxDB does"),
        ({"body": '{"error": "who?"}', "status": 401}, StoreAway, "credentials: who"),
        ({"body": '{"error": "boom"}', "status": 500}, StoreAway, "answered 500: boom"),
        ({"body": "", "status": 302}, StoreAway, "answered 302"),
        ({"body": KILLED}, CatcherError, "refused: query killed"),
        ({"body": LIMIT, "status": 400}, CatcherError, "max-select"),
        ({"body": "[1, 2]"}, StoreAway, "no answer to a query"),
        ({"body": ILL_FITTING}, StoreAway, "do not fit"),
        ({"body": NAMELESS}, StoreAway, "do not fit"),
        ({"body": "[" * 100_000}, StoreAway, "no whole answer"),
    ],
)  # fmt: skip
async def test_nothing_partial_is_taken_for_whole(
    answer: dict[str, Any], error: type[Exception], words: str
) -> None:
    async with liar(**answer) as history:
        with pytest.raises(error, match=words):
            await history.read("t", ["a"], *ALWAYS)


async def test_a_server_that_says_nothing_is_given_up() -> None:
    gate = asyncio.Event()
    async with liar(chunk(1.0), gate=gate, timeout=SECOND // 5) as history:
        with pytest.raises(StoreAway, match="did not answer in time"):
            await history.read("t", ["a"], *ALWAYS)
        gate.set()


@pytest.mark.server
async def test_an_hour_of_a_hundred_hertz_does_not_fill_memory(
    history: InfluxHistory, server: Server
) -> None:
    wide = ",".join(f"v{n}={n}.25" for n in range(20))
    influx_write(server.port, "efd", (
        f"hour {wide} {NOON + n * 10_000_000}" for n in range(60_000)
    ))  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    series = await history.read("hour", [], *ALWAYS)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    arrays = 21 * 8 * len(series)
    assert len(series) == 60_000
    assert grown < 4 * arrays + 60_000_000, "as Python's numbers it would be ten times its arrays"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"url": "localhost:8086"}, "no address of a server"),
        ({"url": "ftp://x"}, "no address of a server"),
        ({"token": "t"}, "both a token and a username"),
        ({"rows": 0}, "less than one"),
    ],
)
def test_settings_that_cannot_work_are_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(CatcherError, match=words):
        InfluxHistory(settings(1, **more))


def test_secrets_are_not_shown() -> None:
    assert "s3cret" not in repr(InfluxSettings("http://x", "efd", "u", "s3cret"))
    assert "s3cret" not in repr(InfluxSettings("http://x", "efd", token="s3cret"))
