"""The Flux task that ships posts what its rule understands; with an InfluxDB 2 at hand, it runs.

`CATCHER_TEST_INFLUX2=url,org,bucket,token` names one that can reach this machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from influxdb_client import InfluxDBClient, Point
from influxdb_client.client.write_api import SYNCHRONOUS

from catcher.app import load_site, run_rule_tests
from catcher.model.time import SECOND, format_instant, wall_clock
from tests.sample_site import engine_in_thread, write_site
from tests.sinks.web_server import http_service

FLUX = Path(__file__).parents[2] / "deploy" / "flux"
TASK = (FLUX / "wind.flux").read_text()
RULE = (FLUX / "wind-flux.yaml").read_text()
TOKEN = "flux-0123456789abcd"
SETTINGS = f"site: small\napi: {{post_tokens: {{flux: {TOKEN}}}}}\n"
SAMPLES: dict[str, Any] = {
    "speed": 12.25, "peak": 14.5, "samples": 60, "until": "2025-04-24T00:05:00Z", "salIndex": 301,
    "limit": 8,
}  # fmt: skip
"""What Flux's `json.encode` makes of the record: floats that are whole lose their point."""


def search_task(pattern: str) -> str:
    matched = re.search(pattern, TASK, re.DOTALL)
    assert matched is not None, pattern
    return matched[1]


def build_headers() -> dict[str, str]:
    """The headers of the task's post, with a token in the place of the secret."""
    text = search_task(r"headers: \{(.*?)\},").replace('Bearer " + token', f'Bearer {TOKEN}"')
    headers: dict[str, str] = json.loads(f"{{{text}}}")
    return headers


async def test_shipped_rule_passes_its_tests(tmp_path: Path) -> None:
    site = load_site(write_site(tmp_path, RULE))
    assert not site.problems
    cases = await run_rule_tests(site, [])
    assert [case.differences for case in cases] == [(), ()]


def test_task_body_is_accepted_by_the_endpoint_and_the_rule(tmp_path: Path) -> None:
    assert set(re.findall(r"(\w\w+):", search_task(r"json\.encode\(v: \{(.*?)\}\)"))) == set(
        SAMPLES
    )
    path = search_task(r'url = "http://127\.0\.0\.1:8787(/[^"]*)"')
    with engine_in_thread(
        write_site(tmp_path / "site", RULE, settings=SETTINGS), tmp_path
    ) as engine:
        body = json.dumps(SAMPLES).encode()
        response = engine.request("POST", path, content=body, headers=build_headers())
        assert (response.status_code, response.json()) == (202, {"accepted": 1})
        (alert,) = engine.get("/alerts", rule="wind-flux")
    assert alert["message"] == "Mean wind 12.2 m/s (limit 8), peak 14.5"
    assert alert["severity"] == "WARNING"


async def test_task_runs_on_an_influxdb() -> None:
    influx_config = os.environ.get("CATCHER_TEST_INFLUX2", "")
    if not influx_config:
        pytest.skip("no InfluxDB 2 is given (CATCHER_TEST_INFLUX2=url,org,bucket,token)")
    url, org, bucket, token = influx_config.split(",")
    async with http_service() as receiver:
        with InfluxDBClient(url, token=token, org=org) as client:
            now = wall_clock()
            points = [
                Point("lsst.sal.ESS.airFlow").field("speed", speed).field("salIndex", 301)
                .time(now - age * SECOND)
                for speed, age in ((9.5, 30), (10.5, 20), (12.0, 10))
            ]  # fmt: skip
            client.write_api(write_options=SYNCHRONOUS).write(bucket, record=points)
            script = re.sub(r"option task = .*\n", "", TASK)
            for name, value in (
                ("bucket", bucket), ("url", f"{receiver.url}/http/flux-wind"), ("token", TOKEN),
            ):  # fmt: skip
                script = re.sub(rf"\n{name} = .*", f'\n{name} = "{value}"', script)
            await _run_until_posted(client, script, receiver)
    request = receiver.requests[0]
    assert (request.method, request.path) == ("POST", "/http/flux-wind")
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    body = json.loads(request.body)
    assert set(body) == set(SAMPLES)
    assert (body["samples"], body["peak"], round(body["speed"], 3)) == (3, 12, 10.667)
    assert body["until"][:19] == format_instant(now - 10 * SECOND)[:19]


async def _run_until_posted(client: InfluxDBClient, script: str, receiver: Any) -> None:
    """Runs the script until what was just written can be queried."""
    deadline = time.monotonic() + 30
    while not receiver.requests:
        assert time.monotonic() < deadline, "the task posts nothing"
        await asyncio.to_thread(client.query_api().query, script)
