"""``cassette=DIR``: the models of a run, above their replicas, with the replies that a folder has kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.backend import Backend, DirectBackend, Used
from orchestrator.cassettes.models import (
    AbsentEngine,
    AbsentVerifier,
    Counts,
    Deck,
    PlayedEngine,
    PlayedVerifier,
    identity,
)
from orchestrator.cassettes.tape import KEY, MODEL, Tape
from orchestrator.config.plan import Plan
from orchestrator.errors import ConfigError
from orchestrator.observe.tracking import Tracker
from orchestrator.protocols import Engine, HasWeights, Verifier
from orchestrator.storage.fitted_files import digest_text
from orchestrator.storage.folders import in_home
from orchestrator.storage.json_reading import BadJson, read_object

ONLY = "cassette_only"


@dataclass(frozen=True)
class PlayedBackend:
    """A backend whose engine and verifier answer from a cassette first; the rest is that of ``inner``."""

    inner: Backend
    engine: Engine
    verifier: Verifier | None
    replicas: Mapping[str, int]

    def num_alive(self) -> int:
        return self.inner.num_alive()

    def used(self) -> Used:
        return self.inner.used()

    def template_notes(self) -> Mapping[str, Mapping[str, str]]:
        return self.inner.template_notes()

    def trackers(self, num_problems: int, tags: Mapping[str, str]) -> Sequence[Tracker]:
        return self.inner.trackers(num_problems, tags)

    async def close(self) -> None:
        await self.inner.close()


@contextmanager
def played(plan: Plan, start: Callable[[Plan], Backend]) -> Iterator[tuple[Backend, Counts | None]]:
    """Yield a plan's models, and what the cassette has saved; without a cassette those of ``start`` alone.

    With ``cassette_only`` nothing is started: what the cassette lacks is a failure. Raises ConfigError for a
    folder that cannot be used, or that has never heard these models and must not ask them.
    """
    path, only = plan.settings.cassette, plan.settings.cassette_only
    if path is None:
        if only:
            raise ConfigError(ONLY, "true", "needs a cassette: cassette=DIR")
        yield start(plan), None
        return
    found = _models(plan)
    tapes = {kind: _tape(Path(in_home(path)), kind, model, only=only) for kind, model in found.items()}
    counts = Counts()
    try:
        inner = _absent(tapes) if only else start(plan)
        for kind, model in _of(inner).items():
            tapes[kind].begin(found[kind], model.info)
        yield _backend(inner, tapes, counts, only=only), counts
    finally:
        for tape in tapes.values():
            tape.close()


def _of(backend: Backend) -> dict[str, Engine | Verifier]:
    """Return the models by kind."""
    verifier = {} if backend.verifier is None else {"verifier": backend.verifier}
    return {"engine": backend.engine, **verifier}


def _backend(inner: Backend, tapes: Mapping[str, Tape], counts: Counts, *, only: bool) -> Backend:
    engine = PlayedEngine(inner.engine, Deck(tapes["engine"], counts))
    verifier = None
    if inner.verifier is not None:
        verifier = PlayedVerifier(inner.verifier, Deck(tapes["verifier"], counts))
    replicas = dict.fromkeys(inner.replicas, 0) if only else inner.replicas
    return PlayedBackend(inner, engine, verifier, replicas)


def _models(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return what ``model.json`` says of each model that has replicas, by its kind."""
    configs = {"engine": plan.engine, "verifier": plan.verifier}
    if plan.verifier.of_replicas is None:
        del configs["verifier"]
    return {kind: _model(plan.plain.get(kind, {}), config) for kind, config in configs.items()}


def _model(node: Mapping[str, Any], config: object) -> dict[str, Any]:
    digest = config.digest() if isinstance(config, HasWeights) else None
    return {"identity": identity(node, digest), "name": identity(node, None)}


def _tape(folder: Path, kind: str, model: Mapping[str, Any], *, only: bool) -> Tape:
    """Open the tape of a model; where only tapes may answer, that of its name will do.

    The model's files, of which a digest is part of its identity, may not be on this machine.
    """
    place = folder / f"{kind}-{digest_text(model['identity']).removeprefix('blake2b_')}"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(KEY, folder, "must be a folder")
    if only and not (place / MODEL).exists():
        place = _of_name(folder, kind, model)
    return Tape(place)


def _of_name(folder: Path, kind: str, model: Mapping[str, Any]) -> Path:
    places = sorted(path.parent for path in folder.glob(f"{kind}-*/{MODEL}"))
    named = [place for place in places if _name_in(place) == model["name"]]
    if len(named) != 1:
        held = "no tape" if not named else f"{len(named)} tapes"
        raise ConfigError(KEY, folder, f"has {held} of this {kind}, and {ONLY}=true loads no model")
    return named[0]


def _name_in(place: Path) -> object:
    try:
        return read_object(place / MODEL).get("name")
    except (OSError, BadJson):
        return None


def _absent(tapes: Mapping[str, Tape]) -> Backend:
    """Return models that promise what the recorded ones did."""
    infos = {kind: tape.info for kind, tape in tapes.items()}
    engine, verifier = infos["engine"], infos.get("verifier")
    assert engine is not None
    return DirectBackend(AbsentEngine(engine), None if verifier is None else AbsentVerifier(verifier))
