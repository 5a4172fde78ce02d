"""Measures how many messages a broker queues for a disconnected client.

A broker's limits cannot be read by a client. So a client with a random name subscribes to a scratch
topic, disconnects, has some messages published there, reconnects and counts them. The topic is
`catcher/probe/…`; nothing is left behind.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from catcher.model.errors import CatcherError
from catcher.model.time import MINUTE
from catcher.transport.mqtt.connection import MQTT_ERRORS, MqttConnection, open_connection
from catcher.transport.mqtt.packets import PacketParser, PublishPacket
from catcher.transport.mqtt.settings import MqttBrokerSettings

PROBE_MESSAGES = 1_500
"""More than mosquitto's default limit (1,000)."""
PUBLISH_BATCH = 50
QUIET_TIMEOUT = 3.0
"""Seconds without a message after which no more are expected."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """`sent_count` messages were sent while a client was disconnected; it later got
    `received_count`.
    """

    sent_count: int
    received_count: int


async def probe_broker_queue(
    broker: MqttBrokerSettings, message_count: int = PROBE_MESSAGES
) -> ProbeResult:
    """Probes a broker. Raises CatcherError if that is not possible."""
    name = f"catcher-probe-{secrets.token_hex(6)}"
    topic = f"catcher/probe/{name[-12:]}"
    try:
        async with open_connection(broker, name, MINUTE) as connection:
            (result,) = await connection.subscribe([(topic, 1)])
        if result.problem:
            raise CatcherError(
                f"{broker.address}: {result.problem}", "allow this user the topics catcher/probe/#"
            )
        try:
            await _publish_messages(broker, name, topic, message_count)
            return ProbeResult(
                message_count, await _count_queued_messages(broker, name, message_count)
            )
        finally:
            # A clean session ends the persistent one, with its queued messages.
            async with open_connection(broker, name):
                pass
    except MQTT_ERRORS as error:
        raise CatcherError(
            f"{broker.address}: {error or type(error).__name__}", "see that the broker runs"
        ) from None


async def _publish_messages(
    broker: MqttBrokerSettings, name: str, topic: str, message_count: int
) -> None:
    async with open_connection(broker, f"{name}-publisher") as connection:
        for start in range(0, message_count, PUBLISH_BATCH):
            numbers = range(start, min(start + PUBLISH_BATCH, message_count))
            await asyncio.gather(
                *(connection.publish(topic, b"%d" % number, 1, False) for number in numbers)
            )


async def _count_queued_messages(broker: MqttBrokerSettings, name: str, message_count: int) -> int:
    received: set[bytes] = set()
    new_packets = asyncio.Event()

    def handle_packets(connection: MqttConnection, packets: Sequence[PublishPacket]) -> None:
        for _, payload, qos, packet_id, _, _, _ in packets:
            received.add(payload or b"")
            connection.acknowledge(packet_id, qos)
        new_packets.set()

    parser = PacketParser(1_000, 5 if broker.protocol == "5" else 4)
    async with open_connection(broker, name, MINUTE, (parser, handle_packets)):
        while len(received) < message_count:
            new_packets.clear()
            try:
                async with asyncio.timeout(QUIET_TIMEOUT):
                    await new_packets.wait()
            except TimeoutError:
                break
    return len(received)
