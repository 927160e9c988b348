"""Figures of a server as Prometheus reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from orchestrator.types import Usage

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass
class Metrics:
    """What a server has done since its start."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: float = 0.0
    usage: Usage = Usage()
    discarded_tokens: int = 0

    def ended(self, strategy: str, outcome: str, seconds: float, usage: Usage, discarded_tokens: int) -> None:
        """Count one request: ``outcome`` is ok, error, cancelled or the status it was refused with.

        ``discarded_tokens`` were generated beside its ``usage``, as far as the engines have counted them.
        """
        self.requests[strategy, outcome] += 1
        self.seconds += seconds
        self.usage += usage
        self.discarded_tokens += discarded_tokens

    def text(self, gauges: Mapping[str, float]) -> str:
        """Return the page of metrics; ``gauges`` are figures of this moment."""
        return "".join(f"{line}\n" for line in self._lines(gauges))

    def _lines(self, gauges: Mapping[str, float]) -> Iterator[str]:
        yield "# TYPE murmuration_requests_total counter"
        for (strategy, outcome), num in sorted(self.requests.items()):
            yield f'murmuration_requests_total{{strategy="{strategy}",outcome="{outcome}"}} {num}'
        counters = {
            "search_seconds": self.seconds,
            "generated_tokens": self.usage.generated_tokens,
            "discarded_tokens": self.discarded_tokens,
            "prompt_tokens": self.usage.prompt_tokens,
            "cached_tokens": self.usage.cached_tokens,
            "reward_calls": self.usage.reward_calls,
        }
        for name, value in counters.items():
            yield f"# TYPE murmuration_{name}_total counter"
            yield (
                f"murmuration_{name}_total {value:g}"
                if isinstance(value, float)
                else (f"murmuration_{name}_total {value}")
            )
        for name, value in gauges.items():
            yield f"# TYPE murmuration_{name} gauge"
            yield f"murmuration_{name} {value:g}"
