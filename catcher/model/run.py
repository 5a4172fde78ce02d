"""Firings: decisions to act; and runs: executions of a job for them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from catcher.model.event import Event
from catcher.model.result import Field, JobOutput, Metric
from catcher.model.time import Instant, Span

RunState = Literal[
    "pending", "running", "done", "failed", "timeout", "dropped", "skipped", "replaced"
]


@dataclass(frozen=True, slots=True)
class Firing:
    """One decision of a trigger to act. Its identity is rule, key, time and cause.

    `key` is the `by` value as text (empty without `by`), `cause` what caused it: the digest of
    the event, `for`, `absent`, `schedule`, `hand:…`. `values` are the names a message or a
    job may use. `once` is the value of `once_per` as text, None without it. A `manual` firing
    was made by a person; a `quiet` one notifies nobody and its result enters no stream.
    """

    rule: str
    key: str
    time: Instant
    cause: str
    reason: str
    event: Event | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    once: str | None = None
    manual: bool = False
    quiet: bool = False

    @property
    def id(self) -> str:
        """12 hex digits of the identity; also the id of the run it leads to."""
        text = f"{self.rule}\0{self.key}\0{self.time}\0{self.cause}"
        return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True)
class JobAddress:
    """Where a job's function is: file, name, digest of the file. Sent instead of a pickle."""

    name: str
    file: str
    function: str
    digest: str
    site: str = ""
    is_async: bool = False


@dataclass(frozen=True, slots=True)
class GatheredParts:
    """The runs whose results are the argument `parts` of a call, by the name of the part.

    `label` is the label that each metric gets, and the part's name is its value. The argument
    itself is sent, too; an executor that still has the results may leave it out.
    """

    label: str
    runs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class JobCall:
    """A job with its arguments, ready to be executed anywhere.

    `parent_run` is the run that will gather its result with others', empty if none will. `files`
    are the arguments that are paths of files whose checksum the outcome should have.
    """

    run: str
    job: JobAddress
    arguments: Mapping[str, Any]
    timeout: Span
    memory: int | None = None
    priority: int = 0
    parent_run: str = ""
    gathered: GatheredParts | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """How an execution ended: an output, or the state and error text of its failure.

    `console_output` is the end of what the job wrote to its standard output and error. `retry`
    says whether another attempt might succeed. `files` are the checksum and the size of each
    requested file, by argument.
    """

    state: Literal["done", "failed", "timeout", "skipped"]
    output: JobOutput | None = None
    error: str = ""
    traceback: str = ""
    retry: bool = True
    console_output: str = ""
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)


Completeness = Literal["", "whole", "patience"]
"""Of what a run read: "whole" if its store had all of it, "patience" if the wait timed out.

Empty if it was not checked.
"""


@dataclass(frozen=True, slots=True)
class InputRecord:
    """What a run read, so that it can be read again: address, span, size, checksum.

    `whole` says whether its store had all of it, `waited` how long that was waited for.
    """

    name: str
    address: str
    start: Instant | None = None
    end: Instant | None = None
    samples: int = 0
    checksum: str = ""
    whole: Completeness = ""
    waited: Span = 0


@dataclass(frozen=True, slots=True)
class ArtifactRecord:
    """The index entry of one stored artifact. `key` is its address in the object store."""

    key: str
    name: str
    run: str
    rule: str
    time: Instant
    size: int
    mime: str
    checksum: str
    observation: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a job for one firing, or for one part of it.

    `observation` is the id of what it is about, `columns` the names that the site declares for
    it; `inputs` is what it read. `heartbeat` is when its engine was last known to be running it.
    """

    id: str
    firing: Firing
    job: str
    state: RunState = "pending"
    part: str = ""
    parent: str = ""
    attempt: int = 0
    priority: int = 0
    created: Instant = 0
    started: Instant | None = None
    finished: Instant | None = None
    engine: str = ""
    job_digest: str = ""
    observation: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    traceback: str = ""
    note: str = ""
    inputs: tuple[InputRecord, ...] = ()
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    fields: Mapping[str, Field] = field(default_factory=dict)
    artifacts: tuple[ArtifactRecord, ...] = ()
    missed_deadline: bool = False
    heartbeat: Instant | None = None

    @property
    def rule(self) -> str:
        """The rule that it runs for."""
        return self.firing.rule

    @property
    def is_finished(self) -> bool:
        """True if its state is final."""
        return self.state not in ("pending", "running")
