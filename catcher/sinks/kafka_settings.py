"""Where to publish in Kafka: to the cluster itself, or through a REST proxy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from catcher.model.errors import CatcherError
from catcher.model.time import SECOND, Span

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaPublisherSettings:
    """The cluster (`servers`) or a REST proxy (`rest`), how to enter it, and the topic.

    `format: avro` wants a `registry`, unless a REST proxy sees to that. `ca` is a PEM file,
    empty for the machine's own authorities.
    """

    servers: str = ""
    rest: str = ""
    topic: str = ""
    format: Literal["json", "avro"] = "json"
    username: str = ""
    password: str = field(default="", repr=False)
    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    token: str = field(default="", repr=False)
    tls: bool = False
    ca: str = ""
    registry: str = ""
    registry_username: str = ""
    registry_password: str = field(default="", repr=False)
    timeout: Span = 10 * SECOND

    def __post_init__(self) -> None:
        if bool(self.servers) == bool(self.rest):
            raise CatcherError(
                "give one of `servers` and `rest`",
                "servers: kafka.example:9092, or rest: https://kafka-rest.example",
            )
        for name, url in (("rest", self.rest), ("registry", self.registry)):
            if url and not (urlsplit(url).scheme in ("http", "https") and urlsplit(url).netloc):
                raise CatcherError(f"{name} {url!r} is no web address", "write it like https://…")
        if self.format == "avro" and self.servers and not self.registry:
            raise CatcherError("Avro wants a schema registry", "add registry: https://…")
        if self.topic and not _TOPIC.fullmatch(self.topic):
            raise CatcherError(
                f"{self.topic!r} is no Kafka topic", "letters, digits, . _ and - may be in it"
            )
