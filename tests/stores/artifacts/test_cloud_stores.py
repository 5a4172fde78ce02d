"""Artifacts in buckets of Google and Azure, spoken to as they are: a small server of each form."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web

from catcher.model.errors import CatcherError
from catcher.model.result import EncodedArtifact
from catcher.ports import StoreUnavailable
from catcher.stores.artifacts.object_store import ObstoreStore
from catcher.stores.artifacts.settings import AzureSettings, GcsSettings
from tests.servers import find_free_port

KEY = "mount-jitter/2023/07/28/b78dd86b21f5/jitter.png"
PNG = EncodedArtifact("jitter.png", b"\x89PNG", "image/png")
GCS_LIST = (
    "<ListBucketResult>{}</ListBucketResult>",
    "<Contents><Key>{}</Key><Size>{}</Size><ETag>x</ETag>"
    "<LastModified>2023-07-28T04:00:00.000Z</LastModified></Contents>",
)
AZURE_LIST = (
    "<EnumerationResults><Blobs>{}</Blobs><NextMarker/></EnumerationResults>",
    "<Blob><Name>{}</Name><Properties><Last-Modified>Fri, 28 Jul 2023 04:00:00 GMT"
    "</Last-Modified><Etag>x</Etag><Content-Length>{}</Content-Length>"
    "<Content-Type>image/png</Content-Type></Properties></Blob>",
)


@asynccontextmanager
async def serve_bucket(
    list_format: tuple[str, str], credential: str
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """A server with one bucket; who does not begin with the credential is refused."""
    objects: dict[str, Any] = {}

    async def handle_request(request: web.Request) -> web.Response:
        if not request.headers.get("Authorization", "").startswith(credential):
            return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")
        key = unquote(request.raw_path.split("?")[0]).removeprefix("/artifacts").lstrip("/")
        if request.method == "PUT":
            content_type = request.headers.get("x-ms-blob-content-type") or request.content_type
            objects[key] = (await request.read(), content_type)
            return web.Response(status=201, headers={"ETag": '"x"', "x-goog-generation": "1"})
        if not key:
            prefix, (list_template, item_template) = request.query.get("prefix", ""), list_format
            rows = [
                item_template.format(k, len(v[0]))
                for k, v in objects.items()
                if k.startswith(prefix)
            ]
            return web.Response(
                text=list_template.format("".join(rows)), content_type="application/xml"
            )
        if key not in objects:
            return web.Response(status=404)
        times = {"Last-Modified": "Fri, 28 Jul 2023 04:00:00 GMT", "ETag": '"x"'}
        return web.Response(body=objects[key][0], headers=times)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle_request)
    runner = web.AppRunner(application)
    await runner.setup()
    port = find_free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}", objects
    finally:
        await runner.cleanup()


def create_gcs_store(endpoint: str, token: str = "t0ken") -> ObstoreStore:
    return ObstoreStore(
        GcsSettings("gs://artifacts/tma", token=token, endpoint=endpoint, timeout=5)
    )


def create_azure_store(endpoint: str, account: str = "tma") -> ObstoreStore:
    return ObstoreStore(
        AzureSettings("az://artifacts/tma", account, key="a2V5", endpoint=endpoint, timeout=5)
    )


@pytest.mark.parametrize(
    ("create_store", "list_format", "credential", "scheme"),
    [
        (create_gcs_store, GCS_LIST, "Bearer t0ken", "gs"),
        (create_azure_store, AZURE_LIST, "SharedKey tma:", "az"),
    ],
)
async def test_what_was_put_can_be_got_and_listed(
    create_store: Any, list_format: tuple[str, str], credential: str, scheme: str
) -> None:
    async with serve_bucket(list_format, credential) as (endpoint, objects):
        store = create_store(endpoint)
        await store.put(KEY, PNG)
        assert objects == {f"tma/{KEY}": (b"\x89PNG", "image/png")}
        assert await store.get(KEY) == b"\x89PNG"
        assert await store.list("mount-jitter") == [KEY]
        assert store.build_url(KEY) == f"{scheme}://artifacts/tma/{KEY}"
        with pytest.raises(CatcherError, match="there is no object"):
            await store.get("nothing.png")
        for key in ("../x", "a/../../x"):
            with pytest.raises(CatcherError, match="no key"):
                await store.put(key, PNG)
        other_account = create_store(endpoint, "other")
        with pytest.raises(StoreUnavailable, match=r"the right to do so|credentials"):
            await other_account.put(KEY, PNG)


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda: GcsSettings("gs://a", token="t", key="{}"), "several credentials"),
        (lambda: AzureSettings("az://a", "acc", key="k", sas="s"), "several credentials"),
        (lambda: AzureSettings("az://a", "acc", client_secret="s"), "give all three"),
        (lambda: ObstoreStore(GcsSettings("s3://a")), "write the address as gs"),
        (lambda: ObstoreStore(AzureSettings("gs://a", "acc")), "write the address as az"),
    ],
)
def test_settings_that_cannot_work_are_refused(create: Any, message: str) -> None:
    with pytest.raises(CatcherError, match=message):
        create()


def test_secrets_are_not_shown() -> None:
    assert "s3cret" not in repr(GcsSettings("gs://a", key="s3cret"))
    assert "s3cret" not in repr(AzureSettings("az://a", "acc", sas="s3cret"))
