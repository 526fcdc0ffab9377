"""Greedy, beam, sampling and streaming over one protocol; no knowledge of any model."""
