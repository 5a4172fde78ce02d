"""The API of a running engine: its description, its answers, its streams, its metrics."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from tests.cli.command_runner import run_command
from tests.goldens.compare import compare_json, compare_text, describe_types, hide_keys, merge_types
from tests.goldens.scenario import GoldenScenario, create_event, fetch_response, run_scenario

VOLATILE_KEYS = (
    "per_minute", "arriving", "drain", "grows", "turn_age", "turns", "loop_lag", "blocks",
    "last_block", "version", "median_acknowledge_s", "median_open_s", "nights", "counts",
    "worker", "last", "since", "untold", "attempts", "heartbeats_withheld",
)  # fmt: skip
"""Keys under which time or chance decides; of these the type is held."""


@dataclass(frozen=True)
class ApiResponses:
    """All that a running engine has answered, in one fixed order: tests may run in any."""

    openapi: Any
    get_responses: Any
    action_responses: Any
    record_formats: Any
    query_results: Any
    tail_lines: Any
    frames: list[str]
    metrics_page: str
    error_responses: Any
    command_outputs: Any


@pytest.fixture(scope="module")
def api_responses(tmp_path_factory: pytest.TempPathFactory) -> ApiResponses:
    with run_scenario(tmp_path_factory.mktemp("goldens")) as scenario:
        return ApiResponses(
            openapi=scenario.engine.get("/openapi.json"),
            get_responses=read_get_responses(scenario),
            action_responses=scenario.normalize(hide_keys(scenario.responses, VOLATILE_KEYS)),
            record_formats=read_record_formats(scenario),
            query_results={key: query_kinds_by_key(scenario, key) for key in QUERY_KEYS},
            tail_lines=select_tail_lines(scenario),
            frames=scenario.frames,
            metrics_page=scenario.engine.request("GET", "/metrics").text,
            error_responses=read_error_responses(scenario),
            command_outputs=run_alert_commands(scenario),
        )


# -- the description ---------------------------------------------------------------------------


def name_schemas_by_properties(openapi: dict[str, Any]) -> dict[str, Any]:
    """The description of the API in which the names of its schemas no longer count.

    Each component has its property names as its name; titles and descriptions are left out.
    """
    schemas = openapi["components"]["schemas"]
    names = {name: "+".join(schema.get("properties", {})) for name, schema in schemas.items()}
    references = {f"#/components/schemas/{name}": f"#{names[name]}" for name in names}

    def normalize(value: Any, parent_key: str = "") -> Any:
        if isinstance(value, dict):
            ignored_keys = () if parent_key == "properties" else ("title", "description", "summary")
            return {
                key: normalize(child, key)
                for key, child in value.items()
                if key not in ignored_keys
            }
        if isinstance(value, list):
            return [normalize(child) for child in value]
        return references.get(value, value) if isinstance(value, str) else value

    normalized = {names[name]: normalize(schema) for name, schema in schemas.items()}
    assert len(normalized) == len(schemas)
    return {"paths": normalize(openapi["paths"]), "schemas": dict(sorted(normalized.items()))}


def test_the_description_of_the_api_stays(api_responses: ApiResponses) -> None:
    compare_json("api/openapi.json", name_schemas_by_properties(api_responses.openapi))


# -- answers -----------------------------------------------------------------------------------


def list_readable_paths(scenario: GoldenScenario) -> dict[str, list[str]]:
    """Each path of the API that can be read, with what is asked for."""
    run_ids = scenario.run_ids
    (artifact,) = [
        row for row in scenario.engine.get("/artifacts") if row["run"] == run_ids["done"]
    ]  # fmt: skip
    records_path = "/read/records/{kind}"
    return {
        "/shift": ["/shift"],
        "/silences": ["/silences"],
        "/dead-letters": ["/dead-letters", "/dead-letters?sink=none"],
        "/alarms/figures": ["/alarms/figures", "/alarms/figures?since=1h"],
        "/rules": ["/rules"],
        "/rules/{rule}/explain": ["/rules/wind/explain", "/rules/doubling/explain"],
        "/runs": ["/runs", "/runs?state=failed&rule=doubling&limit=1", "/runs?observation=none"],
        "/runs/{run}": [f"/runs/{run_ids['done']}", f"/runs/{run_ids['failed']}"],
        "/firings": ["/firings?rule=doubling", "/firings?rule=posted"],
        "/alerts": ["/alerts", "/alerts?state=resolved", "/alerts?state=active&limit=1"],
        "/metrics/{name}": ["/metrics/doubled", "/metrics/none"],
        "/artifacts": ["/artifacts?rule=doubling&limit=2"],
        "/artifacts/{key}": [f"/artifacts/{artifact['key']}"],
        "/read/topics": ["/read/topics"],
        "/read/fields": ["/read/fields?topic=wind"],
        "/read/latest": ["/read/latest?topic=none"],
        records_path: [],
        "/health": ["/health"],
        "/stream": [],
        "/tail": [],
        "/healthz": ["/healthz", "/healthz?verbose"],
        "/readyz": ["/readyz"],
        "/metrics": [],
        "/backlog": ["/backlog"],
    }


def read_get_responses(scenario: GoldenScenario) -> Any:
    """The answer for each path that can be read."""
    engine = scenario.engine
    engine.wait_until(lambda: engine.request("GET", "/readyz").status_code == 200, "readiness")
    paths_by_route, responses = list_readable_paths(scenario), {}
    routes = engine.get("/openapi.json")["paths"]
    assert {path for path, methods in routes.items() if "get" in methods} == {*paths_by_route}
    for path in (url for paths in paths_by_route.values() for url in paths):
        response = fetch_response(engine, "GET", path)
        if path == "/health":
            response["body"] = normalize_health(response["body"])
        if path == "/healthz?verbose":
            response["body"] = normalize_last_block(response["body"])
        if path.startswith("/alarms"):
            response["body"] = normalize_statistics(response["body"])
        responses[path] = hide_keys(response, VOLATILE_KEYS if path != "/health" else ())
    return scenario.normalize(responses)


def test_every_response_has_the_same_keys_and_values(api_responses: ApiResponses) -> None:
    compare_json("api/answers.json", api_responses.get_responses)


def normalize_health(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of parts with the types of their values, their names and kinds as they are."""
    return [
        {
            **describe_types(row), "name": row["name"], "kind": row["kind"],
            "since": "<time>", "last": "<time or null>",
        }
        for row in rows
    ]  # fmt: skip


def normalize_last_block(row: dict[str, Any]) -> dict[str, Any]:
    """How an engine does, whether or not something has blocked it meanwhile."""
    block = row["last_block"]
    assert block is None or [*block] == ["seconds", "stack", "place", "over", "told"]
    return {**row, "last_block": "null, or seconds, stack, place, over, told"}


def normalize_statistics(row: dict[str, Any]) -> dict[str, Any]:
    """Figures, of which the last buckets alone count what has happened."""
    counts = row["buckets"]
    assert sum(counts) == row["alerts"]
    return {**row, "buckets": describe_types(counts)}


def test_every_action_has_the_same_response(api_responses: ApiResponses) -> None:
    compare_json("api/acts.json", api_responses.action_responses)


INVALID_REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/nothing", {}),
    ("DELETE", "/runs", {}),
    ("GET", "/runs/abc", {}),
    ("GET", "/runs?limit=many", {}),
    ("GET", "/rules/none/explain", {}),
    ("GET", "/rules/wind/explain?at=yesterday", {}),
    ("GET", "/artifacts/none", {}),
    ("GET", "/artifacts/../../etc/passwd", {}),
    ("GET", "/alarms/figures?since=noon", {}),
    ("GET", "/read/records/none", {}),
    ("GET", "/read/records/runs?query=x", {}),
    ("GET", '/read/records/runs?query={"limit":0}', {}),
    ("POST", "/events", {"content": b"no json"}),
    ("POST", "/events", {"json": {"topic": 1}}),
    ("POST", "/events", {"json": [{"topic": "t", "fields": {}}, {"topic": "t", "time": "x"}]}),
    ("POST", "/events", {"json": {"topic": "catcher.health", "fields": {}}}),
    ("POST", "/http/weather", {"json": [1]}),
    ("POST", "/http/b%20ad", {"json": {}}),
    ("POST", "/api/v2/write", {"content": b"no line protocol"}),
    ("POST", "/rules/none/fire", {"json": {}}),
    ("POST", "/rules/doubling/fire", {"json": {"event": {"topic": 1}}}),
    ("POST", "/rules/doubling/fire", {"json": {"observation": "none"}}),
    ("POST", "/alerts/none/ack", {"json": {"who": "ana"}}),
    ("POST", "/alerts/ALERT/ack", {"json": {}}),
    ("POST", "/alerts/ALERT/ack", {"json": {"who": "ana", "severity": "loud"}}),
    ("POST", "/alerts/ALERT/ack", {"json": {"who": "ana", "severity": "warning"}}),
    ("POST", "/alerts/ALERT/shelve", {"json": {"who": "a", "span": "long", "reason": "b"}}),
    ("POST", "/alerts/ALERT/shelve", {"json": {"who": "a", "span": "900d", "reason": "b"}}),
    ("POST", "/alerts/ALERT/unshelve", {"json": {"who": "ana"}}),
    ("POST", "/alerts/ALERT/note", {"json": {"who": "ana"}}),
    ("POST", "/alerts/ALERT/note", {"json": {"who": "ana", "note": "a", "link": "x"}}),
    ("POST", "/alerts/ALERT/assign", {"json": {"who": "ana", "to": ""}}),
    ("POST", "/confirm/none", {"json": {"who": "ana"}}),
    ("POST", "/shift", {"json": {"who": "ana", "to": "nobody"}}),
    ("POST", "/silences", {"json": {"who": "ana", "name": "x", "span": "1h"}}),
    ("POST", "/silences/none/end", {"json": {"who": "ana"}}),
    ("POST", "/read/sql", {"json": {"query": "DROP TABLE runs"}}),
    ("POST", "/read/series", {"json": {"topic": "wind", "start": 5}}),
]


def read_error_responses(scenario: GoldenScenario) -> Any:
    """The answers to what cannot be done."""
    alert_id, responses = scenario.alert_ids["wind worse"], []
    for method, path, options in INVALID_REQUESTS:
        response = fetch_response(
            scenario.engine, method, path.replace("ALERT", alert_id), **options
        )
        request = {
            "method": method,
            "path": path,
            **({"json": options["json"]} if "json" in options else {}),
        }
        responses.append({"asked": request, **response})
        assert response["status"] >= 400, (method, path)
    return scenario.normalize(responses)


def test_every_error_response_has_the_same_form_and_text(api_responses: ApiResponses) -> None:
    compare_json("api/refusals.json", api_responses.error_responses)


# -- what a client elsewhere reads -------------------------------------------------------------

RECORD_QUERIES: Mapping[str, str] = {
    "runs": '{"rule": "doubling", "limit": 100}',
    "firings": '{"rule": "posted"}',
    "metrics": '{"name": "doubled"}',
    "artifacts": '{"rule": "doubling"}',
    "alerts": '{"rule": "wind", "state": "resolved"}',
    "audit": "{}",
    "silences": "{}",
    "shifts": "{}",
    "dead_letters": '{"name": "broken"}',
}


def decode_frames(data: bytes) -> tuple[str, list[Any]]:
    """The letters of the frames of an answer, and the nouns that they hold."""
    frame_types, records = "", []
    while data:
        frame_type, length = struct.unpack_from(">cI", data)
        body, data = data[5 : 5 + length], data[5 + length :]
        frame_types += frame_type.decode()
        if frame_type == b"M":
            records += msgspec.msgpack.decode(body)
    return frame_types, records


def read_record_formats(scenario: GoldenScenario) -> Any:
    """What a client elsewhere is told of each kind of record."""
    formats: dict[str, Any] = {}
    for kind, query in RECORD_QUERIES.items():
        response = scenario.engine.request("GET", f"/read/records/{kind}", params={"query": query})
        assert response.status_code == 200
        frame_types, records = decode_frames(response.content)
        formats[kind] = {
            "type": response.headers["content-type"], "frames": "".join(sorted({*frame_types})),
            "rows": len(records) if kind != "audit" else "<whole number>",
            "nouns": describe_types(records),
        }  # fmt: skip
    sql = "SELECT rule, key, state, count(*) AS n FROM runs GROUP BY rule, key, state ORDER BY n"
    response = scenario.engine.request("POST", "/read/sql", json={"query": sql})
    formats["sql"] = describe_types(decode_frames(response.content)[1])
    return formats


def test_records_have_the_same_form_on_the_wire(api_responses: ApiResponses) -> None:
    compare_json("api/records.json", api_responses.record_formats)


QUERY_KEYS = ("rule", "key", "id", "state", "name", "obs", "kind")


def query_kinds_by_key(scenario: GoldenScenario, key: str) -> str:
    """Which kinds of records are fewer when a key of the query asks for what nothing has."""
    lines = []
    for kind in RECORD_QUERIES:
        params = {"query": json.dumps({key: "nothing has this"})}
        response = scenario.engine.request("GET", f"/read/records/{kind}", params=params)
        lines.append(f"{kind}: {'some' if decode_frames(response.content)[1] else 'none'}\n")
    return "".join(lines)


def test_a_query_accepts_the_same_keys(api_responses: ApiResponses) -> None:
    text = "".join(f"{key}\n{result}\n" for key, result in api_responses.query_results.items())
    compare_text("api/queries.txt", text)


# -- streams -----------------------------------------------------------------------------------


def test_the_stream_of_events_has_the_same_frames(api_responses: ApiResponses) -> None:
    rows_by_kind: dict[str, list[Any]] = {}
    text = "\n".join(api_responses.frames)
    assert text.startswith(": following\n\nevent: ")
    for kind, data in re.findall(r"^event: (.*)\ndata: (.*)$", text, flags=re.MULTILINE):
        rows_by_kind.setdefault(kind, []).append(json.loads(data))
    formats = {kind: describe_types(rows) for kind, rows in sorted(rows_by_kind.items())}
    compare_json("api/stream.json", formats)


def select_tail_lines(scenario: GoldenScenario) -> Any:
    """Some lines of the tail."""
    prefixes = ('{"topic":"doom"', '{"topic":"number","time":"2025', '{"topic":"http')
    lines = [
        line for line in scenario.tail_lines if line.startswith(prefixes) or '"lane":"a"' in line
    ]
    return scenario.normalize(lines)


def test_the_lines_of_the_tail_have_the_same_form(api_responses: ApiResponses) -> None:
    compare_json("api/tail.json", api_responses.tail_lines)


# -- metrics -----------------------------------------------------------------------------------


def parse_metric_families(page: str) -> dict[str, dict[str, Any]]:
    """Each metric of a page: its type, its help, its samples' names with their labels."""
    families: dict[str, dict[str, Any]] = {}
    for line in page.splitlines():
        if line.startswith("# HELP "):
            _, _, name, help_text = line.split(" ", 3)
            families[name] = {"type": "", "help": help_text, "samples": []}
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            families[name]["type"] = kind
        else:
            sample = line.partition("{")[0].partition(" ")[0]
            labels = re.findall(r'[{,](\w+)="', line)
            sample_text = f"{sample}{{{','.join(labels)}}}"
            if sample_text not in families[name]["samples"]:
                families[name]["samples"].append(sample_text)
    return dict(sorted(families.items()))


def test_the_metrics_are_the_same(api_responses: ApiResponses) -> None:
    families = parse_metric_families(api_responses.metrics_page)
    rule_metrics = {
        name: family for name, family in families.items() if name.startswith("catcher_rule_")
    }
    other_metrics = {name: family for name, family in families.items() if name not in rule_metrics}
    compare_json("api/metrics_of_rules.json", rule_metrics)
    compare_json("api/other_metrics.json", other_metrics)


def test_the_metrics_of_rules_have_the_same_values(api_responses: ApiResponses) -> None:
    lines = api_responses.metrics_page.splitlines()
    prefixes = ('catcher_rule_', 'catcher_alerts{', 'catcher_runs_total')  # fmt: skip
    matches = [
        line for line in lines if line.startswith(prefixes) and 'rule="doubling"' not in line
    ]
    compare_text("api/metrics_of_rules.txt", "".join(f"{line}\n" for line in sorted(matches)))


# -- commands beside a running engine ----------------------------------------------------------

MANUAL_EVENT = json.dumps(create_event("number", 5, value=4, lane="b"))
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "alerts": ("alerts",),
    "alerts of all times": ("alerts", "--all", "--limit", "3"),
    "audit": ("audit", "--limit", "100"),
    "silences": ("silences",),
    "dead-letters": ("dead-letters",),
    "shift": ("handover",),
    "explain": ("explain", "wind"),
    "doctor": ("doctor",),
    "report": ("alarms", "report"),
    "ack": ("ack", "wind noted", "--who", "bo", "--severity", "warning"),
    "shelve": ("shelve", "wind noted", "--for", "1h", "--reason", "known", "--who", "bo"),
    "confirm": ("confirm", "wind noted", "--who", "ana"),
    "unshelve": ("unshelve", "wind noted", "--who", "bo"),
    "note": ("note", "wind noted", "iced", "--who", "bo"),
    "assign": ("assign", "wind noted", "--to", "ana", "--who", "bo"),
    "silence": ("silence", "gusts*", "--reason", "a test", "--for", "1h", "--who", "bo"),
    "handover": ("handover", "--to", "bo", "--who", "ana", "--note", "good night"),
    "resend": ("dead-letters", "--all", "--who", "ana"),
    "fire": ("fire", "doubling", "--event", MANUAL_EVENT, "--who", "ana"),
}


def normalize_audit(rows: list[dict[str, Any]]) -> list[Any]:
    """Entries of the audit trail with their details by type, each form once, refusals left out."""
    accepted = [row for row in rows if "refused" not in row["detail"]]
    entries = [
        {**describe_types(row), "channel": row["channel"], "what": row["what"]} for row in accepted
    ]
    return merge_types(sorted(entries, key=lambda row: (row["what"], json.dumps(row))))


def run_alert_commands(scenario: GoldenScenario) -> Any:
    """What each command of the desk prints."""
    outputs: dict[str, Any] = {}
    for name, arguments in COMMANDS.items():
        folders = ("--site", scenario.engine.site, "--data", scenario.engine.data)
        result = run_command(*arguments, "--json", *folders)
        output = json.loads(result.out) if result.out else result.err
        if name == "report":
            output = normalize_statistics(output)
        assert result.status == (1 if name == "doctor" else 0), (name, result.err)
        if name in ("doctor", "resend"):
            output = describe_types(output)
        if name == "audit":
            output = normalize_audit(output)
        outputs[name] = {"status": int(result.status), "printed": hide_keys(output, VOLATILE_KEYS)}
    return scenario.normalize(outputs)


def test_every_alert_command_prints_the_same_json(api_responses: ApiResponses) -> None:
    compare_json("commands/desk.json", api_responses.command_outputs)
