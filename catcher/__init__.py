"""Catcher: reactive rules on an observatory's event streams.

What a job needs is here; the rest lives in the rooms below.
"""

from catcher.model.event import Event, Series
from catcher.model.observation import Observation
from catcher.model.result import Field, Metric, Result
from catcher.working.jobs import job

__all__ = ["Event", "Field", "Metric", "Observation", "Result", "Series", "job"]
