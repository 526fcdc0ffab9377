"""TRRG: an independent design after the published abstract of "Towards Truthful Radiology Report Generation"."""
