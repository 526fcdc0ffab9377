"""Which reader made a label: a number for the rules, and a hash of the data files."""

from __future__ import annotations

import hashlib

from radwright.findings.lexicon import source_text

RULES = 1
"""Raised with every change of the rules that can change a label."""
VERSION = f"rules {RULES}, lexicon {hashlib.sha256(source_text().encode()).hexdigest()[:8]}"
