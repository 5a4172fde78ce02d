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
from tests.small_site import WIND, ThreadedEngine, engine_in_thread, write_site

TELEGRAF, FLUX, WHOLE = "telegraf-0123456789", "flux-0123456789abcd", "whole-0123456789"
TOKENS = f"""
site: small
api:
  token: {WHOLE}
  post_tokens: {{telegraf: {TELEGRAF}, flux: {FLUX}}}
"""
ONLY_POSTS = f"site: small\napi: {{post_tokens: {{telegraf: {TELEGRAF}}}}}\n"
RULES = f"""{WIND}---
rule: posted
trigger: {{http: weather, where: rain > 0}}
---
rule: gust
trigger: {{telemetry: gust, by: mast}}
alert: {{warning: speed > 10}}
"""
TEXT = {"Content-Type": "text/plain; charset=utf-8"}
AT = parse_instant("2025-04-24T00:05:13.2Z")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    top = tmp_path_factory.mktemp("lines")
    with engine_in_thread(write_site(top / "site", RULES), top / "data") as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    top = tmp_path_factory.mktemp("tokens")
    site = write_site(top / "site", RULES, settings=TOKENS)
    with engine_in_thread(site, top / "data") as running:
        yield running


def alerts_of(engine: ThreadedEngine, mast: str, rule: str = "wind") -> list[dict[str, Any]]:
    return [one for one in engine.get("/alerts", rule=rule) if one["key"] == mast]


def bearing(token: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {token}"}


# -- line protocol ------------------------------------------------------------------------------


def test_lines_become_events_that_rules_see(engine: ThreadedEngine) -> None:
    text = f"wind,mast=l1 speed=12.5 {AT}\n# a comment\n\nwind,mast=l2 speed=12i\n"
    answer = engine.ask("POST", "/events", content=text.encode(), headers=TEXT)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 2})
    (one,), (two,) = alerts_of(engine, "l1"), alerts_of(engine, "l2")
    assert (one["opened"], one["message"]) == ("2025-04-24T00:05:13.2Z", "Wind 12.5 at l1")
    assert two["message"] == "Wind 12 at l2"


def test_the_precision_is_told_beside(engine: ThreadedEngine) -> None:
    text = b"gust,mast=l3 speed=12 1745453174"
    answer = engine.ask("POST", "/events?precision=s", content=text, headers=TEXT)
    assert answer.status_code == 202
    assert alerts_of(engine, "l3", "gust")[0]["opened"] == "2025-04-24T00:06:14Z"
    for precision, words in (("ns", "no time of 1971"), ("fortnights", "is no precision")):
        path = f"/events?precision={precision}"
        refused = engine.ask("POST", path, content=text, headers=TEXT)
        assert refused.status_code == 422
        assert words in refused.json()["error"]


def test_each_wrong_line_is_named_and_nothing_is_taken(engine: ThreadedEngine) -> None:
    text = "wind,mast=l4 speed=12\nwind,mast=l4 speed=fast\nwind\nwind,mast=l4 speed=13\n"
    answer = engine.ask("POST", "/events", content=text.encode(), headers=TEXT)
    assert answer.status_code == 422
    row = answer.json()
    assert row["wrong"] == [
        "line 2: 'fast' of 'speed' is no number, truth value or text in double quotes",
        "line 3: it has no fields",
    ]
    assert row["error"] == f"{row['wrong'][0]} (and 1 more)"
    assert "nothing was taken" in row["hint"]
    assert not alerts_of(engine, "l4")


def test_json_that_says_it_is_text_is_told_so(engine: ThreadedEngine) -> None:
    answer = engine.ask("POST", "/events", content=b'{"topic": "wind"}', headers=TEXT)
    assert "application/json" in answer.json()["hint"]


def test_a_packed_body_is_unpacked_as_far_as_it_may_be_long(engine: ThreadedEngine) -> None:
    packed = {**TEXT, "Content-Encoding": "gzip"}
    text = b"wind,mast=l5 speed=12"
    good = gzip.compress(text)
    assert engine.ask("POST", "/events", content=good, headers=packed).status_code == 202
    assert alerts_of(engine, "l5")
    bomb = gzip.compress(b" " * 50_000_000)
    for body, status, words in (
        (bomb, 413, "larger than"), (good[:-4], 400, "too early"), (text, 400, "is not"),
        (good + b"x", 400, "more stands behind"),
    ):  # fmt: skip
        answer = engine.ask("POST", "/events", content=body, headers=packed)
        assert (answer.status_code, words in answer.json()["error"]) == (status, True)
    other = engine.ask("POST", "/events", content=text, headers={**TEXT, "Content-Encoding": "br"})
    assert other.status_code == 415


def test_more_than_one_post_may_hold_is_refused(engine: ThreadedEngine) -> None:
    many = b"wind,mast=l6 speed=12\n" * 10_001
    answer = engine.ask("POST", "/events", content=many, headers=TEXT)
    assert answer.json()["error"] == "line 10001: more than the 10000 lines that one post may hold"
    large = b"wind,mast=l6 speed=12\n" * 50_000
    answer = engine.ask("POST", "/events", content=large, headers=TEXT)
    assert "1100000 bytes is larger than the 1000000" in answer.json()["error"]
    assert not alerts_of(engine, "l6")


# -- at the address of InfluxDB -----------------------------------------------------------------


def test_influxdbs_own_client_writes_to_it(guarded: ThreadedEngine) -> None:
    url = guarded.running.url
    with InfluxDBClient(url, token=TELEGRAF, org="any", enable_gzip=True) as client:
        write = client.write_api(write_options=SYNCHRONOUS)
        point = Point("wind").tag("mast", "i 1").field("speed", 12.5).time(AT)
        write.write("any", record=[point])
        with pytest.raises(ApiException) as refused:
            write.write("any", record="wind,mast=i2 speed=12\nwind,mast=i2 speed=\nwind")
    assert refused.value.status == 422
    assert (
        "line 2: the field 'speed' has no value; line 3: it has no fields; nothing was taken"
        in str(refused.value.body)
    )
    headers = bearing(WHOLE)
    found = guarded.ask("GET", "/alerts", params={"rule": "wind"}, headers=headers).json()
    assert [(one["key"], one["opened"]) for one in found] == [("i 1", "2025-04-24T00:05:13.2Z")]


# -- tokens -------------------------------------------------------------------------------------


def post(engine: ThreadedEngine, path: str, headers: dict[str, str]) -> httpx.Response:
    return engine.ask("POST", path, json={"rain": 0, "topic": "t"}, headers=headers)


@pytest.mark.parametrize("path", ["/events", "/http/weather"])
def test_a_token_for_posts_lets_its_owner_post_from_anywhere(
    guarded: ThreadedEngine, path: str
) -> None:
    for token in (TELEGRAF, FLUX, WHOLE):
        for scheme in ("Bearer", "Token"):
            headers = {**bearing(token, scheme), "Host": "summit.example"}
            assert post(guarded, path, headers).status_code == 202
    for headers in ({}, bearing("telegraf-012345678"), bearing(TELEGRAF, "Basic")):
        refused = post(guarded, path, headers)
        assert refused.status_code == 401
        assert TELEGRAF not in refused.text


def test_a_token_for_posts_opens_nothing_else(guarded: ThreadedEngine) -> None:
    for method, path in (
        ("GET", "/alerts"), ("GET", "/events"), ("POST", "/rules/wind/fire"), ("POST", "/shift"),
        ("GET", "/health"), ("POST", "/events/../shift"),
    ):  # fmt: skip
        answer = guarded.ask(method, path, headers=bearing(TELEGRAF), json={"to": "a", "who": "a"})
        assert answer.status_code == 401, path


def test_a_page_of_another_site_may_not_post_even_so(guarded: ThreadedEngine) -> None:
    headers = {**bearing(TELEGRAF), "Origin": "http://evil.example"}
    assert post(guarded, "/events", headers).status_code == 403


def test_the_figures_say_who_posts_how_often(guarded: ThreadedEngine) -> None:
    def by(name: str) -> int:
        rows = guarded.ask("GET", "/health", headers=bearing(WHOLE)).json()
        (row,) = (one for one in rows if one["kind"] == "http")
        return int(row["counts"].get(f"by {name}", 0))

    before = by("flux")
    assert post(guarded, "/events", bearing(FLUX)).status_code == 202
    assert by("flux") == before + 1


def test_with_tokens_for_posts_alone_this_machine_may_still_do_the_rest(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", RULES, settings=ONLY_POSTS)
    with engine_in_thread(site, tmp_path / "data") as engine:
        assert post(engine, "/events", {}).status_code == 401
        assert post(engine, "/events", bearing(TELEGRAF)).status_code == 202
        assert engine.ask("GET", "/rules").status_code == 200
        named = {**bearing(TELEGRAF), "Host": "summit.example"}
        assert engine.ask("GET", "/rules", headers=named).status_code == 403


def test_a_token_is_a_secret_of_some_length_that_no_text_shows(tmp_path: Path) -> None:
    settings = "site: small\napi: {post_tokens: {a: short, b: '${B}', c: written-into-the-file}}\n"
    site = load_site(write_site(tmp_path / "site", settings=settings))
    words = "\n".join(str(problem) for problem in site.problems)
    assert "catcher.yaml:2:24: the token of 'a' can be guessed; take at least 16" in words
    assert "the environment variable B is not set" in words
    assert "the `c` is written into the file" in words
    assert "written-into-the-file" not in words + repr(site.settings.api)
    assert site.redact("so written-into-the-file it is") == "so *** it is"
