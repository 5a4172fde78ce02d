"""How many messages a broker keeps for a client that is away, found out by trying it.

A broker's limits are written nowhere that a client may read. So a client of a random name
subscribes to a scratch topic, goes away, has some messages published there, comes back and
counts them. The topic is `catcher/probe/…`; nothing stays behind.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from catcher.model.problem import CatcherError
from catcher.model.time import MINUTE
from catcher.sources.mqtt_broker import Broker
from catcher.sources.mqtt_frames import Frames, Publish
from catcher.sources.mqtt_link import Link, LinkError, connect

MESSAGES = 1_500
"""More than mosquitto keeps unless it is told otherwise (1,000)."""
AT_ONCE = 50
QUIET = 3.0
"""Seconds without a message after which no more are expected."""


@dataclass(frozen=True, slots=True)
class Found:
    """Of so many messages `sent` while a client was away, `came` were there when it was back."""

    sent: int
    came: int


async def probe(broker: Broker, messages: int = MESSAGES) -> Found:
    """Tries a broker out. CatcherError where it cannot be tried."""
    name = f"catcher-probe-{secrets.token_hex(6)}"
    topic = f"catcher/probe/{name[-12:]}"
    try:
        async with connect(broker, name, MINUTE) as link:
            (grant,) = await link.subscribe([(topic, 1)])
        if grant.problem:
            raise CatcherError(
                f"{broker.address}: {grant.problem}", "allow this user the topics catcher/probe/#"
            )
        try:
            await _publish(broker, name, topic, messages)
            return Found(messages, await _collect(broker, name, messages))
        finally:
            # A clean session ends the one that was kept, with whatever waits in it.
            async with connect(broker, name):
                pass
    except LinkError as error:
        raise CatcherError(
            f"{broker.address}: {error or type(error).__name__}", "see that the broker runs"
        ) from None


async def _publish(broker: Broker, name: str, topic: str, messages: int) -> None:
    async with connect(broker, f"{name}-publisher") as link:
        for start in range(0, messages, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, messages))
            await asyncio.gather(*(link.publish(topic, b"%d" % n, 1, False) for n in numbers))


async def _collect(broker: Broker, name: str, messages: int) -> int:
    came: set[bytes] = set()
    more = asyncio.Event()

    def take(link: Link, some: Sequence[Publish]) -> None:
        for _, payload, qos, packet, _, _, _ in some:
            came.add(payload or b"")
            link.acknowledge(packet, qos)
        more.set()

    frames = Frames(1_000, 5 if broker.protocol == "5" else 4)
    async with connect(broker, name, MINUTE, (frames, take)):
        while len(came) < messages:
            more.clear()
            try:
                async with asyncio.timeout(QUIET):
                    await more.wait()
            except TimeoutError:
                break
    return len(came)
