"""Verifies that a request comes from Slack: signed, not older than five minutes, not a repeat.

docs.slack.dev/authentication/verifying-requests-from-slack: `v0=` and the HMAC-SHA256 of
`v0:TIMESTAMP:BODY` under the app's signing secret.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping

from catcher.model.errors import CatcherError
from catcher.model.time import MINUTE, SECOND, Instant

MAX_REQUEST_AGE = 5 * MINUTE
_MAX_SEEN = 10_000
_HINT = "check the signing secret, and this machine's clock"


class SignatureVerifier:
    """Verifies requests by the signing secret of an app, and remembers the valid ones."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._recent_signatures: OrderedDict[str, Instant] = OrderedDict()

    def verify_request(self, headers: Mapping[str, str], body: bytes, now: Instant) -> None:
        """Raises CatcherError if a request is unsigned, wrongly signed, too old or a repeat."""
        lower_headers = {name.lower(): value for name, value in headers.items()}
        timestamp = lower_headers.get("x-slack-request-timestamp", "")
        signature = lower_headers.get("x-slack-signature", "")
        if not timestamp or not signature:
            raise CatcherError("the request is not signed", "only Slack may call here")
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
            raise CatcherError("the time of the request cannot be read", "only Slack may call here")
        signed_text = b"v0:" + timestamp.encode() + b":" + body
        expected = "v0=" + hmac.new(self._secret, signed_text, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
            raise CatcherError("the signature does not fit", _HINT)
        if abs(now - int(timestamp) * SECOND) > MAX_REQUEST_AGE:
            raise CatcherError("the request is older than five minutes", _HINT)
        if signature in self._recent_signatures:
            raise CatcherError("the request was made before", "it is taken once only")
        self._record_signature(signature, now)

    def _record_signature(self, signature: str, now: Instant) -> None:
        self._recent_signatures[signature] = now
        # A request older than twice the window is rejected by its time.
        while self._recent_signatures and (
            len(self._recent_signatures) > _MAX_SEEN
            or next(iter(self._recent_signatures.values())) < now - 2 * MAX_REQUEST_AGE
        ):
            self._recent_signatures.popitem(last=False)
