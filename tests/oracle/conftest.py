"""How many examples Hypothesis tries: `CATCHER_HYPOTHESIS=long` for the long run."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile(
    "default", max_examples=300, deadline=None, print_blob=True, suppress_health_check=SLOW
)
settings.register_profile(
    "long", max_examples=20_000, deadline=None, print_blob=True, suppress_health_check=SLOW
)
PROFILE = os.environ.get("CATCHER_HYPOTHESIS", "default")


@pytest.fixture(autouse=True, scope="package")
def _profile() -> None:
    settings.load_profile(PROFILE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long run outlasts the usual limit for one test."""
    if PROFILE == "long":
        for item in items:
            item.add_marker(pytest.mark.timeout(7200))
