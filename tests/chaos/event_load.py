"""Events at a steady rate into a broker, and the publisher's own record of them."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field

import aiomqtt

RATE = 50
LEVEL_PERIOD = 20
"""After so many events the level changes sides: an alert opens, or ends."""
WEIGH_PERIOD = 100
"""Each so many-th event has a run in a worker process, too."""
HIGH, LOW = 9, 1


def frame_name(number: int) -> str:
    """The name of an event; each is to have one run."""
    return f"frame-{number:06d}"


def frame_level(number: int) -> int:
    """What the alert is about: low at first, then high and low by turns."""
    return HIGH if (number // LEVEL_PERIOD) % 2 else LOW


@dataclass
class EventLoad:
    """A publisher in a thread of its own. `sent_count` counts what the broker has taken over."""

    port: int
    rate: float = RATE
    sent_count: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _error: BaseException | None = None

    def __enter__(self) -> EventLoad:
        self._thread = threading.Thread(target=self._run_thread, name="load")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_publishing()

    def stop_publishing(self) -> int:
        """Stops publishing; returns how many events there were."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self.sent_count

    def _run_thread(self) -> None:
        try:
            asyncio.run(self._publish_events())
        except Exception as error:  # noqa: BLE001
            self._error = error

    async def _publish_events(self) -> None:
        started, number = time.monotonic(), 0
        while not self._stop.is_set():
            try:
                async with aiomqtt.Client("127.0.0.1", self.port, identifier="load") as client:
                    while not self._stop.is_set():
                        await client.publish("frames", _build_payload(number), qos=1)
                        number += 1
                        self.sent_count = number
                        await asyncio.sleep(
                            max(0.0, started + number / self.rate - time.monotonic())
                        )
            except aiomqtt.MqttError:
                # The broker is away: what it did not confirm is published again.
                await asyncio.sleep(0.1)


def _build_payload(number: int) -> str:
    return json.dumps(
        {
            "name": frame_name(number),
            "number": number,
            "level": frame_level(number),
            "at": time.time(),
        }
    )
