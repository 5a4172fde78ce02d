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

from tests.upgrade.driving import (
    HERE,
    NIGHT,
    Row,
    Story,
    make_event,
    open_story,
    read_rows,
    read_told,
    replace_in_positions,
    write_night,
)

KILLED = 900
"""The second at which the engine is killed."""


def tell_first_part(folder: Path) -> None:
    """Fills the ledger, and stops as it should."""
    site, data = folder / "site", folder / "data"
    write_night(site, *(make_event(second, "beacon", on=True) for second in range(0, 480, 30)))
    os.environ["CATCHER_TEST_AWAY"] = "radio pager"
    with open_story(site, data, 0) as story:
        story.act("/shift", to="ana", who="ana", note="the first half of the night")
        open_alerts(story)
        measure_frames(story)
        treat_alerts(story)
        story.until(lambda: len(read_told(site)) >= 5, "the first messages")
    assert not read_rows(data, "SELECT 1 FROM inbox WHERE NOT covered")


def open_alerts(story: Story) -> None:
    """Opens alerts in several masts, and lets one go through two episodes."""
    story.tell(10, *(make_event(10, "wind", mast=mast, speed=5) for mast in "abcdef"))
    story.tell(20, *(make_event(20, "wind", mast=mast, speed=12) for mast in "abcdef"))
    story.tell(30, make_event(30, "wind", mast="d", speed=25))
    story.tell(40, make_event(40, "wind", mast="d", speed=6))
    story.tell(50, make_event(50, "wind", mast="f", speed=6))
    story.tell(60, make_event(60, "gale", mast="a", speed=35))
    story.tell(70, make_event(70, "hum", level=0), make_event(70, "calm", x=1))


def measure_frames(story: Story) -> None:
    """Runs jobs: one of them fails, one opens an alert, one is over a limit of `expect`."""
    for number, value in enumerate((3, 13, 60, 4), 1):
        second = 140 + 10 * number
        story.tell(second, frame(second, f"F{number}", value))
        story.until(partial(has_measured, story, number), "the end of a run")
    story.tell(200, frame(200, "F1", 3))


def has_measured(story: Story, count: int) -> bool:
    """Whether so many frames are measured."""
    return [bool(run["finished"]) for run in story.get("/runs", rule="measured")] == [True] * count


def treat_alerts(story: Story) -> None:
    """Does what people do: takes, shelves, notes, assigns, silences, hands over."""
    act, get = story.act, story.get_alert
    story.tell(210)
    path = {mast: f"/alerts/{get('wind', mast)['id']}" for mast in "abcd"}
    act(f"{path['b']}/ack", who="ana", severity="warning", note="looking at it")
    act(f"{path['b']}/note", who="ana", note="the sensor is new")
    act(f"{path['a']}/assign", who="ana", to="bo")
    act("/silences", name="silenced", span="2h", who="ana", reason="known", severity="serious")
    story.tell(220, make_event(220, "hum", level=3))
    story.tell(300)
    act("/shift", to="bo", who="ana", note="mast b is looked at")
    act(f"{path['c']}/shelve", who="bo", span="45m", reason="a sensor is exchanged")
    story.tell(310, make_event(310, "http", x=1))
    act("/http/grafana", state="alerting")


def tell_second_part(folder: Path) -> None:
    """Leaves everything half way, and is killed."""
    site, data = folder / "site", folder / "data"
    leave_out_pager(site)
    write_night(site, *(make_event(second, "beacon", on=True) for second in range(480, 640, 30)))
    os.environ["CATCHER_TEST_AWAY"] = "radio"
    os.environ["CATCHER_TEST_WAIT"] = "1"
    with open_story(site, data, 640) as story:
        begin_half(story)
        move_objects_away(data)
        leave_half_way(story)
        wait_for_the_rest(story, data)
        leave_uncovered(story)
        os.kill(os.getpid(), signal.SIGKILL)


def begin_half(story: Story) -> None:
    """Begins what is long: windows, an alert that flaps, the alerts whose end is half way."""
    tell = story.tell
    tell(641, make_event(641, "temperature", x=1), make_event(641, "swing", x=0))
    tell(650, make_event(650, "wind", mast="e"), make_event(650, "door", name="n", open=True))
    tell(660, make_event(660, "pump", name="p", pressure=6))
    tell(661, make_event(661, "pump", name="q", pressure=7))
    for second in range(664, 696, 4):
        tell(second, make_event(second, "swing", x=2 * (second % 8 == 0)))
    tell(700, make_event(700, "dome", angle=60), make_event(700, "wind", mast="g", speed=13))
    tell(700, make_event(700, "slew", x=0))
    for second in range(700, 780, 20):
        tell(second + 1, make_event(second + 1, "rise", key="b", x=20))
    warm(story, 642, 845)


def warm(story: Story, start: int, end: int) -> None:
    """Posts the temperature of each second."""
    story.tell(end - 1, *(make_event(second, "temperature", x=1) for second in range(start, end)))


def leave_half_way(story: Story) -> None:
    """Leaves holds, sequences and windows half way."""
    tell = story.tell
    tell(850, make_event(850, "knock", name="k1"), make_event(850, "calm", x=20))
    tell(855, make_event(855, "rise", key="b", x=1), make_event(855, "calm", x=1))
    tell(860, frame(860, "F5", 40), make_event(860, "tick", x=1))
    tell(862, frame(862, "F6", 41))
    tell(865, make_event(865, "order", value=1))
    tell(866, make_event(866, "order", value=2))
    tell(870, make_event(870, "gust", key="g", x=20), make_event(870, "rise", key="a", x=20))
    tell(880, make_event(880, "shutter", open=True))
    warm(story, 845, 883)
    tell(884, *(make_event(880 + second, "pulse", x=1) for second in range(2, 5)))
    tell(885, make_event(885, "gust", key="g", x=20), make_event(885, "rise", key="a", x=20))
    tell(886, make_event(886, "rise", key="b", x=1), make_event(886, "calm", x=1))


def wait_for_the_rest(story: Story, data: Path) -> None:
    """Returns when all that others do for the engine is done."""
    story.until(lambda: len(list((data / "spool/objects").rglob("*.spooled"))) == 4, "the spool")
    story.until(lambda: story.get("/dead-letters"), "a dead letter")
    story.until(lambda: len(story.get("/runs", rule="waiting", state="running")) == 1, "a run")
    tries = "SELECT 1 FROM notices WHERE state = 'pending' AND attempts > 0"
    story.until(lambda: read_rows(data, tries), "a try to reach the radio")
    story.tell(890, make_event(890, "ping"))
    story.tell(KILLED - 2, make_event(898, "knock", name="k2"))


def leave_uncovered(story: Story) -> None:
    """Posts what only the inbox knows of: no state is saved after it."""
    story.tell(KILLED - 1, make_event(KILLED - 1, "pulse", x=1))
    story.tell(KILLED, make_event(KILLED, "pulse", x=1))


def frame(second: int, name: str, value: float) -> Row:
    """Makes the event of a frame."""
    begun = make_event(second - 5, "")["time"]
    return make_event(second, "frame", name=name, value=value, begun=begun, seconds=4, filter="r")


def leave_out_pager(site: Path) -> None:
    """Takes the sink `pager` out of the routes: what it was not told becomes a dead letter."""
    routes = site / "alerts/routes.yaml"
    lines = [line for line in routes.read_text().splitlines() if "pager: {" not in line]
    text = "\n".join(lines).replace(", pager]", "]")
    routes.write_text(text + "\n")


def move_objects_away(data: Path) -> None:
    """Makes the object store one that takes nothing: a file where its folder was."""
    (data / "objects").rename(data / "objects-away")
    (data / "objects").write_text("")


def pack(folder: Path, archive: Path) -> None:
    """Packs what is kept; what the ledger's file and its log hold stays as the kill left it."""
    for name in ("ledger.db.lock", "ledger.db-shm", "engine.json"):
        (folder / "data" / name).unlink(missing_ok=True)
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        packed.add(folder / "data", "data", filter=without_owner)
        packed.add(folder / "site" / NIGHT, NIGHT, filter=without_owner)


def without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leaves out who made the fixture."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def main() -> None:
    """Runs the two parts, or one of them."""
    if len(sys.argv) == 3:
        part = {"1": tell_first_part, "2": tell_second_part}[sys.argv[1]]
        part(Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        shutil.copytree(HERE / "site", folder / "site")
        for part, status in (("1", 0), ("2", -signal.SIGKILL)):
            command = [sys.executable, "-m", "tests.upgrade.make_fixture", part, name]
            assert subprocess.run(command, check=False).returncode == status
        replace_in_positions(folder / "data", str(folder / "site"), "@SITE@")
        pack(folder, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
