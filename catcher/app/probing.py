"""Whether the brokers of a site keep what comes while the engine is away, tried out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from catcher.app.adapters import SETTINGS
from catcher.app.checkup import Row, row
from catcher.model.problem import CatcherError
from catcher.site import Site

RAISE = (
    "raise its limits for clients that are away: mosquitto wants `max_queued_messages 0` "
    "(none) or as many as an outage brings, and `max_inflight_messages 0`"
)


async def probe_brokers(site: Site) -> AsyncIterator[Row]:
    """A row for each MQTT source; a scratch topic is used, and nothing stays at the broker."""
    from catcher.sources.mqtt_probe import probe

    for name, spec in site.settings.sources.items():
        if spec.adapter.kind != "mqtt":
            continue
        broker: Any = spec.adapter.bind(SETTINGS["source", "mqtt"])
        try:
            found = await probe(broker)
        except CatcherError as error:
            yield row(f"broker {name}", "error", error.message, error.hint)
            continue
        if not found.came:
            words = "none of the messages that were published while a client was away came"
            hint = "allow this user to write and read catcher/probe/#, and to have a session kept"
            yield row(f"broker {name}", "error", words, hint)
        elif found.came < found.sent:
            words = f"keeps {found.came} messages for a client that is away and drops the rest"
            yield row(f"broker {name}", "error", words, RAISE)
        else:
            words = f"keeps {found.sent} messages and more for a client that is away"
            yield row(f"broker {name}", "ok", words)
