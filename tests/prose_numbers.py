"""Where the measured numbers in prose come from: the tables of tests/test_prose_numbers.py.

Words are as prose has them without its code, and {} is a number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.prose_figures import (
    POLICY_GPUS,
    annealed,
    at_once,
    card,
    confirmed,
    countdown_card,
    default_rounds,
    ece,
    expansion,
    gate,
    megabytes,
    of_a_replica,
    of_one_controller,
    own_costs,
    performance,
    rule,
    saved,
    slots_used,
    stored,
    within,
)

Numbers = Callable[[], Sequence[float]]

# A page, its words, and their numbers, computed from files of docs/data, from cards and from other pages.
STATED: tuple[tuple[str, str, Numbers], ...] = (
    (
        "adaptive.md",
        "on both tasks, chain saves {} % of the tokens and Countdown {} % of the samples",
        lambda: [saved("chain", "threshold", "at 0.9"), saved("countdown", "threshold", "at 0.9", "samples")],
    ),
    (
        "adaptive.md",
        "on chain at .9 it saves {} % of the tokens of a vote over 16",
        lambda: [saved("chain", "vote, beta", "at 0.9")],
    ),
    ("adaptive.md", "and saves {} % on chain", lambda: [saved("chain", "vote, decided", "")]),
    (
        "adaptive.md",
        "half of the samples after step 4 save {} % of the tokens for {} ({} to {})",
        lambda: [
            saved("chain", "prune", "after step 4 keep 8"),
            *rule("chain", "prune", "after step 4 keep 8")["difference"],
        ],
    ),
    (
        "adaptive.md",
        "so there is little to save ({} %)",
        lambda: [saved("countdown", "prune", "after step 3 keep 2")],
    ),
    (
        "adaptive.md",
        "Rounds at a mean of 6 gain {} ({} to {}) on Countdown and {} ({} to {}) on chain",
        lambda: [*default_rounds("countdown"), *default_rounds("chain")],
    ),
    (
        "adaptive.md",
        "at most .06 at 64 for {} pilots on chain, and for {} on Countdown",
        lambda: [within("chain"), within("countdown")],
    ),
    (
        "adaptive.md",
        "on the test problems (ECE {}) than on those that the map was fitted to ({})",
        lambda: [ece("chain"), stored("calibration")["tasks"]["chain"]["quality"]["as they come"]["ece"]],
    ),
    (
        "models.md",
        "(greedy {} of the development problems, where has {})",
        lambda: [
            card(model, r"\| greedy \| pass@1 [^.]*\| (\.\d+) \|") for model in ("chain-base", "chain-policy")
        ],
    ),
    (
        "performance.md",
        "greedy accuracy is {}; the policy's own likelihood as the judge of 16 samples gives {}",
        lambda: [
            card("chain-policy", r"\|---\|---\| \| (\.\d+) \|"),
            card("chain-verifier", r"likelihood as the judge gives(?: \.\d+,){3} (\.\d+),"),
        ],
    ),
    (
        "performance.md",
        "the verifier's backbone solves {} of the problems",
        lambda: [card("chain-verifier", r"is right in (\.\d+) of them by greedy")],
    ),
    (
        "saturation.md",
        "at most .06 for {} of 8 pilots on chain, and for {} of 8 on Countdown",
        lambda: [within("chain"), within("countdown")],
    ),
    ("scale.md", "cost = {} + {} + {} R + 2 c / n", lambda: [*own_costs(), of_a_replica()]),
    ("scale.md", "result line | {} |", lambda: own_costs()[:1]),
    ("scale.md", "a file a problem | {} |", lambda: own_costs()[1:]),
    (
        "scale.md",
        "what the simulation itself costs ({} us)",
        lambda: [
            performance(r"\| 64 \| on (?:\| [\d,]+ ){1}\| (\d+)")
            - performance(r"\| 64 \| on (?:\| [\d,]+ ){2}\| (\d+)")
        ],
    ),
    ("scale.md", "twice a call | {} R |", lambda: [of_a_replica()]),
    ("scale.md", "in a heap (removes {} R)", lambda: [of_a_replica()]),
    (
        "scale.md",
        "is measured as {} a second with 64 replicas",
        lambda: [round(performance(r"\| 64 \| on \| ([\d,]+) \|"), -3)],
    ),
    ("scale.md", "| 8 | {} | {} |", lambda: of_one_controller(8)),
    ("scale.md", "| 100 | {} | {} |", lambda: of_one_controller(100)),
    ("scale.md", "| 1,000 | {} | {} |", lambda: of_one_controller(1000)),
    ("scale.md", "| 1,000, n = 64, c = 1,600 | {} | {} |", lambda: of_one_controller(1000, 64, 1600)),
    (
        "scale.md",
        "four GPUs a replica | 600 | {} | 1 (200 replicas: {} us)",
        lambda: [600 * POLICY_GPUS / 100, expansion(200, 8, 400)],
    ),
    ("scale.md", "| 8B | 5,000 | {} |", lambda: [5_000 * POLICY_GPUS / 100]),
    ("scale.md", "| 1B | 20,000 | {} |", lambda: [20_000 * POLICY_GPUS / 100]),
    (
        "scale.md",
        "feeds about {} policy GPUs of 8B at n = 8 ({} expansions/s)",
        lambda: [round(of_one_controller(100)[1] * 100 / 5_000, -1), of_one_controller(100)[1]],
    ),
    (
        "scale.md",
        "(measured for 8, 64 and 256: {} %; with 4 rows {} %)",
        lambda: [min(performance(slots_used(3, r)) for r in range(3)), performance(slots_used(4, 2))],
    ),
    ("scale.md", "= 3 x 800 x 256 / 8 = {}", lambda: [round(at_once(), -3)]),
    ("scale.md", "{} KiB a problem in flight", lambda: [performance(r"MiB: (\d+) KiB for each")]),
    (
        "scale.md",
        "about {} MB a problem, so {} of them are {} GB",
        lambda: [megabytes(), round(at_once(), -3), at_once() * megabytes() / 1000],
    ),
    (
        "scale.md",
        "cost nothing (100,000 problems: {} MiB)",
        lambda: [performance(r"\| 100,000 problems, 256 at once \| (\d+) MiB")],
    ),
    (
        "scale.md",
        "At 5,000 expansions/s and 500 tokens of prefix: {} MB/s",
        lambda: [5_000 * (4 * 500 + 200) / 1e6],
    ),
    (
        "scale.md",
        "With 1,000 replicas that fail once a day there is one every {} s",
        lambda: [24 * 3600 / 1000],
    ),
    (
        "strategies.md",
        "the entropic filter is ahead of its control by {} ({} to {}), and at N = 16 by {} ({} to {})",
        lambda: [*annealed(8), *annealed(16)],
    ),
    (
        "strategies.md",
        "for {} times fewer tokens and {} % fewer reward calls than the filter's",
        confirmed,
    ),
    (
        "strategies.md",
        "mean reward is {}, and {} of those solutions are right in the end (AUC of the answer {})",
        lambda: [countdown_card(1, column) for column in (0, 2, 4)],
    ),
    ("strategies.md", "nearly without error (AUC {})", lambda: [countdown_card(3, 4)]),
    (
        "strategies.md",
        "a confidence of at least {}, at least",
        lambda: [gate("MAX_EARLY_AUC, MIN_CONFIDENCE, MIN_EXCESS", 1)],
    ),
    ("strategies.md", "an AUC of at least {} and", lambda: [gate("MIN_LATE_AUC, MAX_LATE_ERROR", 0)]),
)
# Sections that are tables of what no file of docs/data holds, and the command there that measures it.
LEFT = {
    ("models.md", "Seen on"): "make test-gpu",
    ("models.md", "Speed"): "python -m tests.bench.bench_engine",
    ("performance.md", "What orchestration costs"): "python -m tests.bench.bench_overhead",
    ("performance.md", "What batch invariance costs"): "python -m tests.bench.bench_overhead",
    ("performance.md", "Expansions a second of one controller"): "tests.bench.bench_scale --only rate",
    ("performance.md", "Slots used"): "tests.bench.bench_scale --only utilisation",
    ("performance.md", "Memory"): "tests.bench.bench_scale --only queue memory",
    ("performance.md", "The journal in a real run"): "python -m tests.bench.bench_journal",
    ("performance.md", "A first run"): "python -m tests.bench.bench_report",
    ("roles.md", "Mixture"): "python -m tests.bench.bench_chain_roles --work DIR",
    ("roles.md", "What roles cost the controller"): "python -m tests.bench.bench_roles",
}
# Words with numbers, and what their section names as the source: a paper, or the command that measures them.
SOURCED = (
    ("README.md", "on 2 CPU cores, 23 seconds after the install", "make run"),
    ("diffusion.md", "has 0.95, with temperature 0.2 and", "Dream's repository"),
    ("models.md", "about 25 s each", "make test-gpu"),
    ("models.md", "the model computes 1.00, 1.00 and 1.00 times", "python -m tests.bench.bench_prm"),
    ("models.md", "takes 5.8, 10.9 and 20.9 times", "python -m tests.bench.bench_prm"),
    ("reports.md", "D_inf / D_pre = 0.16, 0.79 and 22, as in the paper", "Snell et al. 2024"),
    ("saturation.md", "The paper does not charge its 2,048 samples", "2408.03314"),
    ("strategies.md", "The paper does not charge its 2,048 samples", "2408.03314"),
    ("strategies.md", "they find that 38 % of right answers become wrong", "2408.03314"),
    ("strategies.md", "whose abstract claims up to 50 %", "2510.05825"),
    ("strategies.md", "1.5 to 2.5 times faster than QwQ-32B alone", "2504.07891"),
    ("tasks.md", "| 1,319 |", "openai/gsm8k"),
    ("tasks.md", "| 1,172 |", "allenai/ai2_arc"),
)
# Words with numbers that are chosen and not measured: limits, defaults, goals, examples.
SETTINGS: dict[str, tuple[str, ...]] = {
    "adaptive.md": ("of X ~ Beta(a + 1, b + 1) | 0.95 |",),
    "calibration.md": (
        "A reward of .8 should mean: right in 80 % of the cases",
        "fewer than 5 % of the samples",
        "by 0.0001 in log-odds",
        "95 % over problems",
    ),
    "faults.md": (
        "after 10 to 30 s",
        "has 40 s to come back",
        "stops within 2 s",
        "30 s on Kubernetes",
        "2,000 more",
    ),
    "models.md": ("at most 120 s", "0.25 for one that breaks one", "from 0.5 s to 8 s"),
    "observability.md": ("not ready after 30 s",),
    "performance.md": ("The targets of the particle filter are +.12 over self-consistency and +.03 over",),
    "reports.md": (
        "5 times powers of ten",
        "per 1,000 tokens",
        "The first 2,000 problems of a run",
        "10,000 problems of a filter",
    ),
    "roles.md": ("the goal was .65",),
    "saturation.md": ("adds less than (0.005)",),
    "scale.md": (
        "64 against 1,000 replicas",
        "c = 200 to 1,600",
        "the goal of 5,000",
        "fewer than 5,000",
        "8 particles of 1,000 tokens",
        "a round trip of 1 ms to 2 ms",
        "100 tokens at 20 tokens/s a row): under 0.1 %",
    ),
    "security.md": (
        "on each node (2.60)",
        "at most 4,000 characters",
    ),
    "serving.md": (
        "must arrive within 30 s",
        "of its reply for 60 s",
        "lm_eval waits 300 s",
        "inspect_ai 600 s",
    ),
    "tasks.md": (
        "at most 32 times",
        "up to 1,000 characters",
        "more than 10,000 characters",
        "0.333333 as 1/3 and 0.3333329",
        "more than 40,000 bits",
    ),
    "tracking.md": (
        "10,000 rows each",
        "(30 s)",
        "about 20 s more",
        "and 20 s more",
        "(30 s, and 20 s for MLflow",
    ),
}
