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

`deliver` may be `async`. `settings` is what stands under its name in the routes, its secrets in
plain text. What it returns (a mapping of JSON values, or nothing) comes back with the next notice
of the same alert as `notice.receipt`; whatever it raises is a delivery that failed and is tried
again. It runs in a thread of its own: what hangs there, hangs alone.
'''

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from catcher.model.alert import Notice
from catcher.model.health import Health, HealthState
from catcher.model.message import Compose, Shown
from catcher.model.problem import CatcherError
from catcher.model.time import Instant
from catcher.ports import Row, SinkError
from catcher.sinks.layouts import lines
from catcher.sinks.own_thread import OwnThread

WANTED = "it needs `def deliver(notice, message, settings)`, async or not"
_LARGEST_RECEIPT = 10_000


class CustomSink:
    """Calls the site's function for each notice, in the given thread.

    `redact` takes secrets out of what is told of its errors. The file is loaded with the first
    notice, in that thread too.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        settings: Mapping[str, Any],
        compose: Compose,
        thread: OwnThread,
        redact: Callable[[str], str] = str,
    ) -> None:
        self.name = name
        self._path, self._settings, self._compose = path, settings, compose
        self._thread, self._redact = thread, redact
        self._deliver: Callable[..., Any] | None = None
        self._last: Instant | None = None
        self._problem = ""

    async def deliver(self, notice: Notice) -> Row:
        """SinkError with whatever the function raised, or what is wrong with what it returned."""
        message = self._compose(notice)

        def call() -> Any:
            if self._deliver is None:
                self._deliver = load(self._path)
            return self._deliver(notice, message, self._settings)

        try:
            receipt = _receipt(await self._thread.run(call))
        except SinkError as error:
            self._problem = self._redact(str(error))
            raise SinkError(self._problem, error.retry_after, error.final) from None
        # What a site's own code raises is not ours to know.
        except Exception as error:  # noqa: BLE001
            self._problem = self._redact(f"{type(error).__name__}: {error}")
            raise SinkError(self._problem) from None
        self._last, self._problem = notice.time, ""
        return receipt

    def health(self) -> Health:
        """`away` after a delivery that failed."""
        state: HealthState = "away" if self._problem else "ok"
        return Health(self.name, "custom", state, last=self._last, problem=self._problem)


def load(path: Path) -> Callable[..., Any]:
    """The function `deliver` of a file; CatcherError where there is none."""
    spec = importlib.util.spec_from_file_location(f"catcher_site_sink_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise CatcherError(f"{path.name} is no Python file", WANTED)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, "deliver", None)
    if not callable(found):
        raise CatcherError(f"{path.name} has no function deliver", WANTED)
    return found  # type: ignore[no-any-return]


def show(compose: Compose, notice: Notice) -> Shown:
    """What the function would be given, for a preview; it is not called."""
    message = compose(notice)
    given = {
        "headline": message.headline,
        "text": message.text,
        "facts": [list(fact) for fact in message.facts],
        "links": [list(link) for link in message.links],
    }
    return Shown(f"{message.headline}\n{lines(message)}", given)


def _receipt(found: Any) -> dict[str, Any]:
    if found is None:
        return {}
    try:
        if isinstance(found, Mapping) and len(text := json.dumps(dict(found))) <= _LARGEST_RECEIPT:
            receipt: dict[str, Any] = json.loads(text)
            return receipt
    except (TypeError, ValueError, RecursionError):
        pass
    # The delivery itself went well: to say that it failed would only repeat it.
    return {}
