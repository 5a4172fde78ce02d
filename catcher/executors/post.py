"""Catcher's side of a worker of a cluster: calls come in packed, outcomes go out packed.

A job runs in a process of its own here, too: in worker processes as on the engine's machine
(`executors.local`), so that a timeout kills it, its memory is bounded, and whatever it does to
its process harms no other. A job whose code is not here yet is asked for, once a version.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from catcher.executors.bundles import unpack, unpacked
from catcher.executors.confinement import unpacked as outcome_of
from catcher.executors.local import LocalExecutor
from catcher.model.problem import CatcherError
from catcher.model.result import part_result
from catcher.model.run import Call, Outcome

PROTOCOL = 1
"""What engine and worker have to agree on; one more with each change of what they exchange."""
WANTED = b""
"""The answer of a worker that does not have the code yet."""


@dataclass(frozen=True, slots=True)
class Order:
    """A packed call on its way.

    `names` are those of the parts whose outcomes go with it, to be labelled with `label`.
    """

    call: bytes
    priority: int = 0
    label: str = ""
    names: Sequence[str] = ()
    protocol: int = PROTOCOL


class Post:
    """Executes orders in `slots` worker processes; code is laid out under `folder`."""

    def __init__(self, slots: int, folder: Path) -> None:
        _may_have_children()
        self._folder = folder
        self._executor = LocalExecutor(slots)
        self._opening = asyncio.Lock()
        self._open = False

    async def open(self) -> None:
        """Starts the worker processes, unless that was done."""
        async with self._opening:
            if not self._open:
                await self._executor.__aenter__()
                self._open = True

    async def close(self) -> None:
        """Ends what runs, and the worker processes."""
        async with self._opening:
            if self._open:
                self._open = False
                await self._executor.__aexit__(None, None, None)

    async def perform(
        self, order: Order, outcomes: Sequence[bytes] = (), bundle: bytes | None = None
    ) -> bytes:
        """The packed outcome of an order, or `WANTED`: its job's code is neither here nor given.

        `outcomes` are those of its parts.
        """
        if order.protocol != PROTOCOL:
            words = "this worker has another version of Catcher than the engine"
            return _packed(Outcome("failed", error=f"{words}: install the same", retry=False))
        call: Call = pickle.loads(order.call)
        job = unpacked(call.job, self._folder)
        if job is None and bundle is None:
            return WANTED
        try:
            if job is None:
                job = await asyncio.to_thread(unpack, bundle or b"", call.job, self._folder)
        except (CatcherError, OSError) as error:
            return _packed(Outcome("failed", error=f"the job's code cannot be laid out: {error}"))
        arguments = call.arguments
        if order.names:
            arguments = {**arguments, "parts": _gathered(order, outcomes)}
        await self.open()
        return _packed(await self._executor.run(replace(call, job=job, arguments=arguments)))


def _gathered(order: Order, outcomes: Sequence[bytes]) -> Mapping[str, object]:
    """What came of the parts, as the gathering job takes it."""
    found = {}
    for name, packed in zip(order.names, outcomes, strict=True):
        outcome = outcome_of(packed)
        if outcome.output is not None:
            found[name] = part_result(outcome.output, order.label, name)
    return found


def _packed(outcome: Outcome) -> bytes:
    return pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)


def _may_have_children() -> None:
    """A cluster's nanny starts its workers as daemons, to whom multiprocessing allows no child.

    The ban keeps orphans from being left behind; ours die with the worker by themselves.
    """
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
