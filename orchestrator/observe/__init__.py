"""What is seen of a run: events, the progress bar, tables, and trackers."""
