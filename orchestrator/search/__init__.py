"""The search: the controller, the session that a strategy is given, and the limits that both keep."""
