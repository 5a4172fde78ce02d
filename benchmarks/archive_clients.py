"""The clients of `archive`: each does the same as Catcher does, as its own manual shows it."""

from __future__ import annotations

import resource
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from catcher.model.result import Encoded
from catcher.model.time import SECOND, wall_clock
from catcher.ports import MetricPoint

Given = dict[str, Any]
Work = Callable[[Given], Awaitable[float]]
FIELDS = ("actualPosition", "demandPosition", "actualTorque", "actualVelocity")
LATELY = wall_clock() // SECOND * SECOND - 86_400 * SECOND

IMPORTED = {
    "Catcher": ("pandas", "catcher.stores.history_influx", "catcher.stores.metrics_influx",
                "catcher.stores.objects"),
    "aioinflux": ("pandas", "aioinflux"),
    "influxdb": ("pandas", "influxdb"),
    "influxdb-client": ("influxdb_client.client.influxdb_client",),
    "boto3": ("boto3",),
}  # fmt: skip


def resident() -> float:
    """The largest this process has been, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def find(task: str, client: str) -> Work:
    """Who does it; what is imported for it, is imported before the time counts."""
    for module in IMPORTED.get(client.split(" ")[0], ()):
        import_module(module)
    if task == "read":
        return {"Catcher": _read, "aioinflux": _read_aioinflux, "influxdb (1.x)": _read_old}[client]
    if task.startswith("write"):
        old = task.endswith("1.x")
        peer = _write_old if old else _write_client
        return _write if client == "Catcher" else peer
    return _objects if client == "Catcher" else _objects_boto3


async def _read(given: Given) -> float:
    import pandas as pd

    from catcher.stores.history_influx import InfluxHistory, InfluxSettings

    async with InfluxHistory(InfluxSettings(given["url"], "efd")) as history:
        series = await history.read(given["topic"], FIELDS, 0, 2**62)
    frame = pd.DataFrame(
        dict(series.columns), index=pd.to_datetime(series.time, unit="s", utc=True)
    )
    return _checked(frame, given)


async def _read_aioinflux(given: Given) -> float:
    """As efd-client asks: chunks are not asked for, the answer becomes a DataFrame."""
    host, port = given["url"].removeprefix("http://").split(":")
    client = import_module("aioinflux").InfluxDBClient(
        host=host, port=int(port), db="efd", output="dataframe"
    )
    names = ", ".join(f'"{name}"' for name in FIELDS)
    frame = await client.query(f'SELECT {names} FROM "{given["topic"]}" WHERE time >= 0')
    await client.close()
    return _checked(frame, given)


async def _read_old(given: Given) -> float:
    host, port = given["url"].removeprefix("http://").split(":")
    client = import_module("influxdb").DataFrameClient(host, int(port), database="efd")
    names = ", ".join(f'"{name}"' for name in FIELDS)
    found = client.query(f'SELECT {names} FROM "{given["topic"]}" WHERE time >= 0', epoch="ns")
    return _checked(found[given["topic"]], given)


def _checked(frame: Any, given: Given) -> float:
    assert len(frame) == given["rows"], len(frame)
    assert set(FIELDS) <= set(frame.columns)
    return float(len(frame))


def _points(given: Given) -> list[MetricPoint]:
    return [
        MetricPoint("rms", n / 7, "arcsec", "bench", str(n % 10), "run", LATELY + n * 1_000_000,
                    {"band": "r", "detector": f"R22_S{n % 9}"})
        for n in range(given["points"])
    ]  # fmt: skip


async def _write(given: Given) -> float:
    from catcher.stores.metrics_influx import InfluxMetrics, InfluxMetricSettings

    points = _points(given)
    async with InfluxMetrics(InfluxMetricSettings(given["url"], "metrics", "org")) as metrics:
        await metrics.write(points)
        assert metrics.health().counts["written"] == len(points)
    return float(len(points))


def _rows(given: Given) -> list[dict[str, Any]]:
    return [
        {"measurement": f"catcher.{one.rule}", "time": one.time, "fields": {one.name: one.value},
         "tags": {"rule": one.rule, "key": one.key, **one.labels}}
        for one in _points(given)
    ]  # fmt: skip


async def _write_old(given: Given) -> float:
    host, port = given["url"].removeprefix("http://").split(":")
    client = import_module("influxdb").InfluxDBClient(
        host, int(port), database="metrics", gzip=True
    )
    rows = _rows(given)
    client.write_points(rows, time_precision="n", batch_size=5000)
    return float(len(rows))


async def _write_client(given: Given) -> float:
    from influxdb_client.client.influxdb_client import InfluxDBClient
    from influxdb_client.client.write_api import SYNCHRONOUS

    rows = _rows(given)
    with InfluxDBClient(given["url"], token="-", org="org", enable_gzip=True) as client:
        writing = client.write_api(write_options=SYNCHRONOUS)
        for start in range(0, len(rows), 5000):
            writing.write("metrics", record=rows[start : start + 5000])
    return float(len(rows))


async def _objects(given: Given) -> float:
    from catcher.stores.objects import Objects, ObjectSettings

    key, secret = given["keys"]
    store = Objects(ObjectSettings(
        "s3://catcher/bench", endpoint=given["url"], region="us-east-1", access_key=key,
        secret_key=secret,
    ))  # fmt: skip
    data = bytes(range(256)) * (given["size"] // 256)
    for n in range(given["count"]):
        await store.put(f"ours/{n}.bin", Encoded(f"{n}.bin", data, "application/octet-stream"))
    for n in range(given["count"]):
        assert len(await store.get(f"ours/{n}.bin")) == len(data)
    return float(2 * given["count"])


async def _objects_boto3(given: Given) -> float:
    key, secret = given["keys"]
    store = import_module("boto3").client(
        "s3", endpoint_url=given["url"], region_name="us-east-1", aws_access_key_id=key,
        aws_secret_access_key=secret,
    )  # fmt: skip
    data = bytes(range(256)) * (given["size"] // 256)
    for n in range(given["count"]):
        store.put_object(Bucket="catcher", Key=f"bench/boto/{n}.bin", Body=data)
    for n in range(given["count"]):
        found = store.get_object(Bucket="catcher", Key=f"bench/boto/{n}.bin")
        assert len(found["Body"].read()) == len(data)
    return float(2 * given["count"])
