"""Jobs on a service over HTTP that is slow, out of order, forgetful, or gone."""

from __future__ import annotations

import asyncio
import pickle
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from numpy.testing import runstring

from catcher.executors import http as http_executor
from catcher.executors.errand import from_environment, read, variables
from catcher.executors.http import HttpExecutor
from catcher.executors.http_settings import Settings
from catcher.model.problem import CatcherError
from catcher.model.time import MILLISECOND, SECOND
from catcher.ports import ExecutorAway
from tests.executors.job_server import Service, serving
from tests.executors.test_dask import MakeCall, call, site
from tests.executors.test_local import metric, until

__all__ = ["call", "site"]
QUICK = {"poll": 50 * MILLISECOND, "timeout": 5 * SECOND}


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that is gone is asked for more often than in earnest."""
    monkeypatch.setattr(http_executor, "PROBE", 0.05)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    (tmp_path / "service").mkdir()
    with serving(Service(tmp_path / "service")) as one:
        yield one
        one.end()


@pytest.fixture
async def executor(service: Service) -> AsyncIterator[HttpExecutor]:
    async with HttpExecutor(Settings(service.url, token="hush", **QUICK)) as one:  # type: ignore[arg-type]
        yield one


async def test_a_job_is_submitted_looked_after_and_collected(
    executor: HttpExecutor, service: Service, call: MakeCall
) -> None:
    outcome = await executor.run(call("double", x=21, run="images.R22 S11"))
    assert (outcome.state, metric(outcome, "y")) == ("done", 42)
    (job,) = service.jobs.values()
    assert job.body["run_id"] == "images.R22-S11"
    assert service.tokens == {"Bearer hush"}
    assert service.asked[0] == "PUT /job"
    assert service.asked[-1].startswith("GET /job/result/")
    assert executor.health().counts["done"] == 1


async def test_noteburst_runs_it_in_a_notebook(service: Service, call: MakeCall) -> None:
    service.form = "noteburst"
    async with HttpExecutor(Settings(service.url, "noteburst", **QUICK)) as executor:  # type: ignore[arg-type]
        assert metric(await executor.run(call("double", x=4)), "y") == 8
        failed = await executor.run(call("fails"))
    assert failed.error == "ZeroDivisionError: division by zero"
    assert service.asked[0] == "POST /v1/notebooks/"


async def test_a_failure_of_the_job_is_its_own(executor: HttpExecutor, call: MakeCall) -> None:
    outcome = await executor.run(call("fails"))
    assert (outcome.state, outcome.error) == ("failed", "ZeroDivisionError: division by zero")
    assert 'File "jobs/some.py"' in outcome.traceback


async def test_a_service_out_of_order_is_asked_again(
    executor: HttpExecutor, service: Service, call: MakeCall
) -> None:
    service.refusals = [500, 503, 429]
    assert metric(await executor.run(call("double", x=1)), "y") == 2
    assert executor.health().counts["asked_again"] == 3


async def test_a_lost_job_is_submitted_again(
    executor: HttpExecutor, service: Service, call: MakeCall
) -> None:
    service.loses = 2
    assert metric(await executor.run(call("double", x=1)), "y") == 2
    assert executor.health().counts["lost"] == 2
    service.loses = 3
    assert (await executor.run(call("double", x=1))).error == "the service lost it 3 times"


async def test_a_job_that_hangs_is_removed(
    executor: HttpExecutor, service: Service, call: MakeCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_executor, "GRACE", 0.1)
    outcome = await executor.run(call("spins", timeout=500 * MILLISECOND))
    assert (outcome.state, len(service.removed), service.jobs) == ("timeout", 1, {})


async def test_a_job_that_never_begins_is_given_up(service: Service, call: MakeCall) -> None:
    service.begins = False
    async with HttpExecutor(Settings(service.url, queue=SECOND // 5, **QUICK)) as executor:  # type: ignore[arg-type]
        outcome = await executor.run(call("double", x=1))
    assert outcome.error == "the service did not begin it in time (`queue`)"
    assert len(service.removed) == 1


async def test_what_nobody_waits_for_is_removed(
    executor: HttpExecutor, service: Service, call: MakeCall
) -> None:
    work = asyncio.create_task(executor.run(call("spins")))
    await until(lambda: len(service.jobs) == 1)
    work.cancel()
    await until(lambda: len(service.removed) == 1)


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "it answered 401"), (404, "it answered 404"), (302, "it answered 302")],
)
async def test_a_refusal_is_told(
    executor: HttpExecutor, service: Service, call: MakeCall, status: int, words: str
) -> None:
    service.refusals = [status]
    outcome = await executor.run(call("double", x=1))
    assert (outcome.state, outcome.retry) == ("failed", False)
    assert words in outcome.error


@pytest.mark.parametrize("nonsense", [b"<html>", b"[1]", b"{}", b'{"job_id": 5}', b"\xff"])
async def test_nonsense_is_told(
    executor: HttpExecutor, service: Service, call: MakeCall, nonsense: bytes
) -> None:
    service.nonsense = nonsense
    outcome = await executor.run(call("double", x=1))
    assert outcome.state == "failed"
    assert "is `url` the address of such a service" in outcome.error


async def test_a_service_that_is_gone_is_away_and_comes_back(
    tmp_path: Path, call: MakeCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_executor, "TRIES", 2)
    (tmp_path / "service").mkdir()
    service = Service(tmp_path / "service")
    with serving(service):
        pass
    async with HttpExecutor(Settings(service.url, **QUICK)) as executor:  # type: ignore[arg-type]
        with pytest.raises(ExecutorAway):
            await executor.run(call("double", x=1))
        assert (executor.away, executor.health().state) == (True, "away")
        assert "refused" in executor.health().problem
        with serving(service):
            await executor.back()
            assert metric(await executor.run(call("double", x=1)), "y") == 2
        service.end()


async def test_at_most_so_many_are_there_at_a_time(service: Service, call: MakeCall) -> None:
    service.begins = False
    async with HttpExecutor(Settings(service.url, jobs=2, **QUICK)) as executor:  # type: ignore[arg-type]
        work = [asyncio.create_task(executor.run(call("double", x=n))) for n in range(3)]
        await until(lambda: len(service.jobs) == 2)
        assert executor.health().counts["waiting"] == 1
        for one in work:
            one.cancel()


def test_a_large_errand_fits_into_the_environment() -> None:
    text = "x" * 250_001
    found = variables(text)
    assert max(map(len, found.values())) == 100_000
    assert from_environment(found) == text


class Evil:
    """What a service might send in place of an outcome."""

    def __reduce__(self) -> tuple[Any, ...]:
        return runstring, ("raise SystemExit", {})


def test_a_result_runs_nothing_here() -> None:
    packed = b64encode(zlib.compress(pickle.dumps(Evil()))).decode()
    with pytest.raises(CatcherError, match="the outcome holds a numpy"):
        read(packed)


@pytest.mark.parametrize("text", ["", "no base64!", "aGVsbG8="])
def test_a_result_that_is_none_is_told(text: str) -> None:
    with pytest.raises(CatcherError, match="the result cannot be read"):
        read(text)


@pytest.mark.parametrize("how", [{"url": "ftp://a"}, {"url": "http://a", "jobs": 0}])
def test_settings_that_cannot_be_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(CatcherError):
        Settings(**how)
