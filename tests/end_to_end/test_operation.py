"""`catcher run` as operators know it: its heartbeat, systemd, stops, and what watches it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest

from tests.end_to_end.engine_process import EngineProcess, engine
from tests.servers import Server, mosquitto, require
from tests.small_site import WIND, write_site

PATIENCE = 60
GATED = '''
"""Jobs that go on until a file is there."""

import time
from pathlib import Path

from catcher import Event, Metric, Result, job


@job
def patient(event: Event) -> Result:
    """Waits in a worker process for the file that the event names."""
    Path(event.fields["begun"]).touch()
    while not Path(event.fields["gate"]).exists():
        time.sleep(0.01)
    return Result({"waited": Metric(1.0)})
'''
WAIT = """
rule: wait
trigger: {event: order}
job: {run: patient, timeout: 1h}
"""
PARTS = """
rule: part-away
about: A source, store, executor, sink or heartbeat is away.
trigger: {event: catcher.health, by: part}
alert:
  serious: state == "away"
  message: "{{ part }} is {{ state }}: {{ problem }}"
"""


# -- a heartbeat -------------------------------------------------------------------------------


@contextmanager
def listening(server: Server, topic: str) -> Iterator[Queue[dict[str, Any]]]:
    """What comes on a topic, as somebody else's program hears it."""
    command = [require("mosquitto_sub"), "-p", str(server.port), "-t", topic]
    heard: Queue[dict[str, Any]] = Queue()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:

        def read() -> None:
            for line in process.stdout or ():
                heard.put(json.loads(line))

        thread = Thread(target=read)
        thread.start()
        try:
            yield heard
        finally:
            process.terminate()
            thread.join()


def await_state(heard: Queue[dict[str, Any]], *states: str) -> dict[str, Any]:
    while True:
        row = heard.get(timeout=PATIENCE)
        if row["state"] in states:
            return row


def test_the_broker_tells_everybody_when_the_engine_vanishes(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as server:
        beat = f"heartbeat: {{every: 1s, mqtt: {{host: 127.0.0.1, port: {server.port}}}}}"
        site = write_site(tmp_path / "site", settings=f"site: summit\n{beat}")
        with listening(server, "catcher/summit/heartbeat") as heard:
            with engine(site, tmp_path / "data") as running:
                row = await_state(heard, "ok")
                assert (row["site"], row["problems"], row["every"]) == ("summit", 0, 1.0)
                running.process.kill()
                gone = await_state(heard, "offline")
                assert gone == {"site": "summit", "engine": row["engine"], "state": "offline"}
            with engine(site, tmp_path / "data") as running:
                await_state(heard, "ok")
                assert running.stop(signal.SIGTERM) == 0
                assert await_state(heard, "stopped", "offline")["state"] == "stopped"


# -- systemd -----------------------------------------------------------------------------------


def test_systemd_hears_of_start_life_reload_and_stop(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", WIND)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{tmp_path}")
        systemd.settimeout(PATIENCE)

        def await_word(word: str) -> str:
            while word not in (said := systemd.recv(4096).decode()):
                pass
            return said

        environment = {"NOTIFY_SOCKET": f"@{tmp_path}", "WATCHDOG_USEC": "1000000"}
        with engine(site, tmp_path / "data", environment=environment) as running:
            assert await_word("READY=1") == "READY=1\nSTATUS=watching"
            await_word("WATCHDOG=1")
            running.process.send_signal(signal.SIGHUP)
            await_word("RELOADING=1\nMONOTONIC_USEC=")
            await_word("READY=1")
            assert running.stop(signal.SIGTERM) == 0
            await_word("STOPPING=1")


def test_the_units_that_ship_are_good() -> None:
    program = require("systemd-analyze")
    unit = Path(__file__).parents[2] / "deploy" / "catcher.service"
    done = subprocess.run(
        [program, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    # The program that the unit starts need not be installed where the tests run.
    complaints = [line for line in done.stderr.splitlines() if "is not executable" not in line]
    assert not [line for line in complaints if "catcher.service" in line]


# -- stopping ----------------------------------------------------------------------------------


def begun(running: EngineProcess, folder: Path) -> None:
    """Has a run begin that ends when somebody opens its gate."""
    fields = {"begun": str(folder / "begun"), "gate": str(folder / "gate")}
    assert running.post("/events", {"topic": "order", "fields": fields}).status_code == 202
    running.until((folder / "begun").exists, "the beginning of the run")


def the_only_run(running: EngineProcess) -> dict[str, Any]:
    (run,) = running.get("/runs", rule="wait")
    found: dict[str, Any] = run
    return found


@pytest.mark.parametrize(
    ("signals", "status"),
    [((signal.SIGTERM,), 0), ((signal.SIGTERM, signal.SIGTERM), 128 + signal.SIGTERM)],
)
def test_a_job_that_never_ends_is_handed_back_and_taken_up_at_the_next_start(
    tmp_path: Path, signals: tuple[signal.Signals, ...], status: int
) -> None:
    limit = "1s" if len(signals) == 1 else "1h"
    site = write_site(
        tmp_path / "site", WAIT, jobs=GATED, settings=f"site: s\nlimits: {{stop: {limit}}}"
    )
    with engine(site, tmp_path / "data") as running:
        begun(running, tmp_path)
        for _ in signals[1:]:
            running.process.send_signal(signals[0])
            running.until(lambda: phase(running) == "stopping", "the beginning of the stop")
        running.process.send_signal(signals[-1])
        assert running.process.wait(PATIENCE) == status
        assert not (tmp_path / "data" / "engine.json").exists()
    (tmp_path / "begun").unlink()
    with engine(site, tmp_path / "data") as running:
        running.until((tmp_path / "begun").exists, "the second beginning of the run")
        (tmp_path / "gate").touch()
        running.until(lambda: the_only_run(running)["state"] == "done", "the end of the run")


def phase(running: EngineProcess) -> str:
    return str(running.get("/healthz", verbose="1")["phase"])


def test_a_signal_while_it_opens_ends_it_before_it_has_begun(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", WIND)
    script = (
        "import os, signal, sys; from catcher.app import opening; from catcher.cli import main\n"
        "class Held(opening.SelfWatch):\n"
        "    def restoring(self): os.kill(os.getpid(), signal.SIGTERM)\n"
        "opening.SelfWatch = Held\n"
        f"main(['run', '--site', {str(site)!r}, '--data', {str(tmp_path / 'data')!r},"
        " '--port', '0'])"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "ended before it had begun\n"


# -- the health of the parts -------------------------------------------------------------------


def test_a_broker_that_stops_is_an_alert_until_it_is_back(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as server:
        source = (
            f"{{host: 127.0.0.1, port: {server.port}, topics: {{'sal/#': sal}}, retry_longest: 1s}}"
        )
        site = write_site(
            tmp_path / "site", PARTS, settings=f"site: s\nsources:\n  efd: {{mqtt: {source}}}"
        )
        with engine(site, tmp_path / "data") as running:

            def alert() -> dict[str, Any]:
                found = [one for one in running.get("/alerts") if one["key"] == "source efd"]
                return found[0] if found else {"state": ""}

            running.until(lambda: running.get("/readyz")["ready"], "readiness")
            server.stop()
            running.until(lambda: alert()["state"] == "firing", "the alert")
            assert alert()["severity"] == "SERIOUS"
            assert alert()["message"].startswith("source efd is away: ")
            ready = running.get("/readyz")
            assert not ready["ready"]
            assert ready["problems"][0].startswith("source efd is away")
            server.start()
            running.until(lambda: running.get("/readyz")["ready"], "readiness")
            running.until(lambda: alert()["latched"] or alert()["state"] == "resolved", "its end")
            assert alert()["state"] in ("firing", "resolved")
