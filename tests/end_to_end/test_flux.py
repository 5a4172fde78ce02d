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
from tests.sinks.web_server import service
from tests.small_site import engine_in_thread, write_site

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


def the(pattern: str) -> str:
    found = re.search(pattern, TASK, re.DOTALL)
    assert found is not None, pattern
    return found[1]


def the_headers() -> dict[str, str]:
    """The headers of the task's post, with a token in the place of the secret."""
    text = the(r"headers: \{(.*?)\},").replace('Bearer " + token', f'Bearer {TOKEN}"')
    headers: dict[str, str] = json.loads(f"{{{text}}}")
    return headers


async def test_the_rule_that_waits_for_it_does_what_its_tests_say(tmp_path: Path) -> None:
    site = load_site(write_site(tmp_path, RULE))
    assert not site.problems
    cases = await run_rule_tests(site, [])
    assert [case.differences for case in cases] == [(), ()]


def test_its_body_is_what_the_endpoint_and_the_rule_take(tmp_path: Path) -> None:
    assert set(re.findall(r"(\w\w+):", the(r"json\.encode\(v: \{(.*?)\}\)"))) == set(SAMPLES)
    path = the(r'url = "http://127\.0\.0\.1:8787(/[^"]*)"')
    with engine_in_thread(write_site(tmp_path / "site", RULE, settings=SETTINGS), tmp_path) as one:
        body = json.dumps(SAMPLES).encode()
        answer = one.ask("POST", path, content=body, headers=the_headers())
        assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
        (alert,) = one.get("/alerts", rule="wind-flux")
    assert alert["message"] == "Mean wind 12.2 m/s (limit 8), peak 14.5"
    assert alert["severity"] == "WARNING"


async def test_it_runs_on_an_influxdb() -> None:
    named = os.environ.get("CATCHER_TEST_INFLUX2", "")
    if not named:
        pytest.skip("no InfluxDB 2 is given (CATCHER_TEST_INFLUX2=url,org,bucket,token)")
    url, org, bucket, token = named.split(",")
    async with service() as receiver:
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
            await _until_posted(client, script, receiver)
    request = receiver.requests[0]
    assert (request.method, request.path) == ("POST", "/http/flux-wind")
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    body = json.loads(request.body)
    assert set(body) == set(SAMPLES)
    assert (body["samples"], body["peak"], round(body["speed"], 3)) == (3, 12, 10.667)
    assert body["until"][:19] == format_instant(now - 10 * SECOND)[:19]


async def _until_posted(client: InfluxDBClient, script: str, receiver: Any) -> None:
    """Runs the script until what was just written can be queried."""
    deadline = time.monotonic() + 30
    while not receiver.requests:
        assert time.monotonic() < deadline, "the task posts nothing"
        await asyncio.to_thread(client.query_api().query, script)
