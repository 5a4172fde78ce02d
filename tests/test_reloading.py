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
from catcher.app.editions import Edition, differences, first_edition, next_edition
from catcher.model.health import Update
from catcher.model.problem import CatcherError
from tests.small_site import DOUBLING, JOBS, WIND, ThreadedEngine, engine_in_thread, write_site

CALM = """
rule: calm
trigger: {telemetry: wind, when: speed < 2}
"""
GUST = """
rule: gust
trigger: {telemetry: wind, when: speed > 10}
"""
PATIENT = '''
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
class Desk:
    """An engine, and somebody who edits its site."""

    engine: ThreadedEngine
    updates: list[Update] = field(default_factory=list)

    def write(self, text: str, name: str = "rules/rules.yaml") -> None:
        """Saves a file as editors do: once cut short, then whole."""
        path = self.engine.site / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text[: len(text) // 2])
        path.write_text(text)

    def edit(self, text: str, name: str = "rules/rules.yaml") -> str:
        """Saves a file and waits until the engine has taken it up; what it said of it."""
        before = len(self.reloads())
        self.write(text, name)
        return self.after(before)

    def after(self, before: int) -> str:
        self.engine.until(lambda: len(self.reloads()) > before, "a reload")
        return self.reloads()[before]

    def reloads(self) -> list[str]:
        return [one.body for one in self.updates if one.kind == "reload"]

    def told(self, words: str) -> str:
        """Waits for a problem to be told, and returns it."""
        return str(
            self.engine.until(
                lambda: next(
                    (
                        one.body
                        for one in self.updates
                        if one.kind == "problem" and words in one.body
                    ),
                    None,
                ),
                f"a problem with {words!r}",
            )
        )

    def rules(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.engine.get("/rules"):
            found.setdefault(row["rule"], []).append(row)
        return found

    def alert(self, **wanted: Any) -> dict[str, Any]:
        def fits() -> dict[str, Any] | None:
            rows: list[dict[str, Any]] = self.engine.get("/alerts")
            return next((row for row in rows if wanted.items() <= row.items()), None)

        row: dict[str, Any] = self.engine.until(fits, f"an alert with {wanted}")
        return row

    def fired(self, rule: str) -> int:
        return len(self.engine.get("/firings", rule=rule))


@contextmanager
def sit_down(
    site: Path, data: Path, write: Callable[[str], None] = lambda line: None
) -> Iterator[Desk]:
    with engine_in_thread(site, data, write) as engine:
        desk = Desk(engine)
        subscription = engine.running.live.updates.subscribe(desk.updates.append)
        yield desk
        subscription.dispose()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    site = write_site(tmp_path / "site", f"{GUST}---{WIND}---{DOUBLING}")
    with sit_down(site, tmp_path / "data") as desk:
        yield desk


def test_an_edit_that_is_saved_while_the_ledger_is_away_is_taken_up_when_it_is_back(
    desk: Desk,
) -> None:
    ledger = sqlite3.connect(desk.engine.data / "ledger.db", isolation_level=None)
    with closing(ledger):
        ledger.execute("BEGIN IMMEDIATE")
        post = threading.Thread(target=desk.engine.post, args=("wind",), kwargs={"mast": 1})
        post.start()
        desk.engine.until(lambda: desk.engine.running.engine.books.away, "the ledger away")
        desk.write(f"{CALM}---{GUST}---{WIND}---{DOUBLING}")
        assert "the ledger is away" in desk.told("the edit waits")
        ledger.execute("ROLLBACK")
        post.join()
    assert "added calm" in desk.after(0)


# -- rules ------------------------------------------------------------------------------------


def test_adding_a_rule_leaves_the_state_of_the_others_alone(desk: Desk) -> None:
    desk.engine.post("wind", mast=1, speed=12)
    assert desk.fired("gust") == 1
    assert "added calm" in desk.edit(f"{CALM}---{GUST}---{WIND}---{DOUBLING}")
    desk.engine.post("wind", mast=1, speed=13)
    assert desk.fired("gust") == 1, "it had fired and was not armed again"
    desk.engine.post("wind", mast=1, speed=1)
    assert desk.fired("calm") == 1
    desk.alert(rule="wind", key="1", state="resolved", episode=1)


def test_a_broken_edit_keeps_the_rule_running_and_shows_the_problem(desk: Desk) -> None:
    desk.engine.post("wind", mast=1, speed=12)
    desk.edit(f"{GUST.replace('speed > 10', 'speed >> 10')}---{WIND}---{DOUBLING}")
    assert "the rule runs on as it was" in desk.told("rules/rules.yaml:3")
    running, broken = desk.rules()["gust"]
    assert not running["problems"]
    assert broken["kept"]
    assert broken["problems"][0]["line"] == 3
    for speed in (13, 1, 14):
        desk.engine.post("wind", mast=1, speed=speed)
    assert desk.fired("gust") == 2, "still disarmed at 13, armed again by 1"

    desk.edit(f"{GUST.replace('10', '20')}---{WIND}---{DOUBLING}")
    assert len(desk.rules()["gust"]) == 1
    for speed in (1, 19, 21):
        desk.engine.post("wind", mast=1, speed=speed)
    assert desk.fired("gust") == 3


def test_a_file_that_is_no_yaml_any_more_takes_no_rule_away(desk: Desk) -> None:
    desk.engine.post("wind", mast=1, speed=12)
    desk.edit(f"{GUST}---{WIND}---{DOUBLING}---\nrule: [\n")
    assert {"gust", "wind", "doubling"} <= desk.rules().keys()
    desk.edit("rule: {\n")
    assert {"gust", "wind", "doubling"} <= desk.rules().keys()
    desk.alert(rule="wind", state="firing")


def test_a_deleted_rule_has_its_alerts_resolved(desk: Desk) -> None:
    desk.engine.post("wind", mast=1, speed=25)
    desk.alert(rule="wind", severity="SERIOUS", state="firing")
    assert "gone wind" in desk.edit(f"{GUST}---{DOUBLING}")
    gone = desk.alert(rule="wind", state="resolved")
    assert "gone" in gone["reason"]
    assert "wind" not in desk.rules()


def test_editing_a_message_keeps_the_alert(desk: Desk) -> None:
    desk.engine.post("wind", mast=1, speed=12)
    desk.edit(f"{GUST}---{WIND.replace('Wind', 'Storm')}---{DOUBLING}")
    desk.engine.post("wind", mast=1, speed=25)
    alert = desk.alert(rule="wind", severity="SERIOUS")
    assert alert["message"] == "Storm 25 at 1"
    assert alert["episode"] == 1


def test_nothing_is_read_anew_where_nothing_changed(desk: Desk) -> None:
    path = desk.engine.site / "rules/rules.yaml"
    path.write_text(path.read_text())
    assert "added calm" in desk.edit(CALM, "rules/more.yaml")
    assert len(desk.reloads()) == 1


def test_a_site_may_get_its_first_jobs_and_routes_while_it_runs(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", CALM)
    (site / "jobs/jobs.py").unlink()
    (site / "jobs").rmdir()
    with sit_down(site, tmp_path / "data") as desk:
        desk.edit(JOBS, "jobs/jobs.py")
        desk.edit(f"{CALM}---{DOUBLING}")
        desk.engine.post("number", lane=1, value=4)
        assert desk.engine.the_run(rule="doubling")["metrics"] == {"doubled": 8.0}


# -- jobs -------------------------------------------------------------------------------------


def test_an_edited_job_changes_what_begins_and_not_what_goes_on(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", DOUBLING, jobs=PATIENT)
    gate, opened = tmp_path / "gate", tmp_path / "opened"
    opened.touch()
    with sit_down(site, tmp_path / "data") as desk:
        desk.engine.post("number", lane=1, value=1, gate=str(gate))
        desk.engine.until(lambda: desk.engine.get("/runs", state="running"), "the run's beginning")
        assert "jobs doubling" in desk.edit(PATIENT.replace("2.0 *", "3.0 *"), "jobs/jobs.py")
        gate.touch()
        assert desk.engine.the_run(rule="doubling")["metrics"] == {"doubled": 2.0}
        desk.engine.post("number", lane=1, value=5, gate=str(opened))
        assert desk.engine.the_run(rule="doubling", metrics={"doubled": 15.0})


def test_a_broken_job_file_leaves_the_job_as_it_was(desk: Desk) -> None:
    desk.edit(JOBS + "\ndef (", "jobs/jobs.py")
    assert desk.rules()["doubling"][0]["problems"] == []
    desk.engine.post("number", lane=1, value=4)
    assert desk.engine.the_run(rule="doubling")["metrics"] == {"doubled": 8.0}


# -- what takes effect at a start -------------------------------------------------------------


def test_a_new_sink_waits_for_a_restart_and_its_routes_with_it(desk: Desk) -> None:
    desk.edit(
        "sinks: {console: {}, more: {console: {}}}\nroute: {to: [more]}", "alerts/routes.yaml"
    )
    assert desk.told("restart to apply") == "restart to apply: sinks, routes"
    desk.engine.post("wind", mast=1, speed=12)
    notice = desk.engine.until(
        lambda: [one.body for one in desk.updates if one.kind == "notice"], "a notice"
    )[0]
    assert notice.sink == "console"


def test_templates_of_sinks_follow_an_edit(tmp_path: Path) -> None:
    lines: list[str] = []
    template = "alerts/templates/console.j2"
    with sit_down(write_site(tmp_path / "site", WIND), tmp_path / "data", lines.append) as desk:

        def told(mast: str) -> str:
            desk.engine.post("wind", mast=mast, speed=12)
            desk.engine.until(lambda: mast in "".join(lines), "the line")
            return lines[-1]

        assert "templates console" in desk.edit("Blows at {{ key }}", template)
        assert "Blows at one" in told("one")
        desk.write("Torn {{ key", template)
        assert template in desk.told("console.j2")
        assert "Blows at two" in told("two"), "a broken one leaves that before it"
        (desk.engine.site / template).unlink()
        desk.engine.until(lambda: len(desk.reloads()) > 2, "the third reload")
        assert "Wind 12 at three" in told("three")


def test_rates_of_sinks_follow_an_edit(tmp_path: Path) -> None:
    routes = "sinks: {{console: {{{}}}}}\nnoise: {{flood: off}}\nroute: {{to: [console]}}\n"
    lines: list[str] = []
    site = write_site(tmp_path / "site", WIND, routes=routes.format(""))
    with sit_down(site, tmp_path / "data", lines.append) as desk:
        bound = "rate: 1 per 1h"
        assert "routes edited" in desk.edit(routes.format(bound), "alerts/routes.yaml")
        for mast in ("one", "two"):
            desk.engine.post("wind", mast=mast, speed=12)

        def paced() -> bool:
            (sink,) = (row for row in desk.engine.get("/health") if row["kind"] == "console")
            return bool(sink["counts"]["paced"])

        desk.engine.until(paced, "one that waits")
        assert len(lines) == 1
        desk.edit(routes.format(""), "alerts/routes.yaml")
        desk.engine.until(lambda: len(lines) == 2, "the one that waited")


def test_settings_wait_for_a_restart_and_broken_ones_are_told(desk: Desk) -> None:
    desk.edit("site: small\nlimits: {workers: 1}", "catcher.yaml")
    assert desk.told("restart to apply") == "restart to apply: limits"
    desk.edit("site: small\nlimits: {worker: 1}", "catcher.yaml")
    assert "the file holds as it was" in desk.told("catcher.yaml:2")
    desk.engine.post("wind", mast=1, speed=12)
    assert desk.fired("gust") == 1


def test_a_site_that_has_gone_runs_on(desk: Desk) -> None:
    (desk.engine.site / "catcher.yaml").unlink()
    assert "put it back" in desk.told("the site runs on as it was")
    assert {"gust", "wind", "doubling"} <= desk.rules().keys()


def test_a_reload_is_in_the_audit_trail(desk: Desk) -> None:
    desk.edit(f"{CALM}---{WIND}")

    async def audit() -> list[Any]:
        async with open_client(desk.engine.site, desk.engine.data) as client:
            return [one for one in await client.audit() if one.what == "reload"]

    (entry,) = asyncio.run(audit())
    assert entry.detail["added"] == ["calm"]
    assert entry.detail["gone"] == ["doubling", "gust"]


# -- what an edit comes to --------------------------------------------------------------------


def edition(folder: Path, rules: str, before: Edition | None = None, **files: str) -> Edition:
    site = load_site(write_site(folder, rules, **files))
    if before is None:
        return first_edition(site, folder / "kept")
    return next_edition(before, before, site, folder / "kept")


def test_a_rule_that_is_switched_off_does_not_run_on(tmp_path: Path) -> None:
    before = edition(tmp_path, f"{GUST}---{CALM}")
    after = edition(tmp_path, f"{GUST}enabled: false\n---{CALM}", before)
    assert differences(before, after) == {"gone": ["gust"]}
    assert not after.broken


def test_a_broken_rule_that_never_ran_does_not_run(tmp_path: Path) -> None:
    before = edition(tmp_path, GUST)
    after = edition(tmp_path, f"{GUST}---{CALM.replace('<', '<<')}", before)
    assert after.broken == ["calm"]
    assert [row["kept"] for row in after.rows()] == [False]


def test_a_kept_rule_that_would_close_a_circle_is_refused(tmp_path: Path) -> None:
    chain = "rule: {0}\ntrigger: {{{1}}}\njob: {{run: doubling}}\n"
    first, second = chain.format("first", "event: number"), chain.format("second", "result: first")
    before = edition(tmp_path, f"{first}---\n{second}")
    broken = chain.format("second", "event: number").replace("doubling", "doublin")
    with pytest.raises(CatcherError, match="results would go round"):
        edition(tmp_path, f"{chain.format('first', 'result: second')}---\n{broken}", before)


def test_a_kept_rule_has_the_job_that_it_fits(tmp_path: Path) -> None:
    tripling = DOUBLING.replace("rule: doubling", "rule: other")
    other_jobs = JOBS.replace("event: Event)", "event: Event, factor: float)")
    before = edition(tmp_path, f"{DOUBLING}---{tripling}")
    after = edition(tmp_path, f"{DOUBLING}---{tripling}", before, jobs=other_jobs)
    assert after.kept == {"doubling", "other"}
    assert after.registry.addresses == before.registry.addresses
    mended = tripling.replace("{run: doubling}", "{run: doubling, with: {factor: 2}}")
    later = edition(tmp_path, f"{DOUBLING}---{mended}", after, jobs=other_jobs)
    assert later.kept == {"doubling"}
    assert later.registry.addresses != before.registry.addresses, "a good rule needs the new one"


def test_a_rule_does_not_tell_a_sink_that_is_not_there_yet(tmp_path: Path) -> None:
    routes = "sinks: {console: {}, more: {console: {}}}\nroute: {to: [console]}"
    told = WIND + "  to: [more, console]\n"
    before = edition(tmp_path, GUST)
    after = edition(tmp_path, told, before, routes=routes)
    assert after.waiting == ("sinks", "routes")
    alert = after.rules["wind"].alert
    assert alert is not None
    assert alert.to == ("console",)
