"""A site's files are edited while an engine runs on them."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from catcher.app import load_site, open_client
from catcher.app.site_version import (
    SiteVersion,
    build_first_version,
    build_next_version,
    diff_versions,
)
from catcher.model.errors import CatcherError
from catcher.model.health import LiveUpdate
from tests.sample_site import DOUBLING, JOBS, WIND, ThreadedEngine, engine_in_thread, write_site

CALM_RULE = """
rule: calm
trigger: {telemetry: wind, when: speed < 2}
"""
GUST_RULE = """
rule: gust
trigger: {telemetry: wind, when: speed > 10}
"""
PATIENT_JOBS = '''
"""A job that waits for a file to appear, so that a test can edit it meanwhile."""

import asyncio
from pathlib import Path

from catcher import Event, Metric, Result, job


@job
async def doubling(event: Event) -> Result:
    """Twice the event's value, when the gate is open."""
    while not await asyncio.to_thread(Path(event.fields["gate"]).exists):
        await asyncio.sleep(0.01)
    return Result({"doubled": Metric(2.0 * event.fields["value"])})
'''


@dataclass
class SiteEditor:
    """An engine, and somebody who edits its site."""

    engine: ThreadedEngine
    updates: list[LiveUpdate] = field(default_factory=list)

    def write_file(self, text: str, name: str = "rules/rules.yaml") -> None:
        """Saves a file as editors do: once cut short, then whole."""
        path = self.engine.site / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text[: len(text) // 2])
        path.write_text(text)

    def edit_file(self, text: str, name: str = "rules/rules.yaml") -> str:
        """Saves a file and waits until the engine has taken it up; what it said of it."""
        reload_count = len(self.list_reloads())
        self.write_file(text, name)
        return self.wait_for_reload(reload_count)

    def wait_for_reload(self, reload_count: int) -> str:
        self.engine.wait_until(lambda: len(self.list_reloads()) > reload_count, "a reload")
        return self.list_reloads()[reload_count]

    def list_reloads(self) -> list[str]:
        return [update.body for update in self.updates if update.kind == "reload"]

    def wait_for_problem(self, text: str) -> str:
        """Waits for a problem to be told, and returns it."""
        return str(
            self.engine.wait_until(
                lambda: next(
                    (
                        update.body
                        for update in self.updates
                        if update.kind == "problem" and text in update.body
                    ),
                    None,
                ),
                f"a problem with {text!r}",
            )
        )

    def list_rules(self) -> dict[str, list[dict[str, Any]]]:
        rows_by_rule: dict[str, list[dict[str, Any]]] = {}
        for row in self.engine.get("/rules"):
            rows_by_rule.setdefault(row["rule"], []).append(row)
        return rows_by_rule

    def wait_for_alert(self, **fields: Any) -> dict[str, Any]:
        def find_match() -> dict[str, Any] | None:
            rows: list[dict[str, Any]] = self.engine.get("/alerts")
            return next((row for row in rows if fields.items() <= row.items()), None)

        row: dict[str, Any] = self.engine.wait_until(find_match, f"an alert with {fields}")
        return row

    def count_firings(self, rule: str) -> int:
        return len(self.engine.get("/firings", rule=rule))


@contextmanager
def open_editor(
    site: Path, data: Path, write: Callable[[str], None] = lambda line: None
) -> Iterator[SiteEditor]:
    with engine_in_thread(site, data, write) as engine:
        editor = SiteEditor(engine)
        subscription = engine.handle.event_bus.updates.subscribe(editor.updates.append)
        yield editor
        subscription.dispose()


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[SiteEditor]:
    site = write_site(tmp_path / "site", f"{GUST_RULE}---{WIND}---{DOUBLING}")
    with open_editor(site, tmp_path / "data") as site_editor:
        yield site_editor


def test_edit_while_the_ledger_is_unavailable_is_applied_when_it_recovers(
    editor: SiteEditor,
) -> None:
    ledger = sqlite3.connect(editor.engine.data / "ledger.db", isolation_level=None)
    with closing(ledger):
        ledger.execute("BEGIN IMMEDIATE")
        thread = threading.Thread(
            target=editor.engine.post_event, args=("wind",), kwargs={"mast": 1}
        )
        thread.start()
        editor.engine.wait_until(
            lambda: editor.engine.handle.engine.committer.is_unavailable, "the ledger away"
        )
        editor.write_file(f"{CALM_RULE}---{GUST_RULE}---{WIND}---{DOUBLING}")
        assert "the ledger is away" in editor.wait_for_problem("the edit waits")
        ledger.execute("ROLLBACK")
        thread.join()
    assert "added calm" in editor.wait_for_reload(0)


# -- rules ------------------------------------------------------------------------------------


def test_adding_a_rule_leaves_the_state_of_the_others_alone(editor: SiteEditor) -> None:
    editor.engine.post_event("wind", mast=1, speed=12)
    assert editor.count_firings("gust") == 1
    assert "added calm" in editor.edit_file(f"{CALM_RULE}---{GUST_RULE}---{WIND}---{DOUBLING}")
    editor.engine.post_event("wind", mast=1, speed=13)
    assert editor.count_firings("gust") == 1, "it had fired and was not armed again"
    editor.engine.post_event("wind", mast=1, speed=1)
    assert editor.count_firings("calm") == 1
    editor.wait_for_alert(rule="wind", key="1", state="resolved", episode=1)


def test_a_broken_edit_keeps_the_rule_running_and_shows_the_problem(editor: SiteEditor) -> None:
    editor.engine.post_event("wind", mast=1, speed=12)
    editor.edit_file(f"{GUST_RULE.replace('speed > 10', 'speed >> 10')}---{WIND}---{DOUBLING}")
    assert "the rule runs on as it was" in editor.wait_for_problem("rules/rules.yaml:3")
    running, broken = editor.list_rules()["gust"]
    assert not running["problems"]
    assert broken["kept"]
    assert broken["problems"][0]["line"] == 3
    for speed in (13, 1, 14):
        editor.engine.post_event("wind", mast=1, speed=speed)
    assert editor.count_firings("gust") == 2, "still disarmed at 13, armed again by 1"

    editor.edit_file(f"{GUST_RULE.replace('10', '20')}---{WIND}---{DOUBLING}")
    assert len(editor.list_rules()["gust"]) == 1
    for speed in (1, 19, 21):
        editor.engine.post_event("wind", mast=1, speed=speed)
    assert editor.count_firings("gust") == 3


def test_invalid_yaml_removes_no_rule(editor: SiteEditor) -> None:
    editor.engine.post_event("wind", mast=1, speed=12)
    editor.edit_file(f"{GUST_RULE}---{WIND}---{DOUBLING}---\nrule: [\n")
    assert {"gust", "wind", "doubling"} <= editor.list_rules().keys()
    editor.edit_file("rule: {\n")
    assert {"gust", "wind", "doubling"} <= editor.list_rules().keys()
    editor.wait_for_alert(rule="wind", state="firing")


def test_a_deleted_rule_has_its_alerts_resolved(editor: SiteEditor) -> None:
    editor.engine.post_event("wind", mast=1, speed=25)
    editor.wait_for_alert(rule="wind", severity="SERIOUS", state="firing")
    assert "gone wind" in editor.edit_file(f"{GUST_RULE}---{DOUBLING}")
    resolved = editor.wait_for_alert(rule="wind", state="resolved")
    assert "gone" in resolved["reason"]
    assert "wind" not in editor.list_rules()


def test_editing_a_message_keeps_the_alert(editor: SiteEditor) -> None:
    editor.engine.post_event("wind", mast=1, speed=12)
    editor.edit_file(f"{GUST_RULE}---{WIND.replace('Wind', 'Storm')}---{DOUBLING}")
    editor.engine.post_event("wind", mast=1, speed=25)
    alert = editor.wait_for_alert(rule="wind", severity="SERIOUS")
    assert alert["message"] == "Storm 25 at 1"
    assert alert["episode"] == 1


def test_unchanged_file_is_not_reloaded(editor: SiteEditor) -> None:
    path = editor.engine.site / "rules/rules.yaml"
    path.write_text(path.read_text())
    assert "added calm" in editor.edit_file(CALM_RULE, "rules/more.yaml")
    assert len(editor.list_reloads()) == 1


def test_a_site_may_get_its_first_jobs_and_routes_while_it_runs(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", CALM_RULE)
    (site / "jobs/jobs.py").unlink()
    (site / "jobs").rmdir()
    with open_editor(site, tmp_path / "data") as editor:
        editor.edit_file(JOBS, "jobs/jobs.py")
        editor.edit_file(f"{CALM_RULE}---{DOUBLING}")
        editor.engine.post_event("number", lane=1, value=4)
        assert editor.engine.wait_for_run(rule="doubling")["metrics"] == {"doubled": 8.0}


# -- jobs -------------------------------------------------------------------------------------


def test_edited_job_changes_new_runs_and_not_active_ones(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", DOUBLING, jobs=PATIENT_JOBS)
    gate, open_gate = tmp_path / "gate", tmp_path / "opened"
    open_gate.touch()
    with open_editor(site, tmp_path / "data") as editor:
        editor.engine.post_event("number", lane=1, value=1, gate=str(gate))
        editor.engine.wait_until(
            lambda: editor.engine.get("/runs", state="running"), "the run's beginning"
        )
        assert "jobs doubling" in editor.edit_file(
            PATIENT_JOBS.replace("2.0 *", "3.0 *"), "jobs/jobs.py"
        )
        gate.touch()
        assert editor.engine.wait_for_run(rule="doubling")["metrics"] == {"doubled": 2.0}
        editor.engine.post_event("number", lane=1, value=5, gate=str(open_gate))
        assert editor.engine.wait_for_run(rule="doubling", metrics={"doubled": 15.0})


def test_a_broken_job_file_leaves_the_job_as_it_was(editor: SiteEditor) -> None:
    editor.edit_file(JOBS + "\ndef (", "jobs/jobs.py")
    assert editor.list_rules()["doubling"][0]["problems"] == []
    editor.engine.post_event("number", lane=1, value=4)
    assert editor.engine.wait_for_run(rule="doubling")["metrics"] == {"doubled": 8.0}


# -- what takes effect at a start -------------------------------------------------------------


def test_a_new_sink_waits_for_a_restart_and_its_routes_with_it(editor: SiteEditor) -> None:
    editor.edit_file(
        "sinks: {console: {}, more: {console: {}}}\nroute: {to: [more]}", "alerts/routes.yaml"
    )
    assert editor.wait_for_problem("restart to apply") == "restart to apply: sinks, routes"
    editor.engine.post_event("wind", mast=1, speed=12)
    notification = editor.engine.wait_until(
        lambda: [update.body for update in editor.updates if update.kind == "notice"], "a notice"
    )[0]
    assert notification.sink == "console"


def test_templates_of_sinks_follow_an_edit(tmp_path: Path) -> None:
    lines: list[str] = []
    template = "alerts/templates/console.j2"
    with open_editor(
        write_site(tmp_path / "site", WIND), tmp_path / "data", lines.append
    ) as editor:

        def post_and_read_line(mast: str) -> str:
            editor.engine.post_event("wind", mast=mast, speed=12)
            editor.engine.wait_until(lambda: mast in "".join(lines), "the line")
            return lines[-1]

        assert "templates console" in editor.edit_file("Blows at {{ key }}", template)
        assert "Blows at one" in post_and_read_line("one")
        editor.write_file("Torn {{ key", template)
        assert template in editor.wait_for_problem("console.j2")
        assert "Blows at two" in post_and_read_line("two"), "a broken one leaves that before it"
        (editor.engine.site / template).unlink()
        editor.engine.wait_until(lambda: len(editor.list_reloads()) > 2, "the third reload")
        assert "Wind 12 at three" in post_and_read_line("three")


def test_rates_of_sinks_follow_an_edit(tmp_path: Path) -> None:
    routes = "sinks: {{console: {{{}}}}}\nnoise: {{flood: off}}\nroute: {{to: [console]}}\n"
    lines: list[str] = []
    site = write_site(tmp_path / "site", WIND, routes=routes.format(""))
    with open_editor(site, tmp_path / "data", lines.append) as editor:
        rate_limit = "rate: 1 per 1h"
        assert "routes edited" in editor.edit_file(routes.format(rate_limit), "alerts/routes.yaml")
        for mast in ("one", "two"):
            editor.engine.post_event("wind", mast=mast, speed=12)

        def is_rate_limited() -> bool:
            (sink,) = (row for row in editor.engine.get("/health") if row["kind"] == "console")
            return bool(sink["counts"]["paced"])

        editor.engine.wait_until(is_rate_limited, "one that waits")
        assert len(lines) == 1
        editor.edit_file(routes.format(""), "alerts/routes.yaml")
        editor.engine.wait_until(lambda: len(lines) == 2, "the one that waited")


def test_settings_wait_for_a_restart_and_broken_ones_are_reported(editor: SiteEditor) -> None:
    editor.edit_file("site: small\nlimits: {workers: 1}", "catcher.yaml")
    assert editor.wait_for_problem("restart to apply") == "restart to apply: limits"
    editor.edit_file("site: small\nlimits: {worker: 1}", "catcher.yaml")
    assert "the file holds as it was" in editor.wait_for_problem("catcher.yaml:2")
    editor.engine.post_event("wind", mast=1, speed=12)
    assert editor.count_firings("gust") == 1


def test_removed_site_keeps_running(editor: SiteEditor) -> None:
    (editor.engine.site / "catcher.yaml").unlink()
    assert "put it back" in editor.wait_for_problem("the site runs on as it was")
    assert {"gust", "wind", "doubling"} <= editor.list_rules().keys()


def test_a_reload_is_in_the_audit_trail(editor: SiteEditor) -> None:
    editor.edit_file(f"{CALM_RULE}---{WIND}")

    async def read_reload_entries() -> list[Any]:
        async with open_client(editor.engine.site, editor.engine.data) as client:
            return [entry for entry in await client.audit() if entry.what == "reload"]

    (entry,) = asyncio.run(read_reload_entries())
    assert entry.detail["added"] == ["calm"]
    assert entry.detail["gone"] == ["doubling", "gust"]


# -- what an edit comes to --------------------------------------------------------------------


def create_version(
    folder: Path, rules: str, previous: SiteVersion | None = None, **files: str
) -> SiteVersion:
    site = load_site(write_site(folder, rules, **files))
    if previous is None:
        return build_first_version(site, folder / "kept")
    return build_next_version(previous, previous, site, folder / "kept")


def test_disabled_rule_stops_running(tmp_path: Path) -> None:
    previous = create_version(tmp_path, f"{GUST_RULE}---{CALM_RULE}")
    current = create_version(tmp_path, f"{GUST_RULE}enabled: false\n---{CALM_RULE}", previous)
    assert diff_versions(previous, current) == {"gone": ["gust"]}
    assert not current.broken_rule_ids


def test_a_broken_rule_that_never_ran_does_not_run(tmp_path: Path) -> None:
    previous = create_version(tmp_path, GUST_RULE)
    current = create_version(tmp_path, f"{GUST_RULE}---{CALM_RULE.replace('<', '<<')}", previous)
    assert current.broken_rule_ids == ["calm"]
    assert [row["kept"] for row in current.list_broken_rules()] == [False]


def test_retained_rule_that_would_close_a_cycle_is_rejected(tmp_path: Path) -> None:
    chain = "rule: {0}\ntrigger: {{{1}}}\njob: {{run: doubling}}\n"
    first, second = chain.format("first", "event: number"), chain.format("second", "result: first")
    previous = create_version(tmp_path, f"{first}---\n{second}")
    broken = chain.format("second", "event: number").replace("doubling", "doublin")
    with pytest.raises(CatcherError, match="results would go round"):
        create_version(
            tmp_path, f"{chain.format('first', 'result: second')}---\n{broken}", previous
        )


def test_retained_rule_has_its_matching_job(tmp_path: Path) -> None:
    tripling = DOUBLING.replace("rule: doubling", "rule: other")
    other_jobs = JOBS.replace("event: Event)", "event: Event, factor: float)")
    previous = create_version(tmp_path, f"{DOUBLING}---{tripling}")
    current = create_version(tmp_path, f"{DOUBLING}---{tripling}", previous, jobs=other_jobs)
    assert current.kept_rules == {"doubling", "other"}
    assert current.registry.addresses == previous.registry.addresses
    fixed = tripling.replace("{run: doubling}", "{run: doubling, with: {factor: 2}}")
    next_version = create_version(tmp_path, f"{DOUBLING}---{fixed}", current, jobs=other_jobs)
    assert next_version.kept_rules == {"doubling"}
    assert next_version.registry.addresses != previous.registry.addresses, (
        "a good rule needs the new one"
    )


def test_rule_does_not_use_a_sink_before_the_restart(tmp_path: Path) -> None:
    routes = "sinks: {console: {}, more: {console: {}}}\nroute: {to: [console]}"
    rules = WIND + "  to: [more, console]\n"
    previous = create_version(tmp_path, GUST_RULE)
    current = create_version(tmp_path, rules, previous, routes=routes)
    assert current.pending_restart == ("sinks", "routes")
    alert = current.rules["wind"].alert
    assert alert is not None
    assert alert.to == ("console",)
