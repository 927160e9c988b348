"""What a replica says while it makes its engine."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from actors import stages
from actors.pool.replica import Replica, Restarted


async def test_a_replica_says_what_it_is_doing_while_it_makes_its_engine() -> None:
    seen: list[Any] = []

    def make() -> Any:
        for change in (lambda: None, lambda: stages.waiting("for its turn on a shared card"), stages.resumed):
            change()
            thread = threading.Thread(target=lambda: seen.append(asyncio.run(replica.pulse())))
            thread.start()
            thread.join()
        raise ValueError

    replica = Replica(make, "node", lambda: None)
    assert await replica.pulse() == Restarted("")
    await replica.ready()
    assert [each.doing for each in seen] == [
        "it has been loading for 0 s",
        "it has been waiting for its turn on a shared card for 0 s",
        "it has been loading for 0 s",
    ]


def test_outside_of_a_replica_nothing_is_said() -> None:
    stages.waiting("for nothing")
    stages.resumed()
