"""TLS settings: how a server and a client authenticate over an encrypted connection."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """How a broker proves who it is, and how we do. Paths are of PEM files.

    `ca` empty trusts the machine's own authorities; `cert` and `key` are a client certificate.
    `insecure` accepts any certificate: for a test bench only.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    key_password: str = field(default="", repr=False)
    insecure: bool = False

    def build_context(self) -> TlsContext:
        """Builds the TLS context. Raises OSError naming the file that cannot be read."""
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
    """Remembers its socket: paho does not close one whose handshake fails."""

    last_socket: ssl.SSLSocket | None = None

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        self.last_socket = super().wrap_socket(*arguments, **options)
        return self.last_socket
