"""The samples of a finished run as an engine, a verifier and a task: no model runs."""
