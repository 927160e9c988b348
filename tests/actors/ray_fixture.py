"""One local Ray for all tests that need one; ``conftest`` offers it to every test here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of two cores on this machine, which goes with the tests."""
    from actors.pool.cluster import start_ray, stop_ray
    from actors.pool.placement import ClusterConfig

    start_ray(ClusterConfig(), num_cpus=2, num_gpus=0)
    yield
    stop_ray()
