"""``python -m orchestrator.allocation fit SWEEP reference=RUN_DIR to=PLAN budget=B``."""

from __future__ import annotations

import sys

from orchestrator.observe.events import warnings_shown
from orchestrator.planning.command import main

if __name__ == "__main__":
    with warnings_shown():
        sys.exit(main(sys.argv[1:]))
