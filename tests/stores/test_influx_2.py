"""The same on an InfluxDB 2 or 3, where one is given: `CATCHER_TEST_INFLUX2=url,org,bucket,token`.

The bucket needs a database mapping of its own name, which InfluxDB 2 makes by itself.
"""

from __future__ import annotations

import os
import uuid

import numpy as np
import pytest
from influxdb_client import InfluxDBClient  # type: ignore[attr-defined]
from influxdb_client.client.write_api import SYNCHRONOUS

from catcher.model.problem import CatcherError, Unknown
from catcher.model.telemetry import indexed
from catcher.model.time import HOUR, SECOND, wall_clock
from catcher.ports import MetricPoint, StoreAway
from catcher.stores.history_influx import InfluxHistory, InfluxSettings
from catcher.stores.metrics_influx import InfluxMetrics, InfluxMetricSettings

GIVEN = os.environ.get("CATCHER_TEST_INFLUX2", "")
LATELY = wall_clock() // SECOND * SECOND - HOUR
pytestmark = pytest.mark.skipif(
    not GIVEN, reason="no InfluxDB 2 is given (CATCHER_TEST_INFLUX2=url,org,bucket,token)"
)


def given() -> tuple[str, str, str, str]:
    url, org, bucket, token = GIVEN.split(",")
    return url, org, bucket, token


def client() -> InfluxDBClient:
    url, org, _, token = given()
    return InfluxDBClient(url, token=token, org=org)


async def test_metrics_are_found_by_a_flux_query() -> None:
    url, org, bucket, token = given()
    rule = f"rule-{uuid.uuid4().hex[:8]}"
    points = [
        MetricPoint("rms", n / 10, "arcsec", rule, "301", "run", LATELY + n * SECOND, {"band": "r"})
        for n in range(5)
    ]
    async with InfluxMetrics(InfluxMetricSettings(url, bucket, org, token)) as metrics:
        await metrics.write(points)
        assert metrics.health().counts["written"] == 5
    flux = f'''from(bucket: "{bucket}") |> range(start: -2h)
      |> filter(fn: (r) => r._measurement == "catcher.{rule}" and r._field == "rms")'''
    with client() as asked:
        records = [one for table in asked.query_api().query(flux) for one in table.records]
    assert [one.get_value() for one in records] == [n / 10 for n in range(5)]
    assert {(one["rule"], one["key"], one["band"]) for one in records} == {(rule, "301", "r")}


async def test_telemetry_is_read_with_influxql() -> None:
    url, _, bucket, token = given()
    topic = f"lsst.sal.Test.t{uuid.uuid4().hex[:8]}"
    lines = [
        f'{topic} salIndex={index}i,speed={n + index},note="n{n}" {LATELY + n * SECOND + index}'
        for n in range(10)
        for index in (1, 2)
    ]
    with client() as writing:
        writing.write_api(write_options=SYNCHRONOUS).write(bucket=bucket, record=lines)
    async with InfluxHistory(InfluxSettings(url, bucket, token=token)) as history:
        assert topic in await history.topics()
        types = {one.name: one.type for one in await history.fields(topic)}
        assert types == {"note": "string", "salIndex": "integer", "speed": "float"}
        series = await history.read(topic, ["speed"], LATELY, LATELY + HOUR, indexed(2))
        np.testing.assert_array_equal(series["speed"], np.arange(10.0) + 2)
        newest = await history.newest(topic, ["speed"], 2, where=indexed(1))
        assert newest["speed"].tolist() == [9.0, 10.0]
        assert await history.latest(topic) == LATELY + 9 * SECOND + 2
        with pytest.raises(Unknown, match="did you mean"):
            await history.read(topic.upper(), [], LATELY, LATELY + HOUR)
    async with InfluxHistory(InfluxSettings(url, bucket, token="wrong")) as history:
        with pytest.raises(StoreAway, match="refused the credentials"):
            await history.topics()
    async with InfluxHistory(InfluxSettings(url, f"{bucket}-none", token=token)) as history:
        with pytest.raises(CatcherError):
            await history.read(topic, [], LATELY, LATELY + HOUR)
