"""Every route of a running engine's API, as a program of this machine uses it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.small_site import DOUBLING, WIND, ThreadedEngine, engine_in_thread, write_site

RULES = f"""{WIND}---{DOUBLING}---
rule: posted
trigger: {{http: weather, where: rain > 0}}
---
rule: torn
trigger: {{event: t, where: speed >}}
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    top = tmp_path_factory.mktemp("api")
    with engine_in_thread(write_site(top / "site", RULES), top / "data") as running:
        yield running


def the_alert(engine: ThreadedEngine, mast: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = engine.get("/alerts", rule="wind")
    return next(one for one in found if one["key"] == mast)


def deed(engine: ThreadedEngine, alert: str, what: str, **body: Any) -> httpx.Response:
    return engine.ask("POST", f"/alerts/{alert}/{what}", json=body)


# -- posting ------------------------------------------------------------------------------------


def test_events_are_taken_one_by_one_and_in_lists(engine: ThreadedEngine) -> None:
    one = {"topic": "wind", "time": "2025-04-24T00:00:00Z", "fields": {"speed": 1, "mast": "z"}}
    for body, count in ((one, 1), ([one, one], 2), ({"events": [one]}, 1), ([], 0)):
        answer = engine.ask("POST", "/events", json=body)
        assert (answer.status_code, answer.json()) == (202, {"accepted": count})


def test_a_named_post_fires_the_rules_that_wait_for_it(engine: ThreadedEngine) -> None:
    answer = engine.ask("POST", "/http/weather", json={"rain": 3})
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    (firing,) = engine.get("/firings", rule="posted")
    assert "rain = 3 > 0" in firing["reason"]


# -- hands --------------------------------------------------------------------------------------


def test_an_alert_is_taken_noted_and_put_aside(engine: ThreadedEngine) -> None:
    engine.post("wind", speed=12, mast="a")
    alert = the_alert(engine, "a")
    assert (alert["severity"], alert["state"], alert["message"]) == (
        "WARNING", "firing", "Wind 12 at a",
    )  # fmt: skip
    taken = deed(engine, alert["id"], "ack", who="ana", severity="warning", note="I look")
    assert taken.status_code == 200
    assert taken.json()["state"] == "acknowledged"
    assert deed(engine, alert["id"], "note", who="ana", note="still there").status_code == 200
    shelved = deed(engine, alert["id"], "shelve", who="ana", span="1h", reason="known")
    assert shelved.json()["state"] == "shelved"
    assert shelved.json()["shelved_until"]
    assert deed(engine, alert["id"], "unshelve", who="ana").json()["state"] != "shelved"


def test_an_alert_that_got_worse_is_not_taken_unseen(engine: ThreadedEngine) -> None:
    engine.post("wind", speed=25, mast="b")
    refused = deed(engine, the_alert(engine, "b")["id"], "ack", who="ana", severity="warning")
    assert refused.status_code == 422
    assert "SERIOUS" in refused.json()["error"]
    assert the_alert(engine, "b")["state"] == "firing"


def test_a_rule_is_fired_by_hand_for_an_event_of_now_or_then(engine: ThreadedEngine) -> None:
    event: dict[str, Any] = {"topic": "number", "fields": {"value": 4, "lane": "hand"}}
    for more in ({}, {"time": "2001-02-03T04:05:06Z"}):
        answer = engine.ask("POST", "/rules/doubling/fire", json={"event": event | more})
        assert answer.status_code == 202
        run = engine.the_run(id=answer.json()["id"])
        assert (run["metrics"], run["manual"]) == ({"doubled": 8.0}, True)
    assert run["time"] == "2001-02-03T04:05:06Z"


# -- lists and pages ----------------------------------------------------------------------------


def test_a_run_is_found_with_what_it_made(engine: ThreadedEngine) -> None:
    engine.post("number", value=21, lane="found")
    run = engine.the_run(key="found")
    assert run["metrics"] == {"doubled": 42.0}
    page = engine.get(f"/runs/{run['id']}")
    assert page["metrics"]["doubled"] == {"value": 42.0, "unit": "m"}
    assert page["firing"]["event"]["fields"] == {"value": 21, "lane": "found"}
    (point,) = [one for one in engine.get("/metrics/doubled") if one["key"] == "found"]
    assert (point["value"], point["unit"], point["run"]) == (42.0, "m", run["id"])
    (artifact,) = [one for one in engine.get("/artifacts") if one["run"] == run["id"]]
    opened = engine.ask("GET", f"/artifacts/{artifact['key']}")
    assert opened.text == "42.0"
    assert opened.headers["content-type"].startswith("text/plain")
    assert opened.headers["content-security-policy"] == "sandbox allow-scripts"
    assert opened.headers["x-content-type-options"] == "nosniff"


def test_lists_can_be_narrowed(engine: ThreadedEngine) -> None:
    engine.post("number", value=13, lane="unlucky")
    engine.the_run(key="unlucky")
    assert [one["key"] for one in engine.get("/runs", state="failed")] == ["unlucky"]
    assert len(engine.get("/runs", limit=1)) == 1
    assert engine.get("/runs", rule="nothing-such") == []
    assert engine.get("/alerts", state="resolved") == []
    assert {one["rule"] for one in engine.get("/firings", rule="doubling")} == {"doubling"}


def test_the_rules_are_listed_with_the_broken_ones(engine: ThreadedEngine) -> None:
    rows = {one["rule"]: one for one in engine.get("/rules")}
    assert set(rows) == {"wind", "doubling", "posted", "torn"}
    assert rows["wind"]["problems"] == []
    assert rows["wind"]["trigger"] == "telemetry"
    assert rows["torn"]["problems"][0]["line"] > 0


def test_a_rule_explains_what_it_did(engine: ThreadedEngine) -> None:
    engine.post("wind", speed=12, mast="why")
    rows = engine.get("/rules/wind/explain")
    assert any("why" in str(row) and "speed" in row["text"] for row in rows)
    assert engine.get("/rules/wind/explain", at="2001-01-01T00:00:00Z") == []


def test_the_health_of_everything_is_listed(engine: ThreadedEngine) -> None:
    rows = {one["name"]: one for one in engine.get("/health")}
    assert rows["http"]["state"] == "ok"
    assert {"ledger", "history"} <= {one["kind"] for one in rows.values()} | set(rows)
    assert rows["watchers"]["counts"] == {"watching": 0, "lost": 0}


# -- following ----------------------------------------------------------------------------------


def test_the_stream_tells_of_a_firing_as_it_happens(engine: ThreadedEngine) -> None:
    url = engine.running.url + "/stream"
    with httpx.stream("GET", url, trust_env=False, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(lines) == ": following"
        posting = threading.Thread(target=lambda: engine.post("number", value=2, lane="followed"))
        posting.start()
        told: dict[str, dict[str, Any]] = {}
        for line in lines:
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                row = json.loads(line.removeprefix("data: "))
                told.setdefault(f"{kind} {row.get('state', '')}".strip(), row)
            if "run done" in told:
                break
        posting.join()
    assert told["firing"]["rule"] == "doubling"
    assert told["run pending"]["key"] == "followed"
    assert told["run done"]["metrics"] == {"doubled": 4.0}


# -- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/events", b"no json", 422, "JSON"),
        ("POST", "/events", b"\xff\xfe", 422, "JSON"),
        ("POST", "/events", b"[" * 100_000, 422, ""),
        ("POST", "/events", b'{"fields": {}}', 422, "topic"),
        ("POST", "/events", b'{"topic": "t", "time": "2299-01-01", "fields": {}}', 422, ""),
        ("POST", "/events", b" " * 5_000_000, 413, "larger than"),
        ("POST", "/http/weather", b"[1]", 422, ""),
        ("POST", "/http/a%20b", b"{}", 422, "no name to post to"),
        ("POST", "/rules/nothing/fire", b"{}", 404, "no rule 'nothing' runs here"),
        ("POST", "/rules/torn/fire", b"{}", 404, "no rule 'torn' runs here"),
        ("POST", "/rules/wind/fire", b"", 422, "Field required"),
        ("POST", "/rules/wind/fire", b"[]", 422, "dictionary"),
        ("POST", "/rules/wind/fire", b'{"event": {"topic": 1}}', 422, "recorded stream"),
        ("POST", "/rules/wind/fire", b'{"event": {"topic": "t", "time": "x"}}', 422, "no time"),
        ("POST", "/rules/wind/fire", b'{"event": {"topic": "t", "time": []}}', 422, "recorded"),
        ("POST", "/rules/wind/fire", b'{"observation": "MC_9"}', 404, "no observation 'MC_9'"),
        ("POST", "/alerts/nothing/ack", b'{"who": "ana"}', 422, "nothing"),
        ("POST", "/alerts/nothing/ack", b"{}", 422, "who: Field required"),
        ("POST", "/alerts/nothing/ack", b'{"who": "a", "severity": "loud"}', 422, "no severity"),
        ("POST", "/alerts/nothing/shelve", b'{"who": "ana"}', 422, "reason"),
        (
            "POST", "/alerts/nothing/shelve",
            b'{"who": "ana", "reason": "r", "span": "long"}', 422, "no duration",
        ),
        ("GET", "/runs/nothing", None, 404, "no run 'nothing' is known"),
        ("GET", "/runs?limit=many", None, 422, "limit"),
        ("GET", "/artifacts/nothing", None, 404, "no object"),
        ("GET", "/artifacts/..%2F..%2Fledger.db", None, 404, "no key"),
        ("GET", "/rules/nothing/explain", None, 404, "no rule"),
        ("GET", "/rules/wind/explain?at=noon", None, 422, "no time"),
        ("GET", "/nothing", None, 404, "Not Found"),
        ("DELETE", "/runs", None, 405, "Method Not Allowed"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_is_wrong_and_changes_nothing(
    engine: ThreadedEngine, method: str, path: str, body: bytes | None, status: int, words: str
) -> None:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    answer = engine.ask(method, path, content=body, headers=headers)
    assert answer.status_code == status, answer.text[:300]
    row = answer.json()
    assert set(row) - {"wrong"} == {"error", "hint"}
    assert words in row["error"]


def test_what_is_neither_json_nor_lines_by_its_own_word_is_not_read(engine: ThreadedEngine) -> None:
    for kind in ("application/x-www-form-urlencoded", ""):
        answer = engine.ask("POST", "/events", content=b"{}", headers={"Content-Type": kind})
        assert answer.status_code == 415
        assert "application/json" in answer.json()["error"]
        assert "text/plain" in answer.json()["error"]


def pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // 65_536):
        yield b" " * 65_536


def test_a_body_that_does_not_say_its_length_is_bounded_all_the_same(
    engine: ThreadedEngine,
) -> None:
    headers = {"Content-Type": "application/json"}
    long = engine.ask("POST", "/events", content=pieces(8_000_000), headers=headers)
    assert long.status_code == 413
    unsaid = engine.ask("POST", "/alerts/nothing/ack", content=pieces(8_000_000), headers=headers)
    assert unsaid.status_code == 411


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
def test_other_hosts_and_pages_are_refused(engine: ThreadedEngine, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/rules"), ("POST", "/events"), ("OPTIONS", "/events")):
        assert engine.ask(method, path, headers=headers).status_code == 403


def test_pages_of_this_machine_may_ask(engine: ThreadedEngine) -> None:
    for headers in ({"Origin": "http://localhost:8787"}, {"Host": "localhost"}, {"Host": "[::1]"}):
        assert engine.ask("GET", "/rules", headers=headers).status_code == 200


def test_the_api_describes_every_route(engine: ThreadedEngine) -> None:
    paths = engine.get("/openapi.json")["paths"]
    promised = {
        "/events", "/http/{name}", "/rules/{rule}/fire", "/alerts/{alert}/ack", "/rules", "/runs",
        "/alerts", "/metrics/{name}", "/artifacts/{key}", "/health", "/stream", "/healthz",
        "/readyz", "/metrics", "/backlog",
    }  # fmt: skip
    assert promised <= set(paths)
    unnamed = [
        path for path, ways in paths.items() for way in ways.values() if not way["description"]
    ]
    assert not unnamed
