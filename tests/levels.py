"""The quick level: ``pytest --quick`` runs what needs no Ray, no torch and no process of its own.

No list says which tests are quick. A module that imports one of ``HEAVY`` is left out as soon as it does so,
and a test with the mark ``heavy`` as well. Every other test is held to the level: it fails where it starts a
process, imports one of ``HEAVY`` or takes more than ``MAX_CPU_SECONDS``.
"""

from __future__ import annotations

import gc
import platform
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HEAVY = {"playwright", "ray", "torch", "transformers", "vllm"}
PROCESSES = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"}
MAX_CPU_SECONDS = 5.0


class TooHeavyError(BaseException):
    """What the quick level forbids; no ``except Exception`` hides it."""


class QuickModule(pytest.Module):
    """A file of tests, without any if it imports one of ``HEAVY``."""

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        try:
            yield from list(super().collect())
        except TooHeavyError:
            return


class _Refused(MetaPathFinder, Loader):
    """Finds ``HEAVY``, so that its presence can be asked for, and refuses to import it."""

    def __init__(self, level: QuickLevel) -> None:
        self._level = level

    def find_spec(self, name: str, _path: Sequence[str] | None, _target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in HEAVY else None

    def exec_module(self, module: ModuleType) -> None:
        self._level.refuse(f"import {module.__name__}")


class QuickLevel:
    """The plugin that holds tests to the quick level."""

    def __init__(self) -> None:
        self._broken: list[str] = []
        self._in_a_test = False
        sys.meta_path.insert(0, _Refused(self))
        platform.processor()  # starts a process the first time; the HTTP clients ask for it
        sys.addaudithook(self._heed)

    def refuse(self, deed: str) -> None:
        self._broken.append(deed)
        raise TooHeavyError(f"a quick test must not do this: {deed}; mark it heavy (tests/levels.py)")

    def _heed(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._in_a_test and event in PROCESSES:
            self.refuse(f"{event} {arguments[0]!r}" if arguments else event)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        gc.set_threshold(10_000, 20, 100)  # no test here leaves much behind

    @pytest.hookimpl
    def pytest_pycollect_makemodule(self, module_path: Path, parent: pytest.Collector) -> pytest.Module:
        module: pytest.Module = QuickModule.from_parent(parent, path=module_path)
        return module

    @pytest.hookimpl
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        heavy = [item for item in items if item.get_closest_marker("heavy")]
        config.hook.pytest_deselected(items=heavy)
        items[:] = [item for item in items if item not in set(heavy)]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self._broken.clear()
        self._in_a_test = True
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        begun = time.process_time()
        result = yield
        seconds = time.process_time() - begun
        if self._broken:
            pytest.fail(f"no quick test: {', '.join(self._broken)}; mark it heavy (tests/levels.py)")
        if seconds > MAX_CPU_SECONDS:
            pytest.fail(f"no quick test: {seconds:.1f} s of processor, of {MAX_CPU_SECONDS}; mark it heavy")
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        try:
            return (yield)
        finally:
            self._in_a_test = False


def sendable(report: pytest.TestReport) -> pytest.TestReport:
    """Escape lone surrogates, which tests print on purpose and a worker cannot send."""
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report
