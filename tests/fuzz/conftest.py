"""The long run outlasts the usual limit for one test."""

from __future__ import annotations

import pytest

from tests.oracle.hypothesis_settings import EXAMPLE_FACTOR


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if EXAMPLE_FACTOR > 1:
        for item in items:
            if "tests/fuzz/" in item.nodeid:
                item.add_marker(pytest.mark.timeout(12 * 3600))
