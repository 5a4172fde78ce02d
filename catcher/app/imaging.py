"""Where a site's images are: files, S3, the web, a Butler, or what an event says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from catcher.model.observation import Observation
from catcher.model.problem import CatcherError
from catcher.ports import Images
from catcher.site import Site
from catcher.stores.image_patterns import column_of, no_pattern
from catcher.stores.images import PathImages, readable
from catcher.stores.images_butler import SCHEME, ImagesOfButler
from catcher.stores.images_far import ImagesFromAfar, is_far
from catcher.stores.images_settings import ButlerImages, FarImages, FileImages

COPIES = "image-copies"


def make_images(site: Site, data: Path) -> Images:
    """The images of a site's observations, each kind where its `image` says."""
    settings = site.settings
    patterns = {kind: spec.image for kind, spec in settings.observations.items() if spec.image}
    said = settings.stores.images
    far = said.bind(FarImages) if said.kind == "s3" else FarImages()
    files = said.bind(FileImages) if said.kind == "file" else FileImages()
    butler = ImagesOfButler(said.bind(ButlerImages)) if said.kind == "butler" else None
    within = tuple(Path(text).expanduser() for text in files.within)
    return SiteImages(
        patterns, PathImages(patterns, data), ImagesFromAfar(patterns, data / COPIES, far),
        butler, within,
    )  # fmt: skip


class SiteImages:
    """`ports.Images` that asks the right one of several."""

    def __init__(
        self, patterns: Mapping[str, str], files: PathImages, far: ImagesFromAfar,
        butler: ImagesOfButler | None, within: Sequence[Path],
    ) -> None:  # fmt: skip
        self._patterns, self._files, self._far = dict(patterns), files, far
        self._butler, self._within = butler, tuple(within)

    async def find(self, observation: Observation, detector: str = "") -> str:
        """The path of a readable file; CatcherError names what was looked for."""
        pattern = self._pattern(observation)
        column = column_of(pattern)
        if not column:
            return await self._of(pattern).find(observation, detector)
        address = observation.columns.get(column)
        if not isinstance(address, str) or not address:
            raise CatcherError(
                f"{observation.kind} {observation.id[:80]} has no address in {column!r}",
                f"see `columns` of {observation.kind} under observations: in catcher.yaml",
            )
        if is_far(address):
            return await self._far.at(address, observation)
        return readable(Path(address.removeprefix("file://")), self._within, observation)

    async def parts(self, observation: Observation) -> Sequence[str]:
        """The detectors that have an image of it now, sorted; empty where it has only one."""
        pattern = self._pattern(observation)
        return [] if column_of(pattern) else await self._of(pattern).parts(observation)

    def _of(self, pattern: str) -> Images:
        if pattern.startswith(SCHEME):
            if self._butler is None:
                raise CatcherError(
                    "images are in a Butler, and it is not said in which",
                    "add stores: {images: {butler: {repo: ..., collections: [...], instrument: "
                    "...}}}",
                )
            return self._butler
        return self._far if is_far(pattern) else self._files

    def _pattern(self, observation: Observation) -> str:
        pattern = self._patterns.get(observation.kind, "") or observation.image
        if not pattern:
            raise no_pattern(observation)
        return pattern
