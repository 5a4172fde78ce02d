"""Who is let in: this machine under its own names, whatever a header holds."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from catcher.api.access_control import add_access_control


async def request_status(headers: dict[str, str]) -> int:
    api = FastAPI()
    add_access_control(api, 1000)

    @api.get("/health")
    async def health() -> list[str]:
        return []

    transport = httpx.ASGITransport(api, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8787") as client:
        return (await client.get("/health", headers=headers)).status_code


@pytest.mark.parametrize("host", ["127.0.0.1:8787", "localhost", "[::1]:8787"])
async def test_local_host_names_are_allowed(host: str) -> None:
    assert await request_status({"host": host, "origin": f"http://{host}"}) == 200


@pytest.mark.parametrize("host", ["catcher.example", "127.0.0.1.example", "", "[", "[::1"])
async def test_other_hosts_and_nonsense_are_refused(host: str) -> None:
    assert await request_status({"host": host}) == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://[", "file://"])
async def test_pages_of_other_sites_are_refused(origin: str) -> None:
    assert await request_status({"origin": origin}) == 403
