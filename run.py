"""Run a search, or a sweep of them: ``python run.py --help``."""

import sys

from orchestrator.runs.main import main

if __name__ == "__main__":
    sys.exit(main())
