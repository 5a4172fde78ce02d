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

from catcher.model.errors import CatcherError, NotFound
from catcher.model.telemetry import build_index_predicate
from catcher.model.time import HOUR, SECOND, wall_clock
from catcher.ports import MetricPoint, StoreUnavailable
from catcher.stores.history.influxdb import InfluxHistory, InfluxSettings
from catcher.stores.metrics.influxdb import InfluxMetrics, InfluxMetricSettings

CONNECTION = os.environ.get("CATCHER_TEST_INFLUX2", "")
ONE_HOUR_AGO = wall_clock() // SECOND * SECOND - HOUR
pytestmark = pytest.mark.skipif(
    not CONNECTION, reason="no InfluxDB 2 is given (CATCHER_TEST_INFLUX2=url,org,bucket,token)"
)


def parse_connection() -> tuple[str, str, str, str]:
    url, org, bucket, token = CONNECTION.split(",")
    return url, org, bucket, token


def create_client() -> InfluxDBClient:
    url, org, _, token = parse_connection()
    return InfluxDBClient(url, token=token, org=org)


async def test_metrics_are_found_by_a_flux_query() -> None:
    url, org, bucket, token = parse_connection()
    rule = f"rule-{uuid.uuid4().hex[:8]}"
    points = [
        MetricPoint(
            "rms", n / 10, "arcsec", rule, "301", "run", ONE_HOUR_AGO + n * SECOND, {"band": "r"}
        )
        for n in range(5)
    ]
    async with InfluxMetrics(InfluxMetricSettings(url, bucket, org, token)) as metrics:
        await metrics.write(points)
        assert metrics.health().counts["written"] == 5
    flux = f'''from(bucket: "{bucket}") |> range(start: -2h)
      |> filter(fn: (r) => r._measurement == "catcher.{rule}" and r._field == "rms")'''
    with create_client() as client:
        records = [record for table in client.query_api().query(flux) for record in table.records]
    assert [record.get_value() for record in records] == [n / 10 for n in range(5)]
    assert {(record["rule"], record["key"], record["band"]) for record in records} == {
        (rule, "301", "r")
    }


async def test_telemetry_is_read_with_influxql() -> None:
    url, _, bucket, token = parse_connection()
    topic = f"lsst.sal.Test.t{uuid.uuid4().hex[:8]}"
    lines = [
        f"{topic} salIndex={index}i,speed={n + index}"
        f',note="n{n}" {ONE_HOUR_AGO + n * SECOND + index}'
        for n in range(10)
        for index in (1, 2)
    ]
    with create_client() as client:
        client.write_api(write_options=SYNCHRONOUS).write(bucket=bucket, record=lines)
    async with InfluxHistory(InfluxSettings(url, bucket, token=token)) as history:
        assert topic in await history.list_topics()
        types = {field.name: field.type for field in await history.list_fields(topic)}
        assert types == {"note": "string", "salIndex": "integer", "speed": "float"}
        series = await history.read(
            topic, ["speed"], ONE_HOUR_AGO, ONE_HOUR_AGO + HOUR, build_index_predicate(2)
        )
        np.testing.assert_array_equal(series["speed"], np.arange(10.0) + 2)
        newest = await history.read_latest(topic, ["speed"], 2, where=build_index_predicate(1))
        assert newest["speed"].tolist() == [9.0, 10.0]
        assert await history.find_latest_time(topic) == ONE_HOUR_AGO + 9 * SECOND + 2
        with pytest.raises(NotFound, match="did you mean"):
            await history.read(topic.upper(), [], ONE_HOUR_AGO, ONE_HOUR_AGO + HOUR)
    async with InfluxHistory(InfluxSettings(url, bucket, token="wrong")) as history:
        with pytest.raises(StoreUnavailable, match="refused the credentials"):
            await history.list_topics()
    async with InfluxHistory(InfluxSettings(url, f"{bucket}-none", token=token)) as history:
        with pytest.raises(CatcherError):
            await history.read(topic, [], ONE_HOUR_AGO, ONE_HOUR_AGO + HOUR)
