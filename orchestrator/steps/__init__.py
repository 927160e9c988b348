"""Where a step ends: at a delimiter, before a marker, after a number of tokens. Pure functions of texts."""
