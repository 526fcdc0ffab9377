"""What scores and baselines are called on a page, and their values out of the JSON of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
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
    "micro_f1": "micro-F1",
}
_BASELINE_NAMES = {
    "constant_bleu_4": "one text, best BLEU-4",
    "constant_cider": "one text, best CIDEr",
    "random_train_report": "random train report",
    "nearest_train_report": "nearest train report",
}


def metric_name(name: str) -> str:
    """A score's name as people write it."""
    return _METRIC_NAMES.get(name, readable_name(name))


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
