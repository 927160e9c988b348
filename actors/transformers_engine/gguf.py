"""A policy from one GGUF file, whose numbers transformers turns back into floats.

vLLM does not load such a file: ``python -m actors.transformers_engine.gguf FILE FOLDER`` writes what it holds
as a folder of safetensors, which every engine loads.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import transformers

from actors.checkpoints.gguf import gguf_file
from actors.transformers_engine.pretrained import check_complete


def load_gguf(named: tuple[str, str], file: Path, **how: Any) -> Any:
    """Load the model of a file; ``named`` is its key and value. Raises ConfigError where it lacks weights."""
    auto: Any = transformers.AutoModelForCausalLM
    model, info = auto.from_pretrained(file.parent, gguf_file=file.name, output_loading_info=True, **how)
    check_complete(*named, info)
    return _plain(model)


def _plain(model: Any) -> Any:
    """Return the same weights in a model that does not count as quantised, which could not be saved."""
    config = type(model.config).from_dict(
        {k: v for k, v in model.config.to_dict().items() if k != "quantization_config"}
    )
    plain = type(model)._from_config(config, dtype=model.dtype, attn_implementation="sdpa")
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = model.generation_config
    return plain


def tokenizer_of(file: Path, **how: Any) -> Any:
    """Return the tokenizer that a file holds, with its chat template."""
    return transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, **how)


def convert(file: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a file as a folder of safetensors, in float32."""
    import torch

    load_gguf(("FILE", str(file)), file, dtype=torch.float32).save_pretrained(folder)
    tokenizer_of(file).save_pretrained(folder)


def main(arguments: list[str]) -> int:
    """Convert the file that the command line names."""
    if len(arguments) != 2 or (file := gguf_file(arguments[0])) is None:
        sys.stderr.write("usage: python -m actors.transformers_engine.gguf FILE.gguf FOLDER\n")
        return 2
    convert(file, Path(arguments[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
