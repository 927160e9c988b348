"""Lines of results.jsonl: what is written of a solved problem, and what is read from a line again.

``line_checks`` holds the shape that a line must have before it is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from itertools import accumulate, pairwise
from typing import Any, get_args

from orchestrator.outcome import Candidate, ProblemResult
from orchestrator.storage.line_checks import known_overhead, known_usage
from orchestrator.storage.silence import Lengths
from orchestrator.types import (
    AttemptRecord,
    Denoising,
    DraftRecord,
    Finish,
    Granted,
    NodeRecord,
    Overhead,
    Problem,
    Record,
    Reward,
    RoleRecord,
    RoundRecord,
    Solution,
    Step,
    StepRecord,
    Trajectory,
    TrialRecord,
    Usage,
)


def finite(number: float) -> float | None:
    """Return the number, or None for an infinity and NaN, which JSON does not have."""
    return number if math.isfinite(number) else None


def exact(number: float) -> float | str:
    """Return what ``float()`` reads back as the same number: infinities are strings in JSON."""
    return number if math.isfinite(number) else str(number)


def candidate_line(candidate: Candidate, cut_off: str | None = None) -> dict[str, Any]:
    """Return an entry of ``candidates``; ``cut_off`` is the key of what has cut it off."""
    trajectory = candidate.trajectory
    reward, logprobs = trajectory.reward, [s.logprob for s in trajectory.steps if s.logprob is not None]
    return {
        "answer": candidate.answer,
        "text": trajectory.text,
        "reward": None if reward is None else reward.value,
        "log_weight": finite(candidate.log_weight),
        "num_tokens": trajectory.num_tokens,
        "correct": candidate.correct,
        "finished": trajectory.finished,
        "cut_off": cut_off,
        "logprob": finite(math.fsum(logprobs)) if len(logprobs) == len(trajectory.steps) else None,
        "step_lengths": [len(s.text) for s in trajectory.steps],
        "step_tokens": [len(s.token_ids) for s in trajectory.steps],
        "step_logprobs": [None if s.logprob is None else exact(s.logprob) for s in trajectory.steps],
        "step_log_odds": [None if s.reward is None else exact(s.reward.log_odds) for s in trajectory.steps],
        **schedule_entries(candidate),
        **({} if candidate.group is None else {"group": candidate.group}),
    }


def schedule_entries(candidate: Candidate) -> dict[str, Any]:
    """Return what the line of a denoised candidate holds in addition: its block length, and its NLL.

    The NLL is the sum of -log p of the candidate's tokens, up to the end of the text and that included, each
    at the denoising pass that committed it. Where it was asked for, the estimate of the canvas follows.
    """
    params, logprobs = candidate.params, [s.logprob for s in candidate.trajectory.steps]
    if not isinstance(params, Denoising):
        return {}
    known = [x for x in logprobs if x is not None]
    estimate = candidate.trajectory.one_step_nll
    return {
        "block_length": params.block_length or params.gen_length,
        "nll": finite(-math.fsum(known)) if len(known) == len(logprobs) else None,
        **({} if estimate is None or not math.isfinite(estimate) else {"one_step_nll": estimate}),
    }


def record_line(record: Record) -> dict[str, Any]:
    """Return an entry of ``history``; weights are for drawings, so six digits are enough."""
    values = {name: getattr(record, name) for name in _RECORD_NAMES[type(record)]}
    line = {k: finite(v) if isinstance(v, float) else v for k, v in values.items()}
    if isinstance(record, StepRecord):
        line["weights"] = [float(f"{w:.6g}") for w in record.weights]
    if isinstance(record, RoundRecord):
        line["first"] = list(record.first)
        return line if record.round == 0 else {k: v for k, v in line.items() if k != "first"}
    return line


_RECORD_NAMES = {kind: tuple(f.name for f in fields(kind)) for kind in get_args(Record)}
# The field by which a stored entry of each kind is known.
_KNOWN_BY: dict[str, type[Record]] = {
    "node": NodeRecord,
    "granted": RoundRecord,
    "candidate": AttemptRecord,
    "accepted": DraftRecord,
    "role": RoleRecord,
    "arm": TrialRecord,
    "ancestors": StepRecord,
}


def result_line(result: ProblemResult, lengths: Lengths = Lengths()) -> dict[str, Any]:
    """Return the line of results.jsonl for a solved problem."""
    problem, error = result.problem, result.error
    history = result.solution.history if result.solution else ()
    return {
        "problem_id": problem.id,
        "question": problem.question,
        "reference": problem.answer,
        "answer": result.answer,
        "correct": result.correct,
        "error": None if error is None else {"type": type(error).__name__, "message": str(error)},
        "stopped_by": result.stopped_by,
        "candidates": [
            candidate_line(c, lengths.cut_off_by(c.trajectory, result.stopped_by)) for c in result.candidates
        ],
        "usage": asdict(result.usage),
        **({"usage_by_role": {k: asdict(v) for k, v in result.by_role.items()}} if result.by_role else {}),
        **_by_policy(result.by_policy),
        **({} if result.cost is None else {"cost": result.cost}),
        "overhead": asdict(result.overhead),
        "seconds": round(result.seconds, 6),
        "history": [record_line(record) for record in history],
        "answer_index": result.solution.answer_index if result.solution else None,
    }


def _by_policy(usages: Mapping[str, Usage]) -> dict[str, Any]:
    return {"usage_by_policy": {name: asdict(usage) for name, usage in usages.items()}} if usages else {}


def granted_of(line: Mapping[str, Any]) -> Granted:
    """Return what an allocator granted the problem of a line, and how many samples it has drawn."""
    records = [record_of(entry) for entry in line["history"] if "granted" in entry]
    return Granted(tuple(r for r in records if isinstance(r, RoundRecord)), len(line["candidates"]))


def spent(line: Mapping[str, Any]) -> Usage:
    """Return the usage of a line, without the fields of later releases."""
    return Usage(**known_usage(line))


def overhead_of(line: Mapping[str, Any]) -> Overhead:
    """Return the overhead of a line (tokens that were discarded), without the fields of later releases."""
    return Overhead(**known_overhead(line))


def by_role_of(line: Mapping[str, Any]) -> dict[str, Usage]:
    """Return what the prompted calls of a line have spent, by role; empty where there were none."""
    return {role: spent({"usage": usage}) for role, usage in line.get("usage_by_role", {}).items()}


def by_policy_of(line: Mapping[str, Any]) -> dict[str, Usage]:
    """Return what each policy has spent; empty where the run has one."""
    return {name: spent({"usage": usage}) for name, usage in line.get("usage_by_policy", {}).items()}


def in_recorded_order(line: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the candidates in the search's order: in a result line the answer's comes first."""
    candidates, at = list(line["candidates"]), line.get("answer_index")
    return candidates if at is None else [*candidates[1 : at + 1], candidates[0], *candidates[at + 1 :]]


def trajectory_of(candidate: Mapping[str, Any]) -> Trajectory:
    """Return the trajectory of a stored candidate: its texts, rewards, numbers of tokens and likelihoods.

    Token ids are not stored: they are all 0. Where the tokens and likelihoods of the steps are not known (an
    older release), those of the whole are at the last step.
    """
    bounds = pairwise(accumulate(candidate["step_lengths"], initial=0))
    texts = [candidate["text"][a:b] for a, b in bounds]
    rewards = [None if x is None else Reward(float(x)) for x in candidate["step_log_odds"]]
    last = len(texts) - 1
    counts = candidate["step_tokens"] if knows_steps(candidate) else [0] * last + [candidate["num_tokens"]]
    steps = (
        Step(
            text=text,
            token_ids=(0,) * num_tokens,
            logprob=logprob,
            reward=reward,
            finish=Finish.STEP if i < last else Finish.EOS if candidate["finished"] else Finish.LENGTH,
            one_step_nll=candidate.get("one_step_nll") if i == last else None,
        )
        for i, (text, num_tokens, logprob, reward) in enumerate(
            zip(texts, counts, _logprobs(candidate), rewards, strict=True)
        )
    )
    return Trajectory(tuple(steps))


def knows_steps(candidate: Mapping[str, Any]) -> bool:
    """Return whether a stored candidate holds the tokens and likelihoods of each of its steps."""
    given = [candidate.get(key, ()) for key in ("step_tokens", "step_logprobs")]
    return all(len(values) == len(candidate["step_lengths"]) for values in given)


def _logprobs(candidate: Mapping[str, Any]) -> list[float | None]:
    num_steps, whole = len(candidate["step_lengths"]), candidate["logprob"]
    if knows_steps(candidate):
        return [None if x is None else float(x) for x in candidate["step_logprobs"]]
    return [None] * num_steps if whole is None else [0.0] * (num_steps - 1) + [whole]


def log_weight_of(candidate: Mapping[str, Any]) -> float:
    """Return the search's weight; for an infinity, which JSON does not have, the reward gives the sign."""
    value = candidate["log_weight"]
    if value is not None:
        return float(value)
    return math.inf if candidate["reward"] == 1.0 else -math.inf


def stored_result(line: Mapping[str, Any], problem: Problem | None = None) -> ProblemResult:
    """Return the result of a line without an error, with its problem: a line holds the texts of one alone.

    Neither token ids (see ``trajectory_of``) nor decoding parameters are stored.
    """
    recorded = in_recorded_order(line)
    solution = Solution(
        answer_index=line["answer_index"],
        trajectories=tuple(trajectory_of(c) for c in recorded),
        log_weights=tuple(log_weight_of(c) for c in recorded),
        history=tuple(record_of(record) for record in line["history"]),
        usage=spent(line),
    )
    return ProblemResult(
        problem=problem or Problem(line["problem_id"], line["question"], line["reference"]),
        candidates=tuple(
            Candidate(trajectory_of(c), log_weight_of(c), c["answer"], c["correct"], group=c.get("group"))
            for c in line["candidates"]
        ),
        has_answer=line["answer_index"] is not None,
        error=None,
        stopped_by=line["stopped_by"],
        solution=solution,
        usage=solution.usage,
        overhead=overhead_of(line),
        seconds=line["seconds"],
        by_role=by_role_of(line),
        by_policy=by_policy_of(line),
        cost=line.get("cost"),
    )


def record_of(record: Mapping[str, Any]) -> Record:
    """Return an entry of ``history`` as a value; a number that JSON could not hold is NaN."""
    kind = next(kind for key, kind in _KNOWN_BY.items() if key in record)
    values = {name: _value(name, record[name]) for name in _RECORD_NAMES[kind] if name in record}
    return kind(**values)


def _value(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return math.nan if value is None and name in _MAY_BE_INFINITE else value


_MAY_BE_INFINITE = {"ess", "entropy", "tempering", "cost", "heuristic"}


def oracle_mark(labels: Mapping[str, Any]) -> dict[str, bool]:
    """Return ``{"oracle": True}`` where the labels or the summary of a run say so, else nothing."""
    return {"oracle": True} if labels.get("oracle") else {}
