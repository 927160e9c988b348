"""How reward models are fed and read: a registry by format, never by a model's name.

A *format* is configuration: it says what a model must have on top (a classifier or its own vocabulary), how
a trajectory is laid out as tokens, and which outputs speak for a step. It holds no model and imports no
heavy library, so that it serves every backend alike::

    format = build_format("token_classification", {"step_tag": "<extra_0>", ...})
    layout = format.layout(tokenizer)
    rendered = layout.render(question, steps, num_locked, readout="per_step")
    verdict = format.verdict(layout, num_labels)        # a language model head: num_labels is not looked at

A backend then runs ``rendered.token_ids`` and takes, at each of ``rendered.reads``, the model's raw outputs
(logits, not probabilities): labels where ``format.head`` is "classifier", the vocabulary where it is "lm".
Log-probabilities do as well as logits. Where it can read the end of a prompt alone, ``rendered.prompts`` are
those. ``verdict.good`` and ``verdict.bad`` index the outputs, and ``verdict.log_odds`` makes the reward.
"""

from actors.verifiers.formats.layout import Layout, Rendered
from actors.verifiers.formats.registry import FORMATS, Format, build_format
from actors.verifiers.formats.verdict import Verdict

__all__ = ["FORMATS", "Format", "Layout", "Rendered", "Verdict", "build_format"]
