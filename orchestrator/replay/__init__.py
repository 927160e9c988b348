"""What if: a finished run's answers under other choices, recomputed from its candidates."""
