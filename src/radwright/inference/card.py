"""The model card that every checkpoint carries: trained on what, under which terms, scores, limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LIMITS = """\
- **Research only. Not a medical device.** It was not evaluated for clinical use. A radiologist must check every draft.
- It describes the images it is given and has never seen a prior: do not trust a draft that compares ("unchanged").
- Scores hold for studies like those it was trained on; other scanners, populations and projections will be worse.
"""


def model_card(method: str, provenance: Mapping[str, Any]) -> str:
    """Markdown text of the card.

    Args:
        method: name of the method.
        provenance: ``provenance.json``: keys ``studies`` (name, format, licence, counts), ``scores``, ``radwright``,
            ``commit``, ``seed``, ``trained_at``, ``bases`` (networks that it needs and does not hold) are shown where
            present.
    """
    studies = provenance.get("studies", {})
    lines = [f"# Model card: {method}", "", "## Trained on", ""]
    lines += [f"- {key}: {value}" for key, value in studies.items()] or ["- not recorded"]
    if studies.get("credentialed"):
        lines += [
            "",
            "**The training data are credentialed. This checkpoint must not be redistributed:** its weights may hold "
            "parts of them.",
        ]
    lines += ["", "## Scores", ""]
    scores = provenance.get("scores", {})
    where = provenance.get("scored_on", "tune, free-running decoding; these studies chose the weights")
    lines += [f"On {where}:", ""] if scores else ["- not recorded"]
    lines += [f"- {name}: {value:.4f}" for name, value in scores.items()]
    lines += ["", "## Made with", ""]
    made = ("radwright", "torch", "commit", "seed", "stage", "step", "trained_at")
    lines += [f"- {key}: {provenance[key]}" for key in made if provenance.get(key) is not None]
    bases = provenance.get("bases", {})
    if bases:
        lines += ["", "## Needs", "", "These networks were left as they were, and their weights are not in here:", ""]
    lines += [f"- {part}: `{base['directory']}`, fingerprint `{base['identity']}`" for part, base in bases.items()]
    return "\n".join([*lines, "", "## Limits", "", LIMITS])


def put_section(card: str, heading: str, text: str) -> str:
    """A card with a section of what was measured later; one of the same heading is replaced, others stay.

    Args:
        card: Markdown of a card; empty: a card of that section alone.
        heading: without ``##``.
        text: Markdown below it, without headings of the second level.
    """
    kept, inside = [], False
    for line in card.splitlines():
        if line.startswith("## "):
            inside = line == f"## {heading}"
        if not inside:
            kept.append(line)
    above = "\n".join(kept).rstrip()
    return f"{above or '# Model card'}\n\n## {heading}\n\n{text.strip()}\n"
