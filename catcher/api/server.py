"""Serves the API on an address of its own, for as long as a context lasts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import FastAPI

from catcher.model.errors import CatcherError

SHUTDOWN_TIMEOUT = 2
"""Seconds that open event streams have to end."""


class _Server(uvicorn.Server):
    """Leaves the process's signals to the code that runs the engine."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serve_api(api: FastAPI, host: str, port: int) -> AsyncIterator[str]:
    """Serves until the context is left; yields the URL, such as `http://127.0.0.1:8787`."""
    listener = _open_listening_socket(host, port)
    config = uvicorn.Config(
        api,
        log_level="error",
        lifespan="off",
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
        ws="none",
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


def _open_listening_socket(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise CatcherError(
            f"the API cannot listen on {host}:{port} ({error.strerror})",
            "another engine may run there; choose another `api: {port: …}` in catcher.yaml "
            "or --port",
        ) from error
    return listener
