"""Which reader made a label: a hash of its rules and of its data files, so that no change of either goes unnoticed."""

from __future__ import annotations

import hashlib
from importlib import resources

_FILES = (
    *("ontology.toml", "lexicon.toml", "ontology.py", "lexicon.py", "tokens.py", "sentence.py", "clauses.py"),
    *("details.py", "reader.py", "labels.py", "signature.py"),
)
"""Everything that a label can depend on."""


def _fingerprint() -> str:
    folder = resources.files("radwright.findings")
    whole = hashlib.sha256()
    for name in _FILES:
        # Line ends differ between checkouts, labels do not.
        whole.update(name.encode() + b"\n" + folder.joinpath(name).read_bytes().replace(b"\r\n", b"\n"))
    return whole.hexdigest()[:12]


VERSION = _fingerprint()
"""12 hexadecimal digits."""
