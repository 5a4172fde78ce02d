"""The jobs of a site, by name: addresses, signatures, and problems."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from catcher.jobs.signature_checks import find_argument_mismatches
from catcher.jobs.signatures import Signature, parse_signatures
from catcher.model.errors import CatcherError, Problem, SourceLocation
from catcher.model.rule import Rule
from catcher.model.run import JobAddress

MAX_FILE_BYTES = 4 * 2**20
"""A job file larger than this is rejected: nobody writes 4 MiB of Python by hand."""


@dataclass(frozen=True, slots=True)
class Registry:
    """The jobs of one site. Loading it imports nothing of the site."""

    signatures: Mapping[str, Signature] = field(default_factory=dict)
    addresses: Mapping[str, JobAddress] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> tuple[Registry, list[Problem]]:
        """Reads the jobs in `folder` (a site's `jobs/`); returns the registry and the problems.

        A file that cannot be read is a problem with its location; the others are still read. A job
        that two files define is a problem and belongs to the first. A missing folder has no jobs.
        """
        loader = _RegistryLoader(folder)
        for path in sorted(folder.glob("*.py")):
            loader.add_file(path)
        return cls(loader.signatures, loader.addresses), loader.problems

    def __contains__(self, name: object) -> bool:
        return name in self.signatures

    def list_job_names(self) -> list[str]:
        """Returns the names of all jobs, sorted."""
        return sorted(self.signatures)

    def get_signature(self, name: str) -> Signature:
        """Returns the signature of a job; CatcherError suggests the nearest name if missing."""
        if name not in self.signatures:
            raise CatcherError(
                f"there is no job {name!r}", format_name_suggestion(name, self.signatures)
            )
        return self.signatures[name]

    def get_address(self, name: str) -> JobAddress:
        """Returns the address of a job; CatcherError suggests the nearest name if missing."""
        self.get_signature(name)
        return self.addresses[name]

    def check_rule(self, rule: Rule) -> list[Problem]:
        """Returns the problems of a rule's job: none of that name, missing, unknown or wrong
        arguments."""
        spec = rule.job
        if spec is None:
            return []
        job_names = [spec.run] if spec.gather is None else [spec.run, spec.gather.run]
        problems = [
            Problem(
                spec.location,
                f"there is no job {name!r}",
                format_name_suggestion(name, self.signatures),
                rule=rule.id,
            )
            for name in job_names
            if name not in self.signatures
        ]
        for message, hint in find_argument_mismatches(spec, self.signatures):
            problems.append(Problem(spec.location, message, hint, rule=rule.id))
        return problems

    def copy_jobs(self, folder: Path) -> Registry:
        """Returns the same jobs, run from copies under `folder`, one subfolder per digest.

        Editing a file while the engine runs then has no effect until it is reloaded, and an old
        version remains as long as its copy.
        """
        addresses = {name: _copy_job(address, folder) for name, address in self.addresses.items()}
        return replace(self, addresses=addresses)


class _RegistryLoader:
    """Collects the jobs of a folder, file by file."""

    def __init__(self, folder: Path) -> None:
        self.signatures: dict[str, Signature] = {}
        self.addresses: dict[str, JobAddress] = {}
        self.problems: list[Problem] = []
        self._folder = folder
        self._lib_digest = _compute_digest(sorted(_list_lib_files(folder)), folder)

    def add_file(self, path: Path) -> None:
        """Reads one file."""
        file = f"{self._folder.name}/{path.name}"
        try:
            source = _read_source(path)
        except (OSError, CatcherError) as error:
            place = SourceLocation(file, 1, 1)
            self.problems.append(Problem(place, f"the file cannot be read: {error}"))
            return
        signatures, problems = parse_signatures(source, file)
        self.problems += problems
        digest = hashlib.blake2b(source + self._lib_digest.encode(), digest_size=8).hexdigest()
        for signature in signatures:
            self._define_job(signature, digest)

    def _define_job(self, signature: Signature, digest: str) -> None:
        if signature.name in self.signatures:
            existing = self.signatures[signature.name].place
            message = f"the job {signature.name!r} is already defined at {existing}"
            self.problems.append(Problem(signature.place, message, "give one of them another name"))
            return
        self.signatures[signature.name] = signature
        site = str(self._folder.parent)
        self.addresses[signature.name] = JobAddress(
            signature.name,
            signature.place.file,
            signature.function,
            digest,
            site,
            signature.is_async,
        )


def format_name_suggestion(name: str, candidates: Iterable[str]) -> str:
    """Returns a hint with the nearest known name, or with all of them."""
    names = sorted(candidates)
    suggestions = get_close_matches(name, names, 1)
    if suggestions:
        return f"did you mean {suggestions[0]!r}?"
    return f"there are {', '.join(names[:20])}" if names else "there are none yet"


def _read_source(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise CatcherError(f"it has {size} bytes, at most {MAX_FILE_BYTES} are read")
    return path.read_bytes()


def _list_lib_files(folder: Path) -> Iterable[Path]:
    for path in (folder / "lib").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _compute_digest(paths: Iterable[Path], folder: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "blake2b").digest())
    return digest.hexdigest()


def _copy_job(address: JobAddress, folder: Path) -> JobAddress:
    target = folder / address.digest
    source = Path(address.site) / address.file
    if not (target / address.file).exists():
        jobs_folder = (target / address.file).parent
        jobs_folder.mkdir(parents=True, exist_ok=True)
        lib = source.parent / "lib"
        if lib.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(lib, jobs_folder / "lib", dirs_exist_ok=True, ignore=ignore)
        # The job file comes last and atomically: an interrupted copy is made again.
        partial = jobs_folder / f".{source.name}.{os.getpid()}"
        shutil.copy2(source, partial)
        partial.replace(target / address.file)
    return replace(address, site=str(target))
