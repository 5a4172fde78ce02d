"""The code of a job as bytes: laid out whole or not at all, and nowhere else."""

from __future__ import annotations

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from catcher.executors import code_bundle
from catcher.executors.code_bundle import build_code_bundle, find_unpacked_job, unpack_code_bundle
from catcher.model.errors import CatcherError
from catcher.model.run import JobAddress
from tests.executors.test_dask import write_jobs


@pytest.fixture
def address(tmp_path: Path) -> JobAddress:
    """A job with shared code, data beside it, and what need not travel."""
    site = tmp_path / "site"
    write_jobs(site, "TWO = 2\n")
    (site / "jobs" / "lib" / "table.csv").write_text("1,2\n")
    (site / "jobs" / "lib" / "__pycache__").mkdir()
    (site / "jobs" / "lib" / "__pycache__" / "old.pyc").write_bytes(b"old")
    (site / "jobs" / "other.py").write_text("secret = 1\n")
    return JobAddress("double", "jobs/some.py", "double", "0123", str(site))


def test_the_job_and_its_shared_files_are_packed_and_nothing_else(
    address: JobAddress, tmp_path: Path
) -> None:
    target = tmp_path / "there"
    assert find_unpacked_job(address, target) is None
    laid_out = unpack_code_bundle(build_code_bundle(address), address, target)
    assert find_unpacked_job(address, target) == laid_out
    names = {str(path.relative_to(laid_out.site)) for path in Path(laid_out.site).rglob("*.*")}
    assert names == {"jobs/some.py", "jobs/lib/numbers.py", "jobs/lib/table.csv"}


def test_several_at_once_unpack_it_once(address: JobAddress, tmp_path: Path) -> None:
    target, packed = tmp_path / "there", build_code_bundle(address)
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: unpack_code_bundle(packed, address, target), range(8)))
    assert set(results) == {find_unpacked_job(address, target)}


@pytest.mark.parametrize("name", ["../evil.py", "/tmp/evil.py", "jobs/../../evil.py"])
def test_a_bundle_writes_nowhere_else(address: JobAddress, tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "evil = 1")
    with pytest.raises(CatcherError, match="not of Catcher's making"):
        unpack_code_bundle(buffer.getvalue(), address, tmp_path / "there")
    assert find_unpacked_job(address, tmp_path / "there") is None


def test_a_bundle_cut_short_leaves_nothing(address: JobAddress, tmp_path: Path) -> None:
    with pytest.raises(CatcherError, match="the bundle cannot be read"):
        unpack_code_bundle(build_code_bundle(address)[:-40], address, tmp_path / "there")
    assert find_unpacked_job(address, tmp_path / "there") is None


def test_too_much_is_refused(address: JobAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_bundle, "MAX_BUNDLE_BYTES", 100)
    with pytest.raises(CatcherError, match="keep large data out of jobs/lib/"):
        build_code_bundle(address)
