"""Three engines in one consumer group over one PostgreSQL ledger; one is killed."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from tests.end_to_end.engine_process import EngineProcess, catcher, engine
from tests.kafka_servers import Kafka, kafka
from tests.servers import mosquitto, postgresql, publish
from tests.small_site import write_site

pytestmark = pytest.mark.server
PATIENT = Path(__file__).parents[1] / "kafka_patient"
SETTINGS = """
site: many
sources:
  night:
    kafka:
      servers: "{kafka}"
      group: {group}
      topics: {{"{topic}": "night.number"}}
      start: earliest
      session: 6s
stores: {{ledger: "{ledger}", objects: "{objects}"}}
"""
RULES = """
rule: doubling
tags: [numbers]
trigger: {event: night.number, once_per: value}
job: {run: doubling, overlap: queue}
---
rule: watching
tags: [alerts]
trigger: {event: night.number}
alert: {warning: value > 1e9}
"""
JOBS = '''
"""A job that takes a while, so that runs wait when their engine is killed."""

import asyncio

from catcher import Event, Metric, Result, job


@job
async def doubling(event: Event) -> Result:
    """Twice the event's value."""
    await asyncio.sleep(0.05)
    return Result({"doubled": Metric(2.0 * event.fields["value"])})
'''


@dataclass
class Load:
    """Numbers published one after the other to all partitions, from a thread."""

    cluster: Kafka
    topic: str
    count: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self._thread = threading.Thread(target=self._publish)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _publish(self) -> None:
        producer = self.cluster.producer()
        while not self._ended.wait(0.01):
            value = json.dumps({"value": self.count})
            producer.produce(self.topic, value.encode(), partition=self.count % 4)
            producer.poll(0)
            self.count += 1
        assert producer.flush(30) == 0


@pytest.fixture
def ledger() -> Iterator[str]:
    with postgresql() as database:
        yield f"postgresql://catcher@127.0.0.1:{database.port}/postgres"


def rows(ledger: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(ledger) as connection:
        return connection.execute(query.encode()).fetchall()


def connected(running: EngineProcess) -> bool:
    return any(one["name"] == "night" and one["state"] == "ok" for one in running.get("/health"))


RUNS = "SELECT f.once, r.state, r.engine FROM runs r JOIN firings f ON f.id = r.firing"


def test_three_engines_share_the_partitions_and_one_that_is_killed_loses_and_doubles_nothing(
    tmp_path: Path, ledger: str
) -> None:
    with kafka() as cluster, ExitStack() as lifetimes:
        topic = cluster.name("numbers")
        # The topic is there, with all partitions, before anybody listens.
        cluster.produce(topic, json.dumps({"value": -1}).encode())
        settings = SETTINGS.format(
            kafka=cluster.address, group=cluster.name("many"), topic=topic, ledger=ledger,
            objects=(tmp_path / "objects").as_uri(),
        )  # fmt: skip
        site = write_site(tmp_path / "site", RULES, settings=settings, jobs=JOBS)
        environment = {} if cluster.real else {"PYTHONPATH": str(PATIENT)}
        arguments = ("--rules", "numbers", "--shared")
        engines: list[EngineProcess] = [
            lifetimes.enter_context(
                engine(site, tmp_path / f"engine-{n}", arguments=arguments, environment=environment)
            )
            for n in range(3)
        ]

        def shared_out() -> bool:
            counts = [one.counts("night").get("partitions", 0) for one in engines]
            return sum(counts) == 4 and min(counts) > 0

        engines[0].until(shared_out, "each has a partition")
        with Load(cluster, topic) as load:
            victim = engines[1]

            def has_runs_that_wait() -> bool:
                waiting = sum(one["waiting"] for one in victim.get("/backlog"))
                done = rows(ledger, RUNS + " WHERE r.state = 'done'")
                # An engine's name holds the number of its process.
                return waiting > 5 and any(f"-{victim.process.pid}-" in str(one[2]) for one in done)

            victim.until(has_runs_that_wait, "a backlog")
            victim.process.kill()
            victim.process.wait()
            engines[0].until(lambda: load.count > 400, "more numbers")
        survivors = [engines[0], engines[2]]

        def each_has_one_run() -> bool:
            found = rows(ledger, RUNS)
            made = Counter(once for once, _, _ in found)
            assert all(number == 1 for number in made.values()), made.most_common(3)
            states = Counter(state for _, state, _ in found)
            return states == {"done": load.count + 1} and len(made) == load.count + 1

        survivors[0].until(each_has_one_run, "one run for each number")
        assert len({name for _, _, name in rows(ledger, RUNS)}) == 3
        logs = "".join(one.log.read_text() for one in survivors)
        assert "of an engine that is gone are carried out here" in logs
        assert [one.stop() for one in survivors] == [0, 0]


async def test_rules_are_split_between_engines_by_tag_each_with_its_own_ear(
    tmp_path: Path, ledger: str
) -> None:
    with mosquitto(tmp_path / "broker") as broker, ExitStack() as lifetimes:
        settings = f"""
site: split
sources:
  night:
    mqtt: {{host: 127.0.0.1, port: {broker.port}, topics: {{"night/+": "night.{{1}}"}}}}
stores: {{ledger: "{ledger}"}}
"""
        site = write_site(tmp_path / "site", RULES, settings=settings, jobs=JOBS)
        catcher("check", "--site", site)
        one, other = (
            lifetimes.enter_context(engine(site, tmp_path / name, arguments=arguments))
            for name, arguments in (
                ("one", ("--rules", "numbers")),
                ("other", ("--except", "numbers")),
            )
        )
        for running in (one, other):
            running.until(lambda running=running: connected(running), "the broker")
        await publish(broker.port, "night/number", '{"value": 5}', '{"value": 2e9}')
        one.until(lambda: len(one.get("/runs", state="done")) == 2, "both runs")
        other.until(lambda: other.get("/alerts"), "the alert")
        assert [row["rule"] for row in one.get("/rules")] == ["doubling"]
        assert [row["rule"] for row in other.get("/rules")] == ["watching"]
        # Ended and started again, the one has not touched what is the other's.
        assert one.stop() == 0
        with engine(site, tmp_path / "one", arguments=("--rules", "numbers")) as again:
            again.until(lambda: again.counts("night"), "its source")
        states = rows(ledger, "SELECT rule, state FROM alerts")
        assert states == [("watching", "firing")]


def test_an_engine_that_shares_refuses_rules_that_keep_state(tmp_path: Path) -> None:
    settings = """
site: many
engine: {shared: true, rules: [numbers, alerts]}
stores: {ledger: "postgresql://catcher@db.example/catcher"}
"""
    site = write_site(tmp_path / "site", RULES, settings=settings, jobs=JOBS)
    told = catcher("check", "--site", site, status=1)
    assert "this engine shares its rules with others, and an alert has a life" in told
    assert "rules/rules.yaml:7:7: this engine shares" in told
