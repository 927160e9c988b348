"""A scripted server, and engines that ask it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from actors.openai_engine.config import OpenAIEngineConfig

if TYPE_CHECKING:  # heavy, as what the fixtures import: the quick level reads this file too
    from tests.actors.openai_engine.scripted import Scripted


@pytest.fixture
def server() -> Iterator[Scripted]:
    from tests.actors.openai_engine.scripted import Scripted

    scripted = Scripted()
    yield scripted
    scripted.close()


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    from actors.embedded.models import build_tokenizer
    from tests.actors.small_models import ALPHABET

    folder: Path = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(ALPHABET).save_pretrained(folder)
    return str(folder)


@pytest.fixture
async def engine(server: Scripted, tokenizer_folder: str) -> Any:
    made: list[Any] = []

    def make(**knobs: Any) -> Any:
        knobs = {"tokenizer": tokenizer_folder, "max_wait_s": 0.05, **knobs}
        made.append(OpenAIEngineConfig("m", server.url, **knobs).build())
        return made[-1]

    yield make
    for each in made:
        await each.close()
