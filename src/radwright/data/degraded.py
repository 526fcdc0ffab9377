"""Studies with which something went wrong: with their images, with a view that is missing, with two that are swapped.

A degraded study is a study like any other, so whatever reads studies reads it unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from radwright.errors import ConfigError, near
from radwright.imaging.config import ImageConfig
from radwright.imaging.decode import png_bytes
from radwright.imaging.degradation import DEGRADATIONS, Degradation, degraded_pixels
from radwright.types import Study, View, ViewPosition

Arranged = list[tuple[int, ViewPosition]]
"""Which views there are, by their place, and what position each is said to have."""


def _without(position: ViewPosition) -> Callable[[Sequence[ViewPosition]], Arranged | None]:
    def arrange(positions: Sequence[ViewPosition]) -> Arranged | None:
        kept = [(place, said) for place, said in enumerate(positions) if said != position]
        return kept if 0 < len(kept) < len(positions) else None

    return arrange


_OTHER: Mapping[ViewPosition, ViewPosition] = {"frontal": "lateral", "lateral": "frontal", "unknown": "unknown"}


def _swapped(positions: Sequence[ViewPosition]) -> Arranged | None:
    if not {"frontal", "lateral"} <= set(positions):
        return None
    return [(place, _OTHER[said]) for place, said in enumerate(positions)]


@dataclass(frozen=True, slots=True)
class ViewAccident:
    """What can happen to a study's views as a whole.

    Attributes:
        meaning: what it is, for a reader of the table.
        arrange: positions of the views -> what is left of them; None where it cannot happen to such a study.
        why_not: why it cannot happen to such a study, for the record of what was left out.
    """

    meaning: str
    arrange: Callable[[Sequence[ViewPosition]], Arranged | None]
    why_not: str


VIEW_ACCIDENTS: Mapping[str, ViewAccident] = {
    "missing_lateral": ViewAccident("no lateral view", _without("lateral"), "has no lateral view beside another one"),
    "missing_frontal": ViewAccident("no frontal view", _without("frontal"), "has no frontal view beside another one"),
    "swapped_views": ViewAccident(
        "frontal and lateral exchanged in name", _swapped, "has not both a frontal and a lateral view"
    ),
}
NAMES: tuple[str, ...] = (*DEGRADATIONS, *VIEW_ACCIDENTS)


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that went wrong, by one amount.

    Attributes:
        name: in ``DEGRADATIONS`` or ``VIEW_ACCIDENTS``.
        amount: of a degradation; 1 of what has no amounts.
    """

    name: str
    amount: float = 1

    @property
    def key(self) -> str:
        """A name for files and tables: ``blur=0.01``, ``swapped_views``."""
        return f"{self.name}={self.amount:g}" if self.unit else self.name

    @property
    def degradation(self) -> Degradation | None:
        """What is done to each image; None where the views are changed as a whole."""
        return DEGRADATIONS.get(self.name)

    @property
    def meaning(self) -> str:
        """What it is, for a reader."""
        return VIEW_ACCIDENTS[self.name].meaning if self.degradation is None else self.degradation.meaning

    @property
    def unit(self) -> str:
        """What an amount counts; empty where there are no amounts."""
        return "" if self.degradation is None or self.degradation.levels == (1,) else self.degradation.unit

    def why_not(self, positions: Sequence[ViewPosition]) -> str | None:
        """Why it cannot happen to a study with views of these positions; None where it can."""
        if self.degradation is not None or VIEW_ACCIDENTS[self.name].arrange(positions) is not None:
            return None
        return VIEW_ACCIDENTS[self.name].why_not


def parse_conditions(texts: Iterable[str]) -> list[Condition]:
    """``blur`` (all its levels), ``noise=0.05``, ``swapped_views`` -> conditions, each once, in the order given.

    Raises:
        ConfigError: an unknown name, an amount where there is none, or one out of range.
    """
    conditions: list[Condition] = []
    for text in texts:
        name, equals, written = text.partition("=")
        if name not in NAMES:
            raise ConfigError(f"unknown condition {name!r}{near(name, NAMES)}; known: {', '.join(NAMES)}")
        if not equals:
            levels = DEGRADATIONS[name].levels if name in DEGRADATIONS else (1,)
            conditions += [Condition(name, amount) for amount in levels]
        elif name not in DEGRADATIONS:
            raise ConfigError(f"condition {text!r}: {name} has no amounts; write it alone")
        else:
            conditions.append(Condition(name, _amount(text, written, DEGRADATIONS[name])))
    return list(dict.fromkeys(conditions))


def _amount(text: str, written: str, degradation: Degradation) -> float:
    try:
        amount = float(written)
    except ValueError:
        amount = -1.0
    if not 0 <= amount <= degradation.most:
        raise ConfigError(f"condition {text!r}: give a number from 0 to {degradation.most:g} ({degradation.unit})")
    return amount


@dataclass(frozen=True, slots=True)
class DegradedImage:
    """An image with which something went wrong, made when it is read: a PNG of the network's own size.

    Attributes:
        view: the image as it was.
        image: how images become tensors.
        condition: what went wrong; one that is done to images.
        key: what its draws depend on.
    """

    view: View
    image: ImageConfig
    condition: Condition
    key: str

    @property
    def name(self) -> str:
        """The image's own."""
        return self.view.image.name

    def read(self) -> bytes:
        """The bytes. Raises what the image itself raises, and ImageError where it cannot be decoded."""
        degradation = self.condition.degradation
        assert degradation is not None, self.condition
        pixels = degraded_pixels(
            self.view.image.read(),
            self.image,
            degradation,
            self.condition.amount,
            key=self.key,
            name=self.name,
            original_size=self.view.original_size,
        )
        return png_bytes(pixels)


def degrade_study(study: Study, condition: Condition, image: ImageConfig, *, seed: int = 0) -> Study:
    """The study under a condition; its id, report and facts stay.

    Args:
        study: with its views.
        condition: what went wrong; it must be possible (``Condition.why_not``).
        image: how images become tensors.
        seed: of all draws.
    """
    if condition.degradation is None:
        arranged = VIEW_ACCIDENTS[condition.name].arrange([view.position for view in study.views])
        assert arranged is not None, study.study_id
        return replace(study, views=tuple(replace(study.views[place], position=said) for place, said in arranged))
    views = [
        replace(
            view,
            image=DegradedImage(view, image, condition, f"{condition.name}/{seed}/{study.study_id}/{place}"),
            original_size=None,
        )
        for place, view in enumerate(study.views)
    ]
    return replace(study, views=tuple(views))
