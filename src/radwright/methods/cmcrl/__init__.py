"""CMCRL (IEEE TIP 2025): causal intervention on the visual and the linguistic side."""
