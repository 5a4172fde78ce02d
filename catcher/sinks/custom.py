'''A site's own sink: a function in `alerts/sinks/NAME.py`.

    # alerts/sinks/journal.py
    """Appends each change to a file."""
    from pathlib import Path

    def deliver(notice, message, settings):
        with Path(settings["file"]).open("a") as file:
            file.write(f"{message.headline}: {message.text}\\n")

    # alerts/routes.yaml
    sinks:
      night-journal: {journal: {file: /var/log/catcher/alerts.txt}}

`deliver` may be `async`. `settings` are those under its name in the routes, with secrets in plain
text. What it returns (a mapping of JSON values, or nothing) comes back with the next notification
of the same alert as `notice.receipt`; whatever it raises is a failed delivery, which is retried.
It runs in its own thread: if it hangs, nothing else does.
'''

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from catcher.model.alert import Notification
from catcher.model.errors import CatcherError
from catcher.model.health import Health, HealthState
from catcher.model.message import MessageComposer, SinkPreview
from catcher.model.time import Instant
from catcher.ports import Row, SinkError
from catcher.sinks.message_formats import format_plain_body
from catcher.transport.serial_thread import SerialThread

DELIVER_HINT = "it needs `def deliver(notice, message, settings)`, async or not"
_MAX_RECEIPT_SIZE = 10_000


class CustomSink:
    """Calls the site's function for each notification, in the given thread.

    `redact` removes secrets from its errors. The file is loaded at the first notification, in that
    thread too.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        settings: Mapping[str, Any],
        compose: MessageComposer,
        thread: SerialThread,
        redact: Callable[[str], str] = str,
    ) -> None:
        self.name = name
        self._path, self._settings, self._compose = path, settings, compose
        self._thread, self._redact = thread, redact
        self._deliver: Callable[..., Any] | None = None
        self._last: Instant | None = None
        self._problem = ""

    async def deliver(self, notification: Notification) -> Row:
        """Calls the function; SinkError with what it raised, or what is wrong with its result."""
        message = self._compose(notification)

        def call_deliver() -> Any:
            if self._deliver is None:
                self._deliver = load_deliver_function(self._path)
            return self._deliver(notification, message, self._settings)

        try:
            receipt = _sanitize_receipt(await self._thread.run(call_deliver))
        except SinkError as error:
            self._problem = self._redact(str(error))
            raise SinkError(self._problem, error.retry_after, error.final) from None
        # A site's own code may raise anything.
        except Exception as error:  # noqa: BLE001
            self._problem = self._redact(f"{type(error).__name__}: {error}")
            raise SinkError(self._problem) from None
        self._last, self._problem = notification.time, ""
        return receipt

    def health(self) -> Health:
        """Returns the health, `away` after a delivery that failed."""
        state: HealthState = "away" if self._problem else "ok"
        return Health(self.name, "custom", state, last=self._last, problem=self._problem)


def load_deliver_function(path: Path) -> Callable[..., Any]:
    """Returns the function `deliver` of a file; CatcherError if there is none."""
    spec = importlib.util.spec_from_file_location(f"catcher_site_sink_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise CatcherError(f"{path.name} is no Python file", DELIVER_HINT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, "deliver", None)
    if not callable(function):
        raise CatcherError(f"{path.name} has no function deliver", DELIVER_HINT)
    return function  # type: ignore[no-any-return]


def build_preview(compose: MessageComposer, notification: Notification) -> SinkPreview:
    """Returns a preview of the function's message; it is not called."""
    message = compose(notification)
    payload = {
        "headline": message.headline,
        "text": message.text,
        "facts": [list(fact) for fact in message.facts],
        "links": [list(link) for link in message.links],
    }
    return SinkPreview(f"{message.headline}\n{format_plain_body(message)}", payload)


def _sanitize_receipt(returned: Any) -> dict[str, Any]:
    if returned is None:
        return {}
    try:
        if (
            isinstance(returned, Mapping)
            and len(text := json.dumps(dict(returned))) <= _MAX_RECEIPT_SIZE
        ):
            receipt: dict[str, Any] = json.loads(text)
            return receipt
    except (TypeError, ValueError, RecursionError):
        pass
    # The delivery itself succeeded: an error would only repeat it.
    return {}
