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

_MOCK_SCRIPT = """
import sys, confluent_kafka
producer = confluent_kafka.Producer(
    {"bootstrap.servers": "", "test.mock.num.brokers": 1, "log_level": 0}
)
brokers = producer.list_topics(timeout=30).brokers.values()
print(",".join(f"{one.host}:{one.port}" for one in brokers), flush=True)
sys.stdin.read()
"""


@dataclass
class KafkaCluster:
    """A cluster; topics and groups get names of their own, so that tests may share it."""

    address: str
    is_real: bool = False
    process: subprocess.Popen[str] | None = None
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    created_topics: set[str] = field(default_factory=set)

    def unique_name(self, text: str) -> str:
        """A topic's or group's name that no other test has."""
        return f"{text}.{self.run_id}"

    def create_producer(self) -> confluent_kafka.Producer:
        return confluent_kafka.Producer({"bootstrap.servers": self.address, "log_level": 0})

    def produce(self, topic: str, *values: bytes | None, partition: int = 0) -> None:
        """Publishes messages in their order; returns when the cluster has them."""
        self._create_topic(topic)
        producer = self.create_producer()
        errors: list[Any] = []
        for value in values:
            producer.produce(
                topic, value, b"key" if value is None else None, partition,
                on_delivery=lambda error, _: errors.append(error) if error else None,
            )  # fmt: skip
            producer.poll(0)
        assert producer.flush(30) == 0
        assert not errors, errors

    def _create_topic(self, topic: str) -> None:
        """A real broker gives a topic one partition, or none, unless it is asked for four."""
        if not self.is_real or topic in self.created_topics:
            return
        self.created_topics.add(topic)
        admin = AdminClient({"bootstrap.servers": self.address})
        for future in admin.create_topics([NewTopic(topic, 4, 1)]).values():
            future.result(30)

    def committed_offset(self, group: str, topic: str, partition: int = 0) -> int:
        """The offset that a group has committed; negative where it has none."""
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": self.address, "group.id": group, "log_level": 0}
        )
        try:
            topic_partition = confluent_kafka.TopicPartition(topic, partition)
            return int(consumer.committed([topic_partition], timeout=10)[0].offset)
        finally:
            consumer.close()

    def read_messages(self, topic: str, count: int) -> list[tuple[bytes | None, bytes | None]]:
        """The first messages of a topic, from all partitions, as keys and values."""
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": self.unique_name("reader"),
                "log_level": 0,
            }
        )
        try:
            partitions = consumer.list_topics(topic, 10).topics[topic].partitions
            consumer.assign(
                [confluent_kafka.TopicPartition(topic, partition, 0) for partition in partitions]
            )
            messages = []
            while len(messages) < count:
                message = consumer.poll(20)
                assert message is not None, f"{len(messages)} of {count} messages came"
                if message.error() is None:
                    messages.append((message.key(), message.value()))
            return messages
        finally:
            consumer.close()


@contextlib.contextmanager
def run_kafka() -> Iterator[KafkaCluster]:
    """The real cluster of `CATCHER_TEST_KAFKA`, or a mock one."""
    address = os.environ.get("CATCHER_TEST_KAFKA", "")
    if address:
        yield KafkaCluster(address, is_real=True)
        return
    process = subprocess.Popen(
        [sys.executable, "-c", _MOCK_SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdin is not None
    try:
        yield KafkaCluster(process.stdout.readline().strip(), process=process)
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


@dataclass
class FakeSchemaRegistry:
    """A schema registry in a thread; `away` and `refuses` are how it fails."""

    url: str = ""
    schemas: dict[int, dict[str, Any]] = field(default_factory=dict)
    subjects: dict[str, list[int]] = field(default_factory=dict)
    requested_paths: list[str] = field(default_factory=list)
    user: str = ""
    status: int = 0
    body: bytes | None = None

    def add_schema(self, subject: str, schema: Any, **attributes: Any) -> int:
        """Registers a schema; the same one has the same number."""
        entry = {"schema": schema if isinstance(schema, str) else json.dumps(schema), **attributes}
        schema_id = next(
            (candidate for candidate, existing in self.schemas.items() if existing == entry), None
        )
        schema_id = schema_id or len(self.schemas) + 1
        self.schemas[schema_id] = entry
        versions = self.subjects.setdefault(subject, [])
        if schema_id not in versions:
            versions.append(schema_id)
        return schema_id

    def respond(self, path: str, body: bytes) -> tuple[int, Any]:
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[:2] == ["schemas", "ids"] and int(parts[2]) in self.schemas:
            return 200, self.schemas[int(parts[2])]
        if parts == ["subjects"]:
            return 200, sorted(self.subjects)
        if parts[0] == "subjects" and parts[2] == "versions" and body:
            return 200, {"id": self.add_schema(parts[1], json.loads(body)["schema"])}
        if parts[0] == "subjects" and (versions := self.subjects.get(parts[1])):
            index = -1 if parts[3] == "latest" else int(parts[3]) - 1
            schema_id = versions[index]
            return 200, {"subject": parts[1], "id": schema_id, **self.schemas[schema_id]}
        return 404, {"error_code": 40403, "message": "not found"}


@contextlib.contextmanager
def run_schema_registry() -> Iterator[FakeSchemaRegistry]:
    """A schema registry on a free port."""
    fake = FakeSchemaRegistry()

    class RegistryHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_reply()

        def do_POST(self) -> None:
            self.send_reply()

        def send_reply(self) -> None:
            fake.requested_paths.append(self.path)
            request_body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, result = fake.respond(self.path, request_body)
            expected_auth = "Basic " + base64.b64encode(fake.user.encode()).decode()
            if fake.user and self.headers.get("Authorization") != expected_auth:
                status, result = 401, {"message": "who are you?"}
            body = json.dumps(result).encode() if fake.body is None else fake.body
            self.send_response(fake.status or status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), RegistryHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def encode_message(schema_id: int, schema: Any, record: Any) -> bytes:
    """A message in Confluent's wire format."""
    buffer = BytesIO()
    buffer.write(struct.pack(">bI", 0, schema_id))
    fastavro.schemaless_writer(
        buffer, fastavro.parse_schema(json.loads(json.dumps(schema))), record
    )
    return buffer.getvalue()


def avro_schema(name: str, *fields: tuple[Any, ...]) -> dict[str, Any]:
    """A schema as Sasquatch has them: fields with `units` and `description`."""
    schema_fields = []
    for field_name, kind, *extras in fields:
        metadata = extras[0] if extras else {}
        schema_fields.append({"name": field_name, "type": kind, **metadata})
    return {"type": "record", "name": name, "namespace": "lsst.sal", "fields": schema_fields}
