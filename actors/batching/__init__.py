"""Forwards over a changing set of rows, and what makes a row's numbers independent of its batch."""
