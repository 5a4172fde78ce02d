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

from tests.end_to_end.engine_process import EngineProcess, run_engine
from tests.sample_site import WIND, write_site
from tests.servers import ServerProcess, require_program, run_mosquitto

TIMEOUT = 60
GATED_JOB = '''
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
WAIT_RULE = """
rule: wait
trigger: {event: order}
job: {run: patient, timeout: 1h}
"""
HEALTH_RULE = """
rule: part-away
about: A source, store, executor, sink or heartbeat is away.
trigger: {event: catcher.health, by: part}
alert:
  serious: state == "away"
  message: "{{ part }} is {{ state }}: {{ problem }}"
"""


# -- a heartbeat -------------------------------------------------------------------------------


@contextmanager
def subscribe_topic(server: ServerProcess, topic: str) -> Iterator[Queue[dict[str, Any]]]:
    """What comes on a topic, as somebody else's program hears it."""
    command = [require_program("mosquitto_sub"), "-p", str(server.port), "-t", topic]
    messages: Queue[dict[str, Any]] = Queue()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:

        def read_lines() -> None:
            for line in process.stdout or ():
                messages.put(json.loads(line))

        thread = Thread(target=read_lines)
        thread.start()
        try:
            yield messages
        finally:
            process.terminate()
            thread.join()


def wait_for_state(messages: Queue[dict[str, Any]], *states: str) -> dict[str, Any]:
    while True:
        message = messages.get(timeout=TIMEOUT)
        if message["state"] in states:
            return message


def test_broker_publishes_offline_when_the_engine_is_killed(tmp_path: Path) -> None:
    with run_mosquitto(tmp_path / "broker") as server:
        heartbeat = f"heartbeat: {{every: 1s, mqtt: {{host: 127.0.0.1, port: {server.port}}}}}"
        site = write_site(tmp_path / "site", settings=f"site: summit\n{heartbeat}")
        with subscribe_topic(server, "catcher/summit/heartbeat") as messages:
            with run_engine(site, tmp_path / "data") as running:
                message = wait_for_state(messages, "ok")
                assert (message["site"], message["problems"], message["every"]) == (
                    "summit",
                    0,
                    1.0,
                )
                running.process.kill()
                last_message = wait_for_state(messages, "offline")
                assert last_message == {
                    "site": "summit",
                    "engine": message["engine"],
                    "state": "offline",
                }
            with run_engine(site, tmp_path / "data") as running:
                wait_for_state(messages, "ok")
                assert running.stop(signal.SIGTERM) == 0
                assert wait_for_state(messages, "stopped", "offline")["state"] == "stopped"


# -- systemd -----------------------------------------------------------------------------------


def test_systemd_is_notified_of_start_watchdog_reload_and_stop(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", WIND)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{tmp_path}")
        systemd.settimeout(TIMEOUT)

        def wait_for_message(expected: str) -> str:
            while expected not in (message := systemd.recv(4096).decode()):
                pass
            return message

        environment = {"NOTIFY_SOCKET": f"@{tmp_path}", "WATCHDOG_USEC": "1000000"}
        with run_engine(site, tmp_path / "data", environment=environment) as running:
            assert wait_for_message("READY=1") == "READY=1\nSTATUS=watching"
            wait_for_message("WATCHDOG=1")
            running.process.send_signal(signal.SIGHUP)
            wait_for_message("RELOADING=1\nMONOTONIC_USEC=")
            wait_for_message("READY=1")
            assert running.stop(signal.SIGTERM) == 0
            wait_for_message("STOPPING=1")


def test_shipped_systemd_units_are_valid() -> None:
    program = require_program("systemd-analyze")
    unit = Path(__file__).parents[2] / "deploy" / "catcher.service"
    completed = subprocess.run(
        [program, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    # The program that the unit starts need not be installed where the tests run.
    complaints = [line for line in completed.stderr.splitlines() if "is not executable" not in line]
    assert not [line for line in complaints if "catcher.service" in line]


# -- stopping ----------------------------------------------------------------------------------


def start_gated_run(running: EngineProcess, folder: Path) -> None:
    """Has a run begin that ends when somebody opens its gate."""
    fields = {"begun": str(folder / "begun"), "gate": str(folder / "gate")}
    assert running.post("/events", {"topic": "order", "fields": fields}).status_code == 202
    running.wait_until((folder / "begun").exists, "the beginning of the run")


def get_only_run(running: EngineProcess) -> dict[str, Any]:
    (run,) = running.get("/runs", rule="wait")
    only_run: dict[str, Any] = run
    return only_run


@pytest.mark.parametrize(
    ("signals", "status"),
    [((signal.SIGTERM,), 0), ((signal.SIGTERM, signal.SIGTERM), 128 + signal.SIGTERM)],
)
def test_unfinished_job_is_requeued_and_resumed_at_the_next_start(
    tmp_path: Path, signals: tuple[signal.Signals, ...], status: int
) -> None:
    limit = "1s" if len(signals) == 1 else "1h"
    site = write_site(
        tmp_path / "site", WAIT_RULE, jobs=GATED_JOB, settings=f"site: s\nlimits: {{stop: {limit}}}"
    )
    with run_engine(site, tmp_path / "data") as running:
        start_gated_run(running, tmp_path)
        for _ in signals[1:]:
            running.process.send_signal(signals[0])
            running.wait_until(
                lambda: get_phase(running) == "stopping", "the beginning of the stop"
            )
        running.process.send_signal(signals[-1])
        assert running.process.wait(TIMEOUT) == status
        assert not (tmp_path / "data" / "engine.json").exists()
    (tmp_path / "begun").unlink()
    with run_engine(site, tmp_path / "data") as running:
        running.wait_until((tmp_path / "begun").exists, "the second beginning of the run")
        (tmp_path / "gate").touch()
        running.wait_until(lambda: get_only_run(running)["state"] == "done", "the end of the run")


def get_phase(running: EngineProcess) -> str:
    return str(running.get("/healthz", verbose="1")["phase"])


def test_signal_during_startup_stops_the_engine(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", WIND)
    script = (
        "import os, signal, sys\n"
        "from catcher.app import engine_runtime\n"
        "from catcher.cli import main\n"
        "class InterruptedMonitor(engine_runtime.EngineMonitor):\n"
        "    def set_restoring(self): os.kill(os.getpid(), signal.SIGTERM)\n"
        "engine_runtime.EngineMonitor = InterruptedMonitor\n"
        f"main(['run', '--site', {str(site)!r}, '--data', {str(tmp_path / 'data')!r},"
        " '--port', '0'])"
    )
    command = [sys.executable, "-c", script]
    completed = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert (completed.returncode, completed.stderr) == (0, "")
    assert completed.stdout == "ended before it had begun\n"


# -- the health of the parts -------------------------------------------------------------------


def test_stopped_broker_is_an_alert_until_it_recovers(tmp_path: Path) -> None:
    with run_mosquitto(tmp_path / "broker") as server:
        source = (
            f"{{host: 127.0.0.1, port: {server.port}, topics: {{'sal/#': sal}}, retry_longest: 1s}}"
        )
        site = write_site(
            tmp_path / "site", HEALTH_RULE, settings=f"site: s\nsources:\n  efd: {{mqtt: {source}}}"
        )
        with run_engine(site, tmp_path / "data") as running:

            def find_alert() -> dict[str, Any]:
                alerts = [row for row in running.get("/alerts") if row["key"] == "source efd"]
                return alerts[0] if alerts else {"state": ""}

            running.wait_until(lambda: running.get("/readyz")["ready"], "readiness")
            server.stop()
            running.wait_until(lambda: find_alert()["state"] == "firing", "the alert")
            assert find_alert()["severity"] == "SERIOUS"
            assert find_alert()["message"].startswith("source efd is away: ")
            readiness = running.get("/readyz")
            assert not readiness["ready"]
            assert readiness["problems"][0].startswith("source efd is away")
            server.start()
            running.wait_until(lambda: running.get("/readyz")["ready"], "readiness")
            running.wait_until(
                lambda: find_alert()["latched"] or find_alert()["state"] == "resolved", "its end"
            )
            assert find_alert()["state"] in ("firing", "resolved")
