"""Where a Kafka cluster is, and how to enter."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, Span
from catcher.sources.tls import Tls

_SERVER = re.compile(r"[^\s:/]+(:\d{1,5})?|\[[0-9A-Fa-f:]+\](:\d{1,5})?")
PORT = 9092


@dataclass(frozen=True, slots=True, kw_only=True)
class Sasl:
    """A name and password, and how they are proven."""

    username: str
    password: str = field(default="", repr=False)
    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """`servers` is `host:port`, several with commas between; the rest of a cluster is found."""

    servers: str
    client_id: str = "catcher"
    sasl: Sasl | None = None
    tls: Tls | None = None
    retry_first: Span = SECOND // 2
    retry_longest: Span = 30 * SECOND

    def __post_init__(self) -> None:
        wrong = [one for one in self.addresses if not _SERVER.fullmatch(one)]
        if wrong or not self.addresses:
            raise CatcherError(
                f"servers {self.servers!r} is no list of servers",
                "write it like kafka-1.example:9092, kafka-2.example:9092",
            )

    @property
    def addresses(self) -> list[str]:
        """Each server as `host:port`."""
        found = [one.strip() for one in self.servers.split(",") if one.strip()]
        return [one if re.search(r":\d+$", one) else f"{one}:{PORT}" for one in found]

    @property
    def address(self) -> str:
        """As shown to people."""
        return ", ".join(self.addresses)

    @property
    def protocol(self) -> str:
        """Kafka's own word for how one enters."""
        if self.sasl is None:
            return "SSL" if self.tls else "PLAINTEXT"
        return "SASL_SSL" if self.tls else "SASL_PLAINTEXT"
