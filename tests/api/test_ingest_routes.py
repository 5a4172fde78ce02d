"""Line protocol comes in as Telegraf and Flux send it; tokens for posts open nothing else."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from influxdb_client import InfluxDBClient, Point
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from catcher.app import load_site
from catcher.model.time import parse_instant
from tests.sample_site import WIND, ThreadedEngine, engine_in_thread, write_site

TELEGRAF_TOKEN, FLUX_TOKEN, FULL_TOKEN = (
    "telegraf-0123456789",
    "flux-0123456789abcd",
    "whole-0123456789",
)
TOKEN_SETTINGS = f"""
site: small
api:
  token: {FULL_TOKEN}
  post_tokens: {{telegraf: {TELEGRAF_TOKEN}, flux: {FLUX_TOKEN}}}
"""
POST_TOKEN_SETTINGS = f"site: small\napi: {{post_tokens: {{telegraf: {TELEGRAF_TOKEN}}}}}\n"
RULES = f"""{WIND}---
rule: posted
trigger: {{http: weather, where: rain > 0}}
---
rule: gust
trigger: {{telemetry: gust, by: mast}}
alert: {{warning: speed > 10}}
"""
TEXT_HEADERS = {"Content-Type": "text/plain; charset=utf-8"}
EVENT_TIME = parse_instant("2025-04-24T00:05:13.2Z")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    folder = tmp_path_factory.mktemp("lines")
    with engine_in_thread(write_site(folder / "site", RULES), folder / "data") as running:
        yield running


@pytest.fixture(scope="module")
def token_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    folder = tmp_path_factory.mktemp("tokens")
    site = write_site(folder / "site", RULES, settings=TOKEN_SETTINGS)
    with engine_in_thread(site, folder / "data") as running:
        yield running


def list_alerts(engine: ThreadedEngine, mast: str, rule: str = "wind") -> list[dict[str, Any]]:
    return [row for row in engine.get("/alerts", rule=rule) if row["key"] == mast]


def auth_headers(token: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {token}"}


# -- line protocol ------------------------------------------------------------------------------


def test_lines_become_events_that_rules_see(engine: ThreadedEngine) -> None:
    text = f"wind,mast=l1 speed=12.5 {EVENT_TIME}\n# a comment\n\nwind,mast=l2 speed=12i\n"
    response = engine.request("POST", "/events", content=text.encode(), headers=TEXT_HEADERS)
    assert (response.status_code, response.json()) == (202, {"accepted": 2})
    (first,), (second,) = list_alerts(engine, "l1"), list_alerts(engine, "l2")
    assert (first["opened"], first["message"]) == ("2025-04-24T00:05:13.2Z", "Wind 12.5 at l1")
    assert second["message"] == "Wind 12 at l2"


def test_precision_is_a_query_parameter(engine: ThreadedEngine) -> None:
    text = b"gust,mast=l3 speed=12 1745453174"
    response = engine.request("POST", "/events?precision=s", content=text, headers=TEXT_HEADERS)
    assert response.status_code == 202
    assert list_alerts(engine, "l3", "gust")[0]["opened"] == "2025-04-24T00:06:14Z"
    for precision, message in (("ns", "no time of 1971"), ("fortnights", "is no precision")):
        path = f"/events?precision={precision}"
        refused = engine.request("POST", path, content=text, headers=TEXT_HEADERS)
        assert refused.status_code == 422
        assert message in refused.json()["error"]


def test_each_invalid_line_is_reported_and_nothing_is_accepted(engine: ThreadedEngine) -> None:
    text = "wind,mast=l4 speed=12\nwind,mast=l4 speed=fast\nwind\nwind,mast=l4 speed=13\n"
    response = engine.request("POST", "/events", content=text.encode(), headers=TEXT_HEADERS)
    assert response.status_code == 422
    row = response.json()
    assert row["wrong"] == [
        "line 2: 'fast' of 'speed' is no number, truth value or text in double quotes",
        "line 3: it has no fields",
    ]
    assert row["error"] == f"{row['wrong'][0]} (and 1 more)"
    assert "nothing was taken" in row["hint"]
    assert not list_alerts(engine, "l4")


def test_json_sent_as_text_gets_a_hint(engine: ThreadedEngine) -> None:
    response = engine.request("POST", "/events", content=b'{"topic": "wind"}', headers=TEXT_HEADERS)
    assert "application/json" in response.json()["hint"]


def test_gzip_body_is_decompressed_up_to_the_limit(engine: ThreadedEngine) -> None:
    headers = {**TEXT_HEADERS, "Content-Encoding": "gzip"}
    text = b"wind,mast=l5 speed=12"
    compressed = gzip.compress(text)
    assert engine.request("POST", "/events", content=compressed, headers=headers).status_code == 202
    assert list_alerts(engine, "l5")
    bomb = gzip.compress(b" " * 50_000_000)
    for body, status, message in (
        (bomb, 413, "larger than"), (compressed[:-4], 400, "too early"), (text, 400, "is not"),
        (compressed + b"x", 400, "more stands behind"),
    ):  # fmt: skip
        response = engine.request("POST", "/events", content=body, headers=headers)
        assert (response.status_code, message in response.json()["error"]) == (status, True)
    unsupported = engine.request(
        "POST", "/events", content=text, headers={**TEXT_HEADERS, "Content-Encoding": "br"}
    )
    assert unsupported.status_code == 415


def test_too_large_post_is_rejected(engine: ThreadedEngine) -> None:
    many = b"wind,mast=l6 speed=12\n" * 10_001
    response = engine.request("POST", "/events", content=many, headers=TEXT_HEADERS)
    assert (
        response.json()["error"] == "line 10001: more than the 10000 lines that one post may hold"
    )
    large = b"wind,mast=l6 speed=12\n" * 50_000
    response = engine.request("POST", "/events", content=large, headers=TEXT_HEADERS)
    assert "1100000 bytes is larger than the 1000000" in response.json()["error"]
    assert not list_alerts(engine, "l6")


# -- at the address of InfluxDB -----------------------------------------------------------------


def test_influxdb_client_writes_to_it(token_engine: ThreadedEngine) -> None:
    url = token_engine.handle.url
    with InfluxDBClient(url, token=TELEGRAF_TOKEN, org="any", enable_gzip=True) as client:
        write = client.write_api(write_options=SYNCHRONOUS)
        point = Point("wind").tag("mast", "i 1").field("speed", 12.5).time(EVENT_TIME)
        write.write("any", record=[point])
        with pytest.raises(ApiException) as error:
            write.write("any", record="wind,mast=i2 speed=12\nwind,mast=i2 speed=\nwind")
    assert error.value.status == 422
    assert (
        "line 2: the field 'speed' has no value; line 3: it has no fields; nothing was taken"
        in str(error.value.body)
    )
    headers = auth_headers(FULL_TOKEN)
    alerts = token_engine.request("GET", "/alerts", params={"rule": "wind"}, headers=headers).json()
    assert [(row["key"], row["opened"]) for row in alerts] == [("i 1", "2025-04-24T00:05:13.2Z")]


# -- tokens -------------------------------------------------------------------------------------


def post_sample(engine: ThreadedEngine, path: str, headers: dict[str, str]) -> httpx.Response:
    return engine.request("POST", path, json={"rain": 0, "topic": "t"}, headers=headers)


@pytest.mark.parametrize("path", ["/events", "/http/weather"])
def test_post_token_allows_posting_from_anywhere(token_engine: ThreadedEngine, path: str) -> None:
    for token in (TELEGRAF_TOKEN, FLUX_TOKEN, FULL_TOKEN):
        for scheme in ("Bearer", "Token"):
            headers = {**auth_headers(token, scheme), "Host": "summit.example"}
            assert post_sample(token_engine, path, headers).status_code == 202
    for headers in ({}, auth_headers("telegraf-012345678"), auth_headers(TELEGRAF_TOKEN, "Basic")):
        refused = post_sample(token_engine, path, headers)
        assert refused.status_code == 401
        assert TELEGRAF_TOKEN not in refused.text


def test_post_token_allows_nothing_else(token_engine: ThreadedEngine) -> None:
    for method, path in (
        ("GET", "/alerts"), ("GET", "/events"), ("POST", "/rules/wind/fire"), ("POST", "/shift"),
        ("GET", "/health"), ("POST", "/events/../shift"),
    ):  # fmt: skip
        response = token_engine.request(
            method, path, headers=auth_headers(TELEGRAF_TOKEN), json={"to": "a", "who": "a"}
        )
        assert response.status_code == 401, path


def test_a_page_of_another_site_may_not_post_even_so(token_engine: ThreadedEngine) -> None:
    headers = {**auth_headers(TELEGRAF_TOKEN), "Origin": "http://evil.example"}
    assert post_sample(token_engine, "/events", headers).status_code == 403


def test_posts_are_counted_by_token(token_engine: ThreadedEngine) -> None:
    def count_posts(name: str) -> int:
        rows = token_engine.request("GET", "/health", headers=auth_headers(FULL_TOKEN)).json()
        (row,) = (entry for entry in rows if entry["kind"] == "http")
        return int(row["counts"].get(f"by {name}", 0))

    before = count_posts("flux")
    assert post_sample(token_engine, "/events", auth_headers(FLUX_TOKEN)).status_code == 202
    assert count_posts("flux") == before + 1


def test_with_post_tokens_only_localhost_has_full_access(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", RULES, settings=POST_TOKEN_SETTINGS)
    with engine_in_thread(site, tmp_path / "data") as engine:
        assert post_sample(engine, "/events", {}).status_code == 401
        assert post_sample(engine, "/events", auth_headers(TELEGRAF_TOKEN)).status_code == 202
        assert engine.request("GET", "/rules").status_code == 200
        headers = {**auth_headers(TELEGRAF_TOKEN), "Host": "summit.example"}
        assert engine.request("GET", "/rules", headers=headers).status_code == 403


def test_token_is_long_and_never_shown(tmp_path: Path) -> None:
    settings = "site: small\napi: {post_tokens: {a: short, b: '${B}', c: written-into-the-file}}\n"
    site = load_site(write_site(tmp_path / "site", settings=settings))
    problems = "\n".join(str(problem) for problem in site.problems)
    assert "catcher.yaml:2:24: the token of 'a' can be guessed; take at least 16" in problems
    assert "the environment variable B is not set" in problems
    assert "the `c` is written into the file" in problems
    assert "written-into-the-file" not in problems + repr(site.settings.api)
    assert site.redact("so written-into-the-file it is") == "so *** it is"
