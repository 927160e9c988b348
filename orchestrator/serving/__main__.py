"""``python -m orchestrator.serving [KEY=VALUE ...]``: serve every strategy until a signal."""

from __future__ import annotations

import sys

from orchestrator.serving.main import command

if __name__ == "__main__":
    sys.exit(command())
