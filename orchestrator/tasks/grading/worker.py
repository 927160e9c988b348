"""A process that computes integrals, sums and limits with math-verify and sympy.

One JSON line a question: ``{"read": text}``. The reply is ``{"normal": text or null}``: the result in sympy's
notation.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
from typing import Any

MAX_BYTES = 4 * 2**30
READY = "ready"


def read(text: str) -> str | None:
    """Return the computed expression of a tidied answer; None where it is not an expression."""
    from math_verify import parse
    from sympy import Basic, MatrixBase

    readings = parse(f"\\boxed{{{text}}}", parsing_timeout=None)
    if not readings or not isinstance(readings[0], Basic | MatrixBase):
        return None
    return str(readings[0].doit())


def reply(question: dict[str, Any]) -> dict[str, Any]:
    """Return the reply to a question. A text that cannot be read or computed equals nothing."""
    try:
        return {"normal": read(question["read"])}
    except Exception:  # noqa: BLE001 - sympy raises anything
        return {"normal": None}


def main(seconds: float) -> None:
    """Answer until the input ends. A question that takes more than ``seconds`` of CPU time ends the process.

    The kernel ends it: Python does not handle a signal while it multiplies two long integers. CPU time is
    limited, so that a busy machine does not change a grade; a process that was left behind ends too.
    """
    logging.disable(logging.WARNING)  # math-verify warns about timeouts, which are kept here
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is not a reply
    import math_verify  # noqa: F401 - it takes a second to load, before the first question

    print(READY, file=output, flush=True)
    for line in iter(sys.stdin.readline, ""):
        signal.setitimer(signal.ITIMER_PROF, seconds)
        answer = reply(json.loads(line))
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(answer), file=output, flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
