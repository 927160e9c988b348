"""Replicas of engines and verifiers: placed, routed to, watched, restarted. Ray is one of two hosts."""
