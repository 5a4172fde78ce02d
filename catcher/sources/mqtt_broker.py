"""Where an MQTT broker is, and how to enter."""

from __future__ import annotations

import platform
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from catcher.model.time import SECOND, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How a broker proves who it is, and how we do. Paths are of PEM files.

    `ca` empty trusts the machine's own authorities; `cert` and `key` are a client certificate.
    `insecure` accepts any certificate: for a test bench only.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    key_password: str = field(default="", repr=False)
    insecure: bool = False

    def context(self) -> TlsContext:
        """OSError names the file that cannot be read."""
        for path in (self.ca, self.cert, self.key):
            if path:
                Path(path).read_bytes()
        context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca:
            context.load_verify_locations(self.ca)
        else:
            context.load_default_certs()
        if self.cert:
            context.load_cert_chain(self.cert, self.key or None, self.key_password or None)
        return context


class TlsContext(ssl.SSLContext):
    """Knows its socket: paho does not close one whose handshake fails."""

    last: ssl.SSLSocket | None = None

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        self.last = super().wrap_socket(*arguments, **options)
        return self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the broker publishes, retained, when a client vanishes without a word."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where a broker is and how to enter. `port` 0 means 1883, or 8883 with `tls`."""

    host: str = "localhost"
    port: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    client_id: str = ""
    protocol: Literal["3.1.1", "5"] = "3.1.1"
    keepalive: Span = 60 * SECOND
    tls: Tls | None = None
    retry_first: Span = SECOND // 2
    retry_longest: Span = 30 * SECOND
    will: Will | None = None

    def identity(self, name: str) -> str:
        """The client id: the one that is set, or one of this machine and `name`."""
        return self.client_id or f"catcher-{platform.node()}-{name}"

    @property
    def address(self) -> str:
        """`host:port`, as shown to people."""
        return f"{self.host}:{self.port or (8883 if self.tls else 1883)}"
