"""Drives an engine of today, or of c51c802, on a clock that stands where it is set.

The engine's only wall clock is `time.time_ns`. While that is replaced, time goes on as a test
says: the sources, holds, shelves, escalations and the heartbeat all follow it, so that a data
folder of 2026 opens seconds after its engine was killed, whenever that is done.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from catcher.model.time import SECOND, format_instant, parse_instant
from tests.sample_site import ThreadedEngine, engine_in_thread

FOLDER = Path(__file__).parent
START = 1_772_395_200
"""2026-03-01T20:00:00Z, from which all times of the story are counted, in seconds."""
NIGHT_FILE = "night.jsonl"
Row = dict[str, Any]


@dataclass
class SettableClock:
    """A wall clock that stands; `now` is in seconds since the start."""

    now: float

    def read_nanoseconds(self) -> int:
        """Returns nanoseconds since the epoch."""
        return START * SECOND + round(self.now * SECOND)

    @contextmanager
    def patch_wall_clock(self) -> Iterator[None]:
        """Replaces the wall clock of this process for as long as the context lasts."""
        original = time.time_ns
        time.time_ns = self.read_nanoseconds
        try:
            yield
        finally:
            time.time_ns = original


@dataclass
class EngineSession:
    """An engine, and the clock that it follows."""

    engine: ThreadedEngine
    clock: SettableClock
    client: httpx.Client

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Asks the API, and returns the JSON of its answer."""
        response = self.client.request(method, path, **options)
        assert response.status_code < 300, response.text
        return response.json()

    def get(self, path: str, **parameters: Any) -> Any:
        """Returns what a list or page of the API holds."""
        return self.request("GET", path, params=parameters)

    def post_at(self, now: float, *events: Row) -> None:
        """Sets the clock, posts events, and returns when all that follows from it is kept.

        Without an event one that no rule hears is posted, so that timers run.
        """
        self.clock.now = now
        batch = list(events) or [create_event(now, "clock")]
        self.request("POST", "/events", json=batch)

    def post(self, path: str, **body: Any) -> Row:
        """Does what a person or a program does, by the API."""
        row: Row = self.request("POST", path, json=body)
        return row

    def wait_until(self, condition: Callable[[], Any], description: str) -> Any:
        """Waits for something to become true of the engine, and returns it."""
        return self.engine.wait_until(condition, description)

    def get_alert(self, rule: str, key: str = "", per: str = "") -> Row:
        """Returns the latest episode of an alert."""
        rows = self.get("/alerts", rule=rule)
        matches = [row for row in rows if (row["key"], row["per"]) == (key, per)]
        assert matches, f"no alert of {rule} {key} {per} in {rows}"
        return max(matches, key=lambda row: row["opened"])


def create_event(second: float, topic: str, **fields: Any) -> Row:
    """Makes an event as it is posted or recorded, so many seconds after the start."""
    return {"topic": topic, "time": format_instant(instant_from_second(second)), "fields": fields}


def instant_from_second(second: float) -> int:
    """Returns the instant so many seconds after the start."""
    return START * SECOND + round(second * SECOND)


def seconds_since_start(text: str) -> float:
    """Returns how many seconds after the start a time of the API is."""
    return (parse_instant(text) - START * SECOND) / SECOND


def append_source_events(site: Path, *events: Row) -> None:
    """Appends events to what the source `night` plays."""
    with (site / NIGHT_FILE).open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def read_rows(data: Path, sql: str) -> list[Row]:
    """Asks the ledger of a data folder, whether an engine works on it or not."""
    with closing(sqlite3.connect(data / "ledger.db")) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


def read_deliveries(site: Path) -> list[Row]:
    """Returns what the places of the site's sink were told since it was unpacked."""
    path = site / "told.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def unpack_archive(folder: Path) -> tuple[Path, Path]:
    """Unpacks the archive and the site beside it; returns the site's folder and the data's.

    The object store, a file in the archive so that it took nothing, is the folder again that it
    was before.
    """
    site, data = folder / "site", folder / "data"
    shutil.copytree(FOLDER / "site", site)
    with tarfile.open(FOLDER / "c51c802.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    (folder / NIGHT_FILE).rename(site / NIGHT_FILE)
    (data / "objects").unlink()
    (data / "objects-away").rename(data / "objects")
    replace_position_paths(data, "@SITE@", str(site.resolve()))
    return site, data


def replace_position_paths(data: Path, old: str, new: str) -> None:
    """Writes another folder into the positions of sources, which name files by their paths."""
    with closing(sqlite3.connect(data / "ledger.db")) as connection:
        connection.execute("UPDATE positions SET position = replace(position, ?, ?)", (old, new))
        connection.commit()


@contextmanager
def open_session(site: Path, data: Path, now: float) -> Iterator[EngineSession]:
    """Opens an engine of a site on a data folder at a time of the story."""
    clock = SettableClock(now)
    with (
        clock.patch_wall_clock(),
        engine_in_thread(site, data) as engine,
        httpx.Client(base_url=engine.handle.url, trust_env=False, timeout=30) as client,
    ):
        yield EngineSession(engine, clock, client)
