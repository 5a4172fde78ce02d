"""Jobs on the loop. `wait_for_go` does not end where the environment says CATCHER_TEST_WAIT."""

import asyncio
import os

from catcher import Event, Field, Metric, Result, Series, job


@job
async def double(event: Event, wind: Series) -> Result:
    """Returns twice the value of a frame, a field per amplifier, and two artifacts."""
    value = event.fields["value"]
    if value == 13:
        raise ValueError("thirteen cannot be doubled")
    return Result(
        {"doubled": Metric(2.0 * value, unit="adu"), "samples": len(wind.time)},
        fields={"noise": Field("amp", ["A0", "A1"], [value, value / 2], unit="adu")},
        artifacts={"words.txt": f"{value} doubled", "values.json": {"values": [value, 2 * value]}},
    )


@job
async def wait_for_go(event: Event) -> Result:
    """Returns a metric, once it may."""
    if os.environ.get("CATCHER_TEST_WAIT"):
        await asyncio.Event().wait()
    return Result({"waited": event.fields["value"]})
