"""Two engines, one site: the second stands by on PostgreSQL and goes on where the first was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.end_to_end.engine_process import EngineProcess, run_engine
from tests.sample_site import write_site
from tests.servers import ServerProcess, require_program, run_mosquitto, run_postgresql

pytestmark = pytest.mark.server
SETTINGS = """
site: pair
sources:
  night:
    mqtt: {{host: 127.0.0.1, port: {broker}, topics: {{"night/+": "night.{{1}}"}}, client_id: pair}}
stores:
  ledger: "{ledger}"
  objects: "{objects}"
"""
FIRST_NUMBER = 100
"""No number is thirteen, which the job does not like."""
RULES = """
rule: doubling
trigger: {event: night.number, once_per: value}
job: {run: doubling, overlap: parallel(8)}
alert: {warning: doubled > 1e9}
"""


@dataclass
class EnginePair:
    """What two engines share."""

    site: Path
    broker: ServerProcess
    ledger: str

    def query_ledger(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.ledger) as connection:
            return connection.execute(query.encode()).fetchall()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[EnginePair]:
    with run_mosquitto(tmp_path / "broker") as broker, run_postgresql() as database:
        ledger = f"postgresql://catcher@127.0.0.1:{database.port}/postgres"
        objects = (tmp_path / "objects").as_uri()
        settings = SETTINGS.format(broker=broker.port, ledger=ledger, objects=objects)
        site = write_site(tmp_path / "site", RULES, settings=settings)
        yield EnginePair(site, broker, ledger)


@contextmanager
def run_standby(site: Path, data: Path) -> Iterator[EngineProcess]:
    """Starts an engine that is to stand by; its API answers once it has taken over."""
    data.mkdir()
    log = data.parent / f"{data.name}.log"
    command = [sys.executable, "-m", "catcher", "run", "--site", str(site), "--data", str(data)]
    with log.open("ab") as log_file:
        process = subprocess.Popen([*command, "--port", "0"], stdout=log_file, stderr=log_file)
    standby = EngineProcess(process, data, log)
    try:
        standby.wait_until(lambda: "standing by for" in log.read_text(), "the standing by")
        yield standby
    finally:
        standby.stop(signal.SIGKILL)


class MqttLoad:
    """Numbers published one after the other, some tens a second, from a thread of its own."""

    def __init__(self, port: int) -> None:
        command = [
            require_program("mosquitto_pub"),
            "-p",
            str(port),
            "-t",
            "night/number",
            "-q",
            "1",
        ]
        self._process = subprocess.Popen([*command, "-l"], stdin=subprocess.PIPE, text=True)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._publish)
        self.count = 0

    def __enter__(self) -> MqttLoad:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(30) == 0

    def _publish(self) -> None:
        assert self._process.stdin is not None
        while not self._stopped.wait(0.02):
            line = json.dumps({"value": FIRST_NUMBER + self.count, "lane": self.count % 5})
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            self.count += 1

    def wait_until(self, count: int) -> None:
        while self.count < count:
            time.sleep(0.01)


def has_taken_over(standby: EngineProcess) -> bool:
    return (standby.data / "engine.json").exists()


def has_one_run_each(pair: EnginePair, count: int) -> bool:
    """Whether every number has exactly one run, done."""
    rows = pair.query_ledger("SELECT f.once, r.state FROM runs r JOIN firings f ON f.id = r.firing")
    runs_by_number = Counter(once for once, _ in rows)
    assert all(number == 1 for number in runs_by_number.values()), runs_by_number.most_common(3)
    states = Counter(state for _, state in rows)
    return len(runs_by_number) == count and states == {"done": count}


def test_standby_takes_over_from_a_killed_engine_with_one_run_per_event(
    pair: EnginePair, tmp_path: Path
) -> None:
    with (
        run_engine(pair.site, tmp_path / "one") as first,
        run_standby(pair.site, tmp_path / "two") as standby,
    ):
        with MqttLoad(pair.broker.port) as load:
            load.wait_until(60)
            assert not has_taken_over(standby)
            first.process.kill()
            standby.wait_until(lambda: has_taken_over(standby), "the take-over")
            load.wait_until(load.count + 60)
        standby.wait_until(lambda: has_one_run_each(pair, load.count), "one run for each event")
        artifacts = pair.query_ledger("SELECT url FROM artifacts")
        assert len(artifacts) == load.count
        assert all(Path(str(url).removeprefix("file://")).is_file() for (url,) in artifacts)


def test_suspended_engine_is_fenced_when_it_resumes(pair: EnginePair, tmp_path: Path) -> None:
    with (
        run_engine(pair.site, tmp_path / "one") as first,
        run_standby(pair.site, tmp_path / "two") as standby,
    ):
        with MqttLoad(pair.broker.port) as load:
            load.wait_until(60)
            first.process.send_signal(signal.SIGSTOP)
            standby.wait_until(lambda: has_taken_over(standby), "the take-over")
            load.wait_until(load.count + 30)
            first.process.send_signal(signal.SIGCONT)
            assert first.process.wait(60) == 2
            load.wait_until(load.count + 30)
        assert "has taken over this ledger" in first.log.read_text()
        standby.wait_until(lambda: has_one_run_each(pair, load.count), "one run for each event")
        assert standby.get("/readyz")


def test_graceful_stop_hands_over_at_once(pair: EnginePair, tmp_path: Path) -> None:
    with (
        run_engine(pair.site, tmp_path / "one") as first,
        run_standby(pair.site, tmp_path / "two") as standby,
    ):
        assert not (tmp_path / "two" / "history").exists()
        assert first.stop(signal.SIGTERM) == 0
        standby.wait_until(lambda: has_taken_over(standby), "the take-over")
        with MqttLoad(pair.broker.port) as load:
            load.wait_until(20)
        standby.wait_until(lambda: has_one_run_each(pair, load.count), "one run for each event")


def test_standby_engine_stops_on_sigterm(pair: EnginePair, tmp_path: Path) -> None:
    with (
        run_engine(pair.site, tmp_path / "one"),
        run_standby(pair.site, tmp_path / "two") as standby,
    ):
        assert standby.stop(signal.SIGTERM) == 0
