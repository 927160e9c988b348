"""The controller of inference-time search: values, session, scheduling, results and tasks."""
