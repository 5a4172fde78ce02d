"""Every route of a running engine's API, as a program of this machine uses it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.sample_site import DOUBLING, WIND, ThreadedEngine, engine_in_thread, write_site

RULES = f"""{WIND}---{DOUBLING}---
rule: posted
trigger: {{http: weather, where: rain > 0}}
---
rule: torn
trigger: {{event: t, where: speed >}}
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    folder = tmp_path_factory.mktemp("api")
    with engine_in_thread(write_site(folder / "site", RULES), folder / "data") as running:
        yield running


def find_alert(engine: ThreadedEngine, mast: str) -> dict[str, Any]:
    alerts: list[dict[str, Any]] = engine.get("/alerts", rule="wind")
    return next(alert for alert in alerts if alert["key"] == mast)


def post_alert_command(
    engine: ThreadedEngine, alert: str, command: str, **body: Any
) -> httpx.Response:
    return engine.request("POST", f"/alerts/{alert}/{command}", json=body)


# -- posting ------------------------------------------------------------------------------------


def test_events_are_accepted_singly_and_in_lists(engine: ThreadedEngine) -> None:
    event = {"topic": "wind", "time": "2025-04-24T00:00:00Z", "fields": {"speed": 1, "mast": "z"}}
    for body, count in ((event, 1), ([event, event], 2), ({"events": [event]}, 1), ([], 0)):
        response = engine.request("POST", "/events", json=body)
        assert (response.status_code, response.json()) == (202, {"accepted": count})


def test_webhook_fires_its_rules(engine: ThreadedEngine) -> None:
    response = engine.request("POST", "/http/weather", json={"rain": 3})
    assert (response.status_code, response.json()) == (202, {"accepted": 1})
    (firing,) = engine.get("/firings", rule="posted")
    assert "rain = 3 > 0" in firing["reason"]


# -- hands --------------------------------------------------------------------------------------


def test_alert_is_acknowledged_commented_and_shelved(engine: ThreadedEngine) -> None:
    engine.post_event("wind", speed=12, mast="a")
    alert = find_alert(engine, "a")
    assert (alert["severity"], alert["state"], alert["message"]) == (
        "WARNING", "firing", "Wind 12 at a",
    )  # fmt: skip
    acknowledged = post_alert_command(
        engine, alert["id"], "ack", who="ana", severity="warning", note="I look"
    )
    assert acknowledged.status_code == 200
    assert acknowledged.json()["state"] == "acknowledged"
    assert (
        post_alert_command(engine, alert["id"], "note", who="ana", note="still there").status_code
        == 200
    )
    shelved = post_alert_command(
        engine, alert["id"], "shelve", who="ana", span="1h", reason="known"
    )
    assert shelved.json()["state"] == "shelved"
    assert shelved.json()["shelved_until"]
    assert (
        post_alert_command(engine, alert["id"], "unshelve", who="ana").json()["state"] != "shelved"
    )


def test_alert_with_raised_severity_is_not_acknowledged_unseen(engine: ThreadedEngine) -> None:
    engine.post_event("wind", speed=25, mast="b")
    refused = post_alert_command(
        engine, find_alert(engine, "b")["id"], "ack", who="ana", severity="warning"
    )
    assert refused.status_code == 422
    assert "SERIOUS" in refused.json()["error"]
    assert find_alert(engine, "b")["state"] == "firing"


def test_rule_is_fired_manually_for_a_current_or_past_event(engine: ThreadedEngine) -> None:
    event: dict[str, Any] = {"topic": "number", "fields": {"value": 4, "lane": "hand"}}
    for time_field in ({}, {"time": "2001-02-03T04:05:06Z"}):
        response = engine.request(
            "POST", "/rules/doubling/fire", json={"event": event | time_field}
        )
        assert response.status_code == 202
        run = engine.wait_for_run(id=response.json()["id"])
        assert (run["metrics"], run["manual"]) == ({"doubled": 8.0}, True)
    assert run["time"] == "2001-02-03T04:05:06Z"


# -- lists and pages ----------------------------------------------------------------------------


def test_run_is_found_with_its_outputs(engine: ThreadedEngine) -> None:
    engine.post_event("number", value=21, lane="found")
    run = engine.wait_for_run(key="found")
    assert run["metrics"] == {"doubled": 42.0}
    page = engine.get(f"/runs/{run['id']}")
    assert page["metrics"]["doubled"] == {"value": 42.0, "unit": "m"}
    assert page["firing"]["event"]["fields"] == {"value": 21, "lane": "found"}
    (point,) = [row for row in engine.get("/metrics/doubled") if row["key"] == "found"]
    assert (point["value"], point["unit"], point["run"]) == (42.0, "m", run["id"])
    (artifact,) = [row for row in engine.get("/artifacts") if row["run"] == run["id"]]
    response = engine.request("GET", f"/artifacts/{artifact['key']}")
    assert response.text == "42.0"
    assert response.headers["content-type"].startswith("text/plain")
    assert response.headers["content-security-policy"] == "sandbox allow-scripts"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_lists_can_be_filtered(engine: ThreadedEngine) -> None:
    engine.post_event("number", value=13, lane="unlucky")
    engine.wait_for_run(key="unlucky")
    assert [row["key"] for row in engine.get("/runs", state="failed")] == ["unlucky"]
    assert len(engine.get("/runs", limit=1)) == 1
    assert engine.get("/runs", rule="nothing-such") == []
    assert engine.get("/alerts", state="resolved") == []
    assert {row["rule"] for row in engine.get("/firings", rule="doubling")} == {"doubling"}


def test_the_rules_are_listed_with_the_broken_ones(engine: ThreadedEngine) -> None:
    rows = {row["rule"]: row for row in engine.get("/rules")}
    assert set(rows) == {"wind", "doubling", "posted", "torn"}
    assert rows["wind"]["problems"] == []
    assert rows["wind"]["trigger"] == "telemetry"
    assert rows["torn"]["problems"][0]["line"] > 0


def test_a_rule_explains_what_it_did(engine: ThreadedEngine) -> None:
    engine.post_event("wind", speed=12, mast="why")
    rows = engine.get("/rules/wind/explain")
    assert any("why" in str(row) and "speed" in row["text"] for row in rows)
    assert engine.get("/rules/wind/explain", at="2001-01-01T00:00:00Z") == []


def test_the_health_of_everything_is_listed(engine: ThreadedEngine) -> None:
    rows = {row["name"]: row for row in engine.get("/health")}
    assert rows["http"]["state"] == "ok"
    assert {"ledger", "history"} <= {row["kind"] for row in rows.values()} | set(rows)
    assert rows["watchers"]["counts"] == {"watching": 0, "lost": 0}


# -- following ----------------------------------------------------------------------------------


def test_stream_sends_a_firing_as_it_happens(engine: ThreadedEngine) -> None:
    url = engine.handle.url + "/stream"
    with httpx.stream("GET", url, trust_env=False, timeout=30) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()
        assert next(lines) == ": following"
        thread = threading.Thread(
            target=lambda: engine.post_event("number", value=2, lane="followed")
        )
        thread.start()
        received: dict[str, dict[str, Any]] = {}
        for line in lines:
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                row = json.loads(line.removeprefix("data: "))
                received.setdefault(f"{kind} {row.get('state', '')}".strip(), row)
            if "run done" in received:
                break
        thread.join()
    assert received["firing"]["rule"] == "doubling"
    assert received["run pending"]["key"] == "followed"
    assert received["run done"]["metrics"] == {"doubled": 4.0}


# -- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
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
def test_rejection_gives_the_reason_and_changes_nothing(
    engine: ThreadedEngine, method: str, path: str, body: bytes | None, status: int, message: str
) -> None:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    response = engine.request(method, path, content=body, headers=headers)
    assert response.status_code == status, response.text[:300]
    row = response.json()
    assert set(row) - {"wrong"} == {"error", "hint"}
    assert message in row["error"]


def test_body_of_another_content_type_is_rejected(engine: ThreadedEngine) -> None:
    for kind in ("application/x-www-form-urlencoded", ""):
        response = engine.request("POST", "/events", content=b"{}", headers={"Content-Type": kind})
        assert response.status_code == 415
        assert "application/json" in response.json()["error"]
        assert "text/plain" in response.json()["error"]


def generate_chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 65_536):
        yield b" " * 65_536


def test_body_without_a_length_is_limited(
    engine: ThreadedEngine,
) -> None:
    headers = {"Content-Type": "application/json"}
    too_long = engine.request(
        "POST", "/events", content=generate_chunks(8_000_000), headers=headers
    )
    assert too_long.status_code == 413
    without_length = engine.request(
        "POST", "/alerts/nothing/ack", content=generate_chunks(8_000_000), headers=headers
    )
    assert without_length.status_code == 411


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
        assert engine.request(method, path, headers=headers).status_code == 403


def test_local_origins_are_allowed(engine: ThreadedEngine) -> None:
    for headers in ({"Origin": "http://localhost:8787"}, {"Host": "localhost"}, {"Host": "[::1]"}):
        assert engine.request("GET", "/rules", headers=headers).status_code == 200


def test_the_api_describes_every_route(engine: ThreadedEngine) -> None:
    paths = engine.get("/openapi.json")["paths"]
    expected = {
        "/events", "/http/{name}", "/rules/{rule}/fire", "/alerts/{alert}/ack", "/rules", "/runs",
        "/alerts", "/metrics/{name}", "/artifacts/{key}", "/health", "/stream", "/healthz",
        "/readyz", "/metrics", "/backlog",
    }  # fmt: skip
    assert expected <= set(paths)
    undescribed = [
        path
        for path, operations in paths.items()
        for operation in operations.values()
        if not operation["description"]
    ]
    assert not undescribed
