"""An evaluation with OpenAI's client alone: ``python docs/harness/openai_client.py BASE_URL MODEL``."""

import asyncio
import json
import re
import sys
from pathlib import Path

from openai import AsyncOpenAI

AT_ONCE = 8


async def main(base_url: str, model: str) -> None:
    lines = Path(__file__).with_name("chain.jsonl").read_text(encoding="utf-8").splitlines()
    places = asyncio.Semaphore(AT_ONCE)

    async def is_right(sample: dict[str, str]) -> bool:
        async with places:
            search = {"budget": 8, "problem_id": sample["id"]}
            reply = await client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": sample["input"]}],
                seed=1,
                extra_body={"search": search},
            )
        found = re.search(r"#(-?\d+)", reply.choices[0].message.content or "")
        return found is not None and found[1] == sample["target"]

    async with AsyncOpenAI(base_url=base_url, api_key="none") as client:
        right = await asyncio.gather(*map(is_right, map(json.loads, lines)))
    print(f"accuracy: {sum(right) / len(right):.3f}")  # noqa: T201 - a program for a shell


asyncio.run(main(*sys.argv[1:]))
