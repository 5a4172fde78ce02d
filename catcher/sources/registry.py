"""A schema registry over HTTP, as Confluent's: from the number in a message to its schema.

A number never changes its meaning, so what was found once is kept. A registry that does not
answer, or refuses us, is waited for: that is no fault of the message.
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

from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, Span, to_seconds
from catcher.sources.avro import Codec, compile_schema
from catcher.sources.decoding import shown

_MOST_BYTES = 4_000_000
_MOST_KNOWN = 10_000
_MOST_REFERENCES, _DEEPEST = 20, 5
_LASTING = 30.0
_AGAIN = 0.25
_FORGIVEN = 10
_ACCEPTED = "application/vnd.schemaregistry.v1+json, application/json"


class RegistryAway(Exception):
    """The registry does not answer, or not to us; what waits for it may be tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
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


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A password does not follow to another address."""

    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Found:
    """A schema as the registry has it: its codec, None for JSON; or why it cannot be used."""

    codec: Codec | None = None
    problem: str = ""


class Registry:
    """Schemas by their numbers, each asked for once."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._base = settings.url.rstrip("/")
        self._host = urllib.parse.urlsplit(self._base).hostname or self._base
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._known: dict[int, Found] = {}
        self._absent: dict[int, float] = {}
        self.asked = 0

    def known(self, number: int) -> Found | None:
        """What was found before."""
        found = self._known.get(number)
        if found is None and number in self._absent:
            if time.monotonic() < self._absent[number]:
                return Found(problem=self._no_schema(number))
            del self._absent[number]
        return found

    async def schema(self, number: int) -> Found:
        """The schema of a number; RegistryAway where nobody can tell now."""
        known = self.known(number)
        if known is not None:
            return known
        answer = await self._ask(f"/schemas/ids/{number}")
        if answer is None and len(self._absent) < _FORGIVEN:
            # A registry of several servers may not know everywhere yet what one has just given.
            await asyncio.sleep(_AGAIN)
            answer = await self._ask(f"/schemas/ids/{number}")
        if answer is None:
            if len(self._absent) >= _MOST_KNOWN:
                self._absent.clear()
            self._absent[number] = time.monotonic() + _LASTING
            return Found(problem=self._no_schema(number))
        found = await self._compiled(answer)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[number] = found
        return found

    def _no_schema(self, number: int) -> str:
        return f"the registry {self._host} has no schema {number}"

    async def newest(self, subject: str) -> Codec | None:
        """The newest version of a subject; None where there is none that can be read."""
        answer = await self._ask(f"/subjects/{_quoted(subject)}/versions/latest")
        return None if answer is None else (await self._compiled(answer)).codec

    async def subjects(self) -> list[str]:
        """The names of all subjects."""
        answer = await self._ask("/subjects")
        return [one for one in answer if isinstance(one, str)] if isinstance(answer, list) else []

    async def register(self, subject: str, schema: str) -> int:
        """Has a schema under a number, which is the same for the same schema."""
        body = json.dumps({"schema": schema}).encode()
        answer = await self._ask(f"/subjects/{_quoted(subject)}/versions", body)
        number = answer.get("id") if isinstance(answer, dict) else None
        if not isinstance(number, int):
            raise RegistryAway(f"the registry {self._host} gave the subject {subject} no number")
        return number

    async def _compiled(self, answer: Any) -> Found:
        if not isinstance(answer, dict) or not isinstance(answer.get("schema"), str):
            raise RegistryAway(f"the registry {self._host} answers something else than a schema")
        kind = answer.get("schemaType", "AVRO")
        if kind == "JSON":
            return Found()
        if kind != "AVRO":
            return Found(problem=f"it is written in {shown(kind)}; Avro and JSON can be read")
        try:
            references = await self._references(answer.get("references") or [])
            return Found(await asyncio.to_thread(compile_schema, answer["schema"], references))
        except ValueError as error:
            return Found(problem=str(error))
        except (LookupError, TypeError, AttributeError):
            return Found(problem="the schemas that it refers to are none")

    async def _references(self, wanted: Any, depth: int = 0) -> dict[str, Any]:
        """The schemas that one refers to, and those that they refer to, first things first."""
        found: dict[str, Any] = {}
        for one in wanted if isinstance(wanted, list) else []:
            subject, version = (_quoted(one.get(key, "")) for key in ("subject", "version"))
            answer = await self._ask(f"/subjects/{subject}/versions/{version}")
            if not isinstance(answer, dict) or depth > _DEEPEST or len(found) > _MOST_REFERENCES:
                raise ValueError(f"the schema refers to {shown(subject)}, which cannot be had")
            found |= await self._references(answer.get("references"), depth + 1)
            found[str(one.get("name", subject))] = json.loads(answer["schema"])
        return found

    async def _ask(self, path: str, body: bytes | None = None) -> Any:
        """The answer to a question; None where there is no such thing."""
        self.asked += 1
        return await asyncio.to_thread(self._request, path, body)

    def _request(self, path: str, body: bytes | None) -> Any:
        settings, headers = self._settings, {"Accept": _ACCEPTED}
        if settings.token:
            headers["Authorization"] = f"Bearer {settings.token}"
        elif settings.username:
            pair = f"{settings.username}:{settings.password}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
        if body is not None:
            headers["Content-Type"] = "application/vnd.schemaregistry.v1+json"
        request = urllib.request.Request(self._base + path, body, headers)
        try:
            with self._opener.open(request, timeout=to_seconds(settings.patience)) as answer:
                return json.loads(answer.read(_MOST_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                return self._refused(error.code)
        except ssl.SSLError as error:
            raise RegistryAway(f"the registry {self._host} cannot be trusted: {error}") from None
        except (OSError, urllib.error.URLError) as error:
            why = getattr(error, "reason", None) or error
            raise RegistryAway(f"the registry {self._host} does not answer: {why}") from None
        except ValueError:
            raise RegistryAway(
                f"the registry {self._host} answers no JSON; see to its url"
            ) from None

    def _refused(self, status: int) -> None:
        if status == 404:
            return
        hints = {401: "; see to its username and password", 403: "; this user may not read schemas"}
        raise RegistryAway(f"the registry {self._host} answers {status}{hints.get(status, '')}")


def _quoted(part: object) -> str:
    return urllib.parse.quote(str(part), safe="")
