"""Numbers from two lists of texts; no torch."""
