"""Who may come in with a token, a port that is taken, and how an engine is found."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from catcher.api.engine_client import EngineClient
from catcher.app import get_engine_client, open_engine
from catcher.model.errors import CatcherError
from tests.sample_site import ThreadedEngine, engine_in_thread, write_site

SETTINGS = "site: small\napi: {token: s3cret-t0ken}\nsources: {http: {http: {waiting: 4}}}\n"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    folder = tmp_path_factory.mktemp("door")
    with engine_in_thread(
        write_site(folder / "site", settings=SETTINGS), folder / "data"
    ) as running:
        yield running


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret-t0ken"},
     {"Authorization": "Bearer"}, {"Authorization": "Bearer sécret"}],
)  # fmt: skip
def test_requests_without_the_token_are_rejected(
    engine: ThreadedEngine, headers: dict[str, str]
) -> None:
    encoded_headers = {name: value.encode() for name, value in headers.items()}
    for method, path in (("GET", "/rules"), ("POST", "/events"), ("GET", "/openapi.json")):
        response = engine.request(method, path, headers=encoded_headers)
        assert response.status_code == 401
        assert "s3cret" not in response.text


def test_token_allows_any_host_but_no_foreign_origin(engine: ThreadedEngine) -> None:
    token = {"Authorization": "Bearer s3cret-t0ken"}
    other_host = engine.request("GET", "/rules", headers={**token, "Host": "summit.example"})
    assert other_host.status_code == 200
    other_origin = engine.request(
        "GET", "/rules", headers={**token, "Origin": "http://evil.example"}
    )
    assert other_origin.status_code == 403


def test_commands_send_the_token_of_the_site(engine: ThreadedEngine) -> None:
    client = get_engine_client(engine.site, engine.data)
    assert [row["rule"] for row in client.list_rules()] == ["wind"]
    # The site has an HTTP source of its own, under the name that the built-in one would have.
    assert client.post_events([{"topic": "wind", "fields": {"speed": 12, "mast": "a"}}]) == 1
    assert [row["name"] for row in client.list_health()].count("http") == 1


def test_rejection_has_the_message_of_the_engine(engine: ThreadedEngine) -> None:
    client = get_engine_client(engine.site, engine.data)
    with pytest.raises(CatcherError) as error:
        client.fire_rule("nothing", {})
    assert error.value.message == "no rule 'nothing' runs here"
    assert error.value.hint == "each rule's name stands after rule: in rules/"
    with pytest.raises(CatcherError, match="wants a token"):
        EngineClient(engine.handle.url).list_rules()


def test_an_engine_is_found_by_its_folder_while_it_runs(tmp_path: Path) -> None:
    site, data = write_site(tmp_path / "site"), tmp_path / "data"
    with engine_in_thread(site, data) as running:
        row = json.loads((data / "engine.json").read_text())
        assert row["url"] == running.handle.url
    with pytest.raises(CatcherError, match="no engine runs on"):
        get_engine_client(site, data)


def test_killed_engine_is_reported(tmp_path: Path) -> None:
    site, data = write_site(tmp_path / "site"), tmp_path / "data"
    data.mkdir()
    with socket.socket() as free_socket:
        free_socket.bind(("127.0.0.1", 0))
        port = free_socket.getsockname()[1]
    (data / "engine.json").write_text(json.dumps({"url": f"http://127.0.0.1:{port}"}))
    with pytest.raises(CatcherError, match=r"no engine answers at .*; start one with"):
        get_engine_client(site, data).list_rules()


async def test_port_in_use_is_reported_as_one_error(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site")
    with socket.socket() as other_socket:
        other_socket.bind(("127.0.0.1", 0))
        other_socket.listen()
        port = other_socket.getsockname()[1]
        with pytest.raises(CatcherError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with open_engine(site, tmp_path / "data", port):
                raise AssertionError("it listens")


async def test_two_engines_do_not_share_a_data_folder(tmp_path: Path) -> None:
    site, data = write_site(tmp_path / "site"), tmp_path / "data"
    async with open_engine(site, data, 0):
        with pytest.raises(CatcherError, match="another engine works on"):
            async with open_engine(site, data, 0):
                raise AssertionError("it shares")
        assert (data / "engine.json").exists()


async def test_data_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CatcherError, match=r"cannot be made .*; choose another with --data"):
        async with open_engine(write_site(tmp_path / "site"), tmp_path / "file" / "data", 0):
            raise AssertionError("it opens")
