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
from catcher.executors.http import HttpExecutor
from catcher.executors.http_settings import HttpExecutorSettings
from catcher.executors.portable_call import decode_outcome, join_variables, split_into_variables
from catcher.model.errors import CatcherError
from catcher.model.time import MILLISECOND, SECOND
from catcher.ports import ExecutorUnavailable
from tests.executors.fake_job_service import FakeJobService, serve_jobs
from tests.executors.test_dask import CreateCall, create_call, site
from tests.executors.test_local import metric_value, wait_until

__all__ = ["create_call", "site"]
FAST_POLLING = {"poll": 50 * MILLISECOND, "timeout": 5 * SECOND}


@pytest.fixture(autouse=True)
def probe_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that is gone is asked for more often than in earnest."""
    monkeypatch.setattr(http_executor, "PROBE_INTERVAL", 0.05)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeJobService]:
    (tmp_path / "service").mkdir()
    with serve_jobs(FakeJobService(tmp_path / "service")) as service:
        yield service
        service.kill_jobs()


@pytest.fixture
async def executor(service: FakeJobService) -> AsyncIterator[HttpExecutor]:
    async with HttpExecutor(
        HttpExecutorSettings(service.url, token="hush", **FAST_POLLING)
    ) as executor:  # type: ignore[arg-type]
        yield executor


async def test_a_job_is_submitted_polled_and_collected(
    executor: HttpExecutor, service: FakeJobService, create_call: CreateCall
) -> None:
    outcome = await executor.run(create_call("double", x=21, run="images.R22 S11"))
    assert (outcome.state, metric_value(outcome, "y")) == ("done", 42)
    (job,) = service.jobs.values()
    assert job.body["run_id"] == "images.R22-S11"
    assert service.tokens == {"Bearer hush"}
    assert service.requests[0] == "PUT /job"
    assert service.requests[-1].startswith("GET /job/result/")
    assert executor.health().counts["done"] == 1


async def test_noteburst_runs_it_in_a_notebook(
    service: FakeJobService, create_call: CreateCall
) -> None:
    service.protocol = "noteburst"
    async with HttpExecutor(
        HttpExecutorSettings(service.url, "noteburst", **FAST_POLLING)
    ) as executor:  # type: ignore[arg-type]
        assert metric_value(await executor.run(create_call("double", x=4)), "y") == 8
        failure = await executor.run(create_call("fails"))
    assert failure.error == "ZeroDivisionError: division by zero"
    assert service.requests[0] == "POST /v1/notebooks/"


async def test_a_failure_of_the_job_is_its_own(
    executor: HttpExecutor, create_call: CreateCall
) -> None:
    outcome = await executor.run(create_call("fails"))
    assert (outcome.state, outcome.error) == ("failed", "ZeroDivisionError: division by zero")
    assert 'File "jobs/some.py"' in outcome.traceback


async def test_a_service_with_errors_is_retried(
    executor: HttpExecutor, service: FakeJobService, create_call: CreateCall
) -> None:
    service.error_statuses = [500, 503, 429]
    assert metric_value(await executor.run(create_call("double", x=1)), "y") == 2
    assert executor.health().counts["asked_again"] == 3


async def test_a_lost_job_is_submitted_again(
    executor: HttpExecutor, service: FakeJobService, create_call: CreateCall
) -> None:
    service.jobs_to_lose = 2
    assert metric_value(await executor.run(create_call("double", x=1)), "y") == 2
    assert executor.health().counts["lost"] == 2
    service.jobs_to_lose = 3
    assert (await executor.run(create_call("double", x=1))).error == "the service lost it 3 times"


async def test_a_job_that_hangs_is_removed(
    executor: HttpExecutor,
    service: FakeJobService,
    create_call: CreateCall,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_executor, "GRACE_PERIOD", 0.1)
    outcome = await executor.run(create_call("spins", timeout=500 * MILLISECOND))
    assert (outcome.state, len(service.removed), service.jobs) == ("timeout", 1, {})


async def test_a_job_that_never_starts_times_out(
    service: FakeJobService, create_call: CreateCall
) -> None:
    service.starts_jobs = False
    async with HttpExecutor(
        HttpExecutorSettings(service.url, queue=SECOND // 5, **FAST_POLLING)
    ) as executor:  # type: ignore[arg-type]
        outcome = await executor.run(create_call("double", x=1))
    assert outcome.error == "the service did not begin it in time (`queue`)"
    assert len(service.removed) == 1


async def test_a_cancelled_job_is_removed(
    executor: HttpExecutor, service: FakeJobService, create_call: CreateCall
) -> None:
    task = asyncio.create_task(executor.run(create_call("spins")))
    await wait_until(lambda: len(service.jobs) == 1)
    task.cancel()
    await wait_until(lambda: len(service.removed) == 1)


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "it answered 401"), (404, "it answered 404"), (302, "it answered 302")],
)
async def test_a_refusal_is_reported(
    executor: HttpExecutor,
    service: FakeJobService,
    create_call: CreateCall,
    status: int,
    message: str,
) -> None:
    service.error_statuses = [status]
    outcome = await executor.run(create_call("double", x=1))
    assert (outcome.state, outcome.retry) == ("failed", False)
    assert message in outcome.error


@pytest.mark.parametrize("nonsense", [b"<html>", b"[1]", b"{}", b'{"job_id": 5}', b"\xff"])
async def test_nonsense_is_reported(
    executor: HttpExecutor, service: FakeJobService, create_call: CreateCall, nonsense: bytes
) -> None:
    service.nonsense = nonsense
    outcome = await executor.run(create_call("double", x=1))
    assert outcome.state == "failed"
    assert "is `url` the address of such a service" in outcome.error


async def test_a_stopped_service_is_unavailable_until_it_restarts(
    tmp_path: Path, create_call: CreateCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_executor, "MAX_ATTEMPTS", 2)
    (tmp_path / "service").mkdir()
    service = FakeJobService(tmp_path / "service")
    with serve_jobs(service):
        pass
    async with HttpExecutor(HttpExecutorSettings(service.url, **FAST_POLLING)) as executor:  # type: ignore[arg-type]
        with pytest.raises(ExecutorUnavailable):
            await executor.run(create_call("double", x=1))
        assert (executor.is_unavailable, executor.health().state) == (True, "away")
        assert "refused" in executor.health().problem
        with serve_jobs(service):
            await executor.wait_until_available()
            assert metric_value(await executor.run(create_call("double", x=1)), "y") == 2
        service.kill_jobs()


async def test_the_number_of_submitted_jobs_is_limited(
    service: FakeJobService, create_call: CreateCall
) -> None:
    service.starts_jobs = False
    async with HttpExecutor(HttpExecutorSettings(service.url, jobs=2, **FAST_POLLING)) as executor:  # type: ignore[arg-type]
        tasks = [asyncio.create_task(executor.run(create_call("double", x=n))) for n in range(3)]
        await wait_until(lambda: len(service.jobs) == 2)
        assert executor.health().counts["waiting"] == 1
        for task in tasks:
            task.cancel()


def test_a_large_call_fits_into_the_environment() -> None:
    text = "x" * 250_001
    environment = split_into_variables(text)
    assert max(map(len, environment.values())) == 100_000
    assert join_variables(environment) == text


class MaliciousOutcome:
    """What a service might send in place of an outcome."""

    def __reduce__(self) -> tuple[Any, ...]:
        return runstring, ("raise SystemExit", {})


def test_a_result_runs_nothing_here() -> None:
    packed = b64encode(zlib.compress(pickle.dumps(MaliciousOutcome()))).decode()
    with pytest.raises(CatcherError, match="the outcome holds a numpy"):
        decode_outcome(packed)


@pytest.mark.parametrize("text", ["", "no base64!", "aGVsbG8="])
def test_a_malformed_result_is_reported(text: str) -> None:
    with pytest.raises(CatcherError, match="the result cannot be read"):
        decode_outcome(text)


@pytest.mark.parametrize("options", [{"url": "ftp://a"}, {"url": "http://a", "jobs": 0}])
def test_impossible_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(CatcherError):
        HttpExecutorSettings(**options)
