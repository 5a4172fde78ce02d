"""Artifacts in buckets of Google and Azure, spoken to as they are: a small server of each form."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web

from catcher.model.problem import CatcherError
from catcher.model.result import Encoded
from catcher.ports import StoreAway
from catcher.stores.objects import Objects
from catcher.stores.objects_settings import AzureSettings, GcsSettings
from tests.servers import free_port

KEY = "mount-jitter/2023/07/28/b78dd86b21f5/jitter.png"
PNG = Encoded("jitter.png", b"\x89PNG", "image/png")
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
async def bucket(
    form: tuple[str, str], credential: str
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """A server with one bucket; who does not begin with the credential is refused."""
    held: dict[str, Any] = {}

    async def answer(request: web.Request) -> web.Response:
        if not request.headers.get("Authorization", "").startswith(credential):
            return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")
        key = unquote(request.raw_path.split("?")[0]).removeprefix("/artifacts").lstrip("/")
        if request.method == "PUT":
            kind = request.headers.get("x-ms-blob-content-type") or request.content_type
            held[key] = (await request.read(), kind)
            return web.Response(status=201, headers={"ETag": '"x"', "x-goog-generation": "1"})
        if not key:
            prefix, (whole, one) = request.query.get("prefix", ""), form
            rows = [one.format(k, len(v[0])) for k, v in held.items() if k.startswith(prefix)]
            return web.Response(text=whole.format("".join(rows)), content_type="application/xml")
        if key not in held:
            return web.Response(status=404)
        times = {"Last-Modified": "Fri, 28 Jul 2023 04:00:00 GMT", "ETag": '"x"'}
        return web.Response(body=held[key][0], headers=times)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}", held
    finally:
        await runner.cleanup()


def gcs(endpoint: str, token: str = "t0ken") -> Objects:
    return Objects(GcsSettings("gs://artifacts/tma", token=token, endpoint=endpoint, timeout=5))


def azure(endpoint: str, account: str = "tma") -> Objects:
    return Objects(
        AzureSettings("az://artifacts/tma", account, key="a2V5", endpoint=endpoint, timeout=5)
    )


@pytest.mark.parametrize(
    ("store_of", "form", "credential", "scheme"),
    [(gcs, GCS_LIST, "Bearer t0ken", "gs"), (azure, AZURE_LIST, "SharedKey tma:", "az")],
)
async def test_what_was_put_can_be_got_and_listed(
    store_of: Any, form: tuple[str, str], credential: str, scheme: str
) -> None:
    async with bucket(form, credential) as (endpoint, held):
        store = store_of(endpoint)
        await store.put(KEY, PNG)
        assert held == {f"tma/{KEY}": (b"\x89PNG", "image/png")}
        assert await store.get(KEY) == b"\x89PNG"
        assert await store.list("mount-jitter") == [KEY]
        assert store.url(KEY) == f"{scheme}://artifacts/tma/{KEY}"
        with pytest.raises(CatcherError, match="there is no object"):
            await store.get("nothing.png")
        for key in ("../x", "a/../../x"):
            with pytest.raises(CatcherError, match="no key"):
                await store.put(key, PNG)
        stranger = store_of(endpoint, "other")
        with pytest.raises(StoreAway, match=r"the right to do so|credentials"):
            await stranger.put(KEY, PNG)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GcsSettings("gs://a", token="t", key="{}"), "several credentials"),
        (lambda: AzureSettings("az://a", "acc", key="k", sas="s"), "several credentials"),
        (lambda: AzureSettings("az://a", "acc", client_secret="s"), "give all three"),
        (lambda: Objects(GcsSettings("s3://a")), "write the address as gs"),
        (lambda: Objects(AzureSettings("gs://a", "acc")), "write the address as az"),
    ],
)
def test_settings_that_cannot_work_are_refused(make: Any, words: str) -> None:
    with pytest.raises(CatcherError, match=words):
        make()


def test_secrets_are_not_shown() -> None:
    assert "s3cret" not in repr(GcsSettings("gs://a", key="s3cret"))
    assert "s3cret" not in repr(AzureSettings("az://a", "acc", sas="s3cret"))
