"""Which part of a report a model learns to write, and is scored against."""

from __future__ import annotations

from typing import Literal, get_args

from radwright.types import Study

Target = Literal["findings", "impression", "findings+impression"]
TARGETS: tuple[Target, ...] = get_args(Target)


def report_text(study: Study, target: Target) -> str:
    """The text that a draft stands against: the target's sections that the study has, in order, as one text.

    A section that does not end a sentence gets a period before the next one follows, so that cleaning keeps them apart.
    """
    texts = [text for section in target.split("+") if (text := study.section(section).strip())]
    closed = [text if text[-1] in ".?!:;" else text + "." for text in texts[:-1]]
    return " ".join([*closed, *texts[-1:]])
