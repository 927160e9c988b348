"""Forwards over rows that come and go, and what makes a row's numbers independent of its batch."""
