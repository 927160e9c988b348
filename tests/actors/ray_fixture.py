"""One local Ray for all tests that need one; ``conftest`` offers it to every test here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_ended_at_last() -> Iterator[None]:
    yield
    from actors.pool.cluster import stop_ray

    stop_ray()


@pytest.fixture(scope="module")
def local_ray(ray_ended_at_last: None) -> None:
    """A Ray of two cores on this machine, for all files; started again where one of them stopped it."""
    from actors.pool.cluster import start_ray
    from actors.pool.placement import ClusterConfig

    start_ray(ClusterConfig(), num_cpus=2, num_gpus=0)
