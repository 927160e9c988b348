"""Tasks: where problems come from, how an answer is read and when two answers are the same."""
