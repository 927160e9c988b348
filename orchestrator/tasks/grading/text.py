"""The functions that read an answer as a text, in one place."""

from orchestrator.stated.answer import find_answer
from orchestrator.tasks.grading.integers import read_integer
from orchestrator.tasks.grading.numbers import Exact, based_number, exact_number
from orchestrator.tasks.grading.tidy import tidy
from orchestrator.tasks.grading.words import plain_words

__all__ = ["Exact", "based_number", "exact_number", "find_answer", "plain_words", "read_integer", "tidy"]
