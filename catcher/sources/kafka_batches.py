"""Fetched messages parted into deliveries: those for the inbox, and those that go by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from catcher.sources.kafka_link import Message

SHORTEST_RUN = 64
"""A delivery ends where the other kind begins only if it is so long: each durable one costs a
commit, each durable event a row."""


def parted(
    messages: Sequence[Message], durable: Callable[[str], bool]
) -> Iterator[tuple[bool, list[Message]]]:
    """Stretches of messages in their order; a message for the inbox is always in a durable one."""
    stretch: list[Message] = []
    kept = False
    for message in messages:
        wanted = durable(message.topic)
        if wanted != kept:
            if len(stretch) >= SHORTEST_RUN:
                yield kept, stretch
                stretch, kept = [], False
            kept = kept or wanted
        stretch.append(message)
    if stretch:
        yield kept, stretch
