"""A fence that counts steps, not seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class TooManyCalls(AssertionError):
    """What was fenced in took more calls than it may."""


@contextmanager
def limit_calls(max_calls: int) -> Iterator[None]:
    """Lets what is inside make so many calls; a loop without end is found by its calls.

    One call that never returns is for the timeout of the test run.
    """
    calls_left = max_calls
    previous_profiler = sys.getprofile()

    def count_call(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls_left
        if event == "call" or event == "c_call":
            calls_left -= 1
            if calls_left < 0:
                sys.setprofile(previous_profiler)
                raise TooManyCalls(f"more than {max_calls} calls")

    sys.setprofile(count_call)
    try:
        yield
    finally:
        sys.setprofile(previous_profiler)
