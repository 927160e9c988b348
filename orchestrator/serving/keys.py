"""Bearer keys: compared in constant time, kept as digests, and named in no log."""

from __future__ import annotations

import hashlib
import hmac

from orchestrator.serving.errors import ApiError

ANYONE = 0
"""The holder of requests to a server without keys."""


class Keys:
    """The keys that a server accepts; without any, every request is accepted."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._digests = tuple(_digest(key) for key in keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def holder(self, authorization: str | None) -> int:
        """Return the number of the key in a request's header. Raises ApiError where it is none of them.

        Every key is compared, whichever fits, and digests have one length: the time says nothing of a key.
        """
        if not self._digests:
            return ANYONE
        scheme, _, key = (authorization or "").partition(" ")
        given = _digest(key.strip())
        fits = [hmac.compare_digest(given, known) for known in self._digests]
        if scheme.lower() != "bearer" or not any(fits):
            raise ApiError(401, "a valid key is required: Authorization: Bearer KEY", code="invalid_api_key")
        return fits.index(True)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
