"""``python -m orchestrator.saturation RUN_DIR``: after how many samples accuracy stops to rise."""
