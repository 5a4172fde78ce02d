"""Nouns for the tests of the stores, complete unless a test says otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from catcher.model.alert import (
    Acknowledgement,
    Alert,
    Notification,
    Severity,
    Shelving,
    compute_alert_id,
)
from catcher.model.commit import Commit
from catcher.model.event import Event, compute_digest
from catcher.model.result import Field, Metric
from catcher.model.run import ArtifactRecord, Firing, InputRecord, Run
from catcher.model.time import SECOND, Instant
from catcher.stores.ledger.ledger import SqlLedger

ResultT = TypeVar("ResultT")
NOON = 1_690_545_600 * SECOND


class FakeClock:
    """A clock that a test moves."""

    def __init__(self, now: Instant = NOON) -> None:
        self.now = now

    def __call__(self) -> Instant:
        return self.now


LEDGER_URL_FILE = "ledger.url"
"""Where a folder says that its ledger is on a server."""


def open_ledger(
    folder: Path, engine: str = "engine-1", clock: FakeClock | None = None, **options: Any
) -> SqlLedger:
    """The ledger in a folder, as an engine opens it."""
    url_file = folder / LEDGER_URL_FILE
    url = url_file.read_text() if url_file.exists() else f"sqlite:///{folder / 'ledger.db'}"
    return SqlLedger(url, engine, clock or FakeClock(), **options)


async def wait_until(condition: Callable[[], ResultT]) -> ResultT:
    """What `condition` finds, as soon as it finds something: the far side tells nobody."""
    for _ in range(3000):
        if result := condition():
            return result
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come true within 30 s")


def create_event(time: Instant, **fields: Any) -> Event:
    """An end of readout."""
    return Event("lsst.sal.MTCamera.logevent_endReadout", time, fields, "efd")


def create_firing(
    time: Instant, rule: str = "mount-jitter", once_value: str | None = None, manual: bool = False
) -> Firing:
    """A firing of a rule for an event at a time."""
    event = create_event(time, imageName=once_value or f"MC_{time}", requestedExposureTime=30.0)
    cause = "hand:ana" if manual else compute_digest(event)
    values = {"imageName": once_value}
    return Firing(rule, "", time, cause, "an exposure ended", event, values, once_value, manual)


def create_run(firing: Firing, **changes: Any) -> Run:
    """The run that a firing leads to."""
    return replace(Run(firing.id, firing, "mount_jitter"), **changes)


def finish_run(run: Run, observation: str = "MC_1", **metrics: Metric) -> Run:
    """A run that is over, with a metric, a field and an artifact."""
    time = run.firing.time
    key = f"{run.rule}/2023/07/28/{run.id}/jitter.png"
    record = ArtifactRecord(
        key, "jitter.png", run.id, run.rule, time, 4321, "image/png", "sha256:ab", observation
    )
    return replace(
        run,
        state="done",
        started=time + SECOND,
        finished=time + 2 * SECOND,
        observation=observation,
        metrics=metrics or {"image_impact_rms": Metric(0.07, "arcsec", {"band": "r"})},
        fields={"noise": Field("amp", ["C00", "C01"], np.array([3.5, np.nan]), "adu")},
        artifacts=(record,),
        inputs=(InputRecord("azimuth", "efd:lsst.sal.MTMount.azimuth", 1, 2, 600, "crc:1"),),
    )


def create_commit(*firings: Firing, **fields: Any) -> Commit:
    """New firings with their runs."""
    return Commit(firings=firings, runs=tuple(create_run(firing) for firing in firings), **fields)


def create_alert(time: Instant, per: str = "MC_1", **changes: Any) -> Alert:
    """An alert about one exposure."""
    alert = Alert(
        id=compute_alert_id("mount-jitter", "", per),
        rule="mount-jitter",
        key="",
        per=per,
        episode=1,
        state="firing",
        severity=Severity.SERIOUS,
        max_severity=Severity.SERIOUS,
        opened=time,
        changed=time,
        reason="image_impact_rms = 0.12 > 0.10",
        tags=("tma", "mount"),
        labels={"system": "mount"},
        values={"image_impact_rms": 0.12},
        links={"jitter.png": "file:///jitter.png"},
        acknowledgement=Acknowledgement("ana", Severity.SERIOUS, time, "looking"),
        shelf=Shelving("ben", Severity.WARNING, time + SECOND, "known", time),
        data_time=time,
    )
    return replace(alert, **changes)


def create_notification(
    alert: Alert, sequence: int = 1, sink: str = "slack", **changes: Any
) -> Notification:
    """A notice of an alert to a sink."""
    notification = Notification(
        f"{alert.id}-{sink}-{sequence}", sink, "opened", alert, sequence, alert.changed
    )
    return replace(notification, **changes)


def list_ids(items: Sequence[Any]) -> list[str]:
    """The ids of firings, runs, alerts or notices."""
    return [item.id for item in items]
