"""Engines, verifiers and tasks from plain functions of text."""
