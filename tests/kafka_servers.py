"""A Kafka cluster and a schema registry for tests.

The cluster is librdkafka's mock, in a process of its own; with `CATCHER_TEST_KAFKA=host:port`
the same tests run on a real broker. The mock keeps messages, offsets and consumer groups. It
waits 3 s before a group's first members get their partitions, and it answers a member with an
error whose SyncGroup comes after the leader's (a real broker does not).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import struct
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import unquote

import confluent_kafka
import fastavro
from confluent_kafka.admin import AdminClient, NewTopic

_MOCK = """
import sys, confluent_kafka
producer = confluent_kafka.Producer(
    {"bootstrap.servers": "", "test.mock.num.brokers": 1, "log_level": 0}
)
brokers = producer.list_topics(timeout=30).brokers.values()
print(",".join(f"{one.host}:{one.port}" for one in brokers), flush=True)
sys.stdin.read()
"""


@dataclass
class Kafka:
    """A cluster; topics and groups get names of their own, so that tests may share it."""

    address: str
    real: bool = False
    process: subprocess.Popen[str] | None = None
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    made: set[str] = field(default_factory=set)

    def name(self, text: str) -> str:
        """A topic's or group's name that no other test has."""
        return f"{text}.{self.run}"

    def producer(self) -> confluent_kafka.Producer:
        return confluent_kafka.Producer({"bootstrap.servers": self.address, "log_level": 0})

    def produce(self, topic: str, *values: bytes | None, partition: int = 0) -> None:
        """Publishes messages in their order; returns when the cluster has them."""
        self._make(topic)
        producer = self.producer()
        failed: list[Any] = []
        for value in values:
            producer.produce(
                topic, value, b"key" if value is None else None, partition,
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )  # fmt: skip
            producer.poll(0)
        assert producer.flush(30) == 0
        assert not failed, failed

    def _make(self, topic: str) -> None:
        """A real broker gives a topic one partition, or none, unless it is asked for four."""
        if not self.real or topic in self.made:
            return
        self.made.add(topic)
        admin = AdminClient({"bootstrap.servers": self.address})
        for made in admin.create_topics([NewTopic(topic, 4, 1)]).values():
            made.result(30)

    def committed(self, group: str, topic: str, partition: int = 0) -> int:
        """The offset that a group has committed; negative where it has none."""
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": self.address, "group.id": group, "log_level": 0}
        )
        try:
            place = confluent_kafka.TopicPartition(topic, partition)
            return int(consumer.committed([place], timeout=10)[0].offset)
        finally:
            consumer.close()

    def read(self, topic: str, count: int) -> list[tuple[bytes | None, bytes | None]]:
        """The first messages of a topic, from all partitions, as keys and values."""
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": self.address, "group.id": self.name("reader"), "log_level": 0}
        )
        try:
            known = consumer.list_topics(topic, 10).topics[topic].partitions
            consumer.assign([confluent_kafka.TopicPartition(topic, one, 0) for one in known])
            found = []
            while len(found) < count:
                message = consumer.poll(20)
                assert message is not None, f"{len(found)} of {count} messages came"
                if message.error() is None:
                    found.append((message.key(), message.value()))
            return found
        finally:
            consumer.close()


@contextlib.contextmanager
def kafka() -> Iterator[Kafka]:
    """The real cluster of `CATCHER_TEST_KAFKA`, or a mock one."""
    given = os.environ.get("CATCHER_TEST_KAFKA", "")
    if given:
        yield Kafka(given, real=True)
        return
    process = subprocess.Popen(
        [sys.executable, "-c", _MOCK], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdin is not None
    try:
        yield Kafka(process.stdout.readline().strip(), process=process)
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


@dataclass
class Registry:
    """A schema registry in a thread; `away` and `refuses` are how it fails."""

    url: str = ""
    texts: dict[int, dict[str, Any]] = field(default_factory=dict)
    subjects: dict[str, list[int]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    user: str = ""
    status: int = 0
    body: bytes | None = None

    def add(self, subject: str, schema: Any, **more: Any) -> int:
        """Registers a schema; the same one has the same number."""
        entry = {"schema": schema if isinstance(schema, str) else json.dumps(schema), **more}
        number = next((one for one, known in self.texts.items() if known == entry), None)
        number = number or len(self.texts) + 1
        self.texts[number] = entry
        versions = self.subjects.setdefault(subject, [])
        if number not in versions:
            versions.append(number)
        return number

    def answer(self, path: str, posted: bytes) -> tuple[int, Any]:
        parts = [unquote(one) for one in path.strip("/").split("/")]
        if parts[:2] == ["schemas", "ids"] and int(parts[2]) in self.texts:
            return 200, self.texts[int(parts[2])]
        if parts == ["subjects"]:
            return 200, sorted(self.subjects)
        if parts[0] == "subjects" and parts[2] == "versions" and posted:
            return 200, {"id": self.add(parts[1], json.loads(posted)["schema"])}
        if parts[0] == "subjects" and (versions := self.subjects.get(parts[1])):
            place = -1 if parts[3] == "latest" else int(parts[3]) - 1
            number = versions[place]
            return 200, {"subject": parts[1], "id": number, **self.texts[number]}
        return 404, {"error_code": 40403, "message": "not found"}


@contextlib.contextmanager
def registry() -> Iterator[Registry]:
    """A schema registry on a free port."""
    one = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply()

        def do_POST(self) -> None:
            self.reply()

        def reply(self) -> None:
            one.asked.append(self.path)
            posted = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, found = one.answer(self.path, posted)
            wanted = "Basic " + base64.b64encode(one.user.encode()).decode()
            if one.user and self.headers.get("Authorization") != wanted:
                status, found = 401, {"message": "who are you?"}
            body = json.dumps(found).encode() if one.body is None else one.body
            self.send_response(one.status or status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    one.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield one
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def encoded(number: int, schema: Any, record: Any) -> bytes:
    """A message in Confluent's wire format."""
    out = BytesIO()
    out.write(struct.pack(">bI", 0, number))
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(json.dumps(schema))), record)
    return out.getvalue()


def record(name: str, *fields: tuple[Any, ...]) -> dict[str, Any]:
    """A schema as Sasquatch has them: fields with `units` and `description`."""
    made = []
    for field_name, kind, *rest in fields:
        said = rest[0] if rest else {}
        made.append({"name": field_name, "type": kind, **said})
    return {"type": "record", "name": name, "namespace": "lsst.sal", "fields": made}
