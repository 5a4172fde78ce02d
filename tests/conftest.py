"""What every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import MISSING

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """The folder of real recorded data beside the project."""
    if not SHARED.is_dir():
        MISSING.add("shared/data")
        pytest.skip("the recorded data (../shared/data) is not here")
    return SHARED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if MISSING:
        names = ", ".join(sorted(MISSING))
        terminalreporter.write_line(f"NOT TESTED, because it is missing here: {names}", yellow=True)
