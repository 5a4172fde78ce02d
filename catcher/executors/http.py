"""Runs jobs on an HTTP service: submits them, polls them, and fetches their outcomes.

    executor: {http: {url: "https://ocps.example/api/v1", form: uws, repository: "https://…"}}
    executor: {http: {url: "https://rsp.example/noteburst", form: noteburst, token: "${TOKEN}"}}

What is sent carries the call and the code of its job; where it runs, the same version of Catcher
has to be installed. A job that the service loses is submitted again; one that runs too long is
removed and counts as timed out. While nobody answers, the service counts as unavailable.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter, OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from catcher.executors.code_bundle import build_code_bundle
from catcher.executors.http_protocols import (
    RESPONSE_HINT,
    JobProtocol,
    JobStatus,
    ServiceRequest,
    create_protocol,
)
from catcher.executors.http_settings import HttpExecutorSettings
from catcher.executors.http_transport import JobServiceClient, RequestRefused
from catcher.executors.portable_call import decode_outcome, encode_call
from catcher.jobs.worker import build_timeout_outcome, execute_call_async
from catcher.model.errors import CatcherError
from catcher.model.health import Health, HealthState
from catcher.model.run import JobAddress, JobCall, JobOutcome
from catcher.model.time import Clock, Instant, nanoseconds_to_seconds, wall_clock
from catcher.ports import ExecutorUnavailable

MAX_ATTEMPTS = 4
"""Attempts of a request before the service counts as unavailable."""
MAX_RESUBMISSIONS = 2
MAX_QUEUED_CALLS = 10_000
MAX_CODE_BUNDLES = 64
MAX_CONCURRENT_REQUESTS = 8
PROBE_INTERVAL = 2.0
GRACE_PERIOD = 5.0
"""Seconds beyond its timeout in which a finished job is still noticed."""


@dataclass(order=True, slots=True)
class _QueuedCall:
    """A call that waits for the service, ordered by priority and then by arrival."""

    sort_key: tuple[int, int]
    call: JobCall = field(compare=False)
    outcome: asyncio.Future[JobOutcome] = field(compare=False)


class HttpExecutor:
    """An implementation of `ports.Executor` over a service.
    As a context manager it starts on entry; on exit it gives up all calls in flight.
    """

    def __init__(
        self, settings: HttpExecutorSettings, clock: Clock = wall_clock, name: str = "http"
    ) -> None:
        self._settings, self._clock, self._name = settings, clock, name
        self._protocol: JobProtocol = create_protocol(settings)
        self._queue: asyncio.PriorityQueue[_QueuedCall] = asyncio.PriorityQueue(MAX_QUEUED_CALLS)
        self._sequence = itertools.count()
        self._thread_pool = ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS, "catcher-http")
        self._client = JobServiceClient(settings)
        self._code_bundles: OrderedDict[JobAddress, bytes] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._running = 0
        self._available, self._probe_needed = asyncio.Event(), asyncio.Event()
        self._available.set()
        self._state: HealthState = "ok"
        self._since, self._problem = clock(), ""
        self._last: Instant | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> HttpExecutor:
        for number in range(self._settings.jobs):
            self._tasks.append(
                asyncio.create_task(self._process_queue(), name=f"http-job-{number}")
            )
        self._tasks.append(asyncio.create_task(self._probe_service(), name="http-probe"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._set_state("ended", "")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._thread_pool.shutdown(wait=False, cancel_futures=True)

    @property
    def is_unavailable(self) -> bool:
        """True if the service does not answer."""
        return not self._available.is_set()

    @property
    def concurrency(self) -> int:
        """The largest number of jobs at the service at a time."""
        return self._settings.jobs

    async def wait_until_available(self) -> None:
        """Waits until the service answers."""
        await self._available.wait()

    async def run(self, call: JobCall) -> JobOutcome:
        """Executes a call at the service; an `async def` job runs here, on the loop."""
        if call.job.is_async:
            return self._record_outcome(await execute_call_async(call))
        if self.is_unavailable or self._state == "ended":
            raise ExecutorUnavailable(self._problem)
        outcome: asyncio.Future[JobOutcome] = asyncio.get_running_loop().create_future()
        limited_call = replace(call, memory=call.memory or self._settings.memory, gathered=None)
        sort_key = (-call.priority, next(self._sequence))
        await self._queue.put(_QueuedCall(sort_key, limited_call, outcome))
        return self._record_outcome(await outcome)

    def health(self) -> Health:
        """Reports whether the service answers, how many calls it has, and the outcomes of calls."""
        counts = {"running": self._running, "waiting": self._queue.qsize(), **self._counts}
        return Health(
            self._name, "executor", self._state, self._since, self._last, self._problem, counts
        )

    # -- one call ---------------------------------------------------------------------------

    async def _process_queue(self) -> None:
        while True:
            queued_call = await self._queue.get()
            if queued_call.outcome.done():
                continue
            self._running += 1
            try:
                queued_call.outcome.set_result(
                    await self._submit_until_done(queued_call.call, queued_call.outcome)
                )
            except ExecutorUnavailable as error:
                if not queued_call.outcome.done():
                    queued_call.outcome.set_exception(error)
            except asyncio.InvalidStateError:
                pass  # The caller has cancelled meanwhile.
            finally:
                self._running -= 1
                if not queued_call.outcome.done():
                    queued_call.outcome.set_exception(
                        ExecutorUnavailable("the executor was closed")
                    )

    async def _submit_until_done(
        self, call: JobCall, outcome_future: asyncio.Future[JobOutcome]
    ) -> JobOutcome:
        """Submits a call, again if the service loses it."""
        try:
            encoded_call = await asyncio.to_thread(self._encode_call, call)
            for _ in range(1 + MAX_RESUBMISSIONS):
                response = await self._send_with_retries(
                    self._protocol.build_submit_request(call.run, encoded_call)
                )
                job_id = self._protocol.parse_job_id(_require_mapping(response))
                outcome = await self._poll_job(call, job_id, outcome_future)
                if outcome is not None:
                    return outcome
                self._counts["lost"] += 1
        except CatcherError as error:
            return JobOutcome("failed", error=str(error))
        except RequestRefused as error:
            return JobOutcome("failed", error=f"the service refused it: {error}", retry=False)
        return JobOutcome("failed", error=f"the service lost it {1 + MAX_RESUBMISSIONS} times")

    async def _poll_job(
        self, call: JobCall, job_id: str, outcome_future: asyncio.Future[JobOutcome]
    ) -> JobOutcome | None:
        """Polls a job and returns its outcome; None if the service no longer knows it."""
        loop = asyncio.get_running_loop()
        submitted_at, started_at = loop.time(), 0.0
        time_limit = nanoseconds_to_seconds(call.timeout) + GRACE_PERIOD
        while not outcome_future.done():
            try:
                response = await self._send_with_retries(
                    self._protocol.build_status_request(job_id)
                )
            except RequestRefused as error:
                if error.status in (404, 410):
                    return None
                raise
            status = self._protocol.parse_status(_require_mapping(response))
            if status.phase in ("done", "failed"):
                return await self._fetch_outcome(status)
            if status.phase == "running":
                started_at = started_at or loop.time()
            if started_at and loop.time() - started_at > time_limit:
                await self._remove_job(job_id)
                return build_timeout_outcome(call)
            if not started_at and loop.time() - submitted_at > nanoseconds_to_seconds(
                self._settings.queue
            ):
                await self._remove_job(job_id)
                return JobOutcome("failed", error="the service did not begin it in time (`queue`)")
            # A random interval, so that a visit's shards are not polled all at once.
            await asyncio.sleep(
                nanoseconds_to_seconds(self._settings.poll) * random.uniform(0.8, 1.2)
            )
        await self._remove_job(job_id)
        return JobOutcome("failed", error="nobody waits for it any more")

    async def _fetch_outcome(self, status: JobStatus) -> JobOutcome:
        if status.phase == "failed":
            return JobOutcome("failed", error=f"the service could not run it: {status.error_text}")
        if status.result_request is None:
            return decode_outcome(status.outcome_text)
        response = await self._send_with_retries(status.result_request)
        if not isinstance(response, str):
            raise CatcherError("the result is no text", RESPONSE_HINT)
        return decode_outcome(response)

    async def _remove_job(self, job_id: str) -> None:
        """Removes a job that nobody waits for; a failure does no harm."""
        request = self._protocol.build_delete_request(job_id)
        if request is not None:
            with contextlib.suppress(RequestRefused, ExecutorUnavailable, CatcherError):
                await self._send_with_retries(request)

    def _encode_call(self, call: JobCall) -> str:
        if call.job not in self._code_bundles:
            self._code_bundles[call.job] = build_code_bundle(call.job)
            while len(self._code_bundles) > MAX_CODE_BUNDLES:
                self._code_bundles.popitem(last=False)
        try:
            return encode_call(call, self._code_bundles[call.job])
        except (TypeError, AttributeError, RecursionError, ValueError) as error:
            raise CatcherError(f"the arguments cannot be sent: {error}") from error

    # -- requests ---------------------------------------------------------------------------

    async def _send_with_retries(self, request: ServiceRequest) -> Any:
        """Returns the answer to a request.
        Raises RequestRefused if it is no success, ExecutorUnavailable if there is none.
        """
        delay, error_text = 0.5, ""
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                await asyncio.sleep(delay)
                delay *= 2
            try:
                return await self._send_once(request)
            except RequestRefused as error:
                if not error.is_retryable:
                    raise
                error_text = str(error)
            except OSError as error:
                error_text = str(getattr(error, "reason", "") or error or type(error).__name__)
            self._counts["asked_again"] += 1
        self._mark_unavailable(error_text)
        raise ExecutorUnavailable(error_text)

    async def _send_once(self, request: ServiceRequest) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread_pool, self._client.send_request, request)

    # -- availability -------------------------------------------------------------------------

    async def _probe_service(self) -> None:
        """Probes the service while it is unavailable, until it answers."""
        while True:
            await self._probe_needed.wait()
            await asyncio.sleep(PROBE_INTERVAL)
            try:
                await self._send_once(ServiceRequest("GET", ""))
            except RequestRefused as error:
                if error.is_retryable:
                    continue
            except (OSError, CatcherError):
                continue
            self._probe_needed.clear()
            self._available.set()
            self._set_state("ok", "")

    def _mark_unavailable(self, error_text: str) -> None:
        self._available.clear()
        self._probe_needed.set()
        self._set_state("away", f"the service {self._settings.url}: {error_text}")

    def _record_outcome(self, outcome: JobOutcome) -> JobOutcome:
        self._counts[outcome.state] += 1
        self._last = self._clock()
        return outcome

    def _set_state(self, state: HealthState, problem: str) -> None:
        self._problem = problem
        if state != self._state and self._state != "ended":
            self._state, self._since = state, self._clock()


def _require_mapping(response: Any) -> Mapping[str, Any]:
    if not isinstance(response, Mapping):
        raise CatcherError("the answer is no JSON object", RESPONSE_HINT)
    return response
