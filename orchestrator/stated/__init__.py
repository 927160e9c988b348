"""Where a text states its answer: in boxes, in tags, after a marker."""
