"""A self-contained call, encoded as text: for services that run whatever they are sent.

    python -m catcher.executors.portable_call   # in a container: from the environment, to a file
    portable_call.run("...")                    # in a notebook: from a cell, to its output

The encoded call is in `CATCHER_ERRAND_0`, `_1`, ... and its outcome goes to `outcome.catcher` in
the folder that `JOB_OUTPUT_DIR` names.
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

from catcher.executors.cluster_worker import PROTOCOL
from catcher.executors.code_bundle import unpack_code_bundle
from catcher.executors.worker_main import unpickle_outcome
from catcher.jobs.worker import execute_call
from catcher.model.errors import CatcherError
from catcher.model.run import JobCall, JobOutcome

VARIABLE_PREFIX = "CATCHER_ERRAND"
OUTPUT_DIR_VARIABLE = "JOB_OUTPUT_DIR"
OUTCOME_FILE = "outcome.catcher"
OUTCOME_PREFIX = "catcher-outcome:"
MAX_VARIABLE_LENGTH = 100_000
"""Linux allows 128 KiB in one environment variable."""


def encode_call(call: JobCall, code_bundle: bytes) -> str:
    """Encodes a call with the code of its job as text."""
    pickled = pickle.dumps((PROTOCOL, call, code_bundle), pickle.HIGHEST_PROTOCOL)
    return base64.b64encode(zlib.compress(pickled)).decode()


def decode_outcome(text: str) -> JobOutcome:
    """Decodes an outcome. Raises CatcherError if the text is none."""
    try:
        return unpickle_outcome(zlib.decompress(base64.b64decode(text.strip(), validate=True)))
    except (ValueError, binascii.Error, zlib.error, pickle.UnpicklingError, EOFError) as error:
        raise CatcherError(f"the result cannot be read: {error}") from error


def execute_encoded_call(text: str) -> str:
    """Executes an encoded call in this process; returns the outcome as text."""
    protocol, call, code_bundle = pickle.loads(zlib.decompress(base64.b64decode(text)))
    if protocol != PROTOCOL:
        message = "the service has another version of Catcher than the engine: install the same"
        return _encode_outcome(JobOutcome("failed", error=message, retry=False))
    with tempfile.TemporaryDirectory(prefix="catcher-") as folder:
        job = unpack_code_bundle(code_bundle, call.job, Path(folder))
        return _encode_outcome(execute_call(replace(call, job=job)))


def run(text: str) -> None:
    """Executes an encoded call and prints the outcome; for a cell of a notebook."""
    print(OUTCOME_PREFIX + execute_encoded_call(text))


def split_into_variables(text: str) -> dict[str, str]:
    """Splits an encoded call into environment variables."""
    chunk_starts = range(0, len(text), MAX_VARIABLE_LENGTH)
    return {
        f"{VARIABLE_PREFIX}_{index}": text[start : start + MAX_VARIABLE_LENGTH]
        for index, start in enumerate(chunk_starts)
    }


def join_variables(environ: Mapping[str, str]) -> str:
    """Joins the encoded call in the environment."""
    chunks: list[str] = []
    while (chunk := environ.get(f"{VARIABLE_PREFIX}_{len(chunks)}")) is not None:
        chunks.append(chunk)
    return "".join(chunks)


def main() -> None:
    """Executes the call in the environment and writes the outcome to a file."""
    text = join_variables(os.environ)
    if not text:
        sys.exit(f"there is no errand: {VARIABLE_PREFIX}_0 is not set")
    (Path(os.environ.get(OUTPUT_DIR_VARIABLE, ".")) / OUTCOME_FILE).write_text(
        execute_encoded_call(text)
    )


def _encode_outcome(outcome: JobOutcome) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(outcome))).decode()


if __name__ == "__main__":
    main()
