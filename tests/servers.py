"""Real servers for tests: free ports, a folder of the test's own, ended by the test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


def require(program: str) -> str:
    """The path of a server's program. Missing: fails under CI, elsewhere skips and is named."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(f"{program} is not installed; `make servers` installs it")
    pytest.skip(f"{program} is not installed")


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_port(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Returns once something listens on the port; fails when the process ends before."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}")
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on port {port}")


@dataclass
class Server:
    """A server process; `stop` and `start` let a test take it away and bring it back."""

    command: list[str]
    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    ending: signal.Signals = signal.SIGTERM
    ready: tuple[str, ...] = ()
    """A command that succeeds once the server, which listens already, also answers."""

    def start(self) -> None:
        log = (self.folder / "server.log").open("ab")
        with log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        await_port(self.port, self.process)
        deadline = time.monotonic() + 30
        while self.ready and subprocess.run(self.ready, check=False).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.command[0]} does not answer")
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.send_signal(self.ending)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


@contextlib.contextmanager
def mosquitto(folder: Path, extra: str = "") -> Iterator[Server]:
    """A mosquitto broker on a free port; `extra` is added to its configuration."""
    program = require("mosquitto")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    access = "" if "allow_anonymous" in extra else "allow_anonymous true\n"
    inflight = "" if "max_inflight" in extra else "max_inflight_messages 0\n"
    text = f"listener {port} 127.0.0.1\n{access}max_queued_messages 0\n{inflight}"
    configuration = folder / "mosquitto.conf"
    configuration.write_text(text + extra)
    yield from _running([program, "-c", str(configuration)], port, folder)


@contextlib.contextmanager
def victoria_metrics(folder: Path) -> Iterator[Server]:
    """A VictoriaMetrics server on a free port."""
    program = require("victoria-metrics")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    options = [f"-storageDataPath={folder / 'data'}", f"-httpListenAddr=127.0.0.1:{port}"]
    yield from _running([program, *options], port, folder)


INFLUX_USER = ("reader", "read-secret")


@contextlib.contextmanager
def influxd(
    folder: Path, databases: tuple[str, ...] = ("efd",), auth: bool = False
) -> Iterator[Server]:
    """An InfluxDB 1.x on a free port with these databases; with `auth` it wants `INFLUX_USER`."""
    program = require("influxd")
    folder.mkdir(parents=True, exist_ok=True)
    port, inner = free_port(), free_port()
    configuration = folder / "influxdb.conf"
    configuration.write_text(
        f"""bind-address = "127.0.0.1:{inner}"
reporting-disabled = true
[meta]
  dir = "{folder / "meta"}"
[data]
  dir = "{folder / "data"}"
  wal-dir = "{folder / "wal"}"
  query-log-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
  auth-enabled = {str(auth).lower()}
"""
    )
    for server in _running([program, "-config", str(configuration)], port, folder):
        name, password = INFLUX_USER
        if auth:
            made = f"CREATE USER {name} WITH PASSWORD '{password}' WITH ALL PRIVILEGES"
            influx_ask(port, made, as_user=False)
        for one in databases:
            influx_ask(port, f"CREATE DATABASE {one}")
        yield server


def influx_ask(
    port: int, statement: str, database: str = "", as_user: bool = True, epoch: str = "ns"
) -> bytes:
    """What an InfluxDB 1.x answers to a statement."""
    name, password = INFLUX_USER
    user = urllib.parse.urlencode({"u": name, "p": password}) if as_user else ""
    asked = urllib.parse.urlencode({"q": statement, "db": database, "epoch": epoch}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/query?{user}", asked) as answer:
        return bytes(answer.read())


def influx_write(port: int, database: str, lines: Iterable[str]) -> None:
    """Writes line protocol into an InfluxDB 1.x; times in nanoseconds."""
    name, password = INFLUX_USER
    fields = urllib.parse.urlencode({"db": database, "u": name, "p": password})
    address = f"http://127.0.0.1:{port}/write?{fields}"
    some = list(lines)
    for start in range(0, len(some), 10_000):
        body = "\n".join(some[start : start + 10_000]).encode()
        with urllib.request.urlopen(address, body) as answer:
            assert answer.status == 204


@contextlib.contextmanager
def s3(folder: Path, bucket: str = "catcher") -> Iterator[Server]:
    """An S3 server (rclone) on a free port with one bucket; keys are `S3_KEYS`."""
    program = shutil.which("rclone", path=str(Path(sys.executable).parent)) or require("rclone")
    (folder / "buckets" / bucket).mkdir(parents=True, exist_ok=True)
    port = free_port()
    keys = ["--auth-key", ",".join(S3_KEYS), "--config", str(folder / "rclone.conf")]
    place = ["--addr", f"127.0.0.1:{port}", "--vfs-cache-mode", "off"]
    yield from _running(
        [program, "serve", "s3", *place, *keys, str(folder / "buckets")], port, folder
    )


S3_KEYS = ("catcher-key", "catcher-secret")


@contextlib.contextmanager
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server on a free port, with the database `postgres` of the user `catcher`."""
    program = _newest("/usr/lib/postgresql/*/bin/postgres", "postgres")
    # The server refuses to be root, and cannot read what pytest keeps for root alone.
    with tempfile.TemporaryDirectory(prefix="catcher-postgres-") as name:
        folder, data, port = Path(name), Path(name) / "data", free_port()
        as_user: list[str] = []
        if os.geteuid() == 0:
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
            shutil.chown(folder, "postgres", "postgres")
        made = [str(program.with_name("initdb")), "-D", str(data), "-A", "trust", "-U", "catcher"]
        subprocess.run(
            [*as_user, *made, "-N", "--locale=C", "-E", "UTF8"],
            check=True, cwd=folder, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        settings = {
            "port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
            "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
            "max_connections": 50,
        }  # fmt: skip
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        command = [*as_user, str(program), "-D", str(data), *options]
        ready = (str(program.with_name("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(port))
        yield from _running(command, port, folder, signal.SIGINT, ready)


def _newest(pattern: str, program: str) -> Path:
    found = sorted(Path("/").glob(pattern.lstrip("/")), key=lambda path: path.parts)
    return found[-1] if found else Path(require(program)).resolve()


def _running(
    command: list[str],
    port: int,
    folder: Path,
    ending: signal.Signals = signal.SIGTERM,
    ready: tuple[str, ...] = (),
) -> Iterator[Server]:
    server = Server(command, port, folder, ending=ending, ready=ready)
    server.start()
    try:
        yield server
    finally:
        server.stop()


async def publish(port: int, topic: str, *payloads: str, qos: int = 1) -> None:
    """Publishes payloads, a message each, with mosquitto_pub."""
    program = require("mosquitto_pub")
    command = [program, "-p", str(port), "-t", topic, "-q", str(qos), "-l"]
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
    await process.communicate("".join(f"{payload}\n" for payload in payloads).encode())
    assert process.returncode == 0
