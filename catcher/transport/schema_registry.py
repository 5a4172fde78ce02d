"""A schema registry over HTTP, like Confluent's: from the id in a message to its schema.

An id never changes its meaning, so schemas are cached. If the registry does not answer, or refuses
access, its messages wait: that is no fault of theirs.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from catcher.model.errors import CatcherError
from catcher.model.time import SECOND, Span, nanoseconds_to_seconds
from catcher.transport.avro import AvroCodec, compile_schema
from catcher.transport.event_decoder import to_printable

_MAX_RESPONSE_BYTES = 4_000_000
_CACHE_SIZE = 10_000
_MAX_REFERENCES, _MAX_REFERENCE_DEPTH = 20, 5
_MISSING_TTL = 30.0
_RETRY_DELAY = 0.25
_MAX_RETRIED_MISSES = 10
_ACCEPT_HEADER = "application/vnd.schemaregistry.v1+json, application/json"


class SchemaRegistryUnavailable(Exception):
    """The registry does not answer or refuses access; what waits for it may be retried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaRegistrySettings:
    """Where the registry is, and how to enter it."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    patience: Span = 5 * SECOND

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise CatcherError(
                f"registry {self.url!r} is no web address", "write it like https://registry.example"
            )


class _NoRedirectHandler(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, so that a password is not sent to another address."""

    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema in the registry: its codec, None for JSON; or why it cannot be used."""

    codec: AvroCodec | None = None
    problem: str = ""


class SchemaRegistry:
    """Schemas by their ids, each requested once."""

    def __init__(self, settings: SchemaRegistrySettings) -> None:
        self._settings = settings
        self._base = settings.url.rstrip("/")
        self._host = urllib.parse.urlsplit(self._base).hostname or self._base
        self._opener = urllib.request.build_opener(_NoRedirectHandler)
        self._cache: dict[int, RegisteredSchema] = {}
        self._missing_until: dict[int, float] = {}
        self.request_count = 0

    def get_cached_schema(self, schema_id: int) -> RegisteredSchema | None:
        """Returns a cached schema, None if there is none."""
        schema = self._cache.get(schema_id)
        if schema is None and schema_id in self._missing_until:
            if time.monotonic() < self._missing_until[schema_id]:
                return RegisteredSchema(problem=self._format_missing(schema_id))
            del self._missing_until[schema_id]
        return schema

    async def fetch_schema(self, schema_id: int) -> RegisteredSchema:
        """Returns the schema of an id. Raises SchemaRegistryUnavailable if the registry is."""
        cached = self.get_cached_schema(schema_id)
        if cached is not None:
            return cached
        response = await self._send_request(f"/schemas/ids/{schema_id}")
        if response is None and len(self._missing_until) < _MAX_RETRIED_MISSES:
            # One server of a registry may not know yet what another has just assigned.
            await asyncio.sleep(_RETRY_DELAY)
            response = await self._send_request(f"/schemas/ids/{schema_id}")
        if response is None:
            if len(self._missing_until) >= _CACHE_SIZE:
                self._missing_until.clear()
            self._missing_until[schema_id] = time.monotonic() + _MISSING_TTL
            return RegisteredSchema(problem=self._format_missing(schema_id))
        schema = await self._compile_response(response)
        if len(self._cache) >= _CACHE_SIZE:
            self._cache.clear()
        self._cache[schema_id] = schema
        return schema

    def _format_missing(self, schema_id: int) -> str:
        return f"the registry {self._host} has no schema {schema_id}"

    async def fetch_latest_codec(self, subject: str) -> AvroCodec | None:
        """Returns the newest version of a subject; None if there is none that can be read."""
        response = await self._send_request(f"/subjects/{_quote_path(subject)}/versions/latest")
        return None if response is None else (await self._compile_response(response)).codec

    async def list_subjects(self) -> list[str]:
        """Returns the names of all subjects."""
        response = await self._send_request("/subjects")
        return (
            [subject for subject in response if isinstance(subject, str)]
            if isinstance(response, list)
            else []
        )

    async def register_schema(self, subject: str, schema: str) -> int:
        """Registers a schema; returns its id, which is the same for the same schema."""
        body = json.dumps({"schema": schema}).encode()
        response = await self._send_request(f"/subjects/{_quote_path(subject)}/versions", body)
        schema_id = response.get("id") if isinstance(response, dict) else None
        if not isinstance(schema_id, int):
            raise SchemaRegistryUnavailable(
                f"the registry {self._host} gave the subject {subject} no number"
            )
        return schema_id

    async def _compile_response(self, response: Any) -> RegisteredSchema:
        if not isinstance(response, dict) or not isinstance(response.get("schema"), str):
            raise SchemaRegistryUnavailable(
                f"the registry {self._host} answers something else than a schema"
            )
        schema_type = response.get("schemaType", "AVRO")
        if schema_type == "JSON":
            return RegisteredSchema()
        if schema_type != "AVRO":
            return RegisteredSchema(
                problem=f"it is written in {to_printable(schema_type)}; Avro and JSON can be read"
            )
        try:
            references = await self._fetch_references(response.get("references") or [])
            return RegisteredSchema(
                await asyncio.to_thread(compile_schema, response["schema"], references)
            )
        except ValueError as error:
            return RegisteredSchema(problem=str(error))
        except (LookupError, TypeError, AttributeError):
            return RegisteredSchema(problem="the schemas that it refers to are none")

    async def _fetch_references(self, references: Any, depth: int = 0) -> dict[str, Any]:
        """Returns the schemas that one refers to, and recursively their references, which come
        first.
        """
        schemas: dict[str, Any] = {}
        for reference in references if isinstance(references, list) else []:
            subject, version = (
                _quote_path(reference.get(key, "")) for key in ("subject", "version")
            )
            response = await self._send_request(f"/subjects/{subject}/versions/{version}")
            if (
                not isinstance(response, dict)
                or depth > _MAX_REFERENCE_DEPTH
                or len(schemas) > _MAX_REFERENCES
            ):
                raise ValueError(
                    f"the schema refers to {to_printable(subject)}, which cannot be had"
                )
            schemas |= await self._fetch_references(response.get("references"), depth + 1)
            schemas[str(reference.get("name", subject))] = json.loads(response["schema"])
        return schemas

    async def _send_request(self, path: str, body: bytes | None = None) -> Any:
        """Returns the response to a request; None if the resource does not exist."""
        self.request_count += 1
        return await asyncio.to_thread(self._request_blocking, path, body)

    def _request_blocking(self, path: str, body: bytes | None) -> Any:
        settings, headers = self._settings, {"Accept": _ACCEPT_HEADER}
        if settings.token:
            headers["Authorization"] = f"Bearer {settings.token}"
        elif settings.username:
            credentials = f"{settings.username}:{settings.password}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(credentials).decode()
        if body is not None:
            headers["Content-Type"] = "application/vnd.schemaregistry.v1+json"
        request = urllib.request.Request(self._base + path, body, headers)
        try:
            with self._opener.open(
                request, timeout=nanoseconds_to_seconds(settings.patience)
            ) as response:
                return json.loads(response.read(_MAX_RESPONSE_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                return self._raise_for_status(error.code)
        except ssl.SSLError as error:
            raise SchemaRegistryUnavailable(
                f"the registry {self._host} cannot be trusted: {error}"
            ) from None
        except (OSError, urllib.error.URLError) as error:
            reason = getattr(error, "reason", None) or error
            raise SchemaRegistryUnavailable(
                f"the registry {self._host} does not answer: {reason}"
            ) from None
        except ValueError:
            raise SchemaRegistryUnavailable(
                f"the registry {self._host} answers no JSON; see to its url"
            ) from None

    def _raise_for_status(self, status: int) -> None:
        if status == 404:
            return
        hints = {401: "; see to its username and password", 403: "; this user may not read schemas"}
        raise SchemaRegistryUnavailable(
            f"the registry {self._host} answers {status}{hints.get(status, '')}"
        )


def _quote_path(part: object) -> str:
    return urllib.parse.quote(str(part), safe="")
