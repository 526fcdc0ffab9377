"""Degraded studies: views that are missing or exchanged, and conditions as a command line writes them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from radwright.data.degraded import NAMES, Condition, degrade_study, parse_conditions
from radwright.data.loading import make_batch
from radwright.errors import ConfigError, ImageError, StudyError
from radwright.imaging.config import ImageConfig
from radwright.imaging.degradation import DEGRADATIONS
from radwright.types import ImageInMemory, Study, View, ViewPosition

IMAGE = ImageConfig(size_px=32)


@pytest.fixture
def study(picture_bytes: Callable[..., bytes]) -> Callable[..., Study]:
    def make(*positions: ViewPosition) -> Study:
        views = tuple(
            View(ImageInMemory(f"v{place}", picture_bytes(place, size=(48, 40))), position, (480, 500))
            for place, position in enumerate(positions)
        )
        return Study("s", views, "p", "val", {"findings": "Clear lungs."}, {"sex": "F"})

    return make


def why_not(name: str, *positions: ViewPosition) -> str | None:
    return Condition(name).why_not(positions)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_by_an_amount_of_0_the_batch_is_the_same_to_the_bit(name: str, study: Callable[..., Study]) -> None:
    whole = study("frontal", "lateral", "unknown")
    same, plain = (make_batch([each], IMAGE) for each in (degrade_study(whole, Condition(name, 0), IMAGE), whole))
    assert torch.equal(same.images_BV1SS, plain.images_BV1SS)
    assert torch.equal(same.positions_BV, plain.positions_BV)


def test_degraded_images_keep_everything_else_and_each_view_has_its_own_draw(study: Callable[..., Study]) -> None:
    whole = study("frontal", "lateral")
    views = (whole.views[0], View(whole.views[0].image, "lateral", whole.views[0].original_size))
    twins = Study("s", views, "p", "val", whole.sections, whole.extra)
    changed = degrade_study(twins, Condition("noise", 0.1), IMAGE, seed=3)
    assert (changed.study_id, changed.patient_id, changed.split) == ("s", "p", "val")
    assert (changed.sections, changed.extra) == (twins.sections, twins.extra)
    assert [view.position for view in changed.views] == ["frontal", "lateral"]
    assert changed.views[0].image.name == "v0"
    first, second = (view.image.read() for view in changed.views)
    assert first != second
    again = degrade_study(twins, Condition("noise", 0.1), IMAGE, seed=3)
    assert [view.image.read() for view in again.views] == [first, second]
    assert degrade_study(twins, Condition("noise", 0.1), IMAGE, seed=4).views[0].image.read() != first


def test_swapped_views_swap_positions_only(study: Callable[..., Study]) -> None:
    whole = study("frontal", "unknown", "lateral")
    swapped = degrade_study(whole, Condition("swapped_views"), IMAGE)
    assert [view.position for view in swapped.views] == ["lateral", "unknown", "frontal"]
    assert [view.image for view in swapped.views] == [view.image for view in whole.views]
    assert torch.equal(make_batch([swapped], IMAGE).images_BV1SS, make_batch([whole], IMAGE).images_BV1SS)
    assert degrade_study(swapped, Condition("swapped_views"), IMAGE) == whole


def test_a_missing_view_is_gone_and_the_others_stay(study: Callable[..., Study]) -> None:
    whole = study("frontal", "lateral", "frontal")
    assert degrade_study(whole, Condition("missing_lateral"), IMAGE).views == (whole.views[0], whole.views[2])
    assert degrade_study(whole, Condition("missing_frontal"), IMAGE).views == (whole.views[1],)


def test_what_cannot_happen_to_a_study_says_why() -> None:
    assert "no lateral view beside another one" in (why_not("missing_lateral", "frontal") or "")
    assert why_not("missing_lateral", "lateral") is not None
    assert why_not("missing_frontal", "frontal", "frontal") is not None
    assert why_not("missing_frontal", "frontal", "unknown") is None
    assert why_not("swapped_views", "frontal", "unknown") is not None
    assert why_not("swapped_views") is not None
    assert why_not("swapped_views", "lateral", "frontal") is None
    assert all(Condition(name, 1).why_not(["unknown"]) is None for name in DEGRADATIONS)


def test_a_broken_image_is_a_study_error(study: Callable[..., Study]) -> None:
    broken = Study("s", (View(ImageInMemory("gone", b"\x89PNG"), "frontal"),))
    with pytest.raises(ImageError, match="gone"):
        degrade_study(broken, Condition("blur", 0.01), IMAGE).views[0].image.read()
    with pytest.raises(StudyError):
        make_batch([degrade_study(broken, Condition("blur", 0.01), IMAGE)], IMAGE)


def test_conditions_as_they_are_written() -> None:
    assert [each.key for each in parse_conditions(["noise", "blur=0.03", "swapped_views", "inversion"])] == [
        "noise=0.02",
        "noise=0.05",
        "noise=0.1",
        "blur=0.03",
        "swapped_views",
        "inversion",
    ]
    everything = parse_conditions(NAMES)
    assert len({each.key for each in everything}) == len(everything) == len(parse_conditions([*NAMES, "noise=0.05"]))
    assert all(each.meaning for each in everything)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bluur", "did you mean 'blur'"),
        ("", "unknown condition"),
        ("noise=much", "a number from 0 to 1"),
        ("noise=nan", "a number from 0 to 1"),
        ("noise=-1", "a number from 0 to 1"),
        ("rotation=181", "0 to 180"),
        ("swapped_views=1", "has no amounts"),
    ],
)
def test_a_condition_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_conditions([text])
