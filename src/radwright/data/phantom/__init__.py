"""Synthetic chest radiographs with exact labels, masks and reports, and a confounding knob."""
