"""The page at ``/``: one file that asks a question and draws its search while it runs.

It holds the report's drawings, and sends requests to its own server alone. Texts of tasks and models
are written as text alone.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.errors import ConfigError
from orchestrator.report.page import asset, digest, plotly_source
from orchestrator.serving.service import Served

_NUM_EXAMPLES = 20


def render_page(served: Served, *, has_keys: bool) -> str:
    """Return the page: it holds examples of the task, and no key."""
    environment = Environment(
        loader=PackageLoader("orchestrator.serving", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    examples, offers = _examples(served), served.offers
    return environment.get_template("page.html.j2").render(
        style=Markup(asset("report.css")),
        script=Markup(_script()),
        plotly=Markup(_plotly()),
        examples=examples,
        strategies=list(offers.all),
        default=offers.default,
        budget=served.budget,
        max_budget=served.settings.max_budget,
        seed=served.seed,
        has_keys=has_keys,
        data=Markup(_json({"examples": examples, "max_steps": _max_steps(served)})),
    )


@cache
def policy() -> str:
    """Return the page's content security policy: its own scripts, and requests to its own server."""
    scripts = " ".join(f"'{digest(text)}'" for text in (_script(), plotly_source()))
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@cache
def _script() -> str:
    own = files("orchestrator.serving").joinpath("assets", "page.js").read_text(encoding="utf-8")
    return asset("drawings.js") + own


@cache
def _plotly() -> str:
    return base64.b64encode(gzip.compress(plotly_source().encode(), 9, mtime=0)).decode()


def _json(value: Any) -> str:
    """Return JSON that no text in it can end."""
    return json.dumps(value).replace("<", "\\u003c")


def _examples(served: Served) -> list[dict[str, str]]:
    """Return the first problems of the range; none where the task's data is not there."""
    offset, limit = served.range.offset, served.range.limit
    num = _NUM_EXAMPLES if limit is None else min(limit, _NUM_EXAMPLES)
    try:
        problems = itertools.islice(served.task.problems(offset, num), num)
        return [{"id": problem.id, "question": problem.question} for problem in problems]
    except ConfigError:
        return []


def _max_steps(served: Served) -> dict[str, int | None]:
    return {name: offer.node(1).get("max_steps") for name, offer in served.offers.all.items()}
