"""A search as HTML and SVG for a notebook: drawn here, without a script and without a request.

The report's drawings need plotly.js, four megabytes that every result of a notebook would repeat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from orchestrator.terminal import printable
from orchestrator.types import NodeRecord, Record, StepRecord, Trajectory

MAX_CANDIDATES, MAX_TEXT, MAX_NODES = 20, 2000, 400
_WIDTH, _ROW, _EDGE = 640, 18, 24
_STYLE = "font:13px sans-serif;max-width:900px"
_RED, _GREEN, _GREY, _BLUE = (204, 51, 51), (34, 136, 68), "#999999", "#2266bb"

History = Sequence[Record]


def page_of(
    title: str,
    cost: str,
    question: str,
    candidates: Sequence[tuple[str | None, Trajectory]],
    chosen: Trajectory | None,
    history: History,
) -> str:
    """Return a result as HTML: the answer, its cost, the drawing of its search, and its candidates.

    ``candidates`` are answers with their trajectories, the chosen one first. Long texts are cut.
    """
    drawing = drawing_of(history, chosen)
    return (
        f'<div style="{_STYLE}"><b>{_text(title)}</b><br><span style="color:{_GREY}">{_text(cost)}</span>'
        f"<div>{_text(question)}</div>{drawing}"
        + "".join(_candidate(answer, trajectory) for answer, trajectory in candidates[:MAX_CANDIDATES])
        + _left_out(len(candidates) - MAX_CANDIDATES, "candidates")
        + "</div>"
    )


def drawing_of(history: History, chosen: Trajectory | None) -> str:
    """Return the SVG of a search: a tree, or a population's ancestors; empty where nothing was recorded."""
    nodes = [record for record in history if isinstance(record, NodeRecord)]
    steps = [record for record in history if isinstance(record, StepRecord)]
    if nodes:
        return _tree(nodes[:MAX_NODES], chosen) + _left_out(len(nodes) - MAX_NODES, "nodes")
    return _genealogy(steps) if steps else ""


def _candidate(answer: str | None, trajectory: Trajectory) -> str:
    """Return a candidate folded up: its answer, and its steps, each in the colour of its reward."""
    reward = trajectory.reward
    shown = "no answer" if answer is None else answer
    head = _text(shown) + ("" if reward is None else f" &middot; reward {reward.value:.3f}")
    steps = "".join(
        f'<span style="border-left:3px solid {_colour(None if s.reward is None else s.reward.value)};'
        f'padding-left:4px">{_text(s.text)}</span>'
        for s in trajectory.steps
    )
    return f'<details><summary>{head}</summary><pre style="white-space:pre-wrap">{steps}</pre></details>'


def _genealogy(records: Sequence[StepRecord]) -> str:
    """Return one column for each step and a circle for each slot, joined to the slot that it came from.

    A circle's area is the slot's weight before the choice.
    """
    columns = [(len(record.ancestors), record.weights) for record in records]
    most = max(num for num, _ in columns)
    x = _spread(len(records) + 1, _WIDTH)
    marks = []
    for i, record in enumerate(records):
        for slot, ancestor in enumerate(record.ancestors):
            marks.append(_line(x[i], _y(ancestor), x[i + 1], _y(slot)))
    for i, (num, weights) in enumerate(columns):
        for slot in range(num):
            share = weights[slot] if slot < len(weights) else 1.0 / num
            said = f"step {records[i].step}, slot {slot}, weight {share:.3f}"
            marks.append(_circle(x[i], _y(slot), 2 + 6 * max(0.0, share) ** 0.5, _BLUE, said))
    marks += [_circle(x[-1], _y(slot), 3, _BLUE, f"slot {slot}") for slot in range(columns[-1][0])]
    return _svg(most, marks, "the ancestors of each slot, step by step")


def _tree(nodes: Sequence[NodeRecord], chosen: Trajectory | None) -> str:
    """Return the nodes, the root on the left, in the colours of their rewards; the answer's path is bold."""
    place = dict(_placed(nodes))
    depth = max(level for level, _ in place.values())
    x = _spread(depth + 1, _WIDTH)
    path = _path(nodes, "" if chosen is None else chosen.text)
    marks = []
    for node in nodes:
        if node.parent in place and node.node in place:
            (a, i), (b, j) = place[node.parent], place[node.node]
            marks.append(_line(x[a], _y(i), x[b], _y(j), bold=node.node in path))
    for node in nodes:
        if node.node in place:
            level, row = place[node.node]
            reward = "not scored" if node.reward is None else f"reward {node.reward:.3f}"
            said = f"{node.text[:200]} ({reward}, cost {node.cost:.3f})"
            radius = 3 if node.closed is None else 5
            marks.append(_circle(x[level], _y(row), radius, _colour(node.reward), said))
    return _svg(int(max(row for _, row in place.values())) + 1, marks, "the tree of the search")


def _placed(nodes: Sequence[NodeRecord]) -> Iterator[tuple[int, tuple[int, float]]]:
    """Yield each node's depth and row: a leaf has the next row, a parent the middle of its children's."""
    children: dict[int | None, list[int]] = {}
    for node in nodes:
        children.setdefault(node.parent, []).append(node.node)
    rows: dict[int, float] = {}
    num_leaves = 0
    stack = [(root, 0, False) for root in reversed(children.get(None, []))]
    while stack:  # not by recursion: a tree may be deeper than Python's stack
        number, level, is_back = stack.pop()
        below = children.get(number, [])
        if below and not is_back:
            stack.append((number, level, True))
            stack += [(child, level + 1, False) for child in reversed(below)]
            continue
        rows[number] = sum(rows[child] for child in below) / len(below) if below else float(num_leaves)
        num_leaves += not below
        yield number, (level, rows[number])


def _path(nodes: Sequence[NodeRecord], text: str) -> set[int]:
    """Return the nodes from the root to the one whose text, with its ancestors', is ``text``."""
    texts: dict[int, str] = {}
    parents: Mapping[int, int | None] = {node.node: node.parent for node in nodes}
    for node in nodes:
        texts[node.node] = ("" if node.parent is None else texts.get(node.parent, "")) + node.text
    at = next((number for number, whole in texts.items() if text and whole == text), None)
    path: set[int] = set()
    while at is not None and at not in path:
        path.add(at)
        at = parents.get(at)
    return path


def _svg(num_rows: int, marks: Sequence[str], title: str) -> str:
    height = _ROW * num_rows + 2 * _EDGE
    size = f'viewBox="0 0 {_WIDTH + 2 * _EDGE} {height}" style="width:100%;max-height:480px"'
    shown = f"<title>{title}</title>{''.join(marks)}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>{shown}</svg>'


def _line(x1: float, y1: float, x2: float, y2: float, *, bold: bool = False) -> str:
    style = f'stroke="{_BLUE}" stroke-width="2.5"' if bold else f'stroke="{_GREY}" stroke-width="0.8"'
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def _circle(x: float, y: float, radius: float, colour: str, said: str) -> str:
    mark = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}">'
    return f"{mark}<title>{_text(said)}</title></circle>"


def _spread(num: int, width: float) -> list[float]:
    return [_EDGE + width * i / max(1, num - 1) for i in range(num)]


def _y(row: float) -> float:
    return _EDGE + _ROW * row


def _colour(reward: float | None) -> str:
    """Return the colour of a reward in [0, 1], from red to green; grey without one."""
    if reward is None:
        return _GREY
    return "#" + "".join(f"{round(a + (b - a) * reward):02x}" for a, b in zip(_RED, _GREEN, strict=True))


def _text(text: str) -> str:
    cut = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
    return escape(printable(cut))


def _left_out(num: int, what: str) -> str:
    return f'<div style="color:{_GREY}">and {num} more {what}</div>' if num > 0 else ""
