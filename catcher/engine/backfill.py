"""Fills windows and reads of rules from the history when an engine starts.

Saved state takes precedence, the history fills the rest, and nothing fires. The history holds
numbers and truth values (as 1 and 0) in flat columns, so a key, a `where` or a window over text is
not filled; a missing value stays missing. Per topic at most the latest `MAX_SAMPLES` samples are
read, from as far before the last one as the longest window reaches; windows of a number of
evaluations, `previous` and reads see the last ten minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from catcher.evaluation import RuleEvaluator
from catcher.model.event import AdmittedEvent, Event, Series
from catcher.model.time import MAX_INSTANT, SECOND, Instant, Span
from catcher.ports import History, StoreUnavailable

MAX_SAMPLES = 100_000
MICROSECOND = 1_000
NO_LIMITS: Mapping[str, Instant] = {}


async def backfill_windows(
    evaluator: RuleEvaluator, history: History, until: Mapping[str, Instant] = NO_LIMITS
) -> str:
    """Fills windows and reads that no saved state has filled; returns the history's error.

    Of a topic in `until`, samples from that instant on come by another way. An unavailable history
    does not block startup: its error text is returned (empty if it answered), and what it has not
    filled fills as time passes.
    """
    events: list[Event] = []
    error_text = ""
    try:
        for topic, span in evaluator.collect_topic_lookbacks().items():
            series = await _read_lookback_samples(topic, span, history)
            end = until.get(topic, MAX_INSTANT)
            events += (
                sample
                for sample in events_from_series(series)
                if sample.time + 2 * MICROSECOND < end
            )
    except StoreUnavailable as error:
        error_text = str(error)
    evaluator.backfill_events(
        AdmittedEvent(event) for event in sorted(events, key=lambda sample: sample.time)
    )
    return error_text


async def _read_lookback_samples(topic: str, span: Span, history: History) -> Series:
    """Returns the latest samples of a topic; an empty series if the topic is unknown."""
    last_time = await history.find_latest_time(topic)
    if last_time is None:
        return Series(np.empty(0), topic=topic)
    return await history.read(topic, [], last_time - span, last_time)


def events_from_series(series: Series) -> Iterator[Event]:
    """Yields the latest samples as events, numbers only, up to a microsecond before their time.

    A series' time is in float64 seconds; rounded down, a sample never comes after itself in saved
    state that holds it already.
    """
    start = max(0, len(series) - MAX_SAMPLES)
    seconds = series.time[start:]
    whole_seconds = np.floor(seconds)
    microseconds = np.floor((seconds - whole_seconds) * 1e6 - 0.25)
    times = whole_seconds.astype(np.int64) * SECOND + microseconds.astype(np.int64) * MICROSECOND
    columns = {name: column[start:].tolist() for name, column in series.columns.items()}
    for index, time in enumerate(times.tolist()):
        fields = {name: column[index] for name, column in columns.items()}
        present = {name: value for name, value in fields.items() if value == value}
        yield Event(series.topic, time, present)
