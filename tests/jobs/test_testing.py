"""The door for tests of a site's jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from catcher.model.errors import CatcherError
from catcher.testing import load_job
from tests.jobs.job_files import load_registry


def test_load_job_gives_the_function_to_a_test(tmp_path: Path) -> None:
    load_registry(tmp_path, one="@job\ndef double(x):\n    return Result({'y': 2 * x})")
    (tmp_path / "catcher.yaml").touch()
    assert load_job("double", tmp_path)(21).metrics == {"y": 42}
    with pytest.raises(CatcherError, match="did you mean 'double'"):
        load_job("duble", tmp_path)
