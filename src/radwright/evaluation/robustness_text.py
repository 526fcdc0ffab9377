"""The robustness card as Markdown: the whole table, and the few lines that go into a checkpoint's model card."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from radwright.evaluation.bootstrap import Interval
from radwright.evaluation.outside import OutsideScores, Share
from radwright.evaluation.page.names import metric_name
from radwright.evaluation.robustness import AUC, LOWER_IS_BETTER, SHOWN, ConditionScores, RobustnessCard

WARNING = "Research only. Not a medical device. A radiologist must check every draft."


def score_name(name: str) -> str:
    """A score of the card as people write it."""
    return "AUC of perceived diseases, macro" if name == AUC else metric_name(name)


def card_markdown(card: RobustnessCard) -> str:
    """The whole card."""
    names = card.names
    head = ["condition", "studies", *(_directed(name) for name in names), "drafts changed"]
    rows = [[card.clean.key, str(card.clean.num_studies), *(_value(card.clean.scores[name]) for name in names), ""]]
    rows += [_row(each, names) for each in card.conditions]
    lines = [
        f"# Robustness of {card.checkpoint}",
        "",
        WARNING,
        "",
        f"On {card.data}. Below each score: the difference from the drafts of the same studies' clean images, with the "
        "paired 95 % interval; bold: the interval lies on the bad side of 0.",
        "",
        *_table(head, rows),
        "",
    ]
    lines += [f"- {name}: {told}" for name, told in dict.fromkeys((each.name, each.told) for each in card.conditions)]
    if card.outside is not None:
        lines += ["", *_outside(card.outside)]
    return "\n".join([*lines, "", "## Notes", "", *(f"- {note}" for note in card.notes), ""])


def card_summary(card: RobustnessCard) -> str:
    """What stands in the model card: per kind of condition its worst level, by the first score."""
    main = SHOWN[0]
    lines = [f"On {card.data}; {score_name(main)} of clean images {_value(card.clean.scores[main])}.", ""]
    worst: dict[str, ConditionScores] = {}
    for each in card.conditions:
        if main in each.differences:
            before = worst.get(each.name)
            if before is None or each.differences[main].value < before.differences[main].value:
                worst[each.name] = each
    for each in worst.values():
        fabricated = each.differences.get("fabricated")
        more = "" if fabricated is None else f", fabricated findings {_signed(fabricated)}"
        lines.append(f"- {each.key} ({each.meaning}): {_signed(each.differences[main])}{more}")
    lines += [f"- {each.key}: {each.why_not}" for each in card.conditions if each.why_not]
    if card.outside is not None:
        lines += ["", f"On {card.outside.data}, by labels instead of reports:", ""]
        lines += [
            f"- {name.replace('_', ' ')}: sensitivity {_share(found.sensitivity)}, specificity "
            f"{_share(found.specificity)}; at home {_share(card.outside.at_home[name].sensitivity)} and "
            f"{_share(card.outside.at_home[name].specificity)}"
            for name, found in card.outside.findings.items()
        ]
    return "\n".join(lines)


def _directed(name: str) -> str:
    return score_name(name) + (" (lower is better)" if name in LOWER_IS_BETTER else "")


def _row(each: ConditionScores, names: Sequence[str]) -> list[str]:
    if each.why_not is not None:
        return [each.key, "0", *["–"] * len(names), "–"]
    cells = []
    for name in names:
        if name not in each.scores:
            cells.append("–")
            continue
        told = _signed(each.differences[name])
        cells.append(f"{_value(each.scores[name])}<br>{f'**{told}**' if each.is_worse(name) else told}")
    return [each.key, str(each.num_studies), *cells, f"{each.changed:.0%}"]


def _outside(outside: OutsideScores) -> Iterable[str]:
    yield from (f"## Another source: {outside.data}", "", outside.about.strip(), "")
    rows = []
    for name, found in outside.findings.items():
        home = outside.at_home[name]
        shares = (found.sensitivity, found.specificity, home.sensitivity, home.specificity)
        rows.append([name.replace("_", " "), *map(_share, shares)])
    yield from _table(["finding", "sensitivity", "specificity", "sensitivity at home", "specificity at home"], rows)
    yield from ("", "Share of the drafts that assert each finding, by label:", "")
    names = list(outside.findings)
    yield from _table(
        ["label", "studies", *(name.replace("_", " ") for name in names)],
        [
            [
                label,
                str(next(iter(shares.values())).num_studies),
                *(f"{shares[name].value.value:.2f}" for name in names),
            ]
            for label, shares in outside.labels.items()
        ],
    )
    if outside.unknown:
        listed = ", ".join(f"{label} ({number})" for label, number in outside.unknown.items())
        yield from ("", f"Labels that say nothing of any finding: {listed}.")
    if outside.skipped:
        yield from ("", f"Studies without a draft: {len(outside.skipped)}.")


def _share(share: Share) -> str:
    if math.isnan(share.value.value):
        return "–"
    return f"{share.value.value:.2f} ({share.value.low:.2f} to {share.value.high:.2f}; n {share.num_studies})"


def _value(interval: Interval) -> str:
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _signed(interval: Interval) -> str:
    return f"{interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
