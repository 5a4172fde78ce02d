"""A fence that counts steps, not seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class TooManySteps(AssertionError):
    """What was fenced in took more calls than it may."""


@contextmanager
def at_most(calls: int) -> Iterator[None]:
    """Lets what is inside make so many calls; a loop without end is found by its calls.

    One call that never returns is for the timeout of the test run.
    """
    left = calls
    before = sys.getprofile()

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal left
        if event == "call" or event == "c_call":
            left -= 1
            if left < 0:
                sys.setprofile(before)
                raise TooManySteps(f"more than {calls} calls")

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(before)
