"""The schema of ``engine=diffusion``, checked before a model loads. Importing this file is light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from actors.checkpoints.models import check_model_path, make_absolute
from actors.checkpoints.stored_model import StoredModel
from actors.diffusion_engine.layouts import check_layout
from actors.settings import Count, Device, Dtype, MaxContext
from actors.text.prompting import PromptStyle
from orchestrator.errors import ConfigError
from orchestrator.schema import checked
from orchestrator.types import Denoising, Params


@dataclass(frozen=True)
@checked("engine")
class DiffusionEngineConfig(StoredModel):
    """A masked-diffusion language model (``conf/engine/diffusion.yaml``).

    ``cache`` keeps keys and values during a block: ``prefix`` those before it, ``dual`` all outside it; both
    are approximate. ``block_delimiters`` are the texts at which AdaBlock may end a block: at every
    token that consists of them. ``block_delimiter_ids`` names the tokens themselves, in place of the texts.
    """

    model: str
    template: str | None = None
    chat: bool = False
    system: str | None = None
    chat_options: Mapping[str, Any] = field(default_factory=dict)
    dtype: Dtype | Literal["float64"] = "float32"
    device: Device = "auto"
    max_batch_size: Count = 64
    max_context: MaxContext = None
    cache: Literal["none", "prefix", "dual"] = "none"
    block_delimiters: Sequence[str] = ("\n",)
    block_delimiter_ids: Sequence[int] | None = None
    compile: bool = False
    batch_invariant: bool | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        check_model_path("engine.model", self.model)
        check_layout("engine.model", self.model)
        make_absolute(self, "model")
        PromptStyle.of(self)
        if self.device == "mps":
            raise ConfigError("engine.device", "mps", "draws need float64: must be cpu, cuda or xpu")
        if self.block_delimiter_ids is not None and min(self.block_delimiter_ids, default=-1) < 0:
            allowed = "must be null, or token ids of 0 or more"
            raise ConfigError("engine.block_delimiter_ids", list(self.block_delimiter_ids), allowed)
        if not all(self.block_delimiters):
            raise ConfigError("engine.block_delimiters", self.block_delimiters, "must be texts, none empty")

    @property
    def takes(self) -> type[Params]:
        return Denoising

    @property
    def takes_history(self) -> bool:
        return self.chat

    def build(self) -> Any:
        """Load the model. Raises ConfigError."""
        from actors.diffusion_engine.engine import DiffusionEngine

        return DiffusionEngine(self)
