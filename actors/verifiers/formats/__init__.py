"""How reward models are fed and read: a registry of formats, independent of models' names.

A *format* is configuration: it says which head a model must have (a classifier or its vocabulary), how a
trajectory is laid out as tokens, and which outputs support a step. It holds no model and imports no heavy
library, so that every backend can use it::

    format = build_format("token_classification", {"step_tag": "<extra_0>", ...})
    layout = format.layout(tokenizer)
    rendered = layout.render(question, steps, num_locked, readout="per_step")
    verdict = format.verdict(layout, num_labels)        # with a language model head num_labels is not used

A backend then runs ``rendered.token_ids`` and takes, at each of ``rendered.reads``, the model's raw outputs
(logits or log-probabilities, not probabilities): labels where ``format.head`` is "classifier", the vocabulary
where it is "lm". ``rendered.prompts`` are for a backend that can read only the end of a prompt.
``verdict.good`` and ``verdict.bad`` index the outputs, and ``verdict.log_odds`` computes the reward.
"""

from actors.verifiers.formats.layout import Layout, Rendered
from actors.verifiers.formats.registry import FORMATS, Format, build_format
from actors.verifiers.formats.verdict import Verdict

__all__ = ["FORMATS", "Format", "Layout", "Rendered", "Verdict", "build_format"]
