"""A tracker's library in a thread, waited for with a limit, and at most once for each silent server."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar

from orchestrator.bounded import Worker
from orchestrator.errors import ConfigError

log = logging.getLogger(__name__)
T = TypeVar("T")

LOCAL_S = 20.0
"""How long a library may take for its work on this machine: importing, writing files."""


def check_installed(key: str, value: str, module: str) -> None:
    """Raise ConfigError where the library that ``key=value`` requires is not installed."""
    if find_spec(module) is None:
        allowed = f"the package {module} is not installed: pip install 'murmuration[trackers]'"
        raise ConfigError(key, value, allowed)


def without_login(url: str) -> str:
    """Return an address without the login that it may hold, to be written down or shown."""
    return re.sub(r"//[^/@]*@", "//", url.partition("?")[0])


def check_no_login(key: str, url: str | None, where: str) -> None:
    """Raise ConfigError where an address holds a login or a token: configurations are written down."""
    if url is not None and url != without_login(url):
        allowed = f"must be an address without a login or a token: put it in {where}"
        raise ConfigError(key, without_login(url), allowed)


class Background:
    """The thread in which one tracker's library runs, and which servers did not answer it.

    One serves all runs of the process, so that not every point of a sweep waits for the same server.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._silent = set[str]()
        self._worker: Worker | None = None

    def begin(self, server: str | None, begin: Callable[[str | None], T], seconds: float, place: str) -> T:
        """Return ``begin(server)``; ``begin(None)``, after one line, where the server does not answer.

        ``place`` is where the run is then kept. ``server`` None is this machine. Raises what ``begin`` raises
        there.
        """
        if server is not None and server not in self._silent:
            try:
                return self.wait_for(lambda: begin(server), seconds)
            except Exception as failure:  # noqa: BLE001 - whatever the network does
                text = str(failure).replace(server, without_login(server))
                reason = " ".join(text.split())[:300] or type(failure).__name__
                log.warning("%s: %s; the run is kept offline %s", self._name, reason, place)
                self._silent.add(server)
        return self.wait_for(lambda: begin(None), seconds)

    def wait_for(self, action: Callable[[], T], seconds: float) -> T:
        """Return what ``action`` returns, after all earlier ones. Raises what they raise, or TimeoutError."""
        worker, results = self._worker or Worker(self._name), list[T]()
        self._worker = worker
        try:
            worker.wait_for(lambda: results.append(action()), seconds)
        except TimeoutError:
            self._worker = None  # it hangs: what it may still return is dropped
            raise
        return results[0]

    def later(self, action: Callable[[], Any]) -> None:
        """Queue an action without waiting. Raises the failure of an earlier one."""
        self._worker = self._worker or Worker(self._name)
        self._worker.later(action)
