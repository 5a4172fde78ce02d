"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Processes that tests start shall not compile everything anew, each for a second and more.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """The folder of real recorded data beside the project."""
    if not SHARED.is_dir():
        pytest.skip("the recorded data (../shared/data) is not here")
    return SHARED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What is missing on this machine is named at the end, whatever else there is to say."""
    skipped = terminalreporter.stats.get("skipped", ())
    reasons = {report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple)}
    for reason in sorted(reasons):
        reason_text = reason.removeprefix("Skipped: ")
        terminalreporter.write_line(f"NOT TESTED here: {reason_text}", yellow=True)
