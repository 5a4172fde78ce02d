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

from tests.chaos.load import Load
from tests.chaos.reckoning import drained, faults, measured, rows
from tests.chaos.scene import Scene, write_site
from tests.servers import Server, mosquitto

WHOLE = os.environ.get("CATCHER_CHAOS") == "whole"
LOCKED = 30.0 if WHOLE else 8.0


@contextmanager
def under_load(folder: Path, broker: Server, **how: Any) -> Iterator[tuple[Scene, Load]]:
    """An engine at work; at the end it must have lost nothing and doubled nothing."""
    scene = Scene(folder, write_site(folder / "site", broker.port, **how))
    try:
        scene.start()
        scene.opened()
        with Load(broker.port) as load:
            beyond(scene, load, 50)
            yield scene, load
            sent = load.end()
        scene.drain(sent, lambda: measured(scene), lambda: drained(scene, sent))
        assert scene.stop() == 0, scene.log()
    finally:
        scene.kill()
    found = list(faults(scene, sent)) if not how.get("sink") else []
    assert not found, f"{len(found)} faults of {sent}\n" + "\n".join(found[:20])


def beyond(scene: Scene, load: Load, more: int) -> None:
    """Returns when so many more events have been sent."""
    goal = load.sent + more
    scene.until(lambda: load.sent >= goal, f"{goal} events")


@pytest.mark.server
def test_a_broker_that_restarts_loses_nothing(tmp_path: Path) -> None:
    kept = f"user root\npersistence true\npersistence_location {tmp_path}/\nautosave_interval 1\n"
    with (
        mosquitto(tmp_path / "broker", kept) as broker,
        under_load(tmp_path, broker) as (scene, load),
    ):
        broker.stop()
        assert scene.until(lambda: scene.get("/readyz"), "an answer")
        broker.start()
        beyond(scene, load, 50)


@pytest.mark.server
@pytest.mark.timeout(300)
def test_a_locked_ledger_mutes_no_alert(tmp_path: Path) -> None:
    """Acknowledgements and runs wait; alerts go out, marked, and are kept afterwards."""
    with mosquitto(tmp_path / "broker") as broker, under_load(tmp_path, broker) as (scene, load):
        with closing(sqlite3.connect(scene.data / "ledger.db", timeout=30)) as other:
            other.execute("BEGIN IMMEDIATE")
            threading.Event().wait(LOCKED)
            before, told = measured(scene), scene.told
            other.rollback()
        assert any(row["unrecorded"] for row in told), "no alert came while it was locked"
        scene.until(lambda: measured(scene) > before, "runs go on")
        beyond(scene, load, 50)


@pytest.mark.server
def test_a_full_disk_is_told_and_waited_for(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    data = tmp_path / "data"
    data.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", data], check=False)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with (
            mosquitto(tmp_path / "broker") as broker,
            under_load(tmp_path, broker) as (scene, load),
        ):
            ballast = data / "ballast"
            with ballast.open("wb", buffering=0) as file:
                _fill(file.write)
            scene.until(lambda: "full" in str(scene.get("/health")), "the disk is told full")
            beyond(scene, load, 100)
            ballast.unlink()
            beyond(scene, load, 50)
    finally:
        subprocess.run(["umount", "-l", data], check=False)


def _fill(write: Callable[[bytes], Any]) -> None:
    try:
        while True:
            write(bytes(65536))
    except OSError:
        return


@pytest.mark.server
def test_a_clock_that_is_set_back_loses_nothing(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker, under_load(tmp_path, broker) as (scene, load):
        assert scene.process is not None
        scene.process.send_signal(10)  # SIGUSR1: an hour back.
        beyond(scene, load, 100)


class Moody(BaseHTTPRequestHandler):
    """Answers as the mood of the day has it, and takes the rest in."""

    moods: ClassVar[list[str]] = ["500", "429", "hang", "close", "500", "429"]
    heard: ClassVar[list[str]] = []
    patience = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        mood = self.moods.pop(0) if self.moods else "well"
        if mood == "hang":
            self.patience.wait(60)
        elif mood == "close":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhal")
        elif mood in ("500", "429"):
            self.send_response(int(mood))
            self.send_header("Retry-After", "1")
            self.end_headers()
        else:
            self.heard.append(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.mark.server
def test_a_sink_in_a_bad_mood_hears_all_in_order_in_the_end(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Moody)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sink = f'{{http: {{url: "http://127.0.0.1:{server.server_port}/", timeout: 2s}}}}'
    try:
        with (
            mosquitto(tmp_path / "broker") as broker,
            under_load(tmp_path, broker, sink=sink) as (scene, load),
        ):
            scene.until(lambda: Moody.heard, "the sink hears")
            beyond(scene, load, 100)
    finally:
        Moody.patience.set()
        server.shutdown()
        server.server_close()
    assert Moody.moods == []
    notices = rows(scene.data / "ledger.db", "SELECT state, count(*) FROM notices GROUP BY 1")
    assert [state for state, _ in notices] == ["delivered"]
