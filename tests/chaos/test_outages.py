"""A broker that restarts, a full disk, a locked database, bad sinks, a clock that goes back."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.chaos.engine_under_test import EngineUnderTest, write_site
from tests.chaos.event_load import EventLoad
from tests.chaos.verification import count_measured, find_faults, is_drained, query_rows
from tests.servers import ServerProcess, run_mosquitto

FULL_RUN = os.environ.get("CATCHER_CHAOS") == "whole"
LOCK_SECONDS = 30.0 if FULL_RUN else 8.0


@contextmanager
def run_under_load(
    folder: Path, broker: ServerProcess, **options: Any
) -> Iterator[tuple[EngineUnderTest, EventLoad]]:
    """An engine at work; at the end it must have lost nothing and doubled nothing."""
    engine = EngineUnderTest(folder, write_site(folder / "site", broker.port, **options))
    try:
        engine.start()
        engine.wait_until_open()
        with EventLoad(broker.port) as load:
            wait_for_events(engine, load, 50)
            yield engine, load
            sent = load.stop_publishing()
        engine.wait_until_drained(
            sent, lambda: count_measured(engine), lambda: is_drained(engine, sent)
        )
        assert engine.stop() == 0, engine.read_log()
    finally:
        engine.kill_engine()
    faults = list(find_faults(engine, sent)) if not options.get("sink") else []
    assert not faults, f"{len(faults)} faults of {sent}\n" + "\n".join(faults[:20])


def wait_for_events(engine: EngineUnderTest, load: EventLoad, count: int) -> None:
    """Returns when so many more events have been sent."""
    goal = load.sent_count + count
    engine.wait_until(lambda: load.sent_count >= goal, f"{goal} events")


@pytest.mark.server
def test_a_broker_that_restarts_loses_nothing(tmp_path: Path) -> None:
    broker_config = (
        f"user root\npersistence true\npersistence_location {tmp_path}/\nautosave_interval 1\n"
    )
    with (
        run_mosquitto(tmp_path / "broker", broker_config) as broker,
        run_under_load(tmp_path, broker) as (engine, load),
    ):
        broker.stop()
        assert engine.wait_until(lambda: engine.fetch_json("/readyz"), "an answer")
        broker.start()
        wait_for_events(engine, load, 50)


@pytest.mark.server
@pytest.mark.timeout(300)
def test_locked_ledger_suppresses_no_alert(tmp_path: Path) -> None:
    """Acknowledgements and runs wait; alerts go out, marked, and are kept afterwards."""
    with (
        run_mosquitto(tmp_path / "broker") as broker,
        run_under_load(tmp_path, broker) as (engine, load),
    ):
        with closing(sqlite3.connect(engine.data / "ledger.db", timeout=30)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            threading.Event().wait(LOCK_SECONDS)
            measured_before, records = count_measured(engine), engine.sink_records
            connection.rollback()
        assert any(row["unrecorded"] for row in records), "no alert came while it was locked"
        engine.wait_until(lambda: count_measured(engine) > measured_before, "runs go on")
        wait_for_events(engine, load, 50)


@pytest.mark.server
def test_full_disk_is_reported_and_waited_for(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    data = tmp_path / "data"
    data.mkdir()
    mount_result = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "none", data], check=False
    )
    if mount_result.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with (
            run_mosquitto(tmp_path / "broker") as broker,
            run_under_load(tmp_path, broker) as (engine, load),
        ):
            ballast = data / "ballast"
            with ballast.open("wb", buffering=0) as file:
                _fill_disk(file.write)
            engine.wait_until(
                lambda: "full" in str(engine.fetch_json("/health")), "the disk is told full"
            )
            wait_for_events(engine, load, 100)
            ballast.unlink()
            wait_for_events(engine, load, 50)
    finally:
        subprocess.run(["umount", "-l", data], check=False)


def _fill_disk(write: Callable[[bytes], Any]) -> None:
    try:
        while True:
            write(bytes(65536))
    except OSError:
        return


@pytest.mark.server
def test_a_clock_that_is_set_back_loses_nothing(tmp_path: Path) -> None:
    with (
        run_mosquitto(tmp_path / "broker") as broker,
        run_under_load(tmp_path, broker) as (engine, load),
    ):
        assert engine.process is not None
        engine.process.send_signal(10)  # SIGUSR1: an hour back.
        wait_for_events(engine, load, 100)


class UnreliableHandler(BaseHTTPRequestHandler):
    """Answers as the mood of the day has it, and takes the rest in."""

    behaviours: ClassVar[list[str]] = ["500", "429", "hang", "close", "500", "429"]
    received_bodies: ClassVar[list[str]] = []
    release = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        behaviour = self.behaviours.pop(0) if self.behaviours else "well"
        if behaviour == "hang":
            self.release.wait(60)
        elif behaviour == "close":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhal")
        elif behaviour in ("500", "429"):
            self.send_response(int(behaviour))
            self.send_header("Retry-After", "1")
            self.end_headers()
        else:
            self.received_bodies.append(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.mark.server
def test_unreliable_sink_receives_all_in_order(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), UnreliableHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sink = f'{{http: {{url: "http://127.0.0.1:{server.server_port}/", timeout: 2s}}}}'
    try:
        with (
            run_mosquitto(tmp_path / "broker") as broker,
            run_under_load(tmp_path, broker, sink=sink) as (engine, load),
        ):
            engine.wait_until(lambda: UnreliableHandler.received_bodies, "the sink hears")
            wait_for_events(engine, load, 100)
    finally:
        UnreliableHandler.release.set()
        server.shutdown()
        server.server_close()
    assert UnreliableHandler.behaviours == []
    state_counts = query_rows(
        engine.data / "ledger.db", "SELECT state, count(*) FROM notices GROUP BY 1"
    )
    assert [state for state, _ in state_counts] == ["delivered"]
