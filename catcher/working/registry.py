"""The jobs of a site, by name: where they are, how they are called, what is wrong with them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from catcher.model.problem import CatcherError, Place, Problem
from catcher.model.rule import Rule
from catcher.model.run import JobAddress
from catcher.working.fitting import misfits
from catcher.working.signatures import Signature, read_signatures

MOST_BYTES = 4 * 2**20
"""A job file larger than this is refused: nobody writes 4 MiB of Python by hand."""


@dataclass(frozen=True, slots=True)
class Registry:
    """The jobs of one site. Nothing of the site is imported to make it."""

    signatures: Mapping[str, Signature] = field(default_factory=dict)
    addresses: Mapping[str, JobAddress] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> tuple[Registry, list[Problem]]:
        """Reads the jobs in `folder` (a site's `jobs/`): the registry, and what is wrong.

        A file that cannot be read is a problem with its place, the others go on. A job that two
        files define is a problem and belongs to the first. A missing folder has no jobs.
        """
        loading = _Loading(folder)
        for path in sorted(folder.glob("*.py")):
            loading.add(path)
        return cls(loading.signatures, loading.addresses), loading.problems

    def __contains__(self, name: object) -> bool:
        return name in self.signatures

    def names(self) -> list[str]:
        """The jobs there are, sorted."""
        return sorted(self.signatures)

    def signature(self, name: str) -> Signature:
        """How a job is called; CatcherError with the nearest name where it isn't there."""
        if name not in self.signatures:
            raise CatcherError(f"there is no job {name!r}", nearest(name, self.signatures))
        return self.signatures[name]

    def address(self, name: str) -> JobAddress:
        """Where a job is; CatcherError with the nearest name where it isn't there."""
        self.signature(name)
        return self.addresses[name]

    def check(self, rule: Rule) -> list[Problem]:
        """What of a rule's job does not fit: no such job, a missing, unknown or ill argument."""
        spec = rule.job
        if spec is None:
            return []
        wanted = [spec.run] if spec.gather is None else [spec.run, spec.gather.run]
        problems = [
            Problem(spec.place, f"there is no job {name!r}", nearest(name, self.signatures),
                    rule=rule.id)
            for name in wanted if name not in self.signatures
        ]  # fmt: skip
        for message, hint in misfits(spec, self.signatures):
            problems.append(Problem(spec.place, message, hint, rule=rule.id))
        return problems

    def keep(self, folder: Path) -> Registry:
        """The same jobs, run from copies under `folder`, one subfolder a digest.

        A file edited while the engine runs then changes nothing until it is loaded again, and
        an old version stays for as long as its copy does.
        """
        kept = {name: _copied(address, folder) for name, address in self.addresses.items()}
        return replace(self, addresses=kept)


class _Loading:
    """Gathers the jobs of a folder, file by file."""

    def __init__(self, folder: Path) -> None:
        self.signatures: dict[str, Signature] = {}
        self.addresses: dict[str, JobAddress] = {}
        self.problems: list[Problem] = []
        self._folder = folder
        self._shared = _digest_of(sorted(_shared_files(folder)), folder)

    def add(self, path: Path) -> None:
        """Reads one file."""
        file = f"{self._folder.name}/{path.name}"
        try:
            source = _read(path)
        except (OSError, CatcherError) as error:
            place = Place(file, 1, 1)
            self.problems.append(Problem(place, f"the file cannot be read: {error}"))
            return
        signatures, problems = read_signatures(source, file)
        self.problems += problems
        digest = hashlib.blake2b(source + self._shared.encode(), digest_size=8).hexdigest()
        for one in signatures:
            self._define(one, digest)

    def _define(self, one: Signature, digest: str) -> None:
        if one.name in self.signatures:
            other = self.signatures[one.name].place
            message = f"the job {one.name!r} is already defined at {other}"
            self.problems.append(Problem(one.place, message, "give one of them another name"))
            return
        self.signatures[one.name] = one
        site = str(self._folder.parent)
        self.addresses[one.name] = JobAddress(
            one.name, one.place.file, one.function, digest, site, one.is_async
        )


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known name, or all of them."""
    names = sorted(known)
    close = get_close_matches(name, names, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there are {', '.join(names[:20])}" if names else "there are none yet"


def _read(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise CatcherError(f"it has {size} bytes, at most {MOST_BYTES} are read")
    return path.read_bytes()


def _shared_files(folder: Path) -> Iterable[Path]:
    for path in (folder / "lib").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _digest_of(paths: Iterable[Path], folder: Path) -> str:
    total = hashlib.blake2b(digest_size=16)
    for path in paths:
        total.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        with path.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "blake2b").digest())
    return total.hexdigest()


def _copied(address: JobAddress, folder: Path) -> JobAddress:
    target = folder / address.digest
    source = Path(address.site) / address.file
    if not (target / address.file).exists():
        copy = (target / address.file).parent
        copy.mkdir(parents=True, exist_ok=True)
        shared = source.parent / "lib"
        if shared.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(shared, copy / "lib", dirs_exist_ok=True, ignore=ignored)
        # The job itself comes last and whole: a copy cut short is seen as none, and made again.
        partial = copy / f".{source.name}.{os.getpid()}"
        shutil.copy2(source, partial)
        partial.replace(target / address.file)
    return replace(address, site=str(target))
