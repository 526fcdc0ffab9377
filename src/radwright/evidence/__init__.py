"""Where a sentence of a draft comes from, and whether it may be believed."""
