"""``python -m orchestrator.calibrate RUN_DIR to=FILE``: maps a verifier's rewards to probabilities."""
