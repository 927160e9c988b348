"""The search: the controller, the session that a strategy gets, and the limits of a problem."""
