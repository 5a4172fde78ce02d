"""Images in a Butler repository of the Rubin Science Pipelines, if these are installed.

    stores:
      images:
        butler: {repo: /repo/main, collections: [LSSTCam/raw/all], instrument: LSSTCam}
    observations:
      exposure: {event: TOPIC, id: imageName, image: "butler:"}

`lsst.daf.butler` is imported when the first image is requested, and only then.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from catcher.model.errors import CatcherError
from catcher.model.observation import Observation
from catcher.stores.images.settings import ButlerImageSettings
from catcher.stores.images.url_templates import (
    MAX_DETECTORS,
    ambiguous_image_error,
    missing_image_error,
)

URL_SCHEME = "butler:"
_QUERY = "instrument = instrument_name AND ({where})"


class ButlerImages:
    """`ports.Images` over a Butler. Its calls block, so they run in a thread."""

    def __init__(self, settings: ButlerImageSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._butler: Any = None
        self._detector_names: dict[int, str] = {}

    async def find_image_path(self, observation: Observation, detector: str = "") -> str:
        """Returns the local path of a dataset. Raises CatcherError if there is none."""
        return await asyncio.to_thread(self._get_local_path, observation, detector)

    async def list_detectors(self, observation: Observation) -> Sequence[str]:
        """Returns the full names of the detectors that have a dataset now, sorted."""
        return await asyncio.to_thread(self._list_detectors, observation)

    def _get_local_path(self, observation: Observation, detector: str) -> str:
        with self._lock:
            datasets = self._find_datasets(observation)
            if not detector and len(datasets) == 1:
                detector = next(iter(datasets))
            if not detector:
                raise ambiguous_image_error(observation, sorted(datasets))
            if detector not in datasets:
                description = f"{self._settings.dataset} of {detector} in {self._settings.repo}"
                raise missing_image_error(description, observation)
            uri = self._query_butler(lambda butler: butler.getURI(datasets[detector]))
            local_path = uri if uri.isLocal else self._download_dataset(uri)
            return str(local_path.ospath)

    def _list_detectors(self, observation: Observation) -> list[str]:
        with self._lock:
            return sorted(self._find_datasets(observation))[:MAX_DETECTORS]

    def _find_datasets(self, observation: Observation) -> dict[str, Any]:
        """Returns the datasets of an observation by the full name of their detector."""
        settings = self._settings
        names = self._read_detector_names()
        refs = self._query_butler(
            lambda butler: butler.query_datasets(
                settings.dataset,
                collections=list(settings.collections),
                where=_QUERY.format(where=settings.where),
                bind={"id": observation.id, "instrument_name": settings.instrument},
                explain=False,
            )
        )
        return {names.get(ref.dataId["detector"], str(ref.dataId["detector"])): ref for ref in refs}

    def _read_detector_names(self) -> dict[int, str]:
        if not self._detector_names:
            records = self._query_butler(
                lambda butler: butler.query_dimension_records(
                    "detector", instrument=self._settings.instrument, explain=False
                )
            )
            self._detector_names = {record.id: str(record.full_name) for record in records}
        return self._detector_names

    def _download_dataset(self, uri: Any) -> Any:
        """Returns a local copy, which the Butler's own cache or this process keeps."""
        try:
            return uri.as_local(multithreaded=False).__enter__()
        except Exception as error:
            raise _butler_error(self._settings, error) from error

    def _query_butler(self, query: Any) -> Any:
        """Returns the Butler's answer; any exception becomes a CatcherError."""
        try:
            if self._butler is None:
                self._butler = _open_butler(self._settings)
            return query(self._butler)
        except CatcherError:
            raise
        except Exception as error:
            raise _butler_error(self._settings, error) from error


def _open_butler(settings: ButlerImageSettings) -> Any:
    try:
        module = import_module("lsst.daf.butler")
    except ImportError as error:
        raise CatcherError(
            f"images are in a Butler, and lsst.daf.butler is not installed here ({error})",
            "run Catcher in an environment of the Rubin Science Pipelines, or give a path pattern",
        ) from None
    return module.Butler.from_config(settings.repo, collections=list(settings.collections))


def _butler_error(settings: ButlerImageSettings, error: Exception) -> CatcherError:
    error_text = " ".join(str(error).split())[:200] or type(error).__name__
    return CatcherError(
        f"the Butler {settings.repo} did not answer: {type(error).__name__}: {error_text}",
        "look at repo, collections and instrument under `stores: images: butler:`",
    )
