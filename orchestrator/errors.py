"""Every error that Murmuration raises on purpose.

::

    MurmurationError
    ├── ConfigError            bad input: names the key, the value and what is allowed; exit status 2
    └── ProblemError           ends one problem; recorded in its result, and the run continues
        ├── EngineError        an engine could not complete a request
        │   ├── EngineDeadError  the engine is beyond repair: its replica exits and is replaced
        │   └── ReplicaDeath   the replica died under the request, after all attempts
        ├── VerifierError      a verifier returned no reward, a NaN, or a wrong number of them
        ├── GradingError       the task could not read or grade an answer
        ├── StrategyError      a strategy returned something else than a solution
        └── JournalError       a journal does not match the search that reads it

Unexpected exceptions are bugs, and propagate.
"""

from __future__ import annotations


class MurmurationError(Exception):
    """Base of every error of this project."""


class ConfigError(MurmurationError):
    """Bad configuration: one line that names the key, the value and what is allowed."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(key, value, allowed)
        self.key = key
        self.value = value
        self.allowed = allowed

    def __str__(self) -> str:
        value = "null" if self.value is None else self.value
        return f"{self.key}={value}: {self.allowed}"


class ProblemError(MurmurationError):
    """An error that ends one problem and no other."""


class EngineError(ProblemError):
    """An engine could not complete a request."""


class EngineDeadError(EngineError):
    """The engine is beyond repair, though its process lives: the process exits and is replaced."""


class ReplicaDeath(EngineError):
    """Every attempt at a request ended with the death of its replica."""


class VerifierError(ProblemError):
    """A verifier returned no reward, a NaN, or a wrong number of rewards."""


class GradingError(ProblemError):
    """The task could not read or grade an answer."""


class StrategyError(ProblemError):
    """A strategy returned something else than a solution."""


class JournalError(ProblemError):
    """A journal does not match the search that reads it: the code or the file has changed since."""
