"""What reads an answer as a text, in one place."""

from orchestrator.grading_integers import read_integer
from orchestrator.grading_numbers import Exact, based_number, exact_number
from orchestrator.grading_tidy import tidy
from orchestrator.grading_words import plain_words
from orchestrator.stated_answer import find_answer

__all__ = ["Exact", "based_number", "exact_number", "find_answer", "plain_words", "read_integer", "tidy"]
