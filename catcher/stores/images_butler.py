"""Images in a Butler repository of the Rubin Science Pipelines, where these are installed.

    stores:
      images:
        butler: {repo: /repo/main, collections: [LSSTCam/raw/all], instrument: LSSTCam}
    observations:
      exposure: {event: TOPIC, id: imageName, image: "butler:"}

`lsst.daf.butler` is imported when the first image is asked for, and only then.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from catcher.model.observation import Observation
from catcher.model.problem import CatcherError
from catcher.stores.image_patterns import MOST_PARTS, absent, many
from catcher.stores.images_settings import ButlerImages

SCHEME = "butler:"
_QUERY = "instrument = instrument_name AND ({where})"


class ImagesOfButler:
    """`ports.Images` over a Butler. Its calls block, so that they are made in a thread."""

    def __init__(self, settings: ButlerImages) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._butler: Any = None
        self._names: dict[int, str] = {}

    async def find(self, observation: Observation, detector: str = "") -> str:
        """The path of a dataset, on this machine; CatcherError where there is none."""
        return await asyncio.to_thread(self._find, observation, detector)

    async def parts(self, observation: Observation) -> Sequence[str]:
        """The full names of the detectors that have a dataset now, sorted."""
        return await asyncio.to_thread(self._parts, observation)

    def _find(self, observation: Observation, detector: str) -> str:
        with self._lock:
            found = self._datasets(observation)
            if not detector and len(found) == 1:
                detector = next(iter(found))
            if not detector:
                raise many(observation, sorted(found))
            if detector not in found:
                what = f"{self._settings.dataset} of {detector} in {self._settings.repo}"
                raise absent(what, observation)
            place = self._asked(lambda butler: butler.getURI(found[detector]))
            local = place if place.isLocal else self._fetched(place)
            return str(local.ospath)

    def _parts(self, observation: Observation) -> list[str]:
        with self._lock:
            return sorted(self._datasets(observation))[:MOST_PARTS]

    def _datasets(self, observation: Observation) -> dict[str, Any]:
        """The datasets of an observation by the full name of their detector."""
        said = self._settings
        names = self._detectors()
        refs = self._asked(
            lambda butler: butler.query_datasets(
                said.dataset,
                collections=list(said.collections),
                where=_QUERY.format(where=said.where),
                bind={"id": observation.id, "instrument_name": said.instrument},
                explain=False,
            )
        )
        return {names.get(ref.dataId["detector"], str(ref.dataId["detector"])): ref for ref in refs}

    def _detectors(self) -> dict[int, str]:
        if not self._names:
            records = self._asked(
                lambda butler: butler.query_dimension_records(
                    "detector", instrument=self._settings.instrument, explain=False
                )
            )
            self._names = {record.id: str(record.full_name) for record in records}
        return self._names

    def _fetched(self, place: Any) -> Any:
        """A copy on this machine, which the Butler's own cache or this process keeps."""
        try:
            return place.as_local(multithreaded=False).__enter__()
        except Exception as error:
            raise _trouble(self._settings, error) from error

    def _asked(self, ask: Any) -> Any:
        """What the Butler answers; whatever it raises is told as trouble with the repository."""
        try:
            if self._butler is None:
                self._butler = _butler(self._settings)
            return ask(self._butler)
        except CatcherError:
            raise
        except Exception as error:
            raise _trouble(self._settings, error) from error


def _butler(settings: ButlerImages) -> Any:
    try:
        module = import_module("lsst.daf.butler")
    except ImportError as error:
        raise CatcherError(
            f"images are in a Butler, and lsst.daf.butler is not installed here ({error})",
            "run Catcher in an environment of the Rubin Science Pipelines, or give a path pattern",
        ) from None
    return module.Butler.from_config(settings.repo, collections=list(settings.collections))


def _trouble(settings: ButlerImages, error: Exception) -> CatcherError:
    words = " ".join(str(error).split())[:200] or type(error).__name__
    return CatcherError(
        f"the Butler {settings.repo} did not answer: {type(error).__name__}: {words}",
        "look at repo, collections and instrument under `stores: images: butler:`",
    )
