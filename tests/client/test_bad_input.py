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
from catcher.api import framing
from catcher.client import Asked
from catcher.client.telemetry import Asking
from catcher.model.event import Series
from catcher.model.problem import CatcherError, NoEngine, Unknown
from catcher.model.telemetry import FieldInfo
from tests.client.test_one_door import T0, feed
from tests.servers import free_port
from tests.small_site import ThreadedEngine, engine_in_thread, write_site

TOKEN = "a-long-token-of-the-observatory"


@contextmanager
def answering(*parts: bytes) -> Iterator[str]:
    """A server that answers each request with these bytes and hangs up, whatever it was asked."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(30)

        def serve() -> None:
            while True:
                try:
                    line, _ = listener.accept()
                except OSError:
                    return
                with line:
                    line.recv(65_536)
                    for part in parts:
                        line.sendall(part)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def framed(*bodies: bytes, end: bool = True) -> bytes:
    async def some() -> Any:
        for one in bodies:
            yield one

    async def whole() -> bytes:
        return b"".join([one async for one in framing.framed(b"M", some())])

    data = asyncio.run(whole())
    return data if end else data[: -len(framing.frame(b"Z", b"0000"))]


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nM\0\0\0\5", "broke off"),
        (HEAD + b"Content-Length: 1000\r\n\r\nhalf", "broke off|of another form"),
        (HEAD + b"\r\n" + framed(framing.from_nouns([]), end=False), "broke off; nothing of it"),
        (HEAD + b"\r\n" + framed(framing.from_nouns([]))[:-3], "broke off"),
        (HEAD + b"\r\n" + framed(framing.from_nouns([])) + b"more of it", "of another form"),
        (HEAD + b"\r\n" + framed(framing.from_nouns([])) * 2, "goes on after its end"),
        (HEAD + b"\r\n" + framing.frame(b"M", b"\x90") + framing.frame(b"Z", b"\0\0\0\x05"),
         "has lost a part"),
        (HEAD + b"\r\n<html>a proxy's page</html>", "of another form"),
        (HEAD + b"\r\n" + framed(b"\xc1 no MessagePack"), "cannot be read"),
        (HEAD + b"\r\n" + framed(framing.from_nouns([{"id": 5}])), "cannot be read"),
        (HEAD + b"\r\n" + framing.frame(b"X", b'{"error": "the disk died", "hint": "mend it"}'),
         "the disk died; mend it"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "the engine answered 500"),
        (b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", "the engine answered 404"),
        (b"", "broke off|no engine answers"),
        (b"no HTTP at all\r\n\r\n", "broke off|no engine answers"),
    ],
)  # fmt: skip
def test_nothing_partial_is_taken_for_whole(answer: bytes, words: str) -> None:
    with answering(answer) as url, catcher.SyncClient(url) as client:
        for ask in (client.runs, client.alerts, client.metrics):
            with pytest.raises(CatcherError, match=words):
                ask()


def test_an_artifact_that_breaks_off_is_refused() -> None:
    answer = HEAD + b"Content-Length: 1000\r\n\r\nhalf of it"
    broken = pytest.raises(CatcherError, match="broke off; nothing of it was used")
    with answering(answer) as url, catcher.SyncClient(url) as client, broken:
        client.open("rule/2025/04/24/run/words.txt")


def test_telemetry_that_breaks_off_is_refused() -> None:
    field = b'[{"name": "speed", "type": "float", "unit": "", "about": ""}]'
    fields = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(field), field)
    # The next answer is no telemetry at all.
    broken = pytest.raises(CatcherError, match="the engine's answer is of another form")
    with answering(fields) as url, catcher.SyncClient(url) as client, broken:
        client.select_time_series("wind", "speed", T0, "2025-04-25")


def test_nobody_there_is_said() -> None:
    away = pytest.raises(NoEngine, match="no engine answers at http")
    with catcher.SyncClient(f"http://127.0.0.1:{free_port()}") as client, away:
        client.runs()


@pytest.mark.parametrize("where", ["ftp://host", "http://", "http://:8787", "://", "http://[::1"])
def test_what_is_no_address_is_refused(where: str) -> None:
    with pytest.raises(CatcherError, match="is no address; write it like http://host:8787"):
        catcher.SyncClient(where).runs()


def test_what_is_no_site_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatcherError):
        catcher.SyncClient(tmp_path / "nowhere").runs()


# -- tokens -------------------------------------------------------------------------------------


def test_a_token_is_asked_for_and_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CATCHER_TOKEN", raising=False)
    site = write_site(tmp_path / "site", settings=f"site: a\napi: {{token: {TOKEN}}}")
    with engine_in_thread(site, tmp_path / "data") as engine:
        url = engine.running.url
        for wrong in ("", "wrong", TOKEN + "x"):
            with catcher.SyncClient(url, token=wrong) as client:
                with pytest.raises(CatcherError, match="this API wants a token") as told:
                    client.topics()
                assert TOKEN not in str(told.value)
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
    reader = "the-token-of-a-notebook"
    settings = f"site: a\napi: {{token: {TOKEN}, read_tokens: {{notebook: {reader}}}}}"
    site = write_site(tmp_path / "site", settings=settings)
    with engine_in_thread(site, tmp_path / "data") as engine:
        with catcher.SyncClient(engine.running.url, token=reader) as client:
            assert client.topics() == []
            assert client.sql("SELECT count(*) AS n FROM runs").rows() == [{"n": 0}]
        said = {"Authorization": f"Bearer {reader}"}
        for path in ("/events", "/rules/wind/fire", "/silences", "/alerts/a/ack"):
            answer = engine.ask("POST", path, json={"who": "ana"}, headers=said)
            assert answer.status_code == 401, path
        assert engine.ask("GET", "/runs", headers=said).status_code == 200


# -- names, keys, limits ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    top = tmp_path_factory.mktemp("bad")
    rules = "rule: wind\ntrigger: {telemetry: wind, by: mast, when: speed > 1e9}\n"
    rules += "---\nrule: made\ntrigger: {telemetry: made, when: n > 1}\n"
    with engine_in_thread(write_site(top / "site", rules), top / "data") as running:
        feed(running)
        yield running


@pytest.fixture(params=["site", "url"])
def door(request: pytest.FixtureRequest, engine: ThreadedEngine) -> Iterator[catcher.SyncClient]:
    where = engine.site if request.param == "site" else engine.running.url
    data = engine.data if request.param == "site" else None
    with catcher.SyncClient(where, data=data) as client:
        yield client


NAMES = ["x' OR '1'='1", 'x"; DROP TABLE runs; --', "%", "_", "\0", "\ud800", "x" * 5000, "../..",
         "{}", "\n", "a&b=c#d?e"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda text: ascii(text[:20]))
def test_names_and_labels_are_only_names(door: catcher.SyncClient, name: str) -> None:
    assert list(door.metrics(name, {name: name})) == []
    assert list(door.artifacts(rule=name, obs=name, kind=name)) == []
    assert list(door.alerts(labels={"a": name}, state=name)) == []
    assert list(door.runs(job=name)) == []
    with pytest.raises(Unknown, match="no run"):
        door.run(name)


@pytest.mark.parametrize("name", [one for one in NAMES if one != "\ud800"], ids=ascii)
def test_topics_and_fields_that_are_not_there_are_named(
    door: catcher.SyncClient, name: str
) -> None:
    with pytest.raises(CatcherError, match="no topic"):
        door.select_time_series(name, "speed", T0, "2025-04-25")
    with pytest.raises(Unknown, match="has no field"):
        door.select_time_series("wind", name, T0, "2025-04-25")


def test_what_was_probably_meant_is_said(door: catcher.SyncClient) -> None:
    with pytest.raises(Unknown, match=r"no topic 'wimd'; did you mean wind\?"):
        door.fields("wimd")
    with pytest.raises(Unknown, match=r"has no field 'sped'; did you mean speed\?"):
        door.select_top_n("wind", "sped", 1)
    with pytest.raises(CatcherError, match="is no topic; name it like"):
        door.select_top_n("", "speed", 1)


@pytest.mark.parametrize(
    "key", ["../../etc/passwd", "a/../../b", "/etc/passwd", "..", "", "%2e%2e/%2e%2e/etc/passwd"]
)
def test_keys_lead_nowhere_else(door: catcher.SyncClient, key: str) -> None:
    with pytest.raises(CatcherError):
        door.open(key)


def test_limits_and_kinds_of_arguments_are_checked(door: catcher.SyncClient) -> None:
    for limit in (0, -1, 10**9, True, "5", None, 1.5):
        with pytest.raises(CatcherError, match="the limit"):
            door.runs(limit=limit)  # type: ignore[arg-type]
    with pytest.raises(CatcherError, match="rule is 5, not text"):
        door.runs(rule=5)  # type: ignore[arg-type]
    with pytest.raises(CatcherError, match="labels are"):
        door.metrics("a", "band=r")  # type: ignore[arg-type]
    with pytest.raises(CatcherError, match="the span ends before it begins"):
        door.metrics("a", start="-1h", end="-2h")
    with pytest.raises(CatcherError, match="is no duration"):
        door.sql("SELECT 1", timeout="soon")
    with pytest.raises(CatcherError, match="only SELECT"):
        door.sql("DELETE FROM runs")
    with pytest.raises(CatcherError, match="a field's name is text"):
        door.select_time_series("wind", [5], T0, "2025-04-25")  # type: ignore[list-item]
    with pytest.raises(CatcherError, match="made has no field 'salIndex'; ask without index"):
        door.select_time_series("made", "*", T0, "2025-04-25", index=3)


def test_the_routes_refuse_what_no_client_sends(engine: ThreadedEngine) -> None:
    for path, how in (
        ("/read/records/inbox", {}), ("/read/records/runs?query=[]", {}),
        ("/read/records/runs?query={\"limit\": 0}", {}), ("/read/fields", {}),
        ("/read/records/__class__", {}), ("/read/records/runs?query={\"limit\": 1e99}", {}),
    ):  # fmt: skip
        assert engine.ask("GET", path, **how).status_code in (404, 422), path
    for path, body in (
        ("/read/series", {"topic": "wind"}), ("/read/series", []),
        ("/read/series", {"topic": "wind", "start": -1, "end": 0}),
        ("/read/newest", {"topic": "wind", "count": 10**9}), ("/read/sql", {"query": ""}),
        ("/read/sql", {"query": "SELECT 1", "limit": 10**9}),
    ):  # fmt: skip
        assert engine.ask("POST", path, json=body).status_code == 422, (path, body)


# -- huge answers -------------------------------------------------------------------------------


class Endless:
    """A store that has a million samples for every second that is asked."""

    async def topics(self) -> Sequence[str]:
        return ["wind"]

    async def fields(self, topic: str) -> Sequence[FieldInfo]:
        return [FieldInfo("speed", "float", "m/s")]

    async def latest(self, topic: str) -> int | None:
        return 0

    async def stretches(self, asked: Asked, start: int, end: int) -> Any:
        self.given = 0
        while True:
            self.given += 1
            yield Series(np.zeros(1_000_000), {"speed": np.zeros(1_000_000)})

    async def newest(self, asked: Asked, count: int, end: int | None) -> Series:
        raise AssertionError


async def test_an_answer_without_end_is_refused_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catcher.client.telemetry.MOST_CELLS", 10_000_000)
    store = Endless()
    asking = await Asking.about(store, "wind")
    with pytest.raises(CatcherError, match="or take it in stretches: stream_time_series"):
        await asking.whole(asking.asked("speed", None, False), 0, 10**18)
    assert store.given == 6
