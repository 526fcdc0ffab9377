"""What the table of a calibration says is so of the bar that it prints."""

from __future__ import annotations

import math

import numpy as np
import pytest

from radwright.errors import ConfigError
from radwright.evidence.features import FEATURES
from radwright.evidence.risk import JudgedDrafts, Scored, fewest_studies
from radwright.runs.silence_measures import JudgedDraft, fits, set_bars

LEVELS = (0.01, 0.02, 0.1, 0.3)


def drafts_of(num_studies: int) -> list[JudgedDraft]:
    """Each asserts two findings in two sentences; the surer one is oftener right."""
    random = np.random.default_rng(0)
    drafts = []
    for number in range(num_studies):
        sure = random.uniform(-1, 1, 2)
        right = random.random(2) < 1 / (1 + np.exp(-3 * sure - 2))
        asserted = tuple(
            (place, f"f{place}", bool(right[place]), dict.fromkeys(FEATURES, float(sure[place]))) for place in (0, 1)
        )
        drafts.append(JudgedDraft(f"s{number}", f"p{number}", f"{number:04x}", asserted))
    return drafts


@pytest.mark.parametrize("num_studies", [380, 900])
def test_what_is_kept_is_kept_by_the_bar_beside_it(num_studies: int) -> None:
    drafts = drafts_of(num_studies)
    found = set_bars(drafts, {}, {"split": "val"}, levels=LEVELS, fit_share=0.5)
    setting = [draft for draft in drafts if not fits(draft.patient, 0.5)]
    assert found.silence.num_studies == len(setting)
    asserted = [each for draft in setting for each in draft.asserted]
    probability_A = found.silence.confidence.probabilities(
        [each[1] for each in asserted], [each[3] for each in asserted]
    )
    scored = Scored.of(JudgedDrafts.of([[each[:3] for each in draft.asserted] for draft in setting]), probability_A)
    few = [level for level in LEVELS if len(setting) // 2 < fewest_studies(level)]
    for row in found.rows:
        bar = found.silence.bar(row.level)
        assert (row.bar, row.reachable) == (bar.bar, bar.reachable)
        assert row.kept == scored.kept(bar.bar)
        # Halves that only silence serves say nothing of the bar.
        unknown = [math.isnan(value) for value in (row.risk, row.halved_kept, row.by_name_kept, row.random_kept)]
        assert unknown == [row.level in few] * 4
    assert few == ([0.01] if num_studies == 380 else [])
    assert any("too few for such a level (it takes 99)" in note for note in found.notes) == bool(few)


def test_fewer_studies_than_the_default_level_takes_are_refused() -> None:
    drafts = drafts_of(40)
    setting = [draft for draft in drafts if not fits(draft.patient, 0.5)]
    fitting = [draft for draft in drafts if fits(draft.patient, 0.5)]
    enough = fitting + setting[:9]
    assert set_bars(enough, {}, {}, levels=LEVELS, fit_share=0.5).silence.num_studies == 9
    with pytest.raises(ConfigError, match=r"leave 8 patients to set the bars: level 0\.1 takes 9 at least"):
        set_bars(fitting + setting[:8], {}, {}, levels=LEVELS, fit_share=0.5)
    twice = fitting + setting[:8] + [JudgedDraft("again", setting[0].patient, "ffff", ())]
    with pytest.raises(ConfigError, match="leave 8 patients"):
        set_bars(twice, {}, {}, levels=LEVELS, fit_share=0.5)
