"""The formats: one frozen class each, whose fields are the options of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Protocol

from annotated_types import MinLen

from actors.verifiers.formats.chat import chat_texts
from actors.verifiers.formats.layout import Layout, Skeleton
from actors.verifiers.formats.marks import check_marks, check_tag, verdict_token
from actors.verifiers.formats.verdict import Verdict
from orchestrator.errors import ConfigError
from orchestrator.protocols import READOUTS
from orchestrator.schema import Rule, Words, checked
from orchestrator.suggest import nearest

_TEXTS = ("template", "system", "step_template", "before_first", "between")


def _holds(needed: str) -> Rule:
    return Rule(lambda text: text.count(needed) == 1, f"must hold {needed}, once", quoted=True)


_Text = Annotated[str, Words("must be a text")]
_TextOrNull = Annotated[str | None, Words("must be a text or null")]
_Switch = Annotated[bool, Words("must be true or false")]
_Whole = Annotated[int, Words("must be a whole number")]
_Template = Annotated[_Text, _holds("{question}")]


class Format(Protocol):
    """The head of a reward model, how it is fed, and how a reward is read from its outputs."""

    @property
    def head(self) -> str:
        """``classifier``: a few outputs per token; ``lm``: the logits of the vocabulary."""
        ...

    @property
    def readouts(self) -> tuple[str, ...]:
        """Which of ``per_step`` and ``whole`` it supports."""
        ...

    def layout(self, tokenizer: Any) -> Layout:
        """Return the layout. Raises ConfigError where the tokenizer does not know its marks."""
        ...

    def verdict(self, layout: Layout, num_labels: int) -> Verdict:
        """Return which outputs are read. Raises ConfigError where the model does not have them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
@checked("verifier.options")
class TaggedSteps:
    """The layout that most reward models share: a question, then steps that each end with ``step_tag``.

    ``template`` renders ``{question}`` (and the tokenizer's ``{bos}``, for models that require one which it
    does not add itself). With ``chat`` it renders the user's message, ``system`` is the system's, and the
    steps are the assistant's answer. ``step_template`` renders ``{step}``, and ``{number}`` from 1;
    ``before_first`` precedes the first step and ``between`` each later one. With ``one_newline`` the
    read-out ``whole`` shows a blank line as the end of a line, as the code of arXiv 2502.01618 does.
    """

    template: _Template = "{question}\n"
    chat: _Switch = False
    system: _TextOrNull = None
    step_tag: Annotated[str, MinLen(1), Words("must be a text, it ends each step", quoted=True)] = "\n"
    step_template: Annotated[_Text, _holds("{step}")] = "{step}"
    before_first: _Text = ""
    between: _Text = ""
    one_newline: _Switch = False

    def __post_init__(self) -> None:
        _check_system(self.system, self.chat)

    @property
    def readouts(self) -> tuple[str, ...]:
        return READOUTS

    def layout(self, tokenizer: Any) -> Layout:
        check_tag(tokenizer, "step_tag", self.step_tag)
        check_marks(tokenizer, **{name: getattr(self, name) for name in _TEXTS})
        before, after = _around_question(self.template, tokenizer)
        notes: Mapping[str, str] = {}
        if self.chat:
            texts = chat_texts(tokenizer, self.system)
            before, after, notes = texts.opening + before, after + texts.asking, texts.notes
        skeleton = Skeleton(
            before_question=before,
            after_question=after,
            before_first=self.before_first,
            between=self.between,
            step=self.step_template,
            tag=self.step_tag,
            special=not self.chat,
            one_newline=self.one_newline,
        )
        return Layout(tokenizer, skeleton, notes)


@dataclass(frozen=True, slots=True, kw_only=True)
@checked("verifier.options")
class TokenClassification(TaggedSteps):
    """A classifier's logits at the tag's last token: Qwen2.5-Math-PRM, PRM800K, models trained with TRL.

    The log-odds compare the positive label's logit with the others' (for two labels l1 - l0, unclipped).
    """

    positive_label: _Whole = 1

    @property
    def head(self) -> str:
        return "classifier"

    def verdict(self, layout: Layout, num_labels: int) -> Verdict:
        return _labels_verdict(self.positive_label, num_labels)


@dataclass(frozen=True, slots=True, kw_only=True)
@checked("verifier.options")
class ValueHead(TaggedSteps):
    """A value head's output at the tag: Skywork-o1-Open-PRM.

    The output is the log-odds; its sigmoid is the reward's value.
    """

    @property
    def head(self) -> str:
        return "classifier"

    def verdict(self, layout: Layout, num_labels: int) -> Verdict:
        if num_labels != 1:
            raise ConfigError(
                "verifier.format", "value_head", f"must be a model of one value per token, not {num_labels}"
            )
        return Verdict((0,), ())


@dataclass(frozen=True, slots=True, kw_only=True)
@checked("verifier.options")
class LMHead(TaggedSteps):
    """A language model's logits of two tokens, read at the tag: Math-Shepherd ("+" against "-")."""

    good: _Text = "+"
    bad: _Text = "-"

    @property
    def head(self) -> str:
        return "lm"

    def verdict(self, layout: Layout, num_labels: int) -> Verdict:
        return _tokens_verdict(layout, self.good, self.bad)


@dataclass(frozen=True, slots=True, kw_only=True)
@checked("verifier.options")
class LMTurns:
    """A conversation in which each user's turn shows one step and the model answers it: RLHFlow.

    The question precedes the first step, with ``before_first`` between them. ``good`` against ``bad`` is read
    where the model would answer. With any reward the conversation continues from the answer ``good``, as in
    the authors' code.
    """

    template: _Template = "{question}"
    system: _TextOrNull = None
    before_first: _Text = " "
    good: _Text = "+"
    bad: _Text = "-"

    @property
    def head(self) -> str:
        return "lm"

    @property
    def readouts(self) -> tuple[str, ...]:
        return READOUTS

    def layout(self, tokenizer: Any) -> Layout:
        check_marks(tokenizer, template=self.template, system=self.system, before_first=self.before_first)
        texts = chat_texts(tokenizer, self.system)
        if not texts.turning:
            raise ConfigError("verifier.format", "lm_turns", "the model's chat template takes one turn only")
        before, after = _around_question(self.template, tokenizer)
        skeleton = Skeleton(
            before_question=texts.opening + before,
            after_question=after,
            before_first=self.before_first,
            between=self.good + texts.turning,
            tag=texts.asking,
            special=False,
        )
        return Layout(tokenizer, skeleton, texts.notes)

    def verdict(self, layout: Layout, num_labels: int) -> Verdict:
        return _tokens_verdict(layout, self.good, self.bad)


@dataclass(frozen=True, slots=True, kw_only=True)
@checked("verifier.options")
class Outcome:
    """A reward of a whole answer: a sequence classifier's logits at the last token (outcome reward models).

    With ``chat`` the last token is the last one of the assistant's turn in the chat template, else that of
    ``end``. A single label is a Bradley-Terry reward, whose sigmoid is the value (its scale depends on the
    model); of several, ``positive_label`` is read against the others.
    """

    template: _Template = "{question}"
    chat: _Switch = True
    system: _TextOrNull = None
    end: _TextOrNull = None
    positive_label: _Whole = 1

    def __post_init__(self) -> None:
        _check_system(self.system, self.chat)
        if not self.chat and not self.end:
            allowed = "must be a text, without chat it ends the answer"
            raise ConfigError("verifier.options.end", repr(self.end or ""), allowed)

    @property
    def head(self) -> str:
        return "classifier"

    @property
    def readouts(self) -> tuple[str, ...]:
        return ("whole",)

    def layout(self, tokenizer: Any) -> Layout:
        if self.end is not None:
            check_tag(tokenizer, "end", self.end)
        check_marks(tokenizer, template=self.template, system=self.system)
        before, after = _around_question(self.template, tokenizer)
        if not self.chat:
            return Layout(tokenizer, Skeleton(before, after, tag=self.end or ""))
        texts = chat_texts(tokenizer, self.system)
        end = self.end or texts.closing
        if not end:
            raise ConfigError(
                "verifier.options.end", None, "the chat template ends a turn with nothing: give a text"
            )
        skeleton = Skeleton(
            before_question=texts.opening + before,
            after_question=after + texts.asking,
            tag=end,
            special=False,
        )
        return Layout(tokenizer, skeleton, texts.notes)

    def verdict(self, layout: Layout, num_labels: int) -> Verdict:
        return Verdict((0,), ()) if num_labels == 1 else _labels_verdict(self.positive_label, num_labels)


FORMATS: Mapping[str, type[Any]] = {
    "token_classification": TokenClassification,
    "value_head": ValueHead,
    "lm_head": LMHead,
    "lm_turns": LMTurns,
    "outcome": Outcome,
}
"""By the name in the configuration; another way to read a reward is another class."""


def build_format(name: str, options: Mapping[str, Any], readout: str | None = None) -> Format:
    """Return the format ``name`` with ``options`` as its fields; it must support ``readout``.

    Raises ConfigError with the key, the value and what is allowed.
    """
    if name not in FORMATS:
        allowed = f"must be one of {', '.join(FORMATS)}{nearest(name, FORMATS)}"
        raise ConfigError("verifier.format", name, allowed)
    known = [f.name for f in fields(FORMATS[name])]
    for option, value in options.items():
        if option not in known:
            hint = nearest(option, known) or f"; known: {', '.join(known)}"
            raise ConfigError(f"verifier.options.{option}", value, f"not an option of {name}{hint}")
    built: Format = FORMATS[name](**options)
    if readout is not None and readout not in built.readouts:
        allowed = f"must be {' or '.join(built.readouts)} with format={name}"
        raise ConfigError("verifier.readout", readout, allowed)
    return built


def _check_system(system: str | None, chat: bool) -> None:
    if system is not None and not chat:
        raise ConfigError("verifier.options.system", system, "needs options.chat=true")


def _around_question(template: str, tokenizer: Any) -> tuple[str, str]:
    if "{bos}" in template and not tokenizer.bos_token:
        allowed = "holds {bos}, and this model's tokenizer has no beginning of text: leave it out"
        raise ConfigError("verifier.options.template", repr(template), allowed)
    before, _, after = template.replace("{bos}", tokenizer.bos_token or "").partition("{question}")
    return before, after


def _labels_verdict(positive_label: int, num_labels: int) -> Verdict:
    if not 0 <= positive_label < num_labels or num_labels < 2:
        allowed = f"must be below the model's number of labels, {num_labels}, and that 2 or more"
        raise ConfigError("verifier.options.positive_label", positive_label, allowed)
    return Verdict((positive_label,), tuple(i for i in range(num_labels) if i != positive_label))


def _tokens_verdict(layout: Layout, good: str, bad: str) -> Verdict:
    """The verdict of two tokens. Raises ConfigError where the texts are the same token."""
    named = (("good", good), ("bad", bad))
    ids = [verdict_token(layout.tokenizer, option, text) for option, text in named]
    if ids[0] == ids[1]:
        raise ConfigError("verifier.options.bad", repr(bad), f"is the same token as options.good, {ids[0]}")
    return Verdict((ids[0],), (ids[1],))
