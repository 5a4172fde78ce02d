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

from tests.cli.calling import call
from tests.goldens.compare import compare_json, compare_text, describe_types, hide_keys, merge_types
from tests.goldens.running import Happened, answer_of, engine_after_all, event_of

CHANGING = (
    "per_minute", "arriving", "drain", "grows", "turn_age", "turns", "loop_lag", "blocks",
    "last_block", "version", "median_acknowledge_s", "median_open_s", "nights", "counts",
    "worker", "last", "since", "untold", "attempts", "heartbeats_withheld",
)  # fmt: skip
"""Keys under which time or chance decides; of these the type is held."""


@dataclass(frozen=True)
class Collected:
    """All that a running engine has answered, in one fixed order: tests may run in any."""

    described: Any
    answers: Any
    acts: Any
    records: Any
    queries: Any
    tail: Any
    frames: list[str]
    metrics: str
    refusals: Any
    desk: Any


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Collected:
    with engine_after_all(tmp_path_factory.mktemp("goldens")) as happened:
        return Collected(
            described=happened.engine.get("/openapi.json"),
            answers=read_answers(happened),
            acts=happened.settle(hide_keys(happened.answers, CHANGING)),
            records=read_records(happened),
            queries={key: ask_with(happened, key) for key in QUERIED},
            tail=read_tail(happened),
            frames=happened.frames,
            metrics=happened.engine.ask("GET", "/metrics").text,
            refusals=read_refusals(happened),
            desk=call_desk(happened),
        )


# -- the description ---------------------------------------------------------------------------


def name_schemas_by_what_they_hold(described: dict[str, Any]) -> dict[str, Any]:
    """The description of the API in which the names of its schemas no longer count.

    Each component has its property names as its name; titles and descriptions are left out.
    """
    schemas = described["components"]["schemas"]
    names = {name: "+".join(one.get("properties", {})) for name, one in schemas.items()}
    references = {f"#/components/schemas/{name}": f"#{names[name]}" for name in names}

    def settle(value: Any, above: str = "") -> Any:
        if isinstance(value, dict):
            prose = () if above == "properties" else ("title", "description", "summary")
            return {key: settle(one, key) for key, one in value.items() if key not in prose}
        if isinstance(value, list):
            return [settle(one) for one in value]
        return references.get(value, value) if isinstance(value, str) else value

    settled = {names[name]: settle(one) for name, one in schemas.items()}
    assert len(settled) == len(schemas)
    return {"paths": settle(described["paths"]), "schemas": dict(sorted(settled.items()))}


def test_the_description_of_the_api_stays(collected: Collected) -> None:
    compare_json("api/openapi.json", name_schemas_by_what_they_hold(collected.described))


# -- answers -----------------------------------------------------------------------------------


def gets(happened: Happened) -> dict[str, list[str]]:
    """Each path of the API that can be read, with what is asked for."""
    ids = happened.runs
    (artifact,) = [
        one for one in happened.engine.get("/artifacts") if one["run"] == ids["done"]
    ]  # fmt: skip
    everything = "/read/records/{kind}"
    return {
        "/shift": ["/shift"],
        "/silences": ["/silences"],
        "/dead-letters": ["/dead-letters", "/dead-letters?sink=none"],
        "/alarms/figures": ["/alarms/figures", "/alarms/figures?since=1h"],
        "/rules": ["/rules"],
        "/rules/{rule}/explain": ["/rules/wind/explain", "/rules/doubling/explain"],
        "/runs": ["/runs", "/runs?state=failed&rule=doubling&limit=1", "/runs?observation=none"],
        "/runs/{run}": [f"/runs/{ids['done']}", f"/runs/{ids['failed']}"],
        "/firings": ["/firings?rule=doubling", "/firings?rule=posted"],
        "/alerts": ["/alerts", "/alerts?state=resolved", "/alerts?state=active&limit=1"],
        "/metrics/{name}": ["/metrics/doubled", "/metrics/none"],
        "/artifacts": ["/artifacts?rule=doubling&limit=2"],
        "/artifacts/{key}": [f"/artifacts/{artifact['key']}"],
        "/read/topics": ["/read/topics"],
        "/read/fields": ["/read/fields?topic=wind"],
        "/read/latest": ["/read/latest?topic=none"],
        everything: [],
        "/health": ["/health"],
        "/stream": [],
        "/tail": [],
        "/healthz": ["/healthz", "/healthz?verbose"],
        "/readyz": ["/readyz"],
        "/metrics": [],
        "/backlog": ["/backlog"],
    }


def read_answers(happened: Happened) -> Any:
    """The answer for each path that can be read."""
    engine = happened.engine
    engine.until(lambda: engine.ask("GET", "/readyz").status_code == 200, "readiness")
    asked, found = gets(happened), {}
    described = engine.get("/openapi.json")["paths"]
    assert {path for path, ways in described.items() if "get" in ways} == {*asked}
    for path in (one for paths in asked.values() for one in paths):
        answer = answer_of(engine, "GET", path)
        if path == "/health":
            answer["body"] = settle_health(answer["body"])
        if path == "/healthz?verbose":
            answer["body"] = settle_block(answer["body"])
        if path.startswith("/alarms"):
            answer["body"] = settle_figures(answer["body"])
        found[path] = hide_keys(answer, CHANGING if path != "/health" else ())
    return happened.settle(found)


def test_every_answer_has_the_same_keys_and_values(collected: Collected) -> None:
    compare_json("api/answers.json", collected.answers)


def settle_health(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of parts with the types of their values, their names and kinds as they are."""
    return [
        {
            **describe_types(row), "name": row["name"], "kind": row["kind"],
            "since": "<time>", "last": "<time or null>",
        }
        for row in rows
    ]  # fmt: skip


def settle_block(row: dict[str, Any]) -> dict[str, Any]:
    """How an engine does, whether or not something has blocked it meanwhile."""
    block = row["last_block"]
    assert block is None or [*block] == ["seconds", "stack", "place", "over", "told"]
    return {**row, "last_block": "null, or seconds, stack, place, over, told"}


def settle_figures(row: dict[str, Any]) -> dict[str, Any]:
    """Figures, of which the last buckets alone count what has happened."""
    counts = row["buckets"]
    assert sum(counts) == row["alerts"]
    return {**row, "buckets": describe_types(counts)}


def test_every_act_has_the_same_answer(collected: Collected) -> None:
    compare_json("api/acts.json", collected.acts)


REFUSALS: list[tuple[str, str, dict[str, Any]]] = [
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


def read_refusals(happened: Happened) -> Any:
    """The answers to what cannot be done."""
    alert, found = happened.ids["wind worse"], []
    for method, path, how in REFUSALS:
        answer = answer_of(happened.engine, method, path.replace("ALERT", alert), **how)
        asked = {"method": method, "path": path, **({"json": how["json"]} if "json" in how else {})}
        found.append({"asked": asked, **answer})
        assert answer["status"] >= 400, (method, path)
    return happened.settle(found)


def test_every_refusal_has_the_same_form_and_words(collected: Collected) -> None:
    compare_json("api/refusals.json", collected.refusals)


# -- what a client elsewhere reads -------------------------------------------------------------

RECORDS: Mapping[str, str] = {
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


def read_frames(data: bytes) -> tuple[str, list[Any]]:
    """The letters of the frames of an answer, and the nouns that they hold."""
    letters, nouns = "", []
    while data:
        letter, length = struct.unpack_from(">cI", data)
        body, data = data[5 : 5 + length], data[5 + length :]
        letters += letter.decode()
        if letter == b"M":
            nouns += msgspec.msgpack.decode(body)
    return letters, nouns


def read_records(happened: Happened) -> Any:
    """What a client elsewhere is told of each kind of record."""
    found: dict[str, Any] = {}
    for kind, query in RECORDS.items():
        answer = happened.engine.ask("GET", f"/read/records/{kind}", params={"query": query})
        assert answer.status_code == 200
        letters, nouns = read_frames(answer.content)
        found[kind] = {
            "type": answer.headers["content-type"], "frames": "".join(sorted({*letters})),
            "rows": len(nouns) if kind != "audit" else "<whole number>",
            "nouns": describe_types(nouns),
        }  # fmt: skip
    select = "SELECT rule, key, state, count(*) AS n FROM runs GROUP BY rule, key, state ORDER BY n"
    answer = happened.engine.ask("POST", "/read/sql", json={"query": select})
    found["sql"] = describe_types(read_frames(answer.content)[1])
    return found


def test_records_have_the_same_form_on_the_wire(collected: Collected) -> None:
    compare_json("api/records.json", collected.records)


QUERIED = ("rule", "key", "id", "state", "name", "obs", "kind")


def ask_with(happened: Happened, key: str) -> str:
    """Which kinds of records are fewer when a key of the query asks for what nothing has."""
    found = []
    for kind in RECORDS:
        ask = {"query": json.dumps({key: "nothing has this"})}
        answer = happened.engine.ask("GET", f"/read/records/{kind}", params=ask)
        found.append(f"{kind}: {'some' if read_frames(answer.content)[1] else 'none'}\n")
    return "".join(found)


def test_a_query_knows_the_same_keys(collected: Collected) -> None:
    text = "".join(f"{key}\n{found}\n" for key, found in collected.queries.items())
    compare_text("api/queries.txt", text)


# -- streams -----------------------------------------------------------------------------------


def test_the_stream_of_events_has_the_same_frames(collected: Collected) -> None:
    kinds: dict[str, list[Any]] = {}
    text = "\n".join(collected.frames)
    assert text.startswith(": following\n\nevent: ")
    for kind, data in re.findall(r"^event: (.*)\ndata: (.*)$", text, flags=re.MULTILINE):
        kinds.setdefault(kind, []).append(json.loads(data))
    found = {kind: describe_types(rows) for kind, rows in sorted(kinds.items())}
    compare_json("api/stream.json", found)


def read_tail(happened: Happened) -> Any:
    """Some lines of the tail."""
    wanted = ('{"topic":"doom"', '{"topic":"number","time":"2025', '{"topic":"http')
    lines = [one for one in happened.lines if one.startswith(wanted) or '"lane":"a"' in one]
    return happened.settle(lines)


def test_the_lines_of_the_tail_have_the_same_form(collected: Collected) -> None:
    compare_json("api/tail.json", collected.tail)


# -- metrics -----------------------------------------------------------------------------------


def read_families(page: str) -> dict[str, dict[str, Any]]:
    """Each metric of a page: its type, its help, its samples' names with their labels."""
    found: dict[str, dict[str, Any]] = {}
    for line in page.splitlines():
        if line.startswith("# HELP "):
            _, _, name, about = line.split(" ", 3)
            found[name] = {"type": "", "help": about, "samples": []}
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            found[name]["type"] = kind
        else:
            sample = line.partition("{")[0].partition(" ")[0]
            labels = re.findall(r'[{,](\w+)="', line)
            described = f"{sample}{{{','.join(labels)}}}"
            if described not in found[name]["samples"]:
                found[name]["samples"].append(described)
    return dict(sorted(found.items()))


def test_the_metrics_are_the_same(collected: Collected) -> None:
    found = read_families(collected.metrics)
    of_rules = {name: one for name, one in found.items() if name.startswith("catcher_rule_")}
    others = {name: one for name, one in found.items() if name not in of_rules}
    compare_json("api/metrics_of_rules.json", of_rules)
    compare_json("api/other_metrics.json", others)


def test_the_metrics_of_rules_have_the_same_values(collected: Collected) -> None:
    lines = collected.metrics.splitlines()
    kept = ('catcher_rule_', 'catcher_alerts{', 'catcher_runs_total')  # fmt: skip
    found = [one for one in lines if one.startswith(kept) and 'rule="doubling"' not in one]
    compare_text("api/metrics_of_rules.txt", "".join(f"{one}\n" for one in sorted(found)))


# -- commands beside a running engine ----------------------------------------------------------

FIRED = json.dumps(event_of("number", 5, value=4, lane="b"))
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
    "fire": ("fire", "doubling", "--event", FIRED, "--who", "ana"),
}


def settle_audit(rows: list[dict[str, Any]]) -> list[Any]:
    """Entries of the audit trail with their details by type, each form once, refusals left out."""
    done = [row for row in rows if "refused" not in row["detail"]]
    kept = [{**describe_types(row), "channel": row["channel"], "what": row["what"]} for row in done]
    return merge_types(sorted(kept, key=lambda row: (row["what"], json.dumps(row))))


def call_desk(happened: Happened) -> Any:
    """What each command of the desk prints."""
    found: dict[str, Any] = {}
    for what, arguments in COMMANDS.items():
        folders = ("--site", happened.engine.site, "--data", happened.engine.data)
        answer = call(*arguments, "--json", *folders)
        printed = json.loads(answer.out) if answer.out else answer.err
        if what == "report":
            printed = settle_figures(printed)
        assert answer.status == (1 if what == "doctor" else 0), (what, answer.err)
        if what in ("doctor", "resend"):
            printed = describe_types(printed)
        if what == "audit":
            printed = settle_audit(printed)
        found[what] = {"status": int(answer.status), "printed": hide_keys(printed, CHANGING)}
    return happened.settle(found)


def test_every_command_of_the_desk_prints_the_same_json(collected: Collected) -> None:
    compare_json("commands/desk.json", collected.desk)
