"""Types of the settings that several engines and verifiers have. Light: no heavy library is loaded."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from annotated_types import Ge

from orchestrator.schema import Rule

Dtype = Literal["float32", "bfloat16", "float16", "auto"]
MaxContext = Annotated[int | None, Ge(1)]
Count = Annotated[int, Ge(1)]
CacheBytes = Annotated[int, Ge(0)]


def _is_device(name: str) -> bool:
    return re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d+)?", name) is not None


Device = Annotated[str, Rule(_is_device, "must be auto, cpu, cuda, cuda:0, xpu or mps")]
