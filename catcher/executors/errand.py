"""A call that carries all it needs, as text: for services that run whatever they are sent.

    python -m catcher.executors.errand     # in a container: from the environment, to a file
    errand.run("...")                      # in a notebook: from a cell, to its output

The errand is in `CATCHER_ERRAND_0`, `_1`, ... and its outcome goes to `outcome.catcher` in the
folder that `JOB_OUTPUT_DIR` names.
"""

from __future__ import annotations

import base64
import binascii
import os
import pickle
import sys
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from catcher.executors.bundles import unpack
from catcher.executors.confinement import unpacked
from catcher.executors.post import PROTOCOL
from catcher.model.problem import CatcherError
from catcher.model.run import Call, Outcome
from catcher.working.worker import execute

VARIABLE = "CATCHER_ERRAND"
FOLDER = "JOB_OUTPUT_DIR"
FILE = "outcome.catcher"
MARK = "catcher-outcome:"
LONGEST_VARIABLE = 100_000
"""Linux takes 128 KiB in one variable of the environment."""


def written(call: Call, bundle: bytes) -> str:
    """A call with the code of its job, as text."""
    packed = pickle.dumps((PROTOCOL, call, bundle), pickle.HIGHEST_PROTOCOL)
    return base64.b64encode(zlib.compress(packed)).decode()


def read(text: str) -> Outcome:
    """What came of an errand; CatcherError where the text is none."""
    try:
        return unpacked(zlib.decompress(base64.b64decode(text.strip(), validate=True)))
    except (ValueError, binascii.Error, zlib.error, pickle.UnpicklingError, EOFError) as error:
        raise CatcherError(f"the result cannot be read: {error}") from error


def done(text: str) -> str:
    """Carries an errand out in this process; what came of it, as text."""
    protocol, call, bundle = pickle.loads(zlib.decompress(base64.b64decode(text)))
    if protocol != PROTOCOL:
        words = "the service has another version of Catcher than the engine: install the same"
        return _packed(Outcome("failed", error=words, retry=False))
    with tempfile.TemporaryDirectory(prefix="catcher-") as folder:
        job = unpack(bundle, call.job, Path(folder))
        return _packed(execute(replace(call, job=job)))


def run(text: str) -> None:
    """Carries an errand out and prints what came of it; for a cell of a notebook."""
    print(MARK + done(text))


def variables(text: str) -> dict[str, str]:
    """An errand as variables of the environment."""
    pieces = range(0, len(text), LONGEST_VARIABLE)
    return {
        f"{VARIABLE}_{number}": text[start : start + LONGEST_VARIABLE]
        for number, start in enumerate(pieces)
    }


def from_environment(environ: Mapping[str, str]) -> str:
    """The errand that is in the environment, put together again."""
    pieces: list[str] = []
    while (piece := environ.get(f"{VARIABLE}_{len(pieces)}")) is not None:
        pieces.append(piece)
    return "".join(pieces)


def main() -> None:
    """Carries out the errand of the environment."""
    text = from_environment(os.environ)
    if not text:
        sys.exit(f"there is no errand: {VARIABLE}_0 is not set")
    (Path(os.environ.get(FOLDER, ".")) / FILE).write_text(done(text))


def _packed(outcome: Outcome) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(outcome))).decode()


if __name__ == "__main__":
    main()
