"""Whether a server honours seeds, found out before the first problem: the interface does not say.

Some servers ignore the seed of a request: their samples differ, and no run can be repeated. Others use the
same random numbers for each request: their samples are all the same, and a search is of no use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from actors.openai_engine.client import Access, Client
from actors.openai_engine.shared import OUTSIDERS_FAULTS
from orchestrator.errors import ConfigError, EngineError

QUESTION = "List some odd words."
INSTRUCTION = "Answer."
SEEDS = (860_101, 860_102, 860_103, 860_104)
"""The seeds of the probe's requests."""
_TOKENS = 32
# A model that is certain gives one text under every seed, unless the temperature is high.
_TEMPERATURES = (1.0, 2.0)
_ATTEMPTS = 2

TextOf = Callable[[Mapping[str, Any]], str]
"""From a choice of a reply to its text."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What was found: whether one seed gives one text (None: unknown), and whether ``n`` gives samples."""

    seeds_honoured: bool | None = None
    takes_many: bool = False


@dataclass(frozen=True, slots=True)
class Prober:
    """Requests of one server: ``body`` holds the model and the prompt, ``text_of`` reads a choice."""

    access: Access
    path: str
    body: Mapping[str, Any]
    text_of: TextOf

    def run(self, *, many: bool = False) -> Probed:
        """Return what was found; with ``many`` also whether the server takes ``n``.

        Raises ConfigError where different seeds give the same text. A server that refuses the requests, or
        does not answer them, leaves it unknown: a search will report its errors.
        """
        with ThreadPoolExecutor(1) as thread:  # the caller may have an event loop already
            return thread.submit(lambda: asyncio.run(self._found(many))).result()

    async def _found(self, many: bool) -> Probed:
        attempts = min(_ATTEMPTS, self.access.max_attempts)
        client = Client(replace(self.access, max_attempts=attempts))
        try:
            honoured, temperature = await self._seeds(client)
            return Probed(honoured, many and await self._takes_many(client, temperature))
        except (EngineError, *OUTSIDERS_FAULTS):
            return Probed()
        finally:
            await client.close()

    async def _seeds(self, client: Client) -> tuple[bool | None, float]:
        """Return whether seeds are honoured, and the temperature at which samples differ."""
        for temperature in _TEMPERATURES:
            seeds = SEEDS[:2] if temperature == _TEMPERATURES[0] else SEEDS
            texts = [(await self._texts(client, seed, temperature))[0] for seed in seeds]
            if len(set(texts)) == 1:
                continue
            (again,) = await self._texts(client, SEEDS[0], temperature)
            return again == texts[0], temperature
        if not texts[0]:  # it hides its text: a thought of more tokens than were requested
            return None, temperature
        allowed = (
            f"must be a server whose samples differ: {len(texts)} seeds gave one text at temperature"
            f" {temperature:g}. Start it so that it honours seeds (SGLang: --enable-deterministic-inference),"
            " and a gateway without its cache of replies; engine.probe=false omits this check"
        )
        raise ConfigError("engine.base_url", self.access.base_url, allowed)

    async def _takes_many(self, client: Client, temperature: float) -> bool:
        """Return whether one request with ``n`` gives different samples; some servers ignore it."""
        try:
            first, second = await self._texts(client, SEEDS[0], temperature, n=2)
        except (EngineError, *OUTSIDERS_FAULTS):
            return False
        return first != second

    async def _texts(self, client: Client, seed: int, temperature: float, n: int = 1) -> Sequence[str]:
        sampling = {"max_tokens": _TOKENS, "temperature": temperature, "top_p": 1.0, "seed": seed}
        body = {**self.body, **sampling, **({"n": n} if n > 1 else {})}
        reply = await client.post(self.path, body)
        return [self.text_of(choice) for choice in reply["choices"]]


def completion_text(choice: Mapping[str, Any]) -> str:
    """Return the text of a completion."""
    return str(choice["text"])


def message_text(choice: Mapping[str, Any]) -> str:
    """Return the text of a chat's message, with its reasoning where the server shows it."""
    message = choice["message"]
    return "".join(str(message.get(key) or "") for key in ("reasoning", "reasoning_content", "content"))
