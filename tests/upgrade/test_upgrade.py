"""What an engine of c51c802 left is opened by today's engine, and goes on: nothing is lost.

`c51c802.tar.xz` holds the data folder of an engine that was killed at second 900 of its night
(`make_fixture`), with everything half way. Today's engine opens it at second 905, hears the rest
of the story in `live_on`, and is looked at along the way. A test that fails here says that data
of a site would be lost, or told or done twice, by an upgrade. The archive is never made anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from catcher import SyncClient
from catcher.stores.schema import VERSION
from tests.cli.calling import call
from tests.upgrade.driving import (
    NIGHT,
    START,
    Row,
    Story,
    make_event,
    open_story,
    read_rows,
    read_told,
    seconds_of,
    unpack,
    write_night,
)

KILLED, OPENED = 900, 905
KEYS = {
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
FINAL = (
    "artifacts", "audit", "fields", "firings", "metrics", "observations", "once_values", "shifts",
)  # fmt: skip
"""The tables whose rows never change."""
HOLDING = {
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
FIRED_BEFORE = {
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
BEGUN = {"F1": 195, "F5": 855, "F7": 945}
WARM_FROM, WARM_UNTIL = 641, 882
"""The seconds whose temperature, 1, the killed engine had heard; it is 100 from 905 on."""


@dataclass(frozen=True)
class View:
    """What there is at one time: by the API, and in the ledger."""

    alerts: dict[str, Row]
    firings: dict[str, list[float]]
    tables: dict[str, dict[tuple[Any, ...], Row]]
    told: list[Row]

    @property
    def standing(self) -> dict[str, tuple[str, str]]:
        """Returns state and severity of each alert."""
        return {name: (row["state"], row["severity"]) for name, row in self.alerts.items()}


@dataclass
class Night:
    """The whole story: what was before, and what was seen after each part of it."""

    site: Path
    data: Path
    before: dict[str, dict[tuple[Any, ...], Row]]
    seen: dict[str, View] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)

    def fired(self, rule: str, when: str = "last") -> list[float]:
        """Returns when a rule fired since the kill."""
        return [time for time in self.seen[when].firings.get(rule, []) if time > KILLED]


def read_tables(data: Path) -> dict[str, dict[tuple[Any, ...], Row]]:
    """Returns the rows of each table, by their keys."""
    return {
        table: {
            tuple(row[name] for name in names): row
            for row in read_rows(data, f"SELECT * FROM {table}")
        }
        for table, names in KEYS.items()
    }


def look(story: Story, night: Night) -> View:
    """Looks at everything, by the API and in the ledger."""
    alerts = {}
    for row in sorted(story.get("/alerts", limit=1000), key=lambda row: row["episode"]):
        alerts[" ".join(filter(None, (row["rule"], row["key"], row["per"])))] = row
    firings: dict[str, list[float]] = {}
    for row in story.get("/firings", limit=1000):
        firings.setdefault(row["rule"], []).append(seconds_of(row["time"]))
    firings = {rule: sorted(times) for rule, times in firings.items()}
    return View(alerts, firings, read_tables(night.data), read_told(night.site))


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """Unpacks the archive and lets today's engine live on."""
    site, data = unpack(tmp_path_factory.mktemp("upgrade"))
    night = Night(site, data, read_tables(data))
    write_night(site, make_event(904, "mark"))
    with open_story(site, data, OPENED) as story:
        story.tell(OPENED)
        let_finish(story, night)
        night.seen["opened"] = look(story, night)
        live_on(story, night)
    yield night


def let_finish(story: Story, night: Night) -> None:
    """Returns when runs, artifacts and messages that were left are done."""
    waiting = "SELECT 1 FROM runs WHERE state IN ('pending', 'running')"
    story.until(lambda: not read_rows(night.data, waiting), "the runs that were left")
    story.until(lambda: not list_spooled(night.data), "the artifacts that waited")
    let_tell(story, night)


def let_tell(story: Story, night: Night) -> None:
    """Returns when every message is delivered."""
    waiting = "SELECT 1 FROM notices WHERE state = 'pending'"
    story.until(lambda: not read_rows(night.data, waiting), "the messages that wait")


def list_spooled(data: Path) -> list[Path]:
    """Returns the artifacts that wait for their store."""
    return list((data / "spool" / "objects").glob("*.spooled"))


def live_on(story: Story, night: Night) -> None:
    """Tells the rest of the night, and looks at it four times."""
    complete_what_was_half_way(story)
    night.seen["completed"] = look(story, night)
    story.tell(950, *frames(950))
    done = "SELECT 1 FROM runs WHERE rule = 'measured' AND state = 'done'"
    story.until(lambda: len(read_rows(night.data, done)) == 6, "the run of F7")
    for second in (951, 964, 966):
        story.tell(second)
    let_tell(story, night)
    night.seen["quiet"] = look(story, night)
    night.asked["letters"] = story.get("/dead-letters")
    night.asked["resent"] = story.act("/dead-letters/resend", who="bo", every=True)
    let_tell(story, night)
    night.asked["letters left"] = story.get("/dead-letters")
    night.asked["silences"] = story.get("/silences")
    night.asked["shift"] = story.get("/shift")
    night.asked["health"] = {row["name"]: row for row in story.get("/health")}
    night.asked["metrics"] = story.get("/metrics/doubled")
    for second, name in ((1299, "unescalated"), (1301, "escalated"), (1497, "lasting"), (1499, "")):
        story.tell(second)
        let_tell(story, night)
        if name:
            night.seen[name] = look(story, night)
    for second, name in ((2098, "silent"), (2101, "loud"), (2998, "shelved"), (3003, "last")):
        story.tell(second)
        let_tell(story, night)
        night.seen[name] = look(story, night)
    write_anew(story)
    let_tell(story, night)
    night.seen["changed"] = look(story, night)


def write_anew(story: Story) -> None:
    """Does once more what people and data did before, so that every kind of row is written."""
    story.tell(3010, make_event(3010, "pump", name="p", pressure=1))
    path = {mast: f"/alerts/{story.get_alert('wind', mast)['id']}" for mast in "abg"}
    story.act(f"{path['b']}/note", who="bo", note="still looking")
    story.act(f"{path['a']}/ack", who="bo", severity="warning", note="mine")
    story.act(f"{path['g']}/shelve", who="bo", span="1h", reason="a bird")
    story.act("/silences", name="hum*", span="1h", who="bo", reason="known", severity="serious")
    story.tell(3020)
    story.act("/shift", to="ana", who="bo", note="all is well")
    story.tell(3060)


def complete_what_was_half_way(story: Story) -> None:
    """Posts what each rule waited for, and what must not count again.

    The first events were kept before the kill, and are sent once more.
    """
    story.tell(906, make_event(KILLED, "pulse", x=1), make_event(898, "knock", name="k2"))
    warmed = OPENED
    for second, events in {
        907: [make_event(907, "pulse", x=1)],
        909: [make_event(908, "knock", name="k1"), make_event(908, "frame", **frame("F5"))],
        910: [
            make_event(910, "gust", key="g", x=20),
            make_event(910, "rise", key="a", x=20),
            make_event(910, "rise", key="b", x=1),
            make_event(910, "calm", x=1),
            make_event(910, "slew", x=1),
            make_event(910, "tick", x=1),
        ],
        914: [make_event(914, "rise", key="b", x=1)],
        916: [make_event(916, "rise", key="b", x=1), make_event(916, "calm", x=20)],
        920: [make_event(920, "shutter", open=False), make_event(920, "tick", x=1)],
        925: [make_event(925, "gust", key="g", x=20), make_event(925, "rise", key="a", x=20)],
        929: [make_event(929, "rise", key="a", x=20)],
        931: [make_event(931, "gust", key="g", x=1)],
        932: [make_event(932, "rise", key="a", x=20)],
    }.items():
        warm = [make_event(one, "temperature", x=100) for one in range(warmed, second + 1)]
        warmed = second + 1
        story.tell(second, *sorted([*warm, *events], key=lambda event: event["time"]))


def frames(second: int) -> list[Row]:
    """Makes the event of a new frame, and of one that is known."""
    return [make_event(second, "frame", **frame(name)) for name in ("F7", "F1")]


def frame(name: str) -> Row:
    """Makes the fields of a frame that is over a limit."""
    return {
        "name": name,
        "value": 42,
        "begun": make_event(BEGUN[name], "")["time"],
        "seconds": 4,
        "filter": "r",
    }


def first_warm_second() -> int:
    """Returns when the mean of the last four minutes first passes 10, by counting."""
    known = dict.fromkeys(range(WARM_FROM, WARM_UNTIL + 1), 1)
    for now in range(OPENED, 1000):
        known[now] = 100
        window = [value for second, value in known.items() if now - 240 < second <= now]
        if sum(window) / len(window) > 10:
            return now
    raise AssertionError("never")


# -- right after opening ---------------------------------------------------------------------------


def test_every_alert_stands_right_after_opening_as_it_stood(night: Night) -> None:
    assert night.seen["opened"].standing == HOLDING
    before = {key: row["body"] for key, row in night.before["alerts"].items()}
    after = {key: row["body"] for key, row in night.seen["opened"].tables["alerts"].items()}
    assert after == before


def test_what_people_did_with_alerts_is_known(night: Night) -> None:
    alerts = night.seen["opened"].alerts
    assert alerts["wind b"]["acknowledged_by"] == "ana"
    assert [note["text"] for note in alerts["wind b"]["notes"]] == ["the sensor is new"]
    assert alerts["wind a"]["assignee"] == "bo"
    assert alerts["wind c"]["shelved_by"] == "bo"
    assert seconds_of(alerts["wind c"]["shelved_until"]) == 3000


def test_the_flags_of_alerts_are_known(night: Night) -> None:
    alerts = night.seen["opened"].alerts
    assert [name for name, row in alerts.items() if row["unknown"]] == ["wind e"]
    assert {name for name, row in alerts.items() if row["latched"]} == {"wind d", "wind-gale a"}
    assert [name for name, row in alerts.items() if row["flapping"]] == ["swinging"]
    assert alerts["wind d"]["shown_severity"] == "SERIOUS"
    assert alerts["swinging"]["episode"] == 4
    assert alerts["silenced"]["held_back"]


def test_no_rule_fires_at_opening(night: Night) -> None:
    assert night.seen["opened"].firings == FIRED_BEFORE


def test_only_what_was_undelivered_is_told_at_opening(night: Night) -> None:
    told = [(row["place"], row["kind"], row["rule"]) for row in night.seen["opened"].told]
    assert told == [("radio", "opened", "door-open")]


def test_runs_that_were_left_are_done_once(night: Night) -> None:
    runs = [row for row in night.seen["last"].tables["runs"].values() if row["rule"] == "waiting"]
    assert [row["state"] for row in runs] == ["done", "done"]
    waited = [
        row["value"]
        for row in night.seen["last"].tables["metrics"].values()
        if row["name"] == "waited"
    ]
    assert sorted(waited) == [1, 2]


def test_artifacts_that_waited_for_their_store_are_kept(night: Night) -> None:
    kept = sorted((night.data / "objects" / "measured").rglob("values.json"))
    assert sorted(json.loads(path.read_text())["values"][0] for path in kept) == [
        3, 4, 40, 41, 42, 60,
    ]  # fmt: skip
    listed = {row["key"] for row in night.seen["last"].tables["artifacts"].values()}
    assert {str(path.relative_to(night.data / "objects")) for path in kept} <= listed


def test_what_only_the_inbox_knew_counts_exactly_once(night: Night) -> None:
    uncovered = [row for row in night.before["inbox"].values() if not row["covered"]]
    assert [row["topic"] for row in uncovered] == ["pulse", "pulse"]
    assert night.fired("sixth") == [907]


def test_the_shift_and_the_silences_are_known(night: Night) -> None:
    assert (night.asked["shift"]["who"], seconds_of(night.asked["shift"]["since"])) == ("bo", 300)
    silences = [(row["name"], row["reason"], row["who"]) for row in night.asked["silences"]]
    assert silences == [("silenced", "known", "ana")]
    assert not [row for row in night.seen["silent"].told if row["rule"] == "silenced"]


def test_metrics_and_fields_are_read(night: Night) -> None:
    values = sorted(row["value"] for row in night.asked["metrics"])
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
        ("warm", [first_warm_second()]),
    ],
)
def test_what_was_half_way_goes_on_where_it_was(
    night: Night, rule: str, times: list[float]
) -> None:
    assert night.fired(rule) == times


def test_no_firing_is_forgotten_or_made_again(night: Night) -> None:
    before = night.seen["opened"].firings
    for rule, times in night.seen["last"].firings.items():
        assert times[: len(before.get(rule, []))] == before.get(rule, [])
        assert len(times) == len(set(times))


def test_holds_of_levels_complete_when_they_are_due(night: Night) -> None:
    alerts = night.seen["completed"].alerts
    assert seconds_of(alerts["rising a"]["opened"]) == 932
    assert (alerts["rising b"]["state"], seconds_of(alerts["rising b"]["resolved"])) == (
        "resolved",
        916,
    )


def test_no_other_alert_resolves_or_opens(night: Night) -> None:
    changed = {"rising a": ("firing", "WARNING"), "rising b": ("resolved", "NONE")}
    again = {"lasting k1": ("firing", "WARNING")}
    assert night.seen["quiet"].standing == {**HOLDING, **changed, **again}
    assert {name: row["episode"] for name, row in night.seen["quiet"].alerts.items()} == {
        **{name: row["episode"] for name, row in night.seen["opened"].alerts.items()},
        "rising a": 1,
    }


def test_a_value_of_once_per_that_was_seen_is_refused(night: Night) -> None:
    assert night.fired("measured") == [950]
    frames = [
        row["once"]
        for row in night.seen["last"].tables["firings"].values()
        if row["rule"] == "measured"
    ]
    assert sorted(frames) == ["F1", "F2", "F3", "F4", "F5", "F6", "F7"]


def test_a_source_goes_on_from_its_position(night: Night) -> None:
    assert night.asked["health"]["night"]["counts"]["events"] == 1
    lines = (night.site / NIGHT).read_text().splitlines()
    (row,) = read_rows(night.data, "SELECT position FROM positions WHERE source = 'night'")
    assert row["position"] == f"{night.site.resolve() / NIGHT}:{len(lines)}"


def test_an_event_that_was_kept_before_the_kill_is_a_duplicate(night: Night) -> None:
    assert night.asked["health"]["posts"]["counts"]["duplicates"] == 2
    assert night.seen["completed"].firings["lasting"] == [850, 898, 908]


def test_a_dead_letter_is_listed_and_can_be_revived(night: Night) -> None:
    letters = [(row["sink"], row["name"], row["attempts"]) for row in night.asked["letters"]]
    (dead,) = [row for row in night.before["notices"].values() if row["state"] == "dead"]
    assert letters == [("pager", "wind-gale a", dead["attempts"])]
    assert night.asked["resent"] == {"resent": 1}
    assert night.asked["letters left"] == []
    told = [row for row in night.seen["escalated"].told if row["place"] == "pager"]
    assert [(row["rule"], row["headline"]) for row in told] == [
        ("wind-gale", "CRITICAL wind-gale a")
    ]


def test_a_message_goes_on_from_the_receipt_of_the_one_before(night: Night) -> None:
    (ended,) = [
        row for row in night.seen["quiet"].told if row["rule"] == "rising" and row["key"] == "b"
    ]
    assert ended["kind"] == "resolved"
    receipts = night.before["receipts"]
    alert = night.seen["opened"].alerts["rising b"]["id"]
    assert ended["receipt"] == json.loads(receipts[alert, "desk"]["receipt"])


def test_an_escalation_comes_when_it_is_due(night: Night) -> None:
    def handed(when: str) -> list[str]:
        rows = night.seen[when].told
        return [row["place"] for row in rows if (row["rule"], row["key"]) == ("wind", "g")]

    assert "bo" not in handed("unescalated")
    assert "bo" in handed("escalated")
    assert "ana" not in handed("last")


def test_an_alert_that_lasts_ends_when_it_is_due(night: Night) -> None:
    assert night.seen["lasting"].standing["lasting k2"] == ("firing", "WARNING")
    assert night.seen["silent"].standing["lasting k2"] == ("resolved", "NONE")
    assert seconds_of(night.seen["silent"].alerts["lasting k2"]["resolved"]) == 1498


def test_a_silence_that_nobody_confirms_ends_when_it_is_due(night: Night) -> None:
    told = [row["kind"] for row in night.seen["loud"].told if row["rule"] == "silenced"]
    assert told == ["opened"]


def test_a_shelf_ends_when_it_is_due(night: Night) -> None:
    assert night.seen["shelved"].standing["wind c"] == ("shelved", "WARNING")
    assert night.seen["last"].standing["wind c"] == ("firing", "WARNING")


def test_a_group_of_alerts_goes_on_as_the_same_message(night: Night) -> None:
    assert night.seen["changed"].tables["bundles"].keys() == night.before["bundles"].keys()
    assert not [row for row in night.seen["last"].told if row["rule"] in ("group", "grouped")]
    told = [row for row in night.seen["changed"].told if row["rule"] == "group"]
    (bundle,) = night.before["bundles"]
    receipt = json.loads(night.before["receipts"][*bundle, "desk"]["receipt"])
    assert [(row["kind"], row["receipt"]) for row in told[:1]] == [("updated", receipt)]


# -- in the ledger ---------------------------------------------------------------------------------


@pytest.mark.parametrize("table", KEYS)
def test_no_row_of_the_ledger_is_lost(night: Night, table: str) -> None:
    assert night.before[table]
    assert night.before[table].keys() <= night.seen["last"].tables[table].keys()


@pytest.mark.parametrize("table", FINAL)
def test_rows_that_are_final_stay_as_they_were_to_the_byte(night: Night, table: str) -> None:
    after = night.seen["last"].tables[table]
    for key, row in night.before[table].items():
        assert {name: after[key][name] for name in row} == row


def test_runs_and_messages_that_were_over_stay_as_they_were(night: Night) -> None:
    over = {"runs": ("done", "failed"), "notices": ("delivered",)}
    for table, states in over.items():
        after = night.seen["last"].tables[table]
        for key, row in night.before[table].items():
            if row["state"] in states:
                assert {name: after[key][name] for name in row} == row


def test_every_state_is_kept_under_the_meaning_that_it_had(night: Night) -> None:
    after = night.seen["last"].tables["trigger_states"]
    before = night.before["trigger_states"]
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
    night: Night, table: str, column: str
) -> None:
    before = {row[column]: row for row in night.before[table].values() if row[column]}
    views = [night.seen[name] for name in ("quiet", "last", "changed")]
    after = {row[column]: row for view in views for row in view.tables[table].values()}
    anew = [row for text, row in after.items() if text and text not in before]
    assert anew
    known = forms_of(before.values(), column)
    later = {("audit", what, None, (), keys) for what, keys in LATER_ENTRIES.items()}
    assert {(table, *form) for form in forms_of(anew, column)} <= {
        *((table, *form) for form in known),
        *later,
    }


LATER_ENTRIES = {
    "calm": ("name", "rule", "severity", "reason"),
    "ending": ("name", "rule", "severity", "reason"),
    "resend": ("notices", "count"),
    "silence ended": ("reason", "silence", "hits", "holds_back"),
    "silence ending": ("reason", "holds_back"),
    "unconfirmed": ("name", "rule", "severity", "reason", "to"),
    "unshelved": ("name", "rule", "severity", "reason"),
}
"""The keys of entries of the audit trail of which c51c802 would have made the first one later."""
FREE = ("values", "labels", "links", "fields", "bundles", "receipt", "columns", "reads", "latest")
"""The parts of documents whose keys are a site's own."""


def forms_of(rows: Iterable[Row], column: str) -> set[tuple[Any, ...]]:
    """Returns the keys of each mapping that is Catcher's own, with where it stands.

    What an entry of the audit trail says depends on what was done, a state on its rule.
    """
    return {
        (row.get("what"), row["rule"] if column == "state" else None, *form)
        for row in rows
        for form in forms_below(json.loads(row[column]))
    }


def forms_below(document: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields where each mapping of a document stands, and its keys in their order."""
    for one in document if isinstance(document, list) else [document]:
        if not isinstance(one, dict):
            continue
        yield above, tuple(one)
        for key, value in one.items():
            if key not in FREE:
                yield from forms_below(value, (*above, key))


def test_the_schema_is_brought_up_to_date(night: Night, tmp_path: Path) -> None:
    _, data = unpack(tmp_path)
    (before,), (after,) = (
        read_rows(folder, "SELECT version_num FROM alembic_version")
        for folder in (data, night.data)
    )
    assert before["version_num"] == "0006"
    assert after["version_num"] == VERSION


# -- without an engine -----------------------------------------------------------------------------


def test_history_metrics_and_artifacts_are_read_without_an_engine(tmp_path: Path) -> None:
    site, data = unpack(tmp_path)
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
        read = [client.open(one) for one in client.artifacts(name="values.json")]
        assert sorted(one["values"][0] for one in read) == [3, 4, 40, 41, 60]


def test_a_run_is_reproduced_by_the_job_as_it_was(tmp_path: Path) -> None:
    site, data = unpack(tmp_path)
    with (site / "jobs" / "jobs.py").open("a") as file:
        file.write("# Edited since.\n")
    (run,) = read_rows(data, "SELECT id, job_digest FROM runs WHERE observation = 'F3'")
    answer = call("reproduce", run["id"], "--site", site, "--data", data, "--json")
    assert answer.status == 0, answer.out + answer.err
    assert answer.row["same"]
    assert run["job_digest"] in answer.row["version"]


def test_opening_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    site, data = unpack(tmp_path)
    night = Night(site, data, read_tables(data))
    for name in ("first", "second"):
        with open_story(site, data, OPENED) as story:
            story.tell(OPENED)
            let_finish(story, night)
            night.seen[name] = look(story, night)
    first, second = night.seen["first"], night.seen["second"]
    assert second.alerts == first.alerts
    assert second.firings == first.firings == FIRED_BEFORE
    assert second.told == first.told
    for table in KEYS.keys() - {"inbox", "trigger_states"}:
        assert second.tables[table] == first.tables[table]
    states = {key: row["state"] for key, row in first.tables["trigger_states"].items()}
    assert states == {key: row["state"] for key, row in second.tables["trigger_states"].items()}
