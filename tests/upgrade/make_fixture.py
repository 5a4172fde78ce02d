"""Made `c51c802.tar.xz`: what an engine of c51c802 left when it was killed in the night.

    python -m tests.upgrade.make_fixture tests/upgrade/c51c802.tar.xz

It was run once, with `catcher/` as it was at c51c802, and is not run by tests. The archive holds
`data`, the data folder, and `night.jsonl`, what the source `night` had played; the site is
`tests/upgrade/site`. The story is told in two parts, each by an engine in a process of its own:
the first stops as it should, the second is killed with SIGKILL. Times are seconds after
2026-03-01T20:00:00Z.

Paths in the positions of sources are written `@SITE@`, for the folder that a test unpacks to.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from functools import partial
from pathlib import Path

from tests.upgrade.engine_session import (
    FOLDER,
    NIGHT_FILE,
    EngineSession,
    Row,
    append_source_events,
    create_event,
    open_session,
    read_deliveries,
    read_rows,
    replace_position_paths,
)

KILLED_AT = 900
"""The second at which the engine is killed."""


def run_first_part(folder: Path) -> None:
    """Fills the ledger, and stops as it should."""
    site, data = folder / "site", folder / "data"
    append_source_events(
        site, *(create_event(second, "beacon", on=True) for second in range(0, 480, 30))
    )
    os.environ["CATCHER_TEST_AWAY"] = "radio pager"
    with open_session(site, data, 0) as session:
        session.post("/shift", to="ana", who="ana", note="the first half of the night")
        open_alerts(session)
        run_frame_jobs(session)
        apply_alert_actions(session)
        session.wait_until(lambda: len(read_deliveries(site)) >= 5, "the first messages")
    assert not read_rows(data, "SELECT 1 FROM inbox WHERE NOT covered")


def open_alerts(session: EngineSession) -> None:
    """Opens alerts in several masts, and lets one go through two episodes."""
    session.post_at(10, *(create_event(10, "wind", mast=mast, speed=5) for mast in "abcdef"))
    session.post_at(20, *(create_event(20, "wind", mast=mast, speed=12) for mast in "abcdef"))
    session.post_at(30, create_event(30, "wind", mast="d", speed=25))
    session.post_at(40, create_event(40, "wind", mast="d", speed=6))
    session.post_at(50, create_event(50, "wind", mast="f", speed=6))
    session.post_at(60, create_event(60, "gale", mast="a", speed=35))
    session.post_at(70, create_event(70, "hum", level=0), create_event(70, "calm", x=1))


def run_frame_jobs(session: EngineSession) -> None:
    """Runs jobs: one of them fails, one opens an alert, one is over a limit of `expect`."""
    for number, value in enumerate((3, 13, 60, 4), 1):
        second = 140 + 10 * number
        session.post_at(second, create_frame_event(second, f"F{number}", value))
        session.wait_until(partial(has_finished_runs, session, number), "the end of a run")
    session.post_at(200, create_frame_event(200, "F1", 3))


def has_finished_runs(session: EngineSession, count: int) -> bool:
    """Whether so many frames are measured."""
    return [bool(run["finished"]) for run in session.get("/runs", rule="measured")] == [
        True
    ] * count


def apply_alert_actions(session: EngineSession) -> None:
    """Does what people do: takes, shelves, notes, assigns, silences, hands over."""
    post, get_alert = session.post, session.get_alert
    session.post_at(210)
    paths = {mast: f"/alerts/{get_alert('wind', mast)['id']}" for mast in "abcd"}
    post(f"{paths['b']}/ack", who="ana", severity="warning", note="looking at it")
    post(f"{paths['b']}/note", who="ana", note="the sensor is new")
    post(f"{paths['a']}/assign", who="ana", to="bo")
    post("/silences", name="silenced", span="2h", who="ana", reason="known", severity="serious")
    session.post_at(220, create_event(220, "hum", level=3))
    session.post_at(300)
    post("/shift", to="bo", who="ana", note="mast b is looked at")
    post(f"{paths['c']}/shelve", who="bo", span="45m", reason="a sensor is exchanged")
    session.post_at(310, create_event(310, "http", x=1))
    post("/http/grafana", state="alerting")


def run_second_part(folder: Path) -> None:
    """Leaves everything half way, and is killed."""
    site, data = folder / "site", folder / "data"
    remove_pager(site)
    append_source_events(
        site, *(create_event(second, "beacon", on=True) for second in range(480, 640, 30))
    )
    os.environ["CATCHER_TEST_AWAY"] = "radio"
    os.environ["CATCHER_TEST_WAIT"] = "1"
    with open_session(site, data, 640) as session:
        start_long_windows(session)
        disable_object_store(data)
        post_unfinished_patterns(session)
        wait_for_background_work(session, data)
        post_uncovered_events(session)
        os.kill(os.getpid(), signal.SIGKILL)


def start_long_windows(session: EngineSession) -> None:
    """Begins what is long: windows, an alert that flaps, the alerts whose end is half way."""
    post_at = session.post_at
    post_at(641, create_event(641, "temperature", x=1), create_event(641, "swing", x=0))
    post_at(
        650, create_event(650, "wind", mast="e"), create_event(650, "door", name="n", open=True)
    )
    post_at(660, create_event(660, "pump", name="p", pressure=6))
    post_at(661, create_event(661, "pump", name="q", pressure=7))
    for second in range(664, 696, 4):
        post_at(second, create_event(second, "swing", x=2 * (second % 8 == 0)))
    post_at(700, create_event(700, "dome", angle=60), create_event(700, "wind", mast="g", speed=13))
    post_at(700, create_event(700, "slew", x=0))
    for second in range(700, 780, 20):
        post_at(second + 1, create_event(second + 1, "rise", key="b", x=20))
    post_temperatures(session, 642, 845)


def post_temperatures(session: EngineSession, start: int, end: int) -> None:
    """Posts the temperature of each second."""
    session.post_at(
        end - 1, *(create_event(second, "temperature", x=1) for second in range(start, end))
    )


def post_unfinished_patterns(session: EngineSession) -> None:
    """Leaves holds, sequences and windows half way."""
    post_at = session.post_at
    post_at(850, create_event(850, "knock", name="k1"), create_event(850, "calm", x=20))
    post_at(855, create_event(855, "rise", key="b", x=1), create_event(855, "calm", x=1))
    post_at(860, create_frame_event(860, "F5", 40), create_event(860, "tick", x=1))
    post_at(862, create_frame_event(862, "F6", 41))
    post_at(865, create_event(865, "order", value=1))
    post_at(866, create_event(866, "order", value=2))
    post_at(870, create_event(870, "gust", key="g", x=20), create_event(870, "rise", key="a", x=20))
    post_at(880, create_event(880, "shutter", open=True))
    post_temperatures(session, 845, 883)
    post_at(884, *(create_event(880 + second, "pulse", x=1) for second in range(2, 5)))
    post_at(885, create_event(885, "gust", key="g", x=20), create_event(885, "rise", key="a", x=20))
    post_at(886, create_event(886, "rise", key="b", x=1), create_event(886, "calm", x=1))


def wait_for_background_work(session: EngineSession, data: Path) -> None:
    """Returns when all that others do for the engine is done."""
    session.wait_until(
        lambda: len(list((data / "spool/objects").rglob("*.spooled"))) == 4, "the spool"
    )
    session.wait_until(lambda: session.get("/dead-letters"), "a dead letter")
    session.wait_until(
        lambda: len(session.get("/runs", rule="waiting", state="running")) == 1, "a run"
    )
    attempts_sql = "SELECT 1 FROM notices WHERE state = 'pending' AND attempts > 0"
    session.wait_until(lambda: read_rows(data, attempts_sql), "a try to reach the radio")
    session.post_at(890, create_event(890, "ping"))
    session.post_at(KILLED_AT - 2, create_event(898, "knock", name="k2"))


def post_uncovered_events(session: EngineSession) -> None:
    """Posts what only the inbox knows of: no state is saved after it."""
    session.post_at(KILLED_AT - 1, create_event(KILLED_AT - 1, "pulse", x=1))
    session.post_at(KILLED_AT, create_event(KILLED_AT, "pulse", x=1))


def create_frame_event(second: int, name: str, value: float) -> Row:
    """Makes the event of a frame."""
    start_time = create_event(second - 5, "")["time"]
    return create_event(
        second, "frame", name=name, value=value, begun=start_time, seconds=4, filter="r"
    )


def remove_pager(site: Path) -> None:
    """Takes the sink `pager` out of the routes: what it was not told becomes a dead letter."""
    routes = site / "alerts/routes.yaml"
    lines = [line for line in routes.read_text().splitlines() if "pager: {" not in line]
    text = "\n".join(lines).replace(", pager]", "]")
    routes.write_text(text + "\n")


def disable_object_store(data: Path) -> None:
    """Makes the object store one that takes nothing: a file where its folder was."""
    (data / "objects").rename(data / "objects-away")
    (data / "objects").write_text("")


def pack_archive(folder: Path, archive: Path) -> None:
    """Packs what is kept; what the ledger's file and its log hold stays as the kill left it."""
    for name in ("ledger.db.lock", "ledger.db-shm", "engine.json"):
        (folder / "data" / name).unlink(missing_ok=True)
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        tar.add(folder / "data", "data", filter=clear_owner)
        tar.add(folder / "site" / NIGHT_FILE, NIGHT_FILE, filter=clear_owner)


def clear_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leaves out who made the fixture."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def main() -> None:
    """Runs the two parts, or one of them."""
    if len(sys.argv) == 3:
        part = {"1": run_first_part, "2": run_second_part}[sys.argv[1]]
        part(Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        shutil.copytree(FOLDER / "site", folder / "site")
        for part, status in (("1", 0), ("2", -signal.SIGKILL)):
            command = [sys.executable, "-m", "tests.upgrade.make_fixture", part, name]
            assert subprocess.run(command, check=False).returncode == status
        replace_position_paths(folder / "data", str(folder / "site"), "@SITE@")
        pack_archive(folder, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
