"""``cassette=DIR``: the models of a run, above their replicas, with the replies that a folder has kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.backend import Backend, DirectBackend, Used
from orchestrator.cassettes.absent import AbsentEngine, AbsentVerifier
from orchestrator.cassettes.identity import identity
from orchestrator.cassettes.models import Counts, Deck, PlayedEngine, PlayedVerifier
from orchestrator.cassettes.tape import KEY, MODEL, Tape
from orchestrator.config.plan import Plan
from orchestrator.errors import ConfigError
from orchestrator.observe.tracking import Tracker
from orchestrator.protocols import Engine, HasWeights, ModelInfo, Verifier
from orchestrator.storage.fitted_files import digest_text
from orchestrator.storage.folders import in_home
from orchestrator.storage.json_reading import BadJson, read_object
from orchestrator.types import ENGINE

VERIFIER = "verifier"
ONLY = "cassette_only"


@dataclass(frozen=True)
class PlayedBackend:
    """A backend whose engines and verifier answer from a cassette first; the rest is that of ``inner``."""

    inner: Backend
    policies: Mapping[str, Engine]
    verifier: Verifier | None
    replicas: Mapping[str, int]

    @property
    def engine(self) -> Engine:
        return self.policies[ENGINE]

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
    tapes = _open(Path(in_home(path)), found, only=only)
    counts = Counts()
    try:
        inner = _absent(tapes) if only else start(plan)
        for kind, model in _of(inner).items():
            if kind in tapes:
                tapes[kind].begin(found[kind], model.info)
        yield _backend(inner, tapes, counts, only=only), counts
    finally:
        for tape in tapes.values():
            tape.close()


def _of(backend: Backend) -> dict[str, Engine | Verifier]:
    """Return the models by kind: the names of policies, and the verifier."""
    verifier = {} if backend.verifier is None else {VERIFIER: backend.verifier}
    return {**backend.policies, **verifier}


def _backend(inner: Backend, tapes: Mapping[str, Tape], counts: Counts, *, only: bool) -> Backend:
    # By object: an alias stays one engine, and has no tape of its own.
    named = {name: engine for name, engine in inner.policies.items() if name in tapes}
    engines = {
        id(engine): PlayedEngine(engine, Deck(tapes[name], counts, name)) for name, engine in named.items()
    }
    policies = {name: engines[id(engine)] for name, engine in inner.policies.items()}
    verifier = None
    if inner.verifier is not None:
        verifier = PlayedVerifier(inner.verifier, Deck(tapes[VERIFIER], counts, VERIFIER))
    replicas = dict.fromkeys(inner.replicas, 0) if only else inner.replicas
    return PlayedBackend(inner, policies, verifier, replicas)


def _models(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return what ``model.json`` says of each model that has replicas, by its kind."""
    nodes = {**plan.plain.get("policies", {}), ENGINE: plan.plain.get(ENGINE, {})}
    found = {name: _model(nodes.get(name, {}), config) for name, config in plan.policies.items()}
    if plan.verifier.of_replicas is not None:
        found[VERIFIER] = _model(plan.plain.get(VERIFIER, {}), plan.verifier)
    return found


def _model(node: Mapping[str, Any], config: object) -> dict[str, Any]:
    digest = config.digest() if isinstance(config, HasWeights) else None
    return {"identity": identity(node, digest), "name": identity(node, None)}


def _open(folder: Path, models: Mapping[str, Mapping[str, Any]], *, only: bool) -> dict[str, Tape]:
    """Return the tape of each model; policies that are one model by two names have one."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(KEY, folder, "must be a folder")
    places = {kind: _place(folder, kind, model, only=only) for kind, model in models.items()}
    tapes = {place: Tape(place) for place in dict.fromkeys(places.values())}
    return {kind: tapes[place] for kind, place in places.items()}


def _place(folder: Path, kind: str, model: Mapping[str, Any], *, only: bool) -> Path:
    """Return the folder of a model's tape; where only tapes may answer, that of its name will do.

    The model's files, of which a digest is part of its identity, may not be on this machine.
    """
    prefix = VERIFIER if kind == VERIFIER else ENGINE
    place = folder / f"{prefix}-{digest_text(model['identity']).removeprefix('blake2b_')}"
    return _of_name(folder, prefix, model) if only and not (place / MODEL).exists() else place


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
    infos = {kind: tape.info or ModelInfo() for kind, tape in tapes.items()}
    verifier = AbsentVerifier(infos.pop(VERIFIER)) if VERIFIER in infos else None
    engines: dict[str, Engine] = {name: AbsentEngine(info) for name, info in infos.items()}
    return DirectBackend(engines.pop(ENGINE), verifier, engines)
