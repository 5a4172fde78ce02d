"""Events at a steady rate into a broker, and the publisher's own record of them."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field

import aiomqtt

RATE = 50
TURN = 20
"""After so many events the level changes sides: an alert opens, or ends."""
WEIGHED = 100
"""Each so many-th event has a run in a worker process, too."""
HIGH, LOW = 9, 1


def name_of(number: int) -> str:
    """The name of an event; each is to have one run."""
    return f"frame-{number:06d}"


def level_of(number: int) -> int:
    """What the alert is about: low at first, then high and low by turns."""
    return HIGH if (number // TURN) % 2 else LOW


@dataclass
class Load:
    """A publisher in a thread of its own. `sent` counts what the broker has taken over."""

    port: int
    rate: float = RATE
    sent: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _trouble: BaseException | None = None

    def __enter__(self) -> Load:
        self._thread = threading.Thread(target=self._run, name="load")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> int:
        """Stops publishing; returns how many events there were."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._trouble is not None:
            raise self._trouble
        return self.sent

    def _run(self) -> None:
        try:
            asyncio.run(self._publish())
        except Exception as trouble:  # noqa: BLE001
            self._trouble = trouble

    async def _publish(self) -> None:
        begun, number = time.monotonic(), 0
        while not self._stop.is_set():
            try:
                async with aiomqtt.Client("127.0.0.1", self.port, identifier="load") as client:
                    while not self._stop.is_set():
                        await client.publish("frames", _payload(number), qos=1)
                        number += 1
                        self.sent = number
                        await asyncio.sleep(max(0.0, begun + number / self.rate - time.monotonic()))
            except aiomqtt.MqttError:
                # The broker is away: what it did not confirm is published again.
                await asyncio.sleep(0.1)


def _payload(number: int) -> str:
    return json.dumps(
        {"name": name_of(number), "number": number, "level": level_of(number), "at": time.time()}
    )
