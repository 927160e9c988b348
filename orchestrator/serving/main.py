"""The command line of a server: compose, bind, load the models, serve, and drain at a signal."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from orchestrator.backend import Backend
from orchestrator.config.arguments import without_comment
from orchestrator.config.command_line import check_choices, with_open_keys
from orchestrator.config.compose import WRITE_NOTHING, known_keys, with_config
from orchestrator.config.explain import explain
from orchestrator.config.flags import check_flags
from orchestrator.config.plan import Plan
from orchestrator.errors import ConfigError, MurmurationError
from orchestrator.observe.events import StderrHandler, warnings_shown
from orchestrator.observe.progress import stdout_console
from orchestrator.serving.composing import CONFIG, loaded, served_of
from orchestrator.serving.http import HttpServer, listen, stopped_by_signals
from orchestrator.serving.keys import Keys
from orchestrator.serving.service import Loaded, Served, Service
from orchestrator.serving.settings import ServeSettings
from orchestrator.storage.secret_keys import check_no_secrets
from orchestrator.streams import flush_streams, raise_file_limit
from orchestrator.terminal import complain

USAGE = """usage: python -m orchestrator.serving [KEY=VALUE ...]

Serves every strategy behind one OpenAI-compatible endpoint (docs/serving.md). Groups and keys are those of
run.py, and:
  serve.port=8000   serve.host=127.0.0.1   serve.api_keys_env=NAME   serve.max_queue=N   serve.max_budget=N
  serve.limits.generated_tokens=T   serve.limits.reward_calls=C   serve.limits.seconds=S
Examples:
  python -m orchestrator.serving cluster=inprocess
  python -m orchestrator.serving engine=openai engine.model=m verifier=none strategy=self_consistency"""
FINISHED, FAILED, BAD_CONFIGURATION = 0, 1, 2


def command() -> int:
    """Serve with the arguments of this process: what ``murmuration-serve`` runs."""
    return main(sys.argv[1:])


def main(given: Sequence[str]) -> int:
    """Serve, and return the exit status: 0 after a signal, 1 for a failed server, 2 for bad arguments."""
    if given and given[0] in ("-h", "--help"):
        stdout_console().print(USAGE, markup=False, highlight=False)
        return FINISHED
    logging.lastResort = StderrHandler()
    arguments = with_open_keys(without_comment(given))
    try:
        check_no_secrets(arguments)
        check_flags(arguments)
        check_choices(arguments)
        raise_file_limit()
        found = with_config([*arguments, *WRITE_NOTHING], lambda config: served_of(config, arguments), CONFIG)
        with warnings_shown():
            return max((serve(*each) for each in found), default=FINISHED)
    except (MurmurationError, HydraException, OmegaConfBaseException) as mistake:
        complain(explain(mistake, known_keys(arguments, CONFIG), arguments))
        return BAD_CONFIGURATION if isinstance(mistake, ConfigError | HydraException) else FAILED
    except OSError as failure:
        complain(str(failure))
        return FAILED
    finally:
        flush_streams()


def serve(served: Served, plan: Plan) -> int:
    """Serve a plan until a signal, and return the exit status."""
    keys = served.settings.keys()
    with bound(served.settings) as listening, asyncio.Runner() as runner:
        try:
            # What replicas run on (Ray) starts here, and blocks: a client may connect, and waits.
            starting = plan.cluster.start(plan.policies, plan.verifier.of_replicas)
            address = address_of(listening)
            text = f"http://{address}/ is the page, http://{address}/v1 the base_url of clients"
            stdout_console().print(text, markup=False, highlight=False, soft_wrap=True)
            runner.run(_run(Service(served), keys, listening, _load(plan, starting)))
        finally:
            plan.cluster.stop()
    return FINISHED


async def _run(
    service: Service, keys: Keys, listening: socket.socket, loading: Coroutine[Any, Any, Loaded]
) -> None:
    server = HttpServer(service, keys, listening)
    with stopped_by_signals(server):
        await server.run(loading)


async def _load(plan: Plan, starting: Coroutine[Any, Any, Backend]) -> Loaded:
    return loaded(plan, await starting)


@contextmanager
def bound(settings: ServeSettings) -> Iterator[socket.socket]:
    """Listen at the host and port of the settings inside the block. Raises ConfigError."""
    host, port = settings.host, settings.port
    try:
        listening = listen(host, port)
    except (socket.gaierror, ValueError):
        raise ConfigError("serve.host", host, "must be an address, or a name that has one") from None
    except OSError as failure:
        raise ConfigError("serve.port", port, f"cannot listen at {host}: {failure.strerror}") from None
    with listening:
        yield listening


def address_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
