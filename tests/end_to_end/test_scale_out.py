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

from tests.end_to_end.engine_process import EngineProcess, run_catcher, run_engine
from tests.kafka_servers import KafkaCluster, run_kafka
from tests.sample_site import write_site
from tests.servers import publish_mqtt, run_mosquitto, run_postgresql

pytestmark = pytest.mark.server
PATIENT_PATH = Path(__file__).parents[1] / "kafka_slow_leader"
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
class KafkaLoad:
    """Numbers published one after the other to all partitions, from a thread."""

    cluster: KafkaCluster
    topic: str
    count: int = 0
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> KafkaLoad:
        self._thread = threading.Thread(target=self._publish)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _publish(self) -> None:
        producer = self.cluster.create_producer()
        while not self._stopped.wait(0.01):
            value = json.dumps({"value": self.count})
            producer.produce(self.topic, value.encode(), partition=self.count % 4)
            producer.poll(0)
            self.count += 1
        assert producer.flush(30) == 0


@pytest.fixture
def ledger() -> Iterator[str]:
    with run_postgresql() as database:
        yield f"postgresql://catcher@127.0.0.1:{database.port}/postgres"


def query_ledger(ledger: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(ledger) as connection:
        return connection.execute(query.encode()).fetchall()


def is_connected(running: EngineProcess) -> bool:
    return any(row["name"] == "night" and row["state"] == "ok" for row in running.get("/health"))


RUNS_QUERY = "SELECT f.once, r.state, r.engine FROM runs r JOIN firings f ON f.id = r.firing"


def test_killed_engine_in_a_group_of_three_loses_and_duplicates_nothing(
    tmp_path: Path, ledger: str
) -> None:
    with run_kafka() as cluster, ExitStack() as stack:
        topic = cluster.unique_name("numbers")
        # The topic is there, with all partitions, before anybody listens.
        cluster.produce(topic, json.dumps({"value": -1}).encode())
        settings = SETTINGS.format(
            kafka=cluster.address, group=cluster.unique_name("many"), topic=topic, ledger=ledger,
            objects=(tmp_path / "objects").as_uri(),
        )  # fmt: skip
        site = write_site(tmp_path / "site", RULES, settings=settings, jobs=JOBS)
        environment = {} if cluster.is_real else {"PYTHONPATH": str(PATIENT_PATH)}
        arguments = ("--rules", "numbers", "--shared")
        engines: list[EngineProcess] = [
            stack.enter_context(
                run_engine(
                    site, tmp_path / f"engine-{n}", arguments=arguments, environment=environment
                )
            )
            for n in range(3)
        ]

        def is_balanced() -> bool:
            counts = [member.get_counts("night").get("partitions", 0) for member in engines]
            return sum(counts) == 4 and min(counts) > 0

        engines[0].wait_until(is_balanced, "each has a partition")
        with KafkaLoad(cluster, topic) as load:
            victim = engines[1]

            def has_pending_runs() -> bool:
                waiting = sum(entry["waiting"] for entry in victim.get("/backlog"))
                finished = query_ledger(ledger, RUNS_QUERY + " WHERE r.state = 'done'")
                # An engine's name holds the number of its process.
                return waiting > 5 and any(
                    f"-{victim.process.pid}-" in str(run[2]) for run in finished
                )

            victim.wait_until(has_pending_runs, "a backlog")
            victim.process.kill()
            victim.process.wait()
            engines[0].wait_until(lambda: load.count > 400, "more numbers")
        survivors = [engines[0], engines[2]]

        def has_one_run_each() -> bool:
            runs = query_ledger(ledger, RUNS_QUERY)
            runs_by_number = Counter(once for once, _, _ in runs)
            assert all(number == 1 for number in runs_by_number.values()), (
                runs_by_number.most_common(3)
            )
            states = Counter(state for _, state, _ in runs)
            return states == {"done": load.count + 1} and len(runs_by_number) == load.count + 1

        survivors[0].wait_until(has_one_run_each, "one run for each number")
        assert len({name for _, _, name in query_ledger(ledger, RUNS_QUERY)}) == 3
        logs = "".join(survivor.log.read_text() for survivor in survivors)
        assert "of an engine that is gone are carried out here" in logs
        assert [survivor.stop() for survivor in survivors] == [0, 0]


async def test_rules_are_split_between_engines_by_tag(tmp_path: Path, ledger: str) -> None:
    with run_mosquitto(tmp_path / "broker") as broker, ExitStack() as stack:
        settings = f"""
site: split
sources:
  night:
    mqtt: {{host: 127.0.0.1, port: {broker.port}, topics: {{"night/+": "night.{{1}}"}}}}
stores: {{ledger: "{ledger}"}}
"""
        site = write_site(tmp_path / "site", RULES, settings=settings, jobs=JOBS)
        run_catcher("check", "--site", site)
        first, second = (
            stack.enter_context(run_engine(site, tmp_path / name, arguments=arguments))
            for name, arguments in (
                ("one", ("--rules", "numbers")),
                ("other", ("--except", "numbers")),
            )
        )
        for running in (first, second):
            running.wait_until(lambda running=running: is_connected(running), "the broker")
        await publish_mqtt(broker.port, "night/number", '{"value": 5}', '{"value": 2e9}')
        first.wait_until(lambda: len(first.get("/runs", state="done")) == 2, "both runs")
        second.wait_until(lambda: second.get("/alerts"), "the alert")
        assert [row["rule"] for row in first.get("/rules")] == ["doubling"]
        assert [row["rule"] for row in second.get("/rules")] == ["watching"]
        # Ended and started again, the one has not touched what is the other's.
        assert first.stop() == 0
        with run_engine(site, tmp_path / "one", arguments=("--rules", "numbers")) as restarted:
            restarted.wait_until(lambda: restarted.get_counts("night"), "its source")
        states = query_ledger(ledger, "SELECT rule, state FROM alerts")
        assert states == [("watching", "firing")]


def test_shared_engine_rejects_stateful_rules(tmp_path: Path) -> None:
    settings = """
site: many
engine: {shared: true, rules: [numbers, alerts]}
stores: {ledger: "postgresql://catcher@db.example/catcher"}
"""
    site = write_site(tmp_path / "site", RULES, settings=settings, jobs=JOBS)
    output = run_catcher("check", "--site", site, status=1)
    assert "this engine shares its rules with others, and an alert has a life" in output
    assert "rules/rules.yaml:7:7: this engine shares" in output
