"""What rules look back over, filled from the history when an engine starts.

Saved state wins, the history fills the rest, and nothing fires. The history holds numbers and
truth values (as 1 and 0) in flat columns, so that a key, a `where` or a window over text is not
filled; a missing value stays missing. Of one topic at most `MOST_SAMPLES` of the latest samples
are read, from as far before its last one as the longest window reaches; windows of a number of
evaluations, `previous` and reads see the last ten minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from catcher.model.event import Admitted, Event, Series
from catcher.model.time import MAX_INSTANT, SECOND, Instant, Span
from catcher.ports import History, StoreAway
from catcher.watching import Network

MOST_SAMPLES = 100_000
MICROSECOND = 1_000
NOTHING: Mapping[str, Instant] = {}


async def prime(network: Network, history: History, until: Mapping[str, Instant] = NOTHING) -> str:
    """Fills windows and reads that no saved state has filled.

    Of a topic named in `until`, samples from that instant on come by another way. A history that
    is away holds no start up: its words come back, and what it has not filled fills as time goes.
    """
    events: list[Event] = []
    away = ""
    try:
        for topic, span in network.reaches().items():
            series = await _latest(topic, span, history)
            end = until.get(topic, MAX_INSTANT)
            events += (one for one in events_of(series) if one.time + 2 * MICROSECOND < end)
    except StoreAway as error:
        away = str(error)
    network.prime(Admitted(event) for event in sorted(events, key=lambda one: one.time))
    return away


async def _latest(topic: str, span: Span, history: History) -> Series:
    """The last stretch of a topic; an empty one where nobody has heard of it."""
    last = await history.latest(topic)
    if last is None:
        return Series(np.empty(0), topic=topic)
    return await history.read(topic, [], last - span, last)


def events_of(series: Series) -> Iterator[Event]:
    """The latest samples as events, numbers alone, up to a microsecond before their time.

    A series' time is in float64 seconds; rounded down, a sample never comes after itself, where
    saved state holds it already.
    """
    start = max(0, len(series) - MOST_SAMPLES)
    seconds = series.time[start:]
    whole = np.floor(seconds)
    parts = np.floor((seconds - whole) * 1e6 - 0.25)
    times = whole.astype(np.int64) * SECOND + parts.astype(np.int64) * MICROSECOND
    columns = {name: column[start:].tolist() for name, column in series.columns.items()}
    for index, time in enumerate(times.tolist()):
        fields = {name: column[index] for name, column in columns.items()}
        known = {name: value for name, value in fields.items() if value == value}
        yield Event(series.topic, time, known)
