"""The code of a job as bytes: laid out whole or not at all, and nowhere else."""

from __future__ import annotations

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from catcher.executors import bundles
from catcher.executors.bundles import pack, unpack, unpacked
from catcher.model.problem import CatcherError
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


def test_the_job_and_its_shared_files_travel_and_nothing_else(
    address: JobAddress, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    assert unpacked(address, there) is None
    laid_out = unpack(pack(address), address, there)
    assert unpacked(address, there) == laid_out
    found = {str(path.relative_to(laid_out.site)) for path in Path(laid_out.site).rglob("*.*")}
    assert found == {"jobs/some.py", "jobs/lib/numbers.py", "jobs/lib/table.csv"}


def test_several_at_once_lay_it_out_once(address: JobAddress, tmp_path: Path) -> None:
    there, packed = tmp_path / "there", pack(address)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: unpack(packed, address, there), range(8)))
    assert set(found) == {unpacked(address, there)}


@pytest.mark.parametrize("name", ["../evil.py", "/tmp/evil.py", "jobs/../../evil.py"])
def test_a_bundle_reaches_nowhere_else(address: JobAddress, tmp_path: Path, name: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as bundle:
        bundle.writestr(name, "evil = 1")
    with pytest.raises(CatcherError, match="not of Catcher's making"):
        unpack(packed.getvalue(), address, tmp_path / "there")
    assert unpacked(address, tmp_path / "there") is None


def test_a_bundle_cut_short_leaves_nothing(address: JobAddress, tmp_path: Path) -> None:
    with pytest.raises(CatcherError, match="the bundle cannot be read"):
        unpack(pack(address)[:-40], address, tmp_path / "there")
    assert unpacked(address, tmp_path / "there") is None


def test_too_much_is_refused(address: JobAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MOST_BYTES", 100)
    with pytest.raises(CatcherError, match="keep large data out of jobs/lib/"):
        pack(address)
