"""Firings become results: the registry of jobs, the runs and their inputs, mailboxes, results."""

from catcher.working.observations import Observations
from catcher.working.ordering import ResultOrder
from catcher.working.registry import Registry
from catcher.working.workshop import Workshop

__all__ = ["Observations", "Registry", "ResultOrder", "Workshop"]
