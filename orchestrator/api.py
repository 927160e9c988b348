"""The library: one question or many, from Python; the command line runs on the same parts.

``solve`` and ``solve_many`` make a ``Controller`` and, with a run directory, a ``Recording``, as
``runs/point.py`` does of a command line. Nothing here reads a configuration file, except ``start`` for the
names that it is given.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from orchestrator.config.compatibility import check_readout
from orchestrator.config.naming import check_policies
from orchestrator.config.parts import check_engines, check_parts
from orchestrator.described import described, labels_of
from orchestrator.errors import ConfigError
from orchestrator.observe.events import recorded
from orchestrator.observe.scopes import apart
from orchestrator.outcome import ProblemResult
from orchestrator.protocols import Engine, Task, Verifier
from orchestrator.recording import Recording, model_labels
from orchestrator.schema import Count, CountOrZero, converted
from orchestrator.search.account import Limits
from orchestrator.search.controller import Controller
from orchestrator.search.prices import Price
from orchestrator.search.strategy import Strategy, knows_answers
from orchestrator.storage.inputs import Inputs, check_inputs
from orchestrator.storage.journal import Journals
from orchestrator.storage.result_lines import stored_result
from orchestrator.storage.results import stream_results
from orchestrator.storage.run_directory import Earlier, claimed, has_begun, open_run_dir, package_versions
from orchestrator.storage.silence import Lengths
from orchestrator.text.task import Question, TextTask, problem_of, problems_of
from orchestrator.types import ENGINE, Problem

T = TypeVar("T")


async def solve(
    question: str | Problem,
    *,
    strategy: Strategy,
    engine: Engine,
    verifier: Verifier | None = None,
    task: Task | None = None,
    reference: str = "",
    seed: int = 0,
    limits: Limits = Limits(),
    policies: Mapping[str, Engine] = MappingProxyType({}),
    prices: Mapping[str, Price] = MappingProxyType({}),
) -> ProblemResult:
    """Return the result of one question; a model's failure is its ``error``.

    ``task`` says what a step is and how an answer is read (``TextTask()`` by default). The answer is
    compared with ``reference``, which no model sees. The same seed gives the same answer where the models
    are deterministic. ``policies`` are further engines, by the names under which the strategy asks them, and
    ``prices`` what the tokens of each, and of ``"engine"``, cost (``limits.cost``). Raises ConfigError for
    parts that do not fit together.

    Example::

        result = await solve("How much is 6 x 7?", strategy=BestOfN(8), engine=engine, verifier=verifier)
        print(result.answer, result.usage)
    """
    if not isinstance(question, str | Problem):
        raise ConfigError(
            "question", repr(question), "must be a text or a Problem; solve_many() takes several"
        )
    results = solve_many(
        [problem_of(question, reference)],
        strategy=strategy,
        engine=engine,
        verifier=verifier,
        task=task,
        seed=seed,
        limits=limits,
        policies=policies,
        prices=prices,
    )
    async with aclosing(results):
        return await anext(results)


def solve_sync(
    question: str | Problem,
    *,
    strategy: Strategy,
    engine: Engine,
    verifier: Verifier | None = None,
    task: Task | None = None,
    reference: str = "",
    seed: int = 0,
    limits: Limits = Limits(),
    policies: Mapping[str, Engine] = MappingProxyType({}),
    prices: Mapping[str, Price] = MappingProxyType({}),
) -> ProblemResult:
    """Return what ``solve`` returns, without await; inside a running event loop (a notebook) in a thread.

    The models of ``start`` answer on the event loop that started them: await ``solve`` with those.
    """
    return _waited_for(
        solve(
            question,
            strategy=strategy,
            engine=engine,
            verifier=verifier,
            task=task,
            reference=reference,
            seed=seed,
            limits=limits,
            policies=policies,
            prices=prices,
        )
    )


async def solve_many(
    problems: Iterable[Question],
    *,
    strategy: Strategy,
    engine: Engine,
    verifier: Verifier | None = None,
    task: Task | None = None,
    seed: int = 0,
    limits: Limits = Limits(),
    policies: Mapping[str, Engine] = MappingProxyType({}),
    prices: Mapping[str, Price] = MappingProxyType({}),
    concurrency: int = 32,
    run_dir: str | Path | None = None,
) -> AsyncGenerator[ProblemResult, None]:
    """Yield each result as its problem ends, ``concurrency`` problems at a time.

    A problem is a question, a question with its reference answer, or a ``Problem``, such as those of a task:
    ``task.problems(0, 100)``. With ``run_dir`` each result is on disk before it is yielded, in the files that
    a command line writes, and unfinished problems are in its journal. The same call continues a directory: it
    yields what is finished, then solves the rest, retrying what ended in an error. Raises ConfigError where
    the directory is of another call.

    Example::

        async for result in solve_many(questions, strategy=BestOfN(8), engine=engine, verifier=verifier,
                                       run_dir="outputs/mine"):
            print(result.problem.id, result.answer)
    """
    converted("seed", seed, CountOrZero)
    converted("concurrency", concurrency, Count)
    if run_dir is not None and not (run_dir and isinstance(run_dir, str | Path)):
        raise ConfigError("run_dir", repr(run_dir), "must be the path of a directory, or None")
    task = TextTask() if task is None else task
    check_parts(strategy, engine, verifier, task, limits)
    _check_fit(strategy, verifier)
    check_engines(policies, prices, limits)
    check_policies(strategy, [ENGINE, *policies])
    controller = Controller(
        strategy=strategy,
        engine=engine,
        verifier=verifier,
        task=task,
        seed=seed,
        limits=limits,
        concurrency=concurrency,
        policies=policies,
        prices=prices,
    )
    asked = list(problems_of(problems))
    found = controller.results(asked) if run_dir is None else _kept(controller, asked, Path(run_dir))
    async with aclosing(apart(found)) as found:
        async for result in found:
            yield result


async def _kept(
    controller: Controller, problems: Sequence[Problem], run_dir: Path
) -> AsyncGenerator[ProblemResult, None]:
    """Yield the results that a directory holds, then the others, each once it is written there."""
    config = described(controller)
    with claimed(run_dir):
        earlier = _opened(run_dir, config, problems)
        asked = {problem.id: problem for problem in problems}
        for line in list(stream_results(run_dir)):
            yield stored_result(line, asked.get(line["problem_id"]))
        journals = Journals(run_dir)
        labels = _labels(config, controller)
        recording = Recording(run_dir, labels, earlier, journals, lengths=Lengths.from_config(config))
        with recorded(run_dir, "info"), recording.at_work(config, len(problems)):
            found = replace(controller, journals=journals).results(recording.left(problems), recording.add)
            async with aclosing(found):
                async for result in found:
                    yield result
            recording.reached_end = True


def _opened(run_dir: Path, config: Mapping[str, Any], problems: Sequence[Problem]) -> Earlier:
    """Open a new directory, or one of the same call; return what is finished. Raises ConfigError."""
    inputs = Inputs.of(problems, config, {})

    def check(_earlier: Earlier) -> None:
        check_inputs(run_dir, inputs, has_begun=has_begun(run_dir))

    return open_run_dir(run_dir, config, [], resume=True, check=check)


def _labels(config: Mapping[str, Any], controller: Controller) -> dict[str, Any]:
    """Return the entries of summary.json that are known before the first problem."""
    return {
        **labels_of(config),
        **model_labels(controller.engine, controller.verifier, controller.policies.values()),
        "versions": package_versions(),
    }


def _check_fit(strategy: Strategy, verifier: Verifier | None) -> None:
    """Raise ConfigError if the verifier does not give what the strategy reads, or it reads the answers."""
    name = "none" if verifier is None else type(verifier).__name__
    names = {"strategy": type(strategy).__name__, "verifier": name}
    check_readout(names, strategy, None if verifier is None else verifier.info.readout)
    if knows_answers(strategy):
        raise ConfigError("strategy", names["strategy"], "knows the answers: only a run may use it")


def _waited_for(work: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns; inside a running event loop it runs on another one, in a thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    return _LoopThread(contextvars.copy_context(), work).result()


class _LoopThread(Thread, Generic[T]):
    """A thread with an event loop for one coroutine, which an exception in the caller (Ctrl-C) cancels."""

    def __init__(self, context: contextvars.Context, work: Coroutine[Any, Any, T]) -> None:
        super().__init__(name="solve_sync", daemon=True)
        self._context, self._work = context, work
        self._done: Future[T] = Future()
        self._runner = asyncio.Runner()

    def run(self) -> None:
        try:
            with self._runner as runner:
                self._done.set_result(runner.run(self._work, context=self._context))
        except BaseException as failure:  # noqa: BLE001 - raised again where the caller waits
            self._done.set_exception(failure)

    def result(self) -> T:
        """Start the thread; return what its coroutine returns."""
        try:
            self.start()  # inside: Ctrl-C may come here
            return self._done.result()
        except BaseException:
            if not self._done.done():
                self._cancel()
            raise

    def _cancel(self) -> None:
        loop = self._runner.get_loop()
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
