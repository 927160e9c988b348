"""Verifiers that need no replica: the oracle, the policy's own certainty, and none."""
