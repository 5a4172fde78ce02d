"""What an engine of c51c802 left is opened by today's engine, and goes on: nothing is lost.

`c51c802.tar.xz` holds the data folder of an engine that was killed at second 900 of its night
(`make_fixture`), with everything half way. Today's engine opens it at second 905, hears the rest of
the story in `run_rest_of_night`, and is looked at along the way. A test that fails here says that
data of a site would be lost, or told or done twice, by an upgrade. The archive is never made anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from catcher import SyncClient
from catcher.stores.ledger.schema import VERSION
from tests.cli.command_runner import run_command
from tests.upgrade.engine_session import (
    NIGHT_FILE,
    START,
    EngineSession,
    Row,
    append_source_events,
    create_event,
    open_session,
    read_deliveries,
    read_rows,
    seconds_since_start,
    unpack_archive,
)

KILLED_AT, OPENED_AT = 900, 905
TABLE_KEYS = {
    "alerts": ("id", "episode"),
    "artifacts": ("key",),
    "audit": ("seq",),
    "bundles": ("id",),
    "fields": ("run", "name"),
    "firings": ("id",),
    "inbox": ("seq",),
    "metrics": ("run", "name"),
    "notices": ("seq",),
    "observations": ("kind", "id"),
    "once_values": ("rule", "value"),
    "receipts": ("alert", "sink"),
    "runs": ("id",),
    "shifts": ("since",),
    "silences": ("id",),
    "trigger_states": ("rule", "key"),
}
"""The tables that a data folder keeps, with the columns that tell rows apart."""
IMMUTABLE_TABLES = (
    "artifacts", "audit", "fields", "firings", "metrics", "observations", "once_values", "shifts",
)  # fmt: skip
"""The tables whose rows never change."""
ALERT_STATES_AT_KILL = {
    "wind a": ("firing", "WARNING"),
    "wind b": ("acknowledged", "WARNING"),
    "wind c": ("shelved", "WARNING"),
    "wind d": ("firing", "NONE"),
    "wind e": ("firing", "WARNING"),
    "wind f": ("resolved", "NONE"),
    "wind g": ("firing", "WARNING"),
    "wind-gale a": ("firing", "CRITICAL"),
    "door-open n": ("firing", "WARNING"),
    "grouped p": ("firing", "WARNING"),
    "grouped q": ("firing", "WARNING"),
    "swinging": ("resolved", "NONE"),
    "silenced": ("firing", "WARNING"),
    "rising b": ("firing", "WARNING"),
    "lasting k1": ("firing", "WARNING"),
    "lasting k2": ("firing", "WARNING"),
    "measured F2": ("firing", "SERIOUS"),
    "measured F3": ("firing", "WARNING"),
}
"""How each alert stood when the engine was killed."""
FIRINGS_BEFORE_KILL = {
    "beacon-lost": [300],
    "by-post": [310],
    "either": [850, 898],
    "lasting": [850, 898],
    "measured": [150, 160, 170, 180, 860, 862],
    "ping-lost": [60],
    "rearming": [850],
    "throttled": [860],
    "timed": [0, 600],
    "waiting": [865, 866],
}
"""When each rule had fired by then."""
FRAME_START_SECONDS = {"F1": 195, "F5": 855, "F7": 945}
WARM_FROM, WARM_UNTIL = 641, 882
"""The seconds whose temperature, 1, the killed engine had heard; it is 100 from 905 on."""


@dataclass(frozen=True)
class EngineSnapshot:
    """What there is at one time: by the API, and in the ledger."""

    alerts: dict[str, Row]
    firings: dict[str, list[float]]
    tables: dict[str, dict[tuple[Any, ...], Row]]
    deliveries: list[Row]

    @property
    def alert_states(self) -> dict[str, tuple[str, str]]:
        """Returns state and severity of each alert."""
        return {name: (row["state"], row["severity"]) for name, row in self.alerts.items()}


@dataclass
class UpgradeRun:
    """The whole story: what was before, and what was seen after each part of it."""

    site: Path
    data: Path
    initial_tables: dict[str, dict[tuple[Any, ...], Row]]
    snapshots: dict[str, EngineSnapshot] = field(default_factory=dict)
    responses: dict[str, Any] = field(default_factory=dict)

    def list_firings(self, rule: str, stage: str = "last") -> list[float]:
        """Returns when a rule fired since the kill."""
        return [time for time in self.snapshots[stage].firings.get(rule, []) if time > KILLED_AT]


def read_tables(data: Path) -> dict[str, dict[tuple[Any, ...], Row]]:
    """Returns the rows of each table, by their keys."""
    return {
        table: {
            tuple(row[name] for name in columns): row
            for row in read_rows(data, f"SELECT * FROM {table}")
        }
        for table, columns in TABLE_KEYS.items()
    }


def capture_snapshot(session: EngineSession, upgrade: UpgradeRun) -> EngineSnapshot:
    """Looks at everything, by the API and in the ledger."""
    alerts = {}
    for row in sorted(session.get("/alerts", limit=1000), key=lambda row: row["episode"]):
        alerts[" ".join(filter(None, (row["rule"], row["key"], row["per"])))] = row
    firings: dict[str, list[float]] = {}
    for row in session.get("/firings", limit=1000):
        firings.setdefault(row["rule"], []).append(seconds_since_start(row["time"]))
    firings = {rule: sorted(times) for rule, times in firings.items()}
    return EngineSnapshot(alerts, firings, read_tables(upgrade.data), read_deliveries(upgrade.site))


@pytest.fixture(scope="module")
def upgrade(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpgradeRun]:
    """Unpacks the archive and lets today's engine live on."""
    site, data = unpack_archive(tmp_path_factory.mktemp("upgrade"))
    upgrade = UpgradeRun(site, data, read_tables(data))
    append_source_events(site, create_event(904, "mark"))
    with open_session(site, data, OPENED_AT) as session:
        session.post_at(OPENED_AT)
        wait_for_pending_work(session, upgrade)
        upgrade.snapshots["opened"] = capture_snapshot(session, upgrade)
        run_rest_of_night(session, upgrade)
    yield upgrade


def wait_for_pending_work(session: EngineSession, upgrade: UpgradeRun) -> None:
    """Returns when runs, artifacts and messages that were left are done."""
    pending_sql = "SELECT 1 FROM runs WHERE state IN ('pending', 'running')"
    session.wait_until(lambda: not read_rows(upgrade.data, pending_sql), "the runs that were left")
    session.wait_until(lambda: not list_spooled(upgrade.data), "the artifacts that waited")
    wait_for_deliveries(session, upgrade)


def wait_for_deliveries(session: EngineSession, upgrade: UpgradeRun) -> None:
    """Returns when every message is delivered."""
    pending_sql = "SELECT 1 FROM notices WHERE state = 'pending'"
    session.wait_until(lambda: not read_rows(upgrade.data, pending_sql), "the messages that wait")


def list_spooled(data: Path) -> list[Path]:
    """Returns the artifacts that wait for their store."""
    return list((data / "spool" / "objects").glob("*.spooled"))


def run_rest_of_night(session: EngineSession, upgrade: UpgradeRun) -> None:
    """Tells the rest of the night, and looks at it four times."""
    complete_pending_patterns(session)
    upgrade.snapshots["completed"] = capture_snapshot(session, upgrade)
    session.post_at(950, *create_frame_events(950))
    done_sql = "SELECT 1 FROM runs WHERE rule = 'measured' AND state = 'done'"
    session.wait_until(lambda: len(read_rows(upgrade.data, done_sql)) == 6, "the run of F7")
    for second in (951, 964, 966):
        session.post_at(second)
    wait_for_deliveries(session, upgrade)
    upgrade.snapshots["quiet"] = capture_snapshot(session, upgrade)
    upgrade.responses["letters"] = session.get("/dead-letters")
    upgrade.responses["resent"] = session.post("/dead-letters/resend", who="bo", every=True)
    wait_for_deliveries(session, upgrade)
    upgrade.responses["letters left"] = session.get("/dead-letters")
    upgrade.responses["silences"] = session.get("/silences")
    upgrade.responses["shift"] = session.get("/shift")
    upgrade.responses["health"] = {row["name"]: row for row in session.get("/health")}
    upgrade.responses["metrics"] = session.get("/metrics/doubled")
    for second, name in ((1299, "unescalated"), (1301, "escalated"), (1497, "lasting"), (1499, "")):
        session.post_at(second)
        wait_for_deliveries(session, upgrade)
        if name:
            upgrade.snapshots[name] = capture_snapshot(session, upgrade)
    for second, name in ((2098, "silent"), (2101, "loud"), (2998, "shelved"), (3003, "last")):
        session.post_at(second)
        wait_for_deliveries(session, upgrade)
        upgrade.snapshots[name] = capture_snapshot(session, upgrade)
    repeat_actions(session)
    wait_for_deliveries(session, upgrade)
    upgrade.snapshots["changed"] = capture_snapshot(session, upgrade)


def repeat_actions(session: EngineSession) -> None:
    """Does once more what people and data did before, so that every kind of row is written."""
    session.post_at(3010, create_event(3010, "pump", name="p", pressure=1))
    paths = {mast: f"/alerts/{session.get_alert('wind', mast)['id']}" for mast in "abg"}
    session.post(f"{paths['b']}/note", who="bo", note="still looking")
    session.post(f"{paths['a']}/ack", who="bo", severity="warning", note="mine")
    session.post(f"{paths['g']}/shelve", who="bo", span="1h", reason="a bird")
    session.post("/silences", name="hum*", span="1h", who="bo", reason="known", severity="serious")
    session.post_at(3020)
    session.post("/shift", to="ana", who="bo", note="all is well")
    session.post_at(3060)


def complete_pending_patterns(session: EngineSession) -> None:
    """Posts what each rule waited for, and what must not count again.

    The first events were kept before the kill, and are sent once more.
    """
    session.post_at(
        906, create_event(KILLED_AT, "pulse", x=1), create_event(898, "knock", name="k2")
    )
    next_second = OPENED_AT
    for second, events in {
        907: [create_event(907, "pulse", x=1)],
        909: [
            create_event(908, "knock", name="k1"),
            create_event(908, "frame", **build_frame_fields("F5")),
        ],
        910: [
            create_event(910, "gust", key="g", x=20),
            create_event(910, "rise", key="a", x=20),
            create_event(910, "rise", key="b", x=1),
            create_event(910, "calm", x=1),
            create_event(910, "slew", x=1),
            create_event(910, "tick", x=1),
        ],
        914: [create_event(914, "rise", key="b", x=1)],
        916: [create_event(916, "rise", key="b", x=1), create_event(916, "calm", x=20)],
        920: [create_event(920, "shutter", open=False), create_event(920, "tick", x=1)],
        925: [create_event(925, "gust", key="g", x=20), create_event(925, "rise", key="a", x=20)],
        929: [create_event(929, "rise", key="a", x=20)],
        931: [create_event(931, "gust", key="g", x=1)],
        932: [create_event(932, "rise", key="a", x=20)],
    }.items():
        temperatures = [
            create_event(warm_second, "temperature", x=100)
            for warm_second in range(next_second, second + 1)
        ]
        next_second = second + 1
        session.post_at(second, *sorted([*temperatures, *events], key=lambda event: event["time"]))


def create_frame_events(second: int) -> list[Row]:
    """Makes the event of a new frame, and of one that is known."""
    return [create_event(second, "frame", **build_frame_fields(name)) for name in ("F7", "F1")]


def build_frame_fields(name: str) -> Row:
    """Makes the fields of a frame that is over a limit."""
    return {
        "name": name,
        "value": 42,
        "begun": create_event(FRAME_START_SECONDS[name], "")["time"],
        "seconds": 4,
        "filter": "r",
    }


def find_first_warm_second() -> int:
    """Returns when the mean of the last four minutes first passes 10, by counting."""
    values = dict.fromkeys(range(WARM_FROM, WARM_UNTIL + 1), 1)
    for now in range(OPENED_AT, 1000):
        values[now] = 100
        window = [value for second, value in values.items() if now - 240 < second <= now]
        if sum(window) / len(window) > 10:
            return now
    raise AssertionError("never")


# -- right after opening ---------------------------------------------------------------------------


def test_every_alert_has_the_same_state_right_after_opening(upgrade: UpgradeRun) -> None:
    assert upgrade.snapshots["opened"].alert_states == ALERT_STATES_AT_KILL
    before = {key: row["body"] for key, row in upgrade.initial_tables["alerts"].items()}
    after = {key: row["body"] for key, row in upgrade.snapshots["opened"].tables["alerts"].items()}
    assert after == before


def test_what_people_did_with_alerts_is_known(upgrade: UpgradeRun) -> None:
    alerts = upgrade.snapshots["opened"].alerts
    assert alerts["wind b"]["acknowledged_by"] == "ana"
    assert [comment["text"] for comment in alerts["wind b"]["notes"]] == ["the sensor is new"]
    assert alerts["wind a"]["assignee"] == "bo"
    assert alerts["wind c"]["shelved_by"] == "bo"
    assert seconds_since_start(alerts["wind c"]["shelved_until"]) == 3000


def test_the_flags_of_alerts_are_known(upgrade: UpgradeRun) -> None:
    alerts = upgrade.snapshots["opened"].alerts
    assert [name for name, row in alerts.items() if row["unknown"]] == ["wind e"]
    assert {name for name, row in alerts.items() if row["latched"]} == {"wind d", "wind-gale a"}
    assert [name for name, row in alerts.items() if row["flapping"]] == ["swinging"]
    assert alerts["wind d"]["shown_severity"] == "SERIOUS"
    assert alerts["swinging"]["episode"] == 4
    assert alerts["silenced"]["held_back"]


def test_no_rule_fires_at_opening(upgrade: UpgradeRun) -> None:
    assert upgrade.snapshots["opened"].firings == FIRINGS_BEFORE_KILL


def test_only_what_was_undelivered_is_sent_at_opening(upgrade: UpgradeRun) -> None:
    deliveries = [
        (row["place"], row["kind"], row["rule"]) for row in upgrade.snapshots["opened"].deliveries
    ]
    assert deliveries == [("radio", "opened", "door-open")]


def test_runs_that_were_left_are_done_once(upgrade: UpgradeRun) -> None:
    runs = [
        row for row in upgrade.snapshots["last"].tables["runs"].values() if row["rule"] == "waiting"
    ]
    assert [row["state"] for row in runs] == ["done", "done"]
    wait_times = [
        row["value"]
        for row in upgrade.snapshots["last"].tables["metrics"].values()
        if row["name"] == "waited"
    ]
    assert sorted(wait_times) == [1, 2]


def test_artifacts_that_waited_for_their_store_are_stored(upgrade: UpgradeRun) -> None:
    paths = sorted((upgrade.data / "objects" / "measured").rglob("values.json"))
    assert sorted(json.loads(path.read_text())["values"][0] for path in paths) == [
        3, 4, 40, 41, 42, 60,
    ]  # fmt: skip
    keys = {row["key"] for row in upgrade.snapshots["last"].tables["artifacts"].values()}
    assert {str(path.relative_to(upgrade.data / "objects")) for path in paths} <= keys


def test_what_only_the_inbox_knew_counts_exactly_once(upgrade: UpgradeRun) -> None:
    uncovered = [row for row in upgrade.initial_tables["inbox"].values() if not row["covered"]]
    assert [row["topic"] for row in uncovered] == ["pulse", "pulse"]
    assert upgrade.list_firings("sixth") == [907]


def test_the_shift_and_the_silences_are_known(upgrade: UpgradeRun) -> None:
    assert (
        upgrade.responses["shift"]["who"],
        seconds_since_start(upgrade.responses["shift"]["since"]),
    ) == ("bo", 300)
    silences = [(row["name"], row["reason"], row["who"]) for row in upgrade.responses["silences"]]
    assert silences == [("silenced", "known", "ana")]
    assert not [row for row in upgrade.snapshots["silent"].deliveries if row["rule"] == "silenced"]


def test_metrics_and_fields_are_read(upgrade: UpgradeRun) -> None:
    values = sorted(row["value"] for row in upgrade.responses["metrics"])
    assert values == [6, 8, 80, 82, 84, 120]


# -- going on --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "times"),
    [
        ("beacon-lost", [930]),
        ("bright", [950]),
        ("cycle", [920]),
        ("either", []),
        ("hold", [930]),
        ("measured", [950]),
        ("nightly", [1200]),
        ("ping-lost", [965]),
        ("rearming", [916]),
        ("slewing", [910]),
        ("throttled", [920]),
        ("timed", [1200, 1800, 2400, 3000]),
        ("waiting", []),
        ("warm", [find_first_warm_second()]),
    ],
)
def test_what_was_half_way_goes_on_where_it_was(
    upgrade: UpgradeRun, rule: str, times: list[float]
) -> None:
    assert upgrade.list_firings(rule) == times


def test_no_firing_is_forgotten_or_made_again(upgrade: UpgradeRun) -> None:
    before = upgrade.snapshots["opened"].firings
    for rule, times in upgrade.snapshots["last"].firings.items():
        assert times[: len(before.get(rule, []))] == before.get(rule, [])
        assert len(times) == len(set(times))


def test_holds_of_levels_complete_when_they_are_due(upgrade: UpgradeRun) -> None:
    alerts = upgrade.snapshots["completed"].alerts
    assert seconds_since_start(alerts["rising a"]["opened"]) == 932
    assert (alerts["rising b"]["state"], seconds_since_start(alerts["rising b"]["resolved"])) == (
        "resolved",
        916,
    )


def test_no_other_alert_resolves_or_opens(upgrade: UpgradeRun) -> None:
    changed = {"rising a": ("firing", "WARNING"), "rising b": ("resolved", "NONE")}
    reopened = {"lasting k1": ("firing", "WARNING")}
    assert upgrade.snapshots["quiet"].alert_states == {
        **ALERT_STATES_AT_KILL,
        **changed,
        **reopened,
    }
    assert {name: row["episode"] for name, row in upgrade.snapshots["quiet"].alerts.items()} == {
        **{name: row["episode"] for name, row in upgrade.snapshots["opened"].alerts.items()},
        "rising a": 1,
    }


def test_a_value_of_once_per_that_was_seen_is_refused(upgrade: UpgradeRun) -> None:
    assert upgrade.list_firings("measured") == [950]
    frames = [
        row["once"]
        for row in upgrade.snapshots["last"].tables["firings"].values()
        if row["rule"] == "measured"
    ]
    assert sorted(frames) == ["F1", "F2", "F3", "F4", "F5", "F6", "F7"]


def test_a_source_goes_on_from_its_position(upgrade: UpgradeRun) -> None:
    assert upgrade.responses["health"]["night"]["counts"]["events"] == 1
    lines = (upgrade.site / NIGHT_FILE).read_text().splitlines()
    (row,) = read_rows(upgrade.data, "SELECT position FROM positions WHERE source = 'night'")
    assert row["position"] == f"{upgrade.site.resolve() / NIGHT_FILE}:{len(lines)}"


def test_an_event_that_was_kept_before_the_kill_is_a_duplicate(upgrade: UpgradeRun) -> None:
    assert upgrade.responses["health"]["posts"]["counts"]["duplicates"] == 2
    assert upgrade.snapshots["completed"].firings["lasting"] == [850, 898, 908]


def test_a_dead_letter_is_listed_and_can_be_resent(upgrade: UpgradeRun) -> None:
    letters = [(row["sink"], row["name"], row["attempts"]) for row in upgrade.responses["letters"]]
    (dead_letter,) = [
        row for row in upgrade.initial_tables["notices"].values() if row["state"] == "dead"
    ]
    assert letters == [("pager", "wind-gale a", dead_letter["attempts"])]
    assert upgrade.responses["resent"] == {"resent": 1}
    assert upgrade.responses["letters left"] == []
    deliveries = [
        row for row in upgrade.snapshots["escalated"].deliveries if row["place"] == "pager"
    ]
    assert [(row["rule"], row["headline"]) for row in deliveries] == [
        ("wind-gale", "CRITICAL wind-gale a")
    ]


def test_a_message_goes_on_from_the_receipt_of_the_one_before(upgrade: UpgradeRun) -> None:
    (message,) = [
        row
        for row in upgrade.snapshots["quiet"].deliveries
        if row["rule"] == "rising" and row["key"] == "b"
    ]
    assert message["kind"] == "resolved"
    receipts = upgrade.initial_tables["receipts"]
    alert_id = upgrade.snapshots["opened"].alerts["rising b"]["id"]
    assert message["receipt"] == json.loads(receipts[alert_id, "desk"]["receipt"])


def test_an_escalation_comes_when_it_is_due(upgrade: UpgradeRun) -> None:
    def list_recipients(stage: str) -> list[str]:
        rows = upgrade.snapshots[stage].deliveries
        return [row["place"] for row in rows if (row["rule"], row["key"]) == ("wind", "g")]

    assert "bo" not in list_recipients("unescalated")
    assert "bo" in list_recipients("escalated")
    assert "ana" not in list_recipients("last")


def test_an_alert_that_lasts_ends_when_it_is_due(upgrade: UpgradeRun) -> None:
    assert upgrade.snapshots["lasting"].alert_states["lasting k2"] == ("firing", "WARNING")
    assert upgrade.snapshots["silent"].alert_states["lasting k2"] == ("resolved", "NONE")
    assert seconds_since_start(upgrade.snapshots["silent"].alerts["lasting k2"]["resolved"]) == 1498


def test_a_silence_that_nobody_confirms_ends_when_it_is_due(upgrade: UpgradeRun) -> None:
    kinds = [
        row["kind"] for row in upgrade.snapshots["loud"].deliveries if row["rule"] == "silenced"
    ]
    assert kinds == ["opened"]


def test_a_shelving_ends_when_it_is_due(upgrade: UpgradeRun) -> None:
    assert upgrade.snapshots["shelved"].alert_states["wind c"] == ("shelved", "WARNING")
    assert upgrade.snapshots["last"].alert_states["wind c"] == ("firing", "WARNING")


def test_a_group_of_alerts_goes_on_as_the_same_message(upgrade: UpgradeRun) -> None:
    assert (
        upgrade.snapshots["changed"].tables["bundles"].keys()
        == upgrade.initial_tables["bundles"].keys()
    )
    assert not [
        row for row in upgrade.snapshots["last"].deliveries if row["rule"] in ("group", "grouped")
    ]
    deliveries = [row for row in upgrade.snapshots["changed"].deliveries if row["rule"] == "group"]
    (group_key,) = upgrade.initial_tables["bundles"]
    receipt = json.loads(upgrade.initial_tables["receipts"][*group_key, "desk"]["receipt"])
    assert [(row["kind"], row["receipt"]) for row in deliveries[:1]] == [("updated", receipt)]


# -- in the ledger ---------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLE_KEYS)
def test_no_row_of_the_ledger_is_lost(upgrade: UpgradeRun, table: str) -> None:
    assert upgrade.initial_tables[table]
    assert upgrade.initial_tables[table].keys() <= upgrade.snapshots["last"].tables[table].keys()


@pytest.mark.parametrize("table", IMMUTABLE_TABLES)
def test_rows_that_are_final_stay_as_they_were_to_the_byte(upgrade: UpgradeRun, table: str) -> None:
    after = upgrade.snapshots["last"].tables[table]
    for key, row in upgrade.initial_tables[table].items():
        assert {name: after[key][name] for name in row} == row


def test_runs_and_messages_that_were_finished_stay_as_they_were(upgrade: UpgradeRun) -> None:
    finished_states = {"runs": ("done", "failed"), "notices": ("delivered",)}
    for table, states in finished_states.items():
        after = upgrade.snapshots["last"].tables[table]
        for key, row in upgrade.initial_tables[table].items():
            if row["state"] in states:
                assert {name: after[key][name] for name in row} == row


def test_every_state_is_saved_under_the_fingerprint_that_it_had(upgrade: UpgradeRun) -> None:
    after = upgrade.snapshots["last"].tables["trigger_states"]
    before = upgrade.initial_tables["trigger_states"]
    assert {key: after[key]["meaning"] for key in before} == {
        key: row["meaning"] for key, row in before.items()
    }


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("alerts", "body"),
        ("audit", "detail"),
        ("bundles", "body"),
        ("firings", "event"),
        ("notices", "body"),
        ("runs", "inputs"),
        ("shifts", "body"),
        ("silences", "body"),
        ("trigger_states", "state"),
    ],
)
def test_documents_are_written_anew_with_the_keys_that_they_had(
    upgrade: UpgradeRun, table: str, column: str
) -> None:
    before = {row[column]: row for row in upgrade.initial_tables[table].values() if row[column]}
    snapshots = [upgrade.snapshots[name] for name in ("quiet", "last", "changed")]
    after = {row[column]: row for snapshot in snapshots for row in snapshot.tables[table].values()}
    new_rows = [row for text, row in after.items() if text and text not in before]
    assert new_rows
    known_keys = collect_mapping_keys(before.values(), column)
    later_keys = {("audit", action, None, (), keys) for action, keys in LATER_AUDIT_KEYS.items()}
    assert {(table, *mapping_keys) for mapping_keys in collect_mapping_keys(new_rows, column)} <= {
        *((table, *mapping_keys) for mapping_keys in known_keys),
        *later_keys,
    }


LATER_AUDIT_KEYS = {
    "calm": ("name", "rule", "severity", "reason"),
    "ending": ("name", "rule", "severity", "reason"),
    "resend": ("notices", "count"),
    "silence ended": ("reason", "silence", "hits", "holds_back"),
    "silence ending": ("reason", "holds_back"),
    "unconfirmed": ("name", "rule", "severity", "reason", "to"),
    "unshelved": ("name", "rule", "severity", "reason"),
}
"""The keys of entries of the audit trail of which c51c802 would have made the first one later."""
SITE_DEFINED_KEYS = (
    "values",
    "labels",
    "links",
    "fields",
    "bundles",
    "receipt",
    "columns",
    "reads",
    "latest",
)
"""The parts of documents whose keys are a site's own."""


def collect_mapping_keys(rows: Iterable[Row], column: str) -> set[tuple[Any, ...]]:
    """Returns the keys of each mapping that is Catcher's own, with where it stands.

    What an entry of the audit trail says depends on what was done, a state on its rule.
    """
    return {
        (row.get("what"), row["rule"] if column == "state" else None, *mapping_keys)
        for row in rows
        for mapping_keys in iter_mapping_keys(json.loads(row[column]))
    }


def iter_mapping_keys(document: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields where each mapping of a document stands, and its keys in their order."""
    for item in document if isinstance(document, list) else [document]:
        if not isinstance(item, dict):
            continue
        yield path, tuple(item)
        for key, value in item.items():
            if key not in SITE_DEFINED_KEYS:
                yield from iter_mapping_keys(value, (*path, key))


def test_the_schema_is_brought_up_to_date(upgrade: UpgradeRun, tmp_path: Path) -> None:
    _, data = unpack_archive(tmp_path)
    (before,), (after,) = (
        read_rows(folder, "SELECT version_num FROM alembic_version")
        for folder in (data, upgrade.data)
    )
    assert before["version_num"] == "0006"
    assert after["version_num"] == VERSION


# -- without an engine -----------------------------------------------------------------------------


def test_history_metrics_and_artifacts_are_read_without_an_engine(tmp_path: Path) -> None:
    site, data = unpack_archive(tmp_path)
    with SyncClient(site, data=data) as client:
        wind = client.select_time_series("wind", ["speed"], START, START + 100)
        warm = client.select_time_series("temperature", ["x"], START, START + 900)
        assert sorted(set(wind["speed"])) == [5, 6, 12, 25]
        assert set(warm["x"]) == {1}
        assert len(warm["x"]) > 150
        noise = client.field("noise", "F6", rule="measured")
        assert (list(noise.ids), list(noise.values), noise.unit) == (
            ["A0", "A1"], [41, 20.5], "adu",
        )  # fmt: skip
        contents = [client.open(artifact) for artifact in client.artifacts(name="values.json")]
        assert sorted(content["values"][0] for content in contents) == [3, 4, 40, 41, 60]


def test_a_run_is_reproduced_by_the_job_as_it_was(tmp_path: Path) -> None:
    site, data = unpack_archive(tmp_path)
    with (site / "jobs" / "jobs.py").open("a") as file:
        file.write("# Edited since.\n")
    (run,) = read_rows(data, "SELECT id, job_digest FROM runs WHERE observation = 'F3'")
    result = run_command("reproduce", run["id"], "--site", site, "--data", data, "--json")
    assert result.status == 0, result.out + result.err
    assert result.row["same"]
    assert run["job_digest"] in result.row["version"]


def test_opening_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    site, data = unpack_archive(tmp_path)
    upgrade = UpgradeRun(site, data, read_tables(data))
    for name in ("first", "second"):
        with open_session(site, data, OPENED_AT) as session:
            session.post_at(OPENED_AT)
            wait_for_pending_work(session, upgrade)
            upgrade.snapshots[name] = capture_snapshot(session, upgrade)
    first, second = upgrade.snapshots["first"], upgrade.snapshots["second"]
    assert second.alerts == first.alerts
    assert second.firings == first.firings == FIRINGS_BEFORE_KILL
    assert second.deliveries == first.deliveries
    for table in TABLE_KEYS.keys() - {"inbox", "trigger_states"}:
        assert second.tables[table] == first.tables[table]
    states = {key: row["state"] for key, row in first.tables["trigger_states"].items()}
    assert states == {key: row["state"] for key, row in second.tables["trigger_states"].items()}
