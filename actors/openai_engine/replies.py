"""What a server's reply means: a result, an error that may pass, or one that will not.

Gateways have their own conventions: statuses that HTTP does not know, and errors inside a 200. What may pass
is raised as Later, everything else as Refused, both with the server's words.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from actors.openai_engine.bounded_http import Fetched
from actors.openai_engine.redaction import Secret
from orchestrator.errors import EngineError

# Busy, restarting, unreachable, or cancelled: the same request may succeed later.
_LATER = frozenset({408, 409, 420, 424, 425, 429, 460, 499})
# Statuses from 500 on that waiting does not cure: not implemented, not supported, no network access.
_NEVER = frozenset({501, 505, 506, 510, 511})
# With status 429 too: the account has to be changed.
_QUOTA = re.compile(
    r"insufficient[_ ]?(quota|balance|credit|funds)|billing|payment required|exceeded your current quota",
    re.IGNORECASE,
)
_NEVER_CODE = re.compile(
    r"invalid|authenti|unauth|permission|forbidden|not_?found|bad_?request|context_?length|"
    r"content_?(filter|policy)|unsupported|billing|quota_?exceeded",
    re.IGNORECASE,
)
_LATER_CODE = re.compile(
    r"rate_?limit|overload|unavailable|time_?out|timed_?out|busy|internal|server_?error|upstream|too_?many|"
    r"capacity|bad_?gateway|throttl|resource_?exhausted|deadline|aborted|try_?again|loading",
    re.IGNORECASE,
)
_NEVER_WORDS = re.compile(
    r"\b(invalid|incorrect|unauthori[sz]ed|forbidden|not found|does not exist|not supported|unsupported|"
    r"denied|maximum context|too long|missing|required)\b",
    re.IGNORECASE,
)
_LATER_WORDS = re.compile(
    r"overload|unavailable|rate.?limit|too many requests|try again|retry|temporar|timed?.?out|busy|"
    r"bad gateway|internal|upstream|capacity|loading|throttl|no healthy|"
    r"connection (reset|refused|error)|starting|maintenance|\b[qrt]p[sm]\b",
    re.IGNORECASE,
)
_CODE_KEYS = ("code", "status", "status_code", "statusCode", "error_code", "errorCode", "http_code", "type")
_WORD_KEYS = (
    "message",
    "msg",
    "detail",
    "details",
    "error_msg",
    "error_message",
    "errorMessage",
    "error_description",
    "description",
    "reason",
    "title",
    "fault",
    "error",
    "errors",
)
_ERROR_KEYS = (*_WORD_KEYS, "code", "error_code", "errorCode", "status", "status_code", "statusCode")
_DEEPEST = 4
_LONGEST_READ = 65536


class Refused(EngineError):
    """The server will not serve this request, now or later."""


class Later(EngineError):
    """The request may succeed later; ``wait_s`` is the wait that the server asks for."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def read_reply(fetched: Fetched, secret: Secret, result: str = "choices") -> dict[str, Any]:
    """Return the JSON object of a reply whose result is under ``result``. Raises Later and Refused."""
    if not 200 <= fetched.status < 300:
        raise _of_status(fetched, secret)
    value = _parsed(fetched, secret)
    error = _error_inside(value, result)
    if error is not None:
        raise _of_error(fetched, secret, error)
    if not isinstance(value, dict):
        raise Refused(f"{_shown(fetched, secret)}: the reply is not a JSON object")
    return value


def _of_status(fetched: Fetched, secret: Secret) -> EngineError:
    where = f"{_shown(fetched, secret)}: HTTP {fetched.status}"
    if 300 <= fetched.status < 400:
        location = secret.clean(re.sub(r"//[^/]*@", "//", fetched.headers.get("location", "nowhere")))
        return Refused(f"{where}: redirects to {location}: name the server itself in base_url")
    words = _words(_loosely_parsed(fetched.body))
    message = f"{where}: {secret.clean(words)}"
    if _may_pass(fetched, words):
        return Later(message, _retry_after(fetched.headers))
    return Refused(message)


def _may_pass(fetched: Fetched, words: str) -> bool:
    """Return whether an error may pass, by the server's header, or else by the status."""
    asked = _asked(fetched)
    if asked is not None:
        return asked
    if _QUOTA.search(words[:_LONGEST_READ]):
        return False
    return _is_later(fetched.status)


def _is_later(status: int) -> bool:
    return status in _LATER or (500 <= status < 600 and status not in _NEVER)


def _of_error(fetched: Fetched, secret: Secret, error: Any) -> EngineError:
    """Return what an error with the status of a success means."""
    words, codes = _words(error), list(_codes(error))
    named = f" ({', '.join(secret.clean(c, 60) for c in codes)})" if codes else ""
    message = f"{_shown(fetched, secret)}: HTTP {fetched.status} with an error: {secret.clean(words)}{named}"
    asked = _asked(fetched)
    may_pass = (_passes(codes, words[:_LONGEST_READ]) or _broke_off(error)) if asked is None else asked
    return Later(message, _retry_after(fetched.headers)) if may_pass else Refused(message)


def _asked(fetched: Fetched) -> bool | None:
    """Return whether the server asks for a retry; None: it does not say."""
    return {"true": True, "false": False}.get(fetched.headers.get("x-should-retry", "").strip().lower())


def _broke_off(error: Any) -> bool:
    """Return whether a completion only says that it was not finished, and not why."""
    return isinstance(error, dict) and error.get("finish_reason") == "error" and not _says(error, "error")


def _says(value: dict[str, Any], key: str) -> bool:
    """Return whether a key has a value: some gateways always have the key, with nothing in it."""
    held = value.get(key)
    return any(_says(held, inner) for inner in held) if isinstance(held, dict) else bool(held)


def _passes(codes: list[str], words: str) -> bool:
    """Return whether an error may pass, by its codes and types, else its words; without either it may not."""
    code = " ".join(codes)
    if _QUOTA.search(code) or _QUOTA.search(words):
        return False
    statuses = [int(c) for c in codes if re.fullmatch(r"[45]\d\d", c)]
    if statuses:
        return all(map(_is_later, statuses))
    for never, later, text in ((_NEVER_CODE, _LATER_CODE, code), (_NEVER_WORDS, _LATER_WORDS, words)):
        if later.search(text) and not never.search(text):
            return True
        if never.search(text):
            return False
    return False


def _parsed(fetched: Fetched, secret: Secret) -> Any:
    """Return the JSON value of a success. Raises Later where it was cut off, Refused where it is not JSON."""
    where = _shown(fetched, secret)
    try:
        text = fetched.body.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise Refused(f"{where}: the reply is not text in UTF-8") from None
    if not text:
        raise Later(f"{where}: HTTP {fetched.status} with an empty reply", _retry_after(fetched.headers))
    if re.match(r"(data|event|id|retry)?:", text):
        return _streamed(fetched, secret, text)
    try:
        return json.loads(text)
    except RecursionError:
        raise Refused(f"{where}: the reply is nested too deeply") from None
    except ValueError:
        raise _no_json(fetched, secret, text) from None


def _no_json(fetched: Fetched, secret: Secret, text: str) -> EngineError:
    words = _words(_loosely_parsed(text.encode()))
    message = f"{_shown(fetched, secret)}: the reply is not JSON: {secret.clean(words)!r}"
    cut_off = text.startswith("{") and not text.endswith("}")
    if cut_off or (_LATER_WORDS.search(words) and not text.startswith("{")):
        return Later(message, _retry_after(fetched.headers))
    return Refused(message)


def _streamed(fetched: Fetched, secret: Secret, text: str) -> Any:
    """Return the error inside a stream of events, which was not requested. Raises Refused without one."""
    for line in text.splitlines():
        try:
            value = json.loads(line.removeprefix("data:")) if line.startswith("data:") else None
        except (ValueError, RecursionError):
            continue
        if _error_inside(value, "choices") is not None:
            return value
    raise Refused(f"{_shown(fetched, secret)}: the reply is a stream of events, which was not requested")


def _error_inside(value: Any, result: str) -> Any:
    """Return the error in a success, or None: gateways put it there in several ways."""
    if isinstance(value, list):
        first = value[0] if value else None
        return _error_inside(first, result) if isinstance(first, dict) else None
    if not isinstance(value, dict):
        return None
    if _says(value, "error") or _says(value, "errors"):
        return value
    if value.get(result):
        choices = value[result] if result == "choices" and isinstance(value[result], list) else []
        failed = [
            c
            for c in choices[:1]
            if isinstance(c, dict) and (_says(c, "error") or c.get("finish_reason") == "error")
        ]
        return failed[0] if failed else None
    found = [key for key in _ERROR_KEYS if value.get(key)]
    return value if found or (result == "choices" and result not in value) else None


def _codes(error: Any) -> Iterator[str]:
    """Yield the codes and types of an error, from the outside in."""
    for _ in range(_DEEPEST):
        if isinstance(error, list) and error:
            error = error[0]
        if not isinstance(error, dict):
            return
        for key in _CODE_KEYS:
            value = error.get(key)
            if isinstance(value, int | str) and not isinstance(value, bool) and str(value)[:60].strip():
                yield str(value)[:60]
        error = error.get("error") or error.get("errors") or error.get("detail")


def _words(value: Any, depth: int = 0) -> str:
    """Return the server's words in a value of any shape."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(_words(v, depth + 1) for v in value[:3]) if depth < _DEEPEST else "..."
    if isinstance(value, dict) and depth < _DEEPEST:
        for key in ("error", "errors", *_WORD_KEYS):
            if isinstance(value.get(key), str | list | dict) and value[key]:
                return _words(value[key], depth + 1)
    return _dumped(value)


def _dumped(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)[:_LONGEST_READ]
    except (ValueError, RecursionError):
        return "..."


def _loosely_parsed(body: bytes) -> Any:
    """Return the JSON value of an error, or its text, without the tags of HTML."""
    text = body[:_LONGEST_READ].decode("utf-8-sig", errors="replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _without_tags(text)


def _without_tags(text: str) -> str:
    if not text.lstrip().startswith("<"):
        return text
    text = re.sub(r"<(style|script)\b[^<]*</\1>", " ", text, flags=re.IGNORECASE)
    return re.sub(r"<[^<>]*>", " ", text)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the wait that the server asks for, in seconds; a date counts from the server's clock."""
    milliseconds, asked = headers.get("retry-after-ms", ""), headers.get("retry-after", "")
    for text, unit in ((milliseconds, 0.001), (asked, 1.0)):
        if re.fullmatch(r"\s*\d{1,12}(\.\d{0,9})?\s*", text):
            return float(text) * unit
    return _seconds_until(asked, headers.get("date", ""))


def _seconds_until(date: str, now: str) -> float | None:
    until = _time(date)
    if until is None:
        return None
    wait_s = (until - (_time(now) or datetime.now(UTC))).total_seconds()
    return max(0.0, wait_s) if math.isfinite(wait_s) else None


def _time(date: str) -> datetime | None:
    try:
        time = parsedate_to_datetime(date[:100])
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _shown(fetched: Fetched, secret: Secret) -> str:
    return secret.clean(fetched.url)
