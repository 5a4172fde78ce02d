"""Where a Kafka cluster is, and the credentials for it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from catcher.model.errors import CatcherError
from catcher.model.time import SECOND, Span
from catcher.transport.tls import TlsSettings

_SERVER_PATTERN = re.compile(r"[^\s:/]+(:\d{1,5})?|\[[0-9A-Fa-f:]+\](:\d{1,5})?")
DEFAULT_PORT = 9092


@dataclass(frozen=True, slots=True, kw_only=True)
class SaslCredentials:
    """A name and password, and how they are proven."""

    username: str
    password: str = field(default="", repr=False)
    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaClusterSettings:
    """`servers` is `host:port`, several with commas between; the rest of a cluster is found."""

    servers: str
    client_id: str = "catcher"
    sasl: SaslCredentials | None = None
    tls: TlsSettings | None = None
    retry_first: Span = SECOND // 2
    retry_longest: Span = 30 * SECOND

    def __post_init__(self) -> None:
        invalid = [address for address in self.addresses if not _SERVER_PATTERN.fullmatch(address)]
        if invalid or not self.addresses:
            raise CatcherError(
                f"servers {self.servers!r} is no list of servers",
                "write it like kafka-1.example:9092, kafka-2.example:9092",
            )

    @property
    def addresses(self) -> list[str]:
        """Each server as `host:port`."""
        servers = [server.strip() for server in self.servers.split(",") if server.strip()]
        return [
            server if re.search(r":\d+$", server) else f"{server}:{DEFAULT_PORT}"
            for server in servers
        ]

    @property
    def address(self) -> str:
        """As shown to people."""
        return ", ".join(self.addresses)

    @property
    def security_protocol(self) -> str:
        """Kafka's name of the security protocol."""
        if self.sasl is None:
            return "SSL" if self.tls else "PLAINTEXT"
        return "SASL_SSL" if self.tls else "SASL_PLAINTEXT"
