"""Notifies systemd: ready, alive, reloading, stopping (sd_notify(3)).

A datagram to the socket in `$NOTIFY_SOCKET`; without it, or if nobody listens, nothing happens.
`$WATCHDOG_USEC` is how often systemd expects a sign of life.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

MICROSECONDS_PER_SECOND = 1e6


class SystemdNotifier:
    """Notifies systemd of the service's state, if `environ` says that it wants to know."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A name that begins with @ is in the abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._interval = _read_watchdog_interval(environ)
        self._status = ""

    @property
    def is_enabled(self) -> bool:
        """Whether systemd wants notifications."""
        return bool(self._address)

    @property
    def watchdog_interval(self) -> float:
        """Seconds between two watchdog notifications; 0 if none are wanted."""
        return self._interval if self.is_enabled else 0.0

    def notify_ready(self, status: str) -> None:
        """Reports that the service is up, or has reloaded its settings."""
        self._send_message(READY="1", STATUS=status)

    def notify_status(self, status: str) -> None:
        """Sets what `systemctl status` shows; sent only when it changes."""
        if status != self._status:
            self._send_message(STATUS=status)

    def notify_alive(self) -> None:
        """Keeps systemd from restarting the service."""
        self._send_message(WATCHDOG="1")

    def notify_reloading(self) -> None:
        """Reports that settings are being reloaded; `notify_ready` follows."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send_message(RELOADING="1", MONOTONIC_USEC=str(now))

    def notify_stopping(self, status: str) -> None:
        """Reports that the service stops."""
        self._send_message(STOPPING="1", STATUS=status)

    def _send_message(self, **fields: str) -> None:
        if not self._address:
            return
        self._status = fields.get("STATUS", self._status)
        text = "\n".join(f"{name}={' '.join(value.split())}" for name, value in fields.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            # The engine must never block on systemd, or fail because of it.
            sock.setblocking(False)
            try:
                sock.sendto(text.encode(), self._address)
            except OSError:
                return


def _read_watchdog_interval(environ: Mapping[str, str]) -> float:
    """Returns half of systemd's timeout, as it advises; 0 if it watches no or another process."""
    try:
        timeout_us = int(environ.get("WATCHDOG_USEC", "0"))
        pid = int(environ.get("WATCHDOG_PID") or os.getpid())
    except ValueError:
        return 0.0
    return max(0.0, timeout_us / MICROSECONDS_PER_SECOND / 2) if pid == os.getpid() else 0.0
