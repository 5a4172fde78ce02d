"""Whether a request comes from Slack: its signature, not older than five minutes, never twice.

docs.slack.dev/authentication/verifying-requests-from-slack: `v0=` and the HMAC-SHA256 of
`v0:TIMESTAMP:BODY` under the app's signing secret.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping

from catcher.model.problem import CatcherError
from catcher.model.time import MINUTE, SECOND, Instant

WINDOW = 5 * MINUTE
_MOST_SEEN = 10_000
_HINT = "check the signing secret, and this machine's clock"


class Signatures:
    """Judges requests by the signing secret of an app, and remembers those that were good."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._seen: OrderedDict[str, Instant] = OrderedDict()

    def check(self, headers: Mapping[str, str], body: bytes, now: Instant) -> None:
        """CatcherError where a request is unsigned, wrongly signed, too old or a repeat."""
        named = {name.lower(): value for name, value in headers.items()}
        stamp = named.get("x-slack-request-timestamp", "")
        given = named.get("x-slack-signature", "")
        if not stamp or not given:
            raise CatcherError("the request is not signed", "only Slack may call here")
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
            raise CatcherError("the time of the request cannot be read", "only Slack may call here")
        text = b"v0:" + stamp.encode() + b":" + body
        right = "v0=" + hmac.new(self._secret, text, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(right.encode(), given.encode("utf-8", "replace")):
            raise CatcherError("the signature does not fit", _HINT)
        if abs(now - int(stamp) * SECOND) > WINDOW:
            raise CatcherError("the request is older than five minutes", _HINT)
        if given in self._seen:
            raise CatcherError("the request was made before", "it is taken once only")
        self._remember(given, now)

    def _remember(self, signature: str, now: Instant) -> None:
        self._seen[signature] = now
        # Whoever is older than twice the window is refused by its time.
        while self._seen and (
            len(self._seen) > _MOST_SEEN or next(iter(self._seen.values())) < now - 2 * WINDOW
        ):
            self._seen.popitem(last=False)
