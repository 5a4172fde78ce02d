"""The worker side of a cluster executor: receives pickled calls and returns pickled outcomes.
A job runs in its own process here, too: in worker processes as on the engine's machine
(`executors.local`), so that a timeout kills it, its memory is limited, and whatever it does to its
process harms no other. Missing code of a job is requested once per version.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from catcher.executors.code_bundle import find_unpacked_job, unpack_code_bundle
from catcher.executors.local import LocalExecutor
from catcher.executors.worker_main import unpickle_outcome as outcome_of
from catcher.model.errors import CatcherError
from catcher.model.result import build_part_result
from catcher.model.run import JobCall, JobOutcome

PROTOCOL = 2
"""Engine and worker must agree on it; increase it with each change of what they exchange."""
CODE_MISSING = b""
"""The answer of a worker that does not have the code yet."""


@dataclass(frozen=True, slots=True)
class PackedCall:
    """A pickled call as it is sent to a worker.
    `shard_names` names the shards whose outcomes are sent with it, to be labelled with `label`.
    """

    call: bytes
    priority: int = 0
    label: str = ""
    shard_names: Sequence[str] = ()
    protocol: int = PROTOCOL


class ClusterWorker:
    """Executes calls in `worker_count` worker processes; code is unpacked under `folder`."""

    def __init__(self, worker_count: int, folder: Path) -> None:
        _allow_child_processes()
        self._folder = folder
        self._executor = LocalExecutor(worker_count)
        self._open_lock = asyncio.Lock()
        self._is_open = False

    async def open(self) -> None:
        """Starts the worker processes, unless they are running."""
        async with self._open_lock:
            if not self._is_open:
                await self._executor.__aenter__()
                self._is_open = True

    async def close(self) -> None:
        """Stops the running jobs and the worker processes."""
        async with self._open_lock:
            if self._is_open:
                self._is_open = False
                await self._executor.__aexit__(None, None, None)

    async def execute_call(
        self,
        packed_call: PackedCall,
        shard_outcomes: Sequence[bytes] = (),
        code_bundle: bytes | None = None,
    ) -> bytes:
        """Returns the pickled outcome of a call, or `CODE_MISSING` if its job's code is missing.
        `shard_outcomes` are those of its shards, `code_bundle` is the code if it was requested.
        """
        if packed_call.protocol != PROTOCOL:
            message = "this worker has another version of Catcher than the engine"
            return _pickle_outcome(
                JobOutcome("failed", error=f"{message}: install the same", retry=False)
            )
        call: JobCall = pickle.loads(packed_call.call)
        job = find_unpacked_job(call.job, self._folder)
        if job is None and code_bundle is None:
            return CODE_MISSING
        try:
            if job is None:
                job = await asyncio.to_thread(
                    unpack_code_bundle, code_bundle or b"", call.job, self._folder
                )
        except (CatcherError, OSError) as error:
            return _pickle_outcome(
                JobOutcome("failed", error=f"the job's code cannot be laid out: {error}")
            )
        arguments = call.arguments
        if packed_call.shard_names:
            arguments = {**arguments, "parts": _collect_shard_results(packed_call, shard_outcomes)}
        await self.open()
        return _pickle_outcome(
            await self._executor.run(replace(call, job=job, arguments=arguments))
        )


def _collect_shard_results(
    packed_call: PackedCall, shard_outcomes: Sequence[bytes]
) -> Mapping[str, object]:
    """Collects the results of the shards in the form that the gathering job takes."""
    results = {}
    for name, pickled in zip(packed_call.shard_names, shard_outcomes, strict=True):
        outcome = outcome_of(pickled)
        if outcome.output is not None:
            results[name] = build_part_result(outcome.output, packed_call.label, name)
    return results


def _pickle_outcome(outcome: JobOutcome) -> bytes:
    return pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)


def _allow_child_processes() -> None:
    """Lets this process have children: a cluster's nanny starts its workers as daemons, and
    multiprocessing allows daemons no children. The ban prevents orphans; ours die with the worker
    by themselves.
    """
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
