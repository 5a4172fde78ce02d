"""Where a site's images are: files, S3, the web, a Butler, or a URL in an event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from catcher.model.errors import CatcherError
from catcher.model.observation import Observation
from catcher.ports import Images
from catcher.site import Site
from catcher.stores.images.butler import URL_SCHEME, ButlerImages
from catcher.stores.images.paths import PathImages, validate_image_path
from catcher.stores.images.remote import RemoteImages, is_remote
from catcher.stores.images.settings import (
    ButlerImageSettings,
    FileImageSettings,
    RemoteImageSettings,
)
from catcher.stores.images.url_templates import find_url_column, missing_pattern_error

COPIES_FOLDER = "image-copies"


def create_site_images(site: Site, data: Path) -> Images:
    """Creates the image finder of a site; `image` of an observation kind says where to look."""
    settings = site.settings
    patterns = {kind: spec.image for kind, spec in settings.observations.items() if spec.image}
    section = settings.stores.images
    remote_settings = (
        section.bind_settings(RemoteImageSettings)
        if section.kind == "s3"
        else RemoteImageSettings()
    )
    file_settings = (
        section.bind_settings(FileImageSettings) if section.kind == "file" else FileImageSettings()
    )
    butler = (
        ButlerImages(section.bind_settings(ButlerImageSettings))
        if section.kind == "butler"
        else None
    )
    allowed_folders = tuple(Path(text).expanduser() for text in file_settings.within)
    return SiteImages(
        patterns,
        PathImages(patterns, data),
        RemoteImages(patterns, data / COPIES_FOLDER, remote_settings),
        butler,
        allowed_folders,
    )


class SiteImages:
    """An implementation of `ports.Images` that delegates to the right one of several."""

    def __init__(
        self, patterns: Mapping[str, str], files: PathImages, remote: RemoteImages,
        butler: ButlerImages | None, allowed_folders: Sequence[Path],
    ) -> None:  # fmt: skip
        self._patterns, self._files, self._remote = dict(patterns), files, remote
        self._butler, self._allowed_folders = butler, tuple(allowed_folders)

    async def find_image_path(self, observation: Observation, detector: str = "") -> str:
        """Returns the path of a readable file. Raises CatcherError, with what was looked for."""
        pattern = self._get_image_pattern(observation)
        column = find_url_column(pattern)
        if not column:
            return await self._select_image_store(pattern).find_image_path(observation, detector)
        address = observation.columns.get(column)
        if not isinstance(address, str) or not address:
            raise CatcherError(
                f"{observation.kind} {observation.id[:80]} has no address in {column!r}",
                f"see `columns` of {observation.kind} under observations: in catcher.yaml",
            )
        if is_remote(address):
            return await self._remote.fetch_image_by_url(address, observation)
        return validate_image_path(
            Path(address.removeprefix("file://")), self._allowed_folders, observation
        )

    async def list_detectors(self, observation: Observation) -> Sequence[str]:
        """Returns the detectors that have an image now, sorted; empty if it has only one image."""
        pattern = self._get_image_pattern(observation)
        return (
            []
            if find_url_column(pattern)
            else await self._select_image_store(pattern).list_detectors(observation)
        )

    def _select_image_store(self, pattern: str) -> Images:
        if pattern.startswith(URL_SCHEME):
            if self._butler is None:
                raise CatcherError(
                    "images are in a Butler, and it is not said in which",
                    "add stores: {images: {butler: {repo: ..., collections: [...], instrument: "
                    "...}}}",
                )
            return self._butler
        return self._remote if is_remote(pattern) else self._files

    def _get_image_pattern(self, observation: Observation) -> str:
        pattern = self._patterns.get(observation.kind, "") or observation.image
        if not pattern:
            raise missing_pattern_error(observation)
        return pattern
