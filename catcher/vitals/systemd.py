"""Speaking to systemd: ready, alive, reloading, stopping (sd_notify(3)).

A datagram to the socket that `$NOTIFY_SOCKET` names; without it, or when nobody listens, nothing
happens. `$WATCHDOG_USEC` is how often systemd wants to hear that the service lives.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

MICROSECONDS = 1e6


class Notifier:
    """Tells systemd how the service does, if `environ` says that it wants to know."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A name that begins with @ is one of the abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._interval = _interval(environ)
        self._status = ""

    @property
    def wanted(self) -> bool:
        """Whether somebody wants to hear."""
        return bool(self._address)

    @property
    def interval(self) -> float:
        """Seconds between two signs of life that are wanted; 0 where none is."""
        return self._interval if self.wanted else 0.0

    def ready(self, status: str) -> None:
        """The service is up, or has read its settings anew."""
        self._send(READY="1", STATUS=status)

    def status(self, words: str) -> None:
        """What `systemctl status` shows; said only when it changes."""
        if words != self._status:
            self._send(STATUS=words)

    def alive(self) -> None:
        """Keeps systemd from restarting the service."""
        self._send(WATCHDOG="1")

    def reloading(self) -> None:
        """Settings are being read anew; `ready` follows."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(RELOADING="1", MONOTONIC_USEC=str(now))

    def stopping(self, status: str) -> None:
        """The service ends."""
        self._send(STOPPING="1", STATUS=status)

    def _send(self, **said: str) -> None:
        if not self._address:
            return
        self._status = said.get("STATUS", self._status)
        text = "\n".join(f"{name}={' '.join(words.split())}" for name, words in said.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as way:
            # Whether systemd hears is not the engine's worry, least of all something to wait for.
            way.setblocking(False)
            try:
                way.sendto(text.encode(), self._address)
            except OSError:
                return


def _interval(environ: Mapping[str, str]) -> float:
    """Half of what systemd wants, as it advises; 0 where it watches another process or none."""
    try:
        wanted = int(environ.get("WATCHDOG_USEC", "0"))
        process = int(environ.get("WATCHDOG_PID") or os.getpid())
    except ValueError:
        return 0.0
    return max(0.0, wanted / MICROSECONDS / 2) if process == os.getpid() else 0.0
