"""Servers that die half-way, wrong tokens, names that inject, keys that lead elsewhere."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import catcher
from catcher.client import SampleQuery, stream_framing
from catcher.client.telemetry import TopicQuery
from catcher.model.errors import CatcherError, EngineNotRunning, NotFound
from catcher.model.event import Series
from catcher.model.telemetry import FieldInfo
from tests.client.test_local_and_remote import T0, post_sample_events
from tests.sample_site import ThreadedEngine, engine_in_thread, write_site
from tests.servers import find_free_port

TOKEN = "a-long-token-of-the-observatory"


@contextmanager
def serve_bytes(*parts: bytes) -> Iterator[str]:
    """A server that answers each request with these bytes and hangs up, whatever it was asked."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(30)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    for part in parts:
                        connection.sendall(part)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def frame_bodies(*bodies: bytes, end: bool = True) -> bytes:
    async def list_bodies() -> Any:
        for body in bodies:
            yield body

    async def join_frames() -> bytes:
        return b"".join(
            [chunk async for chunk in stream_framing.encode_frames(b"M", list_bodies())]
        )

    data = asyncio.run(join_frames())
    return data if end else data[: -len(stream_framing.encode_frame(b"Z", b"0000"))]


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nM\0\0\0\5", "broke off"),
        (HEAD + b"Content-Length: 1000\r\n\r\nhalf", "broke off|of another form"),
        (
            HEAD + b"\r\n" + frame_bodies(stream_framing.encode_objects([]), end=False),
            "broke off; nothing of it",
        ),
        (HEAD + b"\r\n" + frame_bodies(stream_framing.encode_objects([]))[:-3], "broke off"),
        (
            HEAD + b"\r\n" + frame_bodies(stream_framing.encode_objects([])) + b"more of it",
            "of another form",
        ),
        (
            HEAD + b"\r\n" + frame_bodies(stream_framing.encode_objects([])) * 2,
            "goes on after its end",
        ),
        (
            HEAD
            + b"\r\n"
            + stream_framing.encode_frame(b"M", b"\x90")
            + stream_framing.encode_frame(b"Z", b"\0\0\0\x05"),
            "has lost a part",
        ),
        (HEAD + b"\r\n<html>a proxy's page</html>", "of another form"),
        (HEAD + b"\r\n" + frame_bodies(b"\xc1 no MessagePack"), "cannot be read"),
        (
            HEAD + b"\r\n" + frame_bodies(stream_framing.encode_objects([{"id": 5}])),
            "cannot be read",
        ),
        (
            HEAD
            + b"\r\n"
            + stream_framing.encode_frame(b"X", b'{"error": "the disk died", "hint": "mend it"}'),
            "the disk died; mend it",
        ),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "the engine answered 500"),
        (b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", "the engine answered 404"),
        (b"", "broke off|no engine answers"),
        (b"no HTTP at all\r\n\r\n", "broke off|no engine answers"),
    ],
)
def test_partial_response_is_never_accepted(response: bytes, message: str) -> None:
    with serve_bytes(response) as url, catcher.SyncClient(url) as client:
        for query in (client.runs, client.alerts, client.metrics):
            with pytest.raises(CatcherError, match=message):
                query()


def test_truncated_artifact_is_rejected() -> None:
    response = HEAD + b"Content-Length: 1000\r\n\r\nhalf of it"
    raises_error = pytest.raises(CatcherError, match="broke off; nothing of it was used")
    with serve_bytes(response) as url, catcher.SyncClient(url) as client, raises_error:
        client.open("rule/2025/04/24/run/words.txt")


def test_truncated_telemetry_is_rejected() -> None:
    field = b'[{"name": "speed", "type": "float", "unit": "", "about": ""}]'
    response = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(field), field)
    # The next answer is no telemetry at all.
    raises_error = pytest.raises(CatcherError, match="the engine's answer is of another form")
    with serve_bytes(response) as url, catcher.SyncClient(url) as client, raises_error:
        client.select_time_series("wind", "speed", T0, "2025-04-25")


def test_missing_engine_is_reported() -> None:
    raises_error = pytest.raises(EngineNotRunning, match="no engine answers at http")
    with catcher.SyncClient(f"http://127.0.0.1:{find_free_port()}") as client, raises_error:
        client.runs()


@pytest.mark.parametrize("address", ["ftp://host", "http://", "http://:8787", "://", "http://[::1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(CatcherError, match="is no address; write it like http://host:8787"):
        catcher.SyncClient(address).runs()


def test_what_is_no_site_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatcherError):
        catcher.SyncClient(tmp_path / "nowhere").runs()


# -- tokens -------------------------------------------------------------------------------------


def test_token_is_required_and_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CATCHER_TOKEN", raising=False)
    site = write_site(tmp_path / "site", settings=f"site: a\napi: {{token: {TOKEN}}}")
    with engine_in_thread(site, tmp_path / "data") as engine:
        url = engine.handle.url
        for wrong_token in ("", "wrong", TOKEN + "x"):
            with catcher.SyncClient(url, token=wrong_token) as client:
                with pytest.raises(CatcherError, match="this API wants a token") as error:
                    client.topics()
                assert TOKEN not in str(error.value)
        with pytest.raises(CatcherError, match="characters that no token has"):
            catcher.SyncClient(url, token="ü\n").topics()
        with catcher.SyncClient(url, token=TOKEN) as client:
            assert client.topics() == []
        monkeypatch.setenv("CATCHER_TOKEN", TOKEN)
        with catcher.SyncClient(url) as client:
            assert list(client.runs()) == []
        with catcher.SyncClient(site, data=tmp_path / "data") as client:
            assert client.topics() == []


def test_a_token_for_reading_reads_and_does_nothing_else(tmp_path: Path) -> None:
    read_token = "the-token-of-a-notebook"
    settings = f"site: a\napi: {{token: {TOKEN}, read_tokens: {{notebook: {read_token}}}}}"
    site = write_site(tmp_path / "site", settings=settings)
    with engine_in_thread(site, tmp_path / "data") as engine:
        with catcher.SyncClient(engine.handle.url, token=read_token) as client:
            assert client.topics() == []
            assert client.sql("SELECT count(*) AS n FROM runs").rows() == [{"n": 0}]
        headers = {"Authorization": f"Bearer {read_token}"}
        for path in ("/events", "/rules/wind/fire", "/silences", "/alerts/a/ack"):
            response = engine.request("POST", path, json={"who": "ana"}, headers=headers)
            assert response.status_code == 401, path
        assert engine.request("GET", "/runs", headers=headers).status_code == 200


# -- names, keys, limits ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    folder = tmp_path_factory.mktemp("bad")
    rules = "rule: wind\ntrigger: {telemetry: wind, by: mast, when: speed > 1e9}\n"
    rules += "---\nrule: made\ntrigger: {telemetry: made, when: n > 1}\n"
    with engine_in_thread(write_site(folder / "site", rules), folder / "data") as running:
        post_sample_events(running)
        yield running


@pytest.fixture(params=["site", "url"])
def client(request: pytest.FixtureRequest, engine: ThreadedEngine) -> Iterator[catcher.SyncClient]:
    address = engine.site if request.param == "site" else engine.handle.url
    data = engine.data if request.param == "site" else None
    with catcher.SyncClient(address, data=data) as client:
        yield client


NAMES = ["x' OR '1'='1", 'x"; DROP TABLE runs; --', "%", "_", "\0", "\ud800", "x" * 5000, "../..",
         "{}", "\n", "a&b=c#d?e"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda text: ascii(text[:20]))
def test_hostile_names_and_labels_are_only_names(client: catcher.SyncClient, name: str) -> None:
    assert list(client.metrics(name, {name: name})) == []
    assert list(client.artifacts(rule=name, obs=name, kind=name)) == []
    assert list(client.alerts(labels={"a": name}, state=name)) == []
    assert list(client.runs(job=name)) == []
    with pytest.raises(NotFound, match="no run"):
        client.run(name)


@pytest.mark.parametrize("name", [one for one in NAMES if one != "\ud800"], ids=ascii)
def test_unknown_topics_and_fields_are_reported(client: catcher.SyncClient, name: str) -> None:
    with pytest.raises(CatcherError, match="no topic"):
        client.select_time_series(name, "speed", T0, "2025-04-25")
    with pytest.raises(NotFound, match="has no field"):
        client.select_time_series("wind", name, T0, "2025-04-25")


def test_similar_name_is_suggested(client: catcher.SyncClient) -> None:
    with pytest.raises(NotFound, match=r"no topic 'wimd'; did you mean wind\?"):
        client.fields("wimd")
    with pytest.raises(NotFound, match=r"has no field 'sped'; did you mean speed\?"):
        client.select_top_n("wind", "sped", 1)
    with pytest.raises(CatcherError, match="is no topic; name it like"):
        client.select_top_n("", "speed", 1)


@pytest.mark.parametrize(
    "key", ["../../etc/passwd", "a/../../b", "/etc/passwd", "..", "", "%2e%2e/%2e%2e/etc/passwd"]
)
def test_keys_do_not_leave_the_store(client: catcher.SyncClient, key: str) -> None:
    with pytest.raises(CatcherError):
        client.open(key)


def test_limits_and_kinds_of_arguments_are_checked(client: catcher.SyncClient) -> None:
    for limit in (0, -1, 10**9, True, "5", None, 1.5):
        with pytest.raises(CatcherError, match="the limit"):
            client.runs(limit=limit)  # type: ignore[arg-type]
    with pytest.raises(CatcherError, match="rule is 5, not text"):
        client.runs(rule=5)  # type: ignore[arg-type]
    with pytest.raises(CatcherError, match="labels are"):
        client.metrics("a", "band=r")  # type: ignore[arg-type]
    with pytest.raises(CatcherError, match="the span ends before it begins"):
        client.metrics("a", start="-1h", end="-2h")
    with pytest.raises(CatcherError, match="is no duration"):
        client.sql("SELECT 1", timeout="soon")
    with pytest.raises(CatcherError, match="only SELECT"):
        client.sql("DELETE FROM runs")
    with pytest.raises(CatcherError, match="a field's name is text"):
        client.select_time_series("wind", [5], T0, "2025-04-25")  # type: ignore[list-item]
    with pytest.raises(CatcherError, match="made has no field 'salIndex'; ask without index"):
        client.select_time_series("made", "*", T0, "2025-04-25", index=3)


def test_routes_reject_invalid_requests(engine: ThreadedEngine) -> None:
    for path, options in (
        ("/read/records/inbox", {}), ("/read/records/runs?query=[]", {}),
        ("/read/records/runs?query={\"limit\": 0}", {}), ("/read/fields", {}),
        ("/read/records/__class__", {}), ("/read/records/runs?query={\"limit\": 1e99}", {}),
    ):  # fmt: skip
        assert engine.request("GET", path, **options).status_code in (404, 422), path
    for path, body in (
        ("/read/series", {"topic": "wind"}), ("/read/series", []),
        ("/read/series", {"topic": "wind", "start": -1, "end": 0}),
        ("/read/newest", {"topic": "wind", "count": 10**9}), ("/read/sql", {"query": ""}),
        ("/read/sql", {"query": "SELECT 1", "limit": 10**9}),
    ):  # fmt: skip
        assert engine.request("POST", path, json=body).status_code == 422, (path, body)


# -- huge answers -------------------------------------------------------------------------------


class EndlessBackend:
    """A store that has a million samples for every second that is asked."""

    async def list_topics(self) -> Sequence[str]:
        return ["wind"]

    async def list_fields(self, topic: str) -> Sequence[FieldInfo]:
        return [FieldInfo("speed", "float", "m/s")]

    async def find_latest_time(self, topic: str) -> int | None:
        return 0

    async def iter_chunks(self, query: SampleQuery, start: int, end: int) -> Any:
        self.block_count = 0
        while True:
            self.block_count += 1
            yield Series(np.zeros(1_000_000), {"speed": np.zeros(1_000_000)})

    async def read_latest(self, query: SampleQuery, count: int, end: int | None) -> Series:
        raise AssertionError


async def test_endless_answer_is_rejected_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catcher.client.telemetry.MAX_CELLS", 10_000_000)
    store = EndlessBackend()
    query = await TopicQuery.for_topic(store, "wind")
    with pytest.raises(CatcherError, match="or take it in stretches: stream_time_series"):
        await query.read_time_range(query.build_sample_query("speed", None, False), 0, 10**18)
    assert store.block_count == 6
