"""A policy behind an OpenAI-compatible server that is running already."""
