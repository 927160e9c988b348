"""A policy or a reward model served by vLLM."""
