"""``python -m orchestrator.architectures DIR to=FILE``: which pipeline is best on a task, for its cost."""
