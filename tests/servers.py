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


def require_program(program: str) -> str:
    """The path of a server's program. Missing: fails under CI, elsewhere skips and is named."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path:
        return path
    if os.environ.get("CI") == "true":
        pytest.fail(f"{program} is not installed; `make servers` installs it")
    pytest.skip(f"{program} is not installed")


def find_free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
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
class ServerProcess:
    """A server process; `stop` and `start` let a test take it away and bring it back."""

    command: list[str]
    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    ready_command: tuple[str, ...] = ()
    """A command that succeeds once the server, which listens already, also answers."""

    def start(self) -> None:
        log = (self.folder / "server.log").open("ab")
        with log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        wait_for_port(self.port, self.process)
        deadline = time.monotonic() + 30
        while self.ready_command and subprocess.run(self.ready_command, check=False).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.command[0]} does not answer")
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


@contextlib.contextmanager
def run_mosquitto(folder: Path, extra_config: str = "") -> Iterator[ServerProcess]:
    """A mosquitto broker on a free port; `extra_config` is added to its configuration."""
    program = require_program("mosquitto")
    folder.mkdir(parents=True, exist_ok=True)
    port = find_free_port()
    access_config = "" if "allow_anonymous" in extra_config else "allow_anonymous true\n"
    inflight_config = "" if "max_inflight" in extra_config else "max_inflight_messages 0\n"
    text = f"listener {port} 127.0.0.1\n{access_config}max_queued_messages 0\n{inflight_config}"
    config_path = folder / "mosquitto.conf"
    config_path.write_text(text + extra_config)
    yield from _run_server([program, "-c", str(config_path)], port, folder)


@contextlib.contextmanager
def run_victoria_metrics(folder: Path) -> Iterator[ServerProcess]:
    """A VictoriaMetrics server on a free port."""
    program = require_program("victoria-metrics")
    folder.mkdir(parents=True, exist_ok=True)
    port = find_free_port()
    options = [f"-storageDataPath={folder / 'data'}", f"-httpListenAddr=127.0.0.1:{port}"]
    yield from _run_server([program, *options], port, folder)


INFLUX_USER = ("reader", "read-secret")


@contextlib.contextmanager
def run_influxd(
    folder: Path, databases: tuple[str, ...] = ("efd",), auth: bool = False
) -> Iterator[ServerProcess]:
    """An InfluxDB 1.x on a free port with these databases; with `auth` it wants `INFLUX_USER`."""
    program = require_program("influxd")
    folder.mkdir(parents=True, exist_ok=True)
    port, rpc_port = find_free_port(), find_free_port()
    config_path = folder / "influxdb.conf"
    config_path.write_text(
        f"""bind-address = "127.0.0.1:{rpc_port}"
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
    for server in _run_server([program, "-config", str(config_path)], port, folder):
        name, password = INFLUX_USER
        if auth:
            create_user = f"CREATE USER {name} WITH PASSWORD '{password}' WITH ALL PRIVILEGES"
            query_influx(port, create_user, as_user=False)
        for database in databases:
            query_influx(port, f"CREATE DATABASE {database}")
        yield server


def query_influx(
    port: int, statement: str, database: str = "", as_user: bool = True, epoch: str = "ns"
) -> bytes:
    """What an InfluxDB 1.x answers to a statement."""
    name, password = INFLUX_USER
    user = urllib.parse.urlencode({"u": name, "p": password}) if as_user else ""
    body = urllib.parse.urlencode({"q": statement, "db": database, "epoch": epoch}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/query?{user}", body) as response:
        return bytes(response.read())


def write_influx(port: int, database: str, lines: Iterable[str]) -> None:
    """Writes line protocol into an InfluxDB 1.x; times in nanoseconds."""
    name, password = INFLUX_USER
    parameters = urllib.parse.urlencode({"db": database, "u": name, "p": password})
    address = f"http://127.0.0.1:{port}/write?{parameters}"
    all_lines = list(lines)
    for start in range(0, len(all_lines), 10_000):
        body = "\n".join(all_lines[start : start + 10_000]).encode()
        with urllib.request.urlopen(address, body) as response:
            assert response.status == 204


@contextlib.contextmanager
def run_s3(folder: Path, bucket: str = "catcher") -> Iterator[ServerProcess]:
    """An S3 server (rclone) on a free port with one bucket; keys are `S3_KEYS`."""
    program = shutil.which("rclone", path=str(Path(sys.executable).parent)) or require_program(
        "rclone"
    )
    (folder / "buckets" / bucket).mkdir(parents=True, exist_ok=True)
    port = find_free_port()
    auth_options = ["--auth-key", ",".join(S3_KEYS), "--config", str(folder / "rclone.conf")]
    listen_options = ["--addr", f"127.0.0.1:{port}", "--vfs-cache-mode", "off"]
    yield from _run_server(
        [program, "serve", "s3", *listen_options, *auth_options, str(folder / "buckets")],
        port,
        folder,
    )


S3_KEYS = ("catcher-key", "catcher-secret")


@contextlib.contextmanager
def run_postgresql() -> Iterator[ServerProcess]:
    """A PostgreSQL server on a free port, with the database `postgres` of the user `catcher`."""
    program = _find_newest("/usr/lib/postgresql/*/bin/postgres", "postgres")
    # The server refuses to be root, and cannot read what pytest keeps for root alone.
    with tempfile.TemporaryDirectory(prefix="catcher-postgres-") as folder_name:
        folder, data, port = Path(folder_name), Path(folder_name) / "data", find_free_port()
        user_prefix: list[str] = []
        if os.geteuid() == 0:
            user_prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
            shutil.chown(folder, "postgres", "postgres")
        initdb_command = [
            str(program.with_name("initdb")),
            "-D",
            str(data),
            "-A",
            "trust",
            "-U",
            "catcher",
        ]
        subprocess.run(
            [*user_prefix, *initdb_command, "-N", "--locale=C", "-E", "UTF8"],
            check=True, cwd=folder, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        settings = {
            "port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
            "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
            "max_connections": 50,
        }  # fmt: skip
        options = [
            argument for key, value in settings.items() for argument in ("-c", f"{key}={value}")
        ]
        command = [*user_prefix, str(program), "-D", str(data), *options]
        ready_command = (
            str(program.with_name("pg_isready")),
            "-q",
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
        )
        yield from _run_server(command, port, folder, signal.SIGINT, ready_command)


def _find_newest(pattern: str, program: str) -> Path:
    paths = sorted(Path("/").glob(pattern.lstrip("/")), key=lambda path: path.parts)
    return paths[-1] if paths else Path(require_program(program)).resolve()


def _run_server(
    command: list[str],
    port: int,
    folder: Path,
    stop_signal: signal.Signals = signal.SIGTERM,
    ready_command: tuple[str, ...] = (),
) -> Iterator[ServerProcess]:
    server = ServerProcess(
        command, port, folder, stop_signal=stop_signal, ready_command=ready_command
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


async def publish_mqtt(port: int, topic: str, *payloads: str, qos: int = 1) -> None:
    """Publishes payloads, a message each, with mosquitto_pub."""
    program = require_program("mosquitto_pub")
    command = [program, "-p", str(port), "-t", topic, "-q", str(qos), "-l"]
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
    await process.communicate("".join(f"{payload}\n" for payload in payloads).encode())
    assert process.returncode == 0
