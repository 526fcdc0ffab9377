"""Scores with intervals, beside trivial baselines, and the page that shows them."""
