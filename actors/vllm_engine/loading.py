"""Starting vLLM, reading its outputs and ending it, for policies and for verifiers."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import struct
import tempfile
import warnings
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.checkpoints.models import check_model_path, check_repository
from actors.environment import environment
from actors.messages import brief
from actors.vllm_engine.guard import Guard
from actors.vllm_engine.lora import Lora, prepared
from actors.vllm_engine.output import root_cause, stderr_kept
from actors.vllm_engine.settings import Purpose, VllmConfig, engine_args, num_gpus
from actors.vllm_engine.turns import turn
from orchestrator.errors import ConfigError, EngineDeadError, EngineError
from orchestrator.schema import group_of

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

log = logging.getLogger(__name__)

# No usage reports, only warnings in the log, and no binding of threads: by default each replica would bind
# its threads to the same first cores.
_ENVIRON = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_CONFIGURE_LOGGING": "1",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # where it is kept while vLLM starts
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS": "1",
}
# Without compilation of the model its helpers need none either: the first would take 15 s.
_EAGER = {"TORCHDYNAMO_DISABLE": "1"}
# vLLM accepts "uni" on a CPU only with this; the engine still runs in a separate process.
_ONE_WORKER = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}


POSITION_SAMPLER = "actors.vllm_engine.positions:PositionSampler"


def _nothing(*args: Any, **kwargs: Any) -> None: ...


@dataclass(slots=True)
class Meter:
    """Counts the tokens that vLLM computes; vLLM uses it as one of its statistics loggers."""

    generated_tokens: int = 0
    prompt_tokens: int = 0

    def record(
        self, scheduler_stats: Any = None, iteration_stats: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        if iteration_stats is not None:
            self.generated_tokens += iteration_stats.num_generation_tokens
            self.prompt_tokens += iteration_stats.num_prompt_tokens

    def log_engine_initialized(self) -> None: ...

    def log(self) -> None: ...

    def record_sleep_state(self, *args: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Started:
    """A running vLLM engine, and what is known about its model."""

    llm: AsyncLLM
    tokenizer: Any
    meter: Meter
    max_context: int
    vocab_size: int
    num_parameters: int
    eos_ids: frozenset[int]
    batch_invariant: bool
    seeds_by_position: bool
    guard: Guard
    lora: Lora | None = None

    @property
    def healthy(self) -> bool:
        return not self.llm.errored

    def generate(self, prompt: Any, params: Any, name: str) -> AsyncGenerator[Any, None]:
        """Send a request for tokens, through the adapter where there is one."""
        return self.llm.generate(prompt, params, name, **self._adapted)  # type: ignore[no-any-return]

    def encode(self, prompt: Any, params: Any, name: str) -> AsyncGenerator[Any, None]:
        """Send a request for a classifier's outputs, through the adapter where there is one."""
        return self.llm.encode(prompt, params, name, **self._adapted)  # type: ignore[no-any-return]

    @property
    def _adapted(self) -> dict[str, Any]:
        return {} if self.lora is None else {"lora_request": self.lora.request}

    async def answer(self, answers: AsyncGenerator[Any, None]) -> Any:
        """Return the only output of a request. Raises EngineDeadError, or EngineError where vLLM fails it."""
        return [answer async for answer in self.answers(answers)][-1]

    async def answers(self, answers: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        """Yield all outputs of a request. Raises as ``answer`` does."""
        from vllm.exceptions import VLLMError

        try:
            async with aclosing(answers):
                if self.lora is not None:
                    await self.lora.load(self.llm)
                async for answer in answers:
                    yield answer
        except (VLLMError, ValueError) as error:
            if not self.healthy:
                raise EngineDeadError(f"vLLM: {error}") from error
            raise EngineError(f"vLLM: {error.__cause__ or error}") from error

    async def shut_down(self) -> None:
        """End vLLM's processes, within a second or two; a second call does nothing."""
        if self.guard.released:
            return
        await asyncio.to_thread(self.llm.shutdown, timeout=1.0)
        # What vLLM leaves behind: an open context, and a finalizer that fails as the interpreter ends.
        self.llm.engine_core.resources.ctx.destroy(linger=0)
        self.llm.shutdown = _nothing
        await asyncio.to_thread(self.guard.release)


def start(config: VllmConfig, purpose: Purpose) -> Started:
    """Start vLLM, in some tens of seconds. Raises ConfigError, or EngineError where it did not start."""
    check_model_path(f"{group_of(config)}.model", config.model)  # a replica may see other folders
    environ = {name: os.environ.get(name, value) for name, value in _ENVIRON.items()}
    environ["VLLM_BATCH_INVARIANT"] = "1" if config.batch_invariant else "0"
    guard = Guard()
    try:
        with warnings.catch_warnings(), environment(environ | guard.environ):
            warnings.simplefilter("ignore")  # deprecations inside vLLM and its libraries
            _import(config)
            lora = prepared(config)
            arguments = engine_args(config, purpose.fixed, None if lora is None else lora.adapter)
            return _started(config, purpose, arguments, guard, lora)
    except BaseException:
        guard.release()
        raise


def _import(config: VllmConfig) -> None:
    try:
        import vllm  # noqa: F401 - separates a missing library from other failures
    except ImportError as error:
        raise ConfigError(
            group_of(config), "vllm", f"vLLM cannot be imported here ({error}); make vllm brings it"
        ) from None


def _checked_tokenizer(config: VllmConfig, purpose: Purpose, arguments: Any) -> Any:
    """Return the tokenizer, checked before vLLM starts, which takes long. Raises ConfigError."""
    import transformers

    name = arguments.tokenizer or arguments.model
    revision = arguments.tokenizer_revision or arguments.revision
    how = {"revision": revision, "trust_remote_code": arguments.trust_remote_code}
    try:
        check_repository(f"{group_of(config)}.model", arguments.model, arguments.revision)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **how)
    except ConfigError:
        raise
    except Exception as error:  # anything that files from elsewhere make the libraries raise
        allowed = f"its tokenizer cannot be loaded: {brief(error)}"
        raise ConfigError(f"{group_of(config)}.model", config.model, allowed) from error
    for check in purpose.checks:
        check(tokenizer)
    return tokenizer


def _started(
    config: VllmConfig, purpose: Purpose, arguments: Any, guard: Guard, lora: Lora | None
) -> Started:
    from vllm.platforms import current_platform
    from vllm.v1.engine.async_llm import AsyncLLM

    tokenizer = _checked_tokenizer(config, purpose, arguments)
    meter = Meter()
    environ: dict[str, str] = {}
    if current_platform.is_cpu():
        environ |= _EAGER if arguments.enforce_eager else {}
        environ |= _ONE_WORKER if arguments.distributed_executor_backend == "uni" else {}
    try:
        with _in_turn(arguments), environment(environ), _explained():
            vllm_config = _config(purpose, arguments)
            if lora is not None:
                lora.check(vllm_config)
            llm = AsyncLLM.from_vllm_config(
                vllm_config,
                stat_loggers=[lambda *_: meter],
                disable_log_stats=arguments.disable_log_stats,
            )
    except ConfigError:
        raise
    except (ValueError, OSError, NotImplementedError) as error:  # the arguments do not fit
        raise ConfigError(f"{group_of(config)}.model", config.model, f"vLLM: {brief(error)}") from error
    shape = vllm_config.model_config
    return Started(
        llm=llm,
        tokenizer=tokenizer,
        meter=meter,
        max_context=shape.max_model_len,
        vocab_size=shape.get_vocab_size(),
        num_parameters=count_parameters(shape.model, shape.revision),
        eos_ids=_eos_ids(shape, tokenizer),
        batch_invariant=config.batch_invariant,
        seeds_by_position=vllm_config.use_v2_model_runner,
        guard=guard,
        lora=lora,
    )


def _config(purpose: Purpose, arguments: Any) -> Any:
    """Return the configuration that vLLM derives from its arguments.

    Of its two model runners the newer one, which it uses on a card, draws a token's noise from the request's
    seed and the token's place in the whole text (0.32, ``v1/worker/gpu/sample/gumbel.py``), and accepts
    no processor of the older one's kind. The older one seeds a generator for each request.
    """
    from vllm.usage.usage_lib import UsageContext

    config = arguments.create_engine_config(UsageContext.ENGINE_CONTEXT)
    if purpose.by_position and not config.use_v2_model_runner:
        config.model_config.logits_processors = [POSITION_SAMPLER]
    return config


@contextmanager
def _explained() -> Iterator[None]:
    """Raise EngineError where vLLM does not start: why, in one line, and its processes' output as a note."""
    with stderr_kept() as output:
        try:
            yield
        except RuntimeError as error:
            failure = EngineError(f"vLLM did not start: {root_cause(output()) or brief(error)}")
            failure.add_note(output())
            raise failure from error


@contextmanager
def _in_turn(arguments: Any) -> Iterator[None]:
    """Wait for a turn where replicas share a card."""
    if not 0 < num_gpus() < 1:
        yield
        return
    cards = os.environ.get("CUDA_VISIBLE_DEVICES", "all").replace(",", "-")
    lock = Path(tempfile.gettempdir()) / f"murmuration-card-{os.getuid()}-{cards}.lock"
    with turn(lock, measures=arguments.kv_cache_memory_bytes is None):
        yield


def _eos_ids(config: Any, tokenizer: Any) -> frozenset[int]:
    """Return every token that ends a text."""
    from actors.text.endings import ends_of_text

    configured = [config.try_get_generation_config().get("eos_token_id")]
    return ends_of_text(tokenizer, config.model, revision=config.revision, configured=configured)


def count_parameters(model: str, revision: str | None) -> int:
    """Return the number of parameters in a checkpoint's .safetensors headers; 0 where there are none."""
    folder = Path(model)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(model, revision=revision, local_files_only=True))
        except (LocalEntryNotFoundError, ValueError):
            return 0
    return sum(map(_count_in, folder.glob("*.safetensors")))


def _count_in(file: Path) -> int:
    with file.open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(size))
    shapes = (tensor["shape"] for name, tensor in header.items() if name != "__metadata__")
    return sum(math.prod(shape) for shape in shapes)
