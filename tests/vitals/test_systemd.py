"""What systemd hears, over a real datagram socket that stands for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from catcher.vitals import Notifier


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


def heard(listener: socket.socket) -> dict[str, str]:
    lines = listener.recv(4096).decode().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_systemd_is_told_what_happens(systemd: tuple[socket.socket, str]) -> None:
    listener, name = systemd
    notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"})
    assert notifier.wanted and notifier.interval == 15.0
    notifier.ready("watching")
    assert heard(listener) == {"READY": "1", "STATUS": "watching"}
    notifier.alive()
    assert heard(listener) == {"WATCHDOG": "1"}
    notifier.reloading()
    told = heard(listener)
    assert told["RELOADING"] == "1" and int(told["MONOTONIC_USEC"]) > 0
    notifier.stopping("bye")
    assert heard(listener) == {"STOPPING": "1", "STATUS": "bye"}


def test_a_status_is_one_line_and_told_when_it_changes(systemd: tuple[socket.socket, str]) -> None:
    listener, name = systemd
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.status("degraded:\nREADY=1")
    notifier.status("degraded:\nREADY=1")
    notifier.status("watching")
    assert heard(listener) == {"STATUS": "degraded: READY=1"}
    assert heard(listener) == {"STATUS": "watching"}


def test_nothing_happens_where_nobody_listens(tmp_path: Path) -> None:
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}, {"NOTIFY_SOCKET": "x" * 500}):
        Notifier(environ).ready("watching")


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
def test_signs_of_life_come_twice_as_often_as_systemd_wants(
    environ: dict[str, str], interval: float
) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/nowhere", **environ}).interval == interval


def test_without_a_socket_no_sign_of_life_is_wanted() -> None:
    assert Notifier({"WATCHDOG_USEC": "4000000"}).interval == 0.0
