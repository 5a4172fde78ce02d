"""Where an MQTT broker is, and the credentials for it."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from typing import Literal

from catcher.model.time import SECOND, Span
from catcher.transport.tls import TlsContext, TlsSettings

__all__ = ["LastWill", "MqttBrokerSettings", "TlsContext", "TlsSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWill:
    """What the broker publishes, retained, when a client vanishes without a word."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttBrokerSettings:
    """Where a broker is and how to enter. `port` 0 means 1883, or 8883 with `tls`."""

    host: str = "localhost"
    port: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    client_id: str = ""
    protocol: Literal["3.1.1", "5"] = "3.1.1"
    keepalive: Span = 60 * SECOND
    tls: TlsSettings | None = None
    retry_first: Span = SECOND // 2
    retry_longest: Span = 30 * SECOND
    will: LastWill | None = None

    def build_client_id(self, name: str) -> str:
        """Returns the client id: the configured one, or one of this machine and `name`."""
        return self.client_id or f"catcher-{platform.node()}-{name}"

    @property
    def address(self) -> str:
        """`host:port`, as shown to people."""
        return f"{self.host}:{self.port or (8883 if self.tls else 1883)}"
