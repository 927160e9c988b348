"""Verifiers that ask an engine, and the formats of reward models."""
