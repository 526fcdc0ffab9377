"""Blocks that both methods share."""
