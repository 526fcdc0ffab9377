"""What scores and baselines are called on a page, and their values out of the JSON of an evaluation."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from radwright.evaluation.page.content import Estimate

_METRIC_NAMES = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr-D",
    "meteor15_es": "METEOR 1.5 (exact + stem)",
    "chrf": "chrF",
    "finding_score": "Finding score",
    "fabricated": "Fabricated findings",
    "missed": "Missed findings",
    "flipped": "Contradicted findings",
    "imprecise": "Imprecise names",
    "side_errors": "Side errors",
    "zone_errors": "Zone errors",
    "severity_errors": "Severity errors",
    "unsupported_comparisons": "Comparisons without a prior",
    "omitted_comparisons": "Changes left out",
}
_AVERAGES = {
    "micro": "micro",
    "macro": "macro",
    "macro_supported": "macro over classes in the references",
    "example": "by study",
}
_F1_NAMES = {
    f"f1_{number}_{average}{policy}": f"F1, {number} classes, {words}{told}"
    for number in (14, 5)
    for policy, told in (("", ""), ("_u", ", open counts"))
    for average, words in _AVERAGES.items()
}
_WORDS = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider", "meteor15_es", "chrf")
_FINDINGS = ("finding_score", *_F1_NAMES)
_IN_TABLE_ONLY = frozenset(
    {"bleu_2", "bleu_3", *(name for name in _F1_NAMES if name.endswith("_u") or "supported" in name)}
)
"""Scores that stand beside a near twin: they are in the table, and have no plot."""
_BASELINE_NAMES = {
    "constant_bleu_4": "one text, best BLEU-4",
    "constant_cider": "one text, best CIDEr",
    "random_train_report": "random train report",
    "nearest_train_report": "nearest train report",
}


def metric_name(name: str) -> str:
    """A score's name as people write it."""
    return _METRIC_NAMES.get(name) or _F1_NAMES.get(name) or readable_name(name)


def metric_groups(names: Iterable[str], lower: Collection[str]) -> dict[str, list[str]]:
    """Heading -> scores below it: of findings, of errors, of words, and any others; only those that there are."""
    groups: dict[str, list[str]] = {"In findings": [], "Errors per study, lower is better": [], "In words": []}
    others: list[str] = []
    findings, errors, words = groups.values()
    for name in names:
        group = findings if name in _FINDINGS else words if name in _WORDS else errors if name in lower else others
        group.append(name)
    return {heading: found for heading, found in {**groups, "Other scores": others}.items() if found}


def is_plotted(name: str) -> bool:
    """Whether a score has a plot of its own, besides its row in the table."""
    return name not in _IN_TABLE_ONLY


def lower_is_better(scores: Mapping[str, Any] | None) -> frozenset[str]:
    """Names of the scores that count errors."""
    return frozenset(map(str, (scores or {}).get("lower_is_better") or ()))


def readable_name(name: str) -> str:
    """``central_line`` -> ``central line``."""
    return name.replace("_", " ")


def estimate(value: Any) -> Estimate | None:
    """A score given as a number or as ``{"value":, "low":, "high":}``; None of anything else."""
    if isinstance(value, Mapping) and isinstance(value.get("value"), int | float):
        return Estimate(float(value["value"]), _float(value.get("low")), _float(value.get("high")))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Estimate(float(value))
    return None


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def estimates(values: Any) -> dict[str, Estimate]:
    """Score name -> its value, of what can be read as one."""
    if not isinstance(values, Mapping):
        return {}
    found = {str(name): estimate(value) for name, value in values.items()}
    return {name: value for name, value in found.items() if value is not None}


def baselines(scores: Mapping[str, Any]) -> dict[str, dict[str, Estimate]]:
    """Name of a baseline -> its scores."""
    entries = scores.get("baselines") or {}
    return {str(name): estimates(entry.get("metrics", entry)) for name, entry in entries.items()}


def baseline_name(name: str) -> str:
    """A baseline's name as people write it."""
    return _BASELINE_NAMES.get(name, readable_name(name))
