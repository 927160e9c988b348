"""What holds for every test: no network, no telemetry, one thread, and the same verdict twice."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
from collections.abc import Generator

# Set before torch, Ray or a hub client is imported, and inherited by the processes that tests start. A value
# from outside wins.
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's new behaviour; without it every start warns about the old one.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # A call of a process whose Ray was stopped fails; otherwise it joins or starts another one.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # Read where Ray starts, which any test may be the first to do: errors of Ray Serve's proxy have one form.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "orchestrator.serving.proxied:middlewares",
    # Float sums must not depend on the machine's cores, nor one test starve another.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
if "XDG_STATE_HOME" not in os.environ:  # where run directories' signing key is: not the user's own
    _state = tempfile.TemporaryDirectory(prefix="murmuration-state-")
    os.environ["XDG_STATE_HOME"] = _state.name
    os.environ.setdefault("TRACKIO_DIR", f"{_state.name}/trackio")
if "PYTEST_XDIST_WORKER" in os.environ:  # readline writes down a terminal's size there, though there is none
    for _name in ("COLUMNS", "LINES"):
        os.environ.pop(_name, None)
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import pytest  # noqa: E402 - the environment comes first
from hypothesis import settings  # noqa: E402

from tests.levels import QuickLevel, sendable  # noqa: E402

# A verdict must be about the tree, not about the draw or how busy the machine is.
settings.register_profile("house", derandomize=True, deadline=None)
settings.register_profile("quick", settings.get_profile("house"), max_examples=25)
settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="no test that needs Ray, torch or a process")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--quick"):
        settings.load_profile("quick")
        config.pluginmanager.register(QuickLevel())


def pytest_collection_finish() -> None:
    if "hydra" in sys.modules:  # no test module of those chosen composes otherwise
        from tests.composing import compose_cheaply

        compose_cheaply()
    # Every 700 objects, as by default, the search for cycles would take a tenth of the time.
    gc.set_threshold(10_000, *gc.get_threshold()[1:])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    """Leave the signals to whom they belonged: a run that ends ignores them, and later tests send some."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        return (yield)
    finally:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) != handler:  # None: set by a library in C
                signal.signal(number, handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return sendable((yield))
