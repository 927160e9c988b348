"""Calls of a user's function, plain or async: a plain one that blocks stops no other call."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property, partial
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.schema import Count, converted


class FunctionRaised(Exception):
    """What a user's function raised, as a value.

    asyncio gives a meaning to some exceptions: StopIteration in a future hangs its caller, CancelledError
    looks like a cancellation of the caller, and TimeoutError loses its traceback.
    """

    def __init__(self, failure: BaseException) -> None:
        super().__init__(failure)
        self.failure = failure


class Function:
    """A function that is called from an event loop: plain ones run in up to ``max_threads`` threads.

    An async function, and what a plain one returns to be awaited, runs on the loop itself. A call raises
    FunctionRaised with what the function raised; KeyboardInterrupt and SystemExit stay themselves.
    """

    def __init__(self, function: Callable[..., Any], max_threads: int) -> None:
        self._function = function
        self._max_threads: int = converted("max_threads", max_threads, Count)
        self._is_async = _is_async(function)

    async def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self._is_async:
            return await _awaited(self._function(*arguments, **options))
        context = contextvars.copy_context()
        call = partial(context.run, _called, self._function, *arguments, **options)
        value, failure = await asyncio.get_running_loop().run_in_executor(self._threads, call)
        if failure is not None:
            raise FunctionRaised(failure)
        return await _awaited(value) if inspect.isawaitable(value) else value

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_threads"}

    @property
    def name(self) -> str:
        return name_of(self._function)

    @property
    def reference(self) -> str:
        """The function's module and name, for the files of a run."""
        named = self._function if hasattr(self._function, "__qualname__") else type(self._function)
        return f"{named.__module__}.{named.__qualname__}"

    def close(self) -> None:
        """End the threads that are idle; a later call starts new ones."""
        threads: ThreadPoolExecutor | None = self.__dict__.pop("_threads", None)
        if threads is not None:
            threads.shutdown(wait=False)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._max_threads, thread_name_prefix=self.name)


def name_of(function: Callable[..., Any]) -> str:
    """Return the function's name, for messages."""
    return getattr(function, "__name__", type(function).__name__)


def _called(
    function: Callable[..., Any], *arguments: Any, **options: Any
) -> tuple[Any, BaseException | None]:
    """Return what a function returned, and what it raised."""
    try:
        return function(*arguments, **options), None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as failure:  # noqa: BLE001 - a value: the caller raises it
        return None, failure


async def _awaited(value: Awaitable[Any]) -> Any:
    """Return what an awaitable of the user returns. Raises FunctionRaised."""
    task = asyncio.current_task()
    try:
        return await value
    except Exception as failure:
        raise FunctionRaised(failure) from failure
    except asyncio.CancelledError as failure:
        if task is not None and task.cancelling():
            raise
        raise FunctionRaised(failure) from failure  # no caller cancels this call: the function raised it


def check_function(key: str, function: Callable[..., Any], *arguments: str, **options: str) -> None:
    """Raise ConfigError unless ``function`` can be called with these arguments, which are given by name."""
    named = ", ".join([*arguments, *(["*", *options] if options else [])])
    allowed = f"must be a function of ({named})"
    if not callable(function):
        raise ConfigError(key, function, allowed)
    with suppress(ValueError):  # one that is written in C may not have a signature
        signature = inspect.signature(function)
        try:
            signature.bind(*arguments, **options)
        except TypeError:
            raise ConfigError(key, f"{name_of(function)}{signature}", allowed) from None


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
    )


def raised(name: str, failure: BaseException) -> str:
    """Return what a function raised, with the place in its own code, in one line."""
    last = traceback.extract_tb(failure.__traceback__)[-1]
    try:
        said = f"{type(failure).__name__}: {failure}"
    except Exception:  # noqa: BLE001 - an exception of the user, whose text cannot be made
        said = type(failure).__name__
    return f"{name} raised {said} ({last.filename}:{last.lineno})"
