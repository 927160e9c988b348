"""The table of the masked-diffusion model: who wins a vote, what is compared, and what is shipped."""

from collections.abc import Sequence

import pytest
import torch

from actors.diffusion_engine.config import DiffusionEngineConfig
from actors.diffusion_engine.engine import DiffusionEngine
from actors.embedded.evaluate_diffusion import Denoised, Judged, best_block, compare, denoise, is_won, table
from actors.embedded.families import TWOWAY
from orchestrator.tasks.twoway import TwoWayTask
from orchestrator.types import Problem

SCHEDULES = {params.block_length: params for params in TWOWAY.schedules}


def paths(answers: str, right: str = "R") -> list[Denoised]:
    """One path a character; ``.`` cannot be read."""
    return [Denoised(None if a == "." else a, a == right, begins_with_end=a == ".") for a in answers]


def judged(**rows: Sequence[str]) -> Judged:
    """``b2=("RX", ...)``: the paths of block 2, one text a problem; kinds take turns."""
    num_problems = len(next(iter(rows.values())))
    problems = [Problem(str(i), "q", "R", {"asks": ("first", "last")[i % 2]}) for i in range(num_problems)]
    return Judged(problems, {int(b[1:]): [paths(text) for text in texts] for b, texts in rows.items()})


@pytest.mark.parametrize(
    ("answers", "won"),
    [("RRX", True), ("XXR", False), ("RX", True), ("XR", False), ("..R", True), ("..", False), ("", False)],
)
def test_the_most_frequent_answer_wins_and_of_equals_the_first(answers: str, won: bool) -> None:
    assert is_won(paths(answers)) == won


def test_the_vote_over_all_takes_as_many_paths_from_each_schedule() -> None:
    one = judged(b4=("RRXX", "XXXX"), b2=("XXRR", "RR.."))
    # X X of block 2 come before R R of block 4: a tie to the smaller
    assert one.vote_over_all() == [0.0, 1.0]
    assert one.vote(2) == [0.0, 1.0]
    assert one.single(2) == [0.5, 0.5]
    assert table(one, "asks")["vote_over_all"] == {"all": 0.5, "first": 0.0, "last": 1.0}
    assert table(one, "asks")["blocks"]["2"]["unreadable"] == 0.25


def test_rivals_are_chosen_on_the_other_problems() -> None:
    dev = judged(b2=("RRR", "RRR"), b4=("RXX", "RXX"), b8=("XXX", "XXX"))
    test = judged(b2=("XXX", "XXX"), b4=("RRR", "RRR"), b8=("RRR", "RRR"))
    rivals = compare(dev, test)
    assert list(rivals) == [
        "vote at block 2, the best",
        "one path at block 2, the best",
        "one path at block 4, the median",
    ]
    assert rivals["one path at block 4, the median"][0] == 0.0
    assert rivals["vote at block 2, the best"][0] == 1.0
    assert best_block({2: 0.5, 4: 0.5, 8: 0.1}) == 2


async def test_the_shipped_model_needs_both_schedules_and_collapses_without_blocks() -> None:
    """Each kind of problem is solved by one schedule and lost by the other: what HEX is there for.

    With the whole canvas as one block the surest token is the end of text, far to the right (HEX,
    arXiv 2510.05040, the collapse); in blocks no path begins with it.
    """
    torch.set_num_threads(1)
    engine, task = (
        DiffusionEngine(DiffusionEngineConfig("embedded:twoway-diffusion", template="{question}\n")),
        TwoWayTask("dev"),
    )
    problems = list(task.problems(0, 24))
    right, collapsed = {}, {}
    for block in (4, 24):
        rows = await denoise(engine, task, problems, SCHEDULES[block], 1)
        collapsed[block] = sum(row[0].begins_with_end for row in rows) / len(rows)
        for kind in ("first", "last"):
            own = [
                row[0].is_right for row, p in zip(rows, problems, strict=True) if p.metadata["asks"] == kind
            ]
            right[block, kind] = sum(own) / len(own)
    await engine.close()
    assert collapsed[24] > 0.9 and collapsed[4] == 0
    assert right[24, "first"] > 0.5 and right[24, "last"] < 0.3
    assert right[4, "last"] > 0.2 and right[4, "first"] < 0.2
