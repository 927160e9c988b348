"""Search methods, one a file, and the pure mathematics they share."""
