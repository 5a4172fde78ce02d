"""Who may come in with a token, a port that is taken, and how an engine is found."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from catcher.api.remote import Remote
from catcher.app import open_engine, remote
from catcher.model.problem import CatcherError
from tests.small_site import ThreadedEngine, engine_in_thread, write_site

SETTINGS = "site: small\napi: {token: s3cret-t0ken}\nsources: {http: {http: {waiting: 4}}}\n"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    top = tmp_path_factory.mktemp("door")
    with engine_in_thread(write_site(top / "site", settings=SETTINGS), top / "data") as running:
        yield running


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret-t0ken"},
     {"Authorization": "Bearer"}, {"Authorization": "Bearer sécret"}],
)  # fmt: skip
def test_without_the_token_nobody_comes_in(engine: ThreadedEngine, headers: dict[str, str]) -> None:
    given = {name: value.encode() for name, value in headers.items()}
    for method, path in (("GET", "/rules"), ("POST", "/events"), ("GET", "/openapi.json")):
        answer = engine.ask(method, path, headers=given)
        assert answer.status_code == 401
        assert "s3cret" not in answer.text


def test_with_the_token_any_host_may_come_and_no_foreign_page(engine: ThreadedEngine) -> None:
    token = {"Authorization": "Bearer s3cret-t0ken"}
    named = engine.ask("GET", "/rules", headers={**token, "Host": "summit.example"})
    assert named.status_code == 200
    page = engine.ask("GET", "/rules", headers={**token, "Origin": "http://evil.example"})
    assert page.status_code == 403


def test_commands_bring_the_token_of_the_site(engine: ThreadedEngine) -> None:
    door = remote(engine.site, engine.data)
    assert [row["rule"] for row in door.rules()] == ["wind"]
    # The site has an HTTP source of its own, under the name that the built-in one would have.
    assert door.post([{"topic": "wind", "fields": {"speed": 12, "mast": "a"}}]) == 1
    assert [row["name"] for row in door.health()].count("http") == 1


def test_a_refusal_comes_back_in_the_words_of_the_engine(engine: ThreadedEngine) -> None:
    door = remote(engine.site, engine.data)
    with pytest.raises(CatcherError) as refused:
        door.fire("nothing", {})
    assert refused.value.message == "no rule 'nothing' runs here"
    assert refused.value.hint == "each rule's name stands after rule: in rules/"
    with pytest.raises(CatcherError, match="wants a token"):
        Remote(engine.running.url).rules()


def test_an_engine_is_found_by_its_folder_while_it_runs(tmp_path: Path) -> None:
    site, data = write_site(tmp_path / "site"), tmp_path / "data"
    with engine_in_thread(site, data) as running:
        row = json.loads((data / "engine.json").read_text())
        assert row["url"] == running.running.url
    with pytest.raises(CatcherError, match="no engine runs on"):
        remote(site, data)


def test_an_engine_that_was_killed_is_missed_in_words(tmp_path: Path) -> None:
    site, data = write_site(tmp_path / "site"), tmp_path / "data"
    data.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (data / "engine.json").write_text(json.dumps({"url": f"http://127.0.0.1:{port}"}))
    with pytest.raises(CatcherError, match=r"no engine answers at .*; start one with"):
        remote(site, data).rules()


async def test_a_port_that_is_taken_is_told_as_one_plain_error(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CatcherError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with open_engine(site, tmp_path / "data", port):
                raise AssertionError("it listens")


async def test_two_engines_do_not_share_a_folder(tmp_path: Path) -> None:
    site, data = write_site(tmp_path / "site"), tmp_path / "data"
    async with open_engine(site, data, 0):
        with pytest.raises(CatcherError, match="another engine works on"):
            async with open_engine(site, data, 0):
                raise AssertionError("it shares")
        assert (data / "engine.json").exists()


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CatcherError, match=r"cannot be made .*; choose another with --data"):
        async with open_engine(write_site(tmp_path / "site"), tmp_path / "file" / "data", 0):
            raise AssertionError("it opens")
