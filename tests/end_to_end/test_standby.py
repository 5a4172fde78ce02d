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

from tests.end_to_end.engine_process import EngineProcess, engine
from tests.servers import Server, mosquitto, postgresql, require
from tests.small_site import write_site

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
FIRST = 100
"""No number is thirteen, which the job does not like."""
RULES = """
rule: doubling
trigger: {event: night.number, once_per: value}
job: {run: doubling, overlap: parallel(8)}
alert: {warning: doubled > 1e9}
"""


@dataclass
class Pair:
    """What two engines share."""

    site: Path
    broker: Server
    ledger: str

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.ledger) as connection:
            return connection.execute(query.encode()).fetchall()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with mosquitto(tmp_path / "broker") as broker, postgresql() as database:
        ledger = f"postgresql://catcher@127.0.0.1:{database.port}/postgres"
        objects = (tmp_path / "objects").as_uri()
        settings = SETTINGS.format(broker=broker.port, ledger=ledger, objects=objects)
        site = write_site(tmp_path / "site", RULES, settings=settings)
        yield Pair(site, broker, ledger)


@contextmanager
def second(site: Path, data: Path) -> Iterator[EngineProcess]:
    """Starts an engine that is to stand by; its API answers once it has taken over."""
    data.mkdir()
    log = data.parent / f"{data.name}.log"
    command = [sys.executable, "-m", "catcher", "run", "--site", str(site), "--data", str(data)]
    with log.open("ab") as output:
        process = subprocess.Popen([*command, "--port", "0"], stdout=output, stderr=output)
    standing = EngineProcess(process, data, log)
    try:
        standing.until(lambda: "standing by for" in log.read_text(), "the standing by")
        yield standing
    finally:
        standing.stop(signal.SIGKILL)


class Load:
    """Numbers published one after the other, some tens a second, from a thread of its own."""

    def __init__(self, port: int) -> None:
        command = [require("mosquitto_pub"), "-p", str(port), "-t", "night/number", "-q", "1"]
        self._process = subprocess.Popen([*command, "-l"], stdin=subprocess.PIPE, text=True)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._publish)
        self.count = 0

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(30) == 0

    def _publish(self) -> None:
        assert self._process.stdin is not None
        while not self._ended.wait(0.02):
            line = json.dumps({"value": FIRST + self.count, "lane": self.count % 5})
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            self.count += 1

    def until(self, count: int) -> None:
        while self.count < count:
            time.sleep(0.01)


def taken_over(standing: EngineProcess) -> bool:
    return (standing.data / "engine.json").exists()


def each_has_one_run(pair: Pair, count: int) -> bool:
    """Whether every number has exactly one run, done."""
    rows = pair.rows("SELECT f.once, r.state FROM runs r JOIN firings f ON f.id = r.firing")
    made = Counter(once for once, _ in rows)
    assert all(number == 1 for number in made.values()), made.most_common(3)
    states = Counter(state for _, state in rows)
    return len(made) == count and states == {"done": count}


def test_killed_under_load_the_other_goes_on_and_each_event_has_one_run(
    pair: Pair, tmp_path: Path
) -> None:
    with (
        engine(pair.site, tmp_path / "one") as first,
        second(pair.site, tmp_path / "two") as standing,
    ):
        with Load(pair.broker.port) as load:
            load.until(60)
            assert not taken_over(standing)
            first.process.kill()
            standing.until(lambda: taken_over(standing), "the take-over")
            load.until(load.count + 60)
        standing.until(lambda: each_has_one_run(pair, load.count), "one run for each event")
        artifacts = pair.rows("SELECT url FROM artifacts")
        assert len(artifacts) == load.count
        assert all(Path(str(url).removeprefix("file://")).is_file() for (url,) in artifacts)


def test_stopped_and_let_go_again_the_first_is_fenced_off(pair: Pair, tmp_path: Path) -> None:
    with (
        engine(pair.site, tmp_path / "one") as first,
        second(pair.site, tmp_path / "two") as standing,
    ):
        with Load(pair.broker.port) as load:
            load.until(60)
            first.process.send_signal(signal.SIGSTOP)
            standing.until(lambda: taken_over(standing), "the take-over")
            load.until(load.count + 30)
            first.process.send_signal(signal.SIGCONT)
            assert first.process.wait(60) == 2
            load.until(load.count + 30)
        assert "has taken over this ledger" in first.log.read_text()
        standing.until(lambda: each_has_one_run(pair, load.count), "one run for each event")
        assert standing.get("/readyz")


def test_a_graceful_stop_hands_over_at_once(pair: Pair, tmp_path: Path) -> None:
    with (
        engine(pair.site, tmp_path / "one") as first,
        second(pair.site, tmp_path / "two") as standing,
    ):
        assert not (tmp_path / "two" / "history").exists()
        assert first.stop(signal.SIGTERM) == 0
        standing.until(lambda: taken_over(standing), "the take-over")
        with Load(pair.broker.port) as load:
            load.until(20)
        standing.until(lambda: each_has_one_run(pair, load.count), "one run for each event")


def test_one_that_stands_by_ends_when_it_is_told_to(pair: Pair, tmp_path: Path) -> None:
    with engine(pair.site, tmp_path / "one"), second(pair.site, tmp_path / "two") as standing:
        assert standing.stop(signal.SIGTERM) == 0
