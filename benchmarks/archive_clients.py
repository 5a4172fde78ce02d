"""The clients of `archive`: each does the same as Catcher does, as its own manual shows it."""

from __future__ import annotations

import resource
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from catcher.model.result import EncodedArtifact
from catcher.model.time import SECOND, wall_clock
from catcher.ports import MetricPoint

Parameters = dict[str, Any]
TaskFunction = Callable[[Parameters], Awaitable[float]]
FIELDS = ("actualPosition", "demandPosition", "actualTorque", "actualVelocity")
METRIC_START = wall_clock() // SECOND * SECOND - 86_400 * SECOND

CLIENT_MODULES = {
    "Catcher": ("pandas", "catcher.stores.history.influxdb", "catcher.stores.metrics.influxdb",
                "catcher.stores.artifacts.object_store"),
    "aioinflux": ("pandas", "aioinflux"),
    "influxdb": ("pandas", "influxdb"),
    "influxdb-client": ("influxdb_client.client.influxdb_client",),
    "boto3": ("boto3",),
}  # fmt: skip


def peak_memory() -> float:
    """The largest this process has been, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def find_task(task: str, client: str) -> TaskFunction:
    """Who does it; what is imported for it, is imported before the time counts."""
    for module in CLIENT_MODULES.get(client.split(" ")[0], ()):
        import_module(module)
    if task == "read":
        return {
            "Catcher": _read_catcher,
            "aioinflux": _read_aioinflux,
            "influxdb (1.x)": _read_influxdb,
        }[client]
    if task.startswith("write"):
        is_influx_1 = task.endswith("1.x")
        client_writer = _write_influxdb if is_influx_1 else _write_influxdb_client
        return _write_catcher if client == "Catcher" else client_writer
    return _transfer_catcher if client == "Catcher" else _transfer_boto3


async def _read_catcher(parameters: Parameters) -> float:
    import pandas as pd

    from catcher.stores.history.influxdb import InfluxHistory, InfluxSettings

    async with InfluxHistory(InfluxSettings(parameters["url"], "efd")) as history:
        series = await history.read(parameters["topic"], FIELDS, 0, 2**62)
    frame = pd.DataFrame(
        dict(series.columns), index=pd.to_datetime(series.time, unit="s", utc=True)
    )
    return _check_frame(frame, parameters)


async def _read_aioinflux(parameters: Parameters) -> float:
    """As efd-client asks: chunks are not asked for, the answer becomes a DataFrame."""
    host, port = parameters["url"].removeprefix("http://").split(":")
    client = import_module("aioinflux").InfluxDBClient(
        host=host, port=int(port), db="efd", output="dataframe"
    )
    names = ", ".join(f'"{name}"' for name in FIELDS)
    frame = await client.query(f'SELECT {names} FROM "{parameters["topic"]}" WHERE time >= 0')
    await client.close()
    return _check_frame(frame, parameters)


async def _read_influxdb(parameters: Parameters) -> float:
    host, port = parameters["url"].removeprefix("http://").split(":")
    client = import_module("influxdb").DataFrameClient(host, int(port), database="efd")
    names = ", ".join(f'"{name}"' for name in FIELDS)
    result = client.query(
        f'SELECT {names} FROM "{parameters["topic"]}" WHERE time >= 0', epoch="ns"
    )
    return _check_frame(result[parameters["topic"]], parameters)


def _check_frame(frame: Any, parameters: Parameters) -> float:
    assert len(frame) == parameters["rows"], len(frame)
    assert set(FIELDS) <= set(frame.columns)
    return float(len(frame))


def _create_points(parameters: Parameters) -> list[MetricPoint]:
    return [
        MetricPoint(
            "rms",
            n / 7,
            "arcsec",
            "bench",
            str(n % 10),
            "run",
            METRIC_START + n * 1_000_000,
            {"band": "r", "detector": f"R22_S{n % 9}"},
        )
        for n in range(parameters["points"])
    ]


async def _write_catcher(parameters: Parameters) -> float:
    from catcher.stores.metrics.influxdb import InfluxMetrics, InfluxMetricSettings

    points = _create_points(parameters)
    async with InfluxMetrics(InfluxMetricSettings(parameters["url"], "metrics", "org")) as metrics:
        await metrics.write(points)
        assert metrics.health().counts["written"] == len(points)
    return float(len(points))


def _create_rows(parameters: Parameters) -> list[dict[str, Any]]:
    return [
        {
            "measurement": f"catcher.{point.rule}",
            "time": point.time,
            "fields": {point.name: point.value},
            "tags": {"rule": point.rule, "key": point.key, **point.labels},
        }
        for point in _create_points(parameters)
    ]


async def _write_influxdb(parameters: Parameters) -> float:
    host, port = parameters["url"].removeprefix("http://").split(":")
    client = import_module("influxdb").InfluxDBClient(
        host, int(port), database="metrics", gzip=True
    )
    rows = _create_rows(parameters)
    client.write_points(rows, time_precision="n", batch_size=5000)
    return float(len(rows))


async def _write_influxdb_client(parameters: Parameters) -> float:
    from influxdb_client.client.influxdb_client import InfluxDBClient
    from influxdb_client.client.write_api import SYNCHRONOUS

    rows = _create_rows(parameters)
    with InfluxDBClient(parameters["url"], token="-", org="org", enable_gzip=True) as client:
        write_api = client.write_api(write_options=SYNCHRONOUS)
        for start in range(0, len(rows), 5000):
            write_api.write("metrics", record=rows[start : start + 5000])
    return float(len(rows))


async def _transfer_catcher(parameters: Parameters) -> float:
    from catcher.stores.artifacts.object_store import ObjectSettings, ObstoreStore

    key, secret = parameters["keys"]
    store = ObstoreStore(ObjectSettings(
        "s3://catcher/bench", endpoint=parameters["url"], region="us-east-1", access_key=key,
        secret_key=secret,
    ))  # fmt: skip
    data = bytes(range(256)) * (parameters["size"] // 256)
    for n in range(parameters["count"]):
        await store.put(
            f"ours/{n}.bin", EncodedArtifact(f"{n}.bin", data, "application/octet-stream")
        )
    for n in range(parameters["count"]):
        assert len(await store.get(f"ours/{n}.bin")) == len(data)
    return float(2 * parameters["count"])


async def _transfer_boto3(parameters: Parameters) -> float:
    key, secret = parameters["keys"]
    store = import_module("boto3").client(
        "s3", endpoint_url=parameters["url"], region_name="us-east-1", aws_access_key_id=key,
        aws_secret_access_key=secret,
    )  # fmt: skip
    data = bytes(range(256)) * (parameters["size"] // 256)
    for n in range(parameters["count"]):
        store.put_object(Bucket="catcher", Key=f"bench/boto/{n}.bin", Body=data)
    for n in range(parameters["count"]):
        response = store.get_object(Bucket="catcher", Key=f"bench/boto/{n}.bin")
        assert len(response["Body"].read()) == len(data)
    return float(2 * parameters["count"])
