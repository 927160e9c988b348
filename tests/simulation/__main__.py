"""``python -m tests.simulation --schedules 2000 --seed 1``: runs schedules, and says which broke a law."""

from __future__ import annotations

import argparse
import logging
import sys

from tests.simulation.simulate import Report, simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the first; the others follow it (default 0)")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)  # deaths and retries are what this is about
    report = Report()
    for seed in range(asked.seed, asked.seed + asked.schedules):
        try:
            simulate(seed, report)
        except Exception as failure:  # noqa: BLE001 - the next seed is another run
            report.fail(seed, failure)
    print(report.text())
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
