"""What systemd hears, over a real datagram socket that stands for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from catcher.monitoring import SystemdNotifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A listening socket, and how `$NOTIFY_SOCKET` names it."""
    name = str(tmp_path / "notify")
    address = name
    if request.param == "abstract":
        address, name = f"\0catcher-test-{os.getpid()}", f"@catcher-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(10)
        yield listener, name


def receive_fields(listener: socket.socket) -> dict[str, str]:
    lines = listener.recv(4096).decode().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_systemd_is_notified(systemd: tuple[socket.socket, str]) -> None:
    listener, name = systemd
    notifier = SystemdNotifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"})
    assert notifier.is_enabled and notifier.watchdog_interval == 15.0
    notifier.notify_ready("watching")
    assert receive_fields(listener) == {"READY": "1", "STATUS": "watching"}
    notifier.notify_alive()
    assert receive_fields(listener) == {"WATCHDOG": "1"}
    notifier.notify_reloading()
    fields = receive_fields(listener)
    assert fields["RELOADING"] == "1" and int(fields["MONOTONIC_USEC"]) > 0
    notifier.notify_stopping("bye")
    assert receive_fields(listener) == {"STOPPING": "1", "STATUS": "bye"}


def test_status_is_one_line_and_sent_when_it_changes(systemd: tuple[socket.socket, str]) -> None:
    listener, name = systemd
    notifier = SystemdNotifier({"NOTIFY_SOCKET": name})
    notifier.notify_status("degraded:\nREADY=1")
    notifier.notify_status("degraded:\nREADY=1")
    notifier.notify_status("watching")
    assert receive_fields(listener) == {"STATUS": "degraded: READY=1"}
    assert receive_fields(listener) == {"STATUS": "watching"}


def test_missing_socket_is_ignored(tmp_path: Path) -> None:
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}, {"NOTIFY_SOCKET": "x" * 500}):
        SystemdNotifier(environ).notify_ready("watching")


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "4000000"}, 2.0),
        ({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid())}, 2.0),
    ],
)
def test_watchdog_interval_is_half_of_what_systemd_wants(
    environ: dict[str, str], interval: float
) -> None:
    assert SystemdNotifier({"NOTIFY_SOCKET": "/nowhere", **environ}).watchdog_interval == interval


def test_without_a_socket_there_is_no_watchdog() -> None:
    assert SystemdNotifier({"WATCHDOG_USEC": "4000000"}).watchdog_interval == 0.0
