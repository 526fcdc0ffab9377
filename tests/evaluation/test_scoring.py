"""Scoring whole sets: intervals, baselines, what is refused, and the command."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radwright import errors
from radwright.cli.main import main
from radwright.errors import ConfigError, ScoringError
from radwright.evaluation.baselines import choose_constants, random_reports
from radwright.evaluation.bootstrap import Resamples, draw_counts, score_with_intervals
from radwright.evaluation.learned.supply import WITHOUT_WEIGHTS
from radwright.evaluation.score import Evaluation, score
from radwright.metrics.bleu import Bleu
from radwright.metrics.cider import Cider
from radwright.metrics.clinical import ClinicalF1
from radwright.metrics.judging import ERRORS
from radwright.tables import METRICS, resolve

CLINICAL = ["finding_score", *ClinicalF1.names, *ERRORS]
NAMES = ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider", "meteor15_es", "chrf", *CLINICAL]
PARTS = ["The heart is normal.", "The heart is large.", "Lungs clear.", "There is a left effusion.", "No pneumothorax."]


def make_reports(count: int, *, seed: int, prefix: str) -> dict[str, str]:
    random = np.random.default_rng(seed)
    return {
        f"{prefix}{k}": " ".join(PARTS[j] for j in random.permutation(len(PARTS))[: random.integers(2, 5)])
        for k in range(count)
    }


TRAIN = make_reports(60, seed=1, prefix="t")
REFERENCES = make_reports(20, seed=2, prefix="v")
DRAFTS = dict(zip(REFERENCES, make_reports(20, seed=3, prefix="d").values(), strict=True))


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return score(DRAFTS, REFERENCES, train=TRAIN, num_resamples=200)


def test_every_number_has_an_interval_around_it(evaluation: Evaluation) -> None:
    assert list(evaluation.metrics) == NAMES
    assert list(evaluation.baselines) == ["constant_bleu_4", "constant_cider", "random_train_report"]
    for metrics in (evaluation.metrics, *(baseline.metrics for baseline in evaluation.baselines.values())):
        assert list(metrics) == NAMES
        for interval in metrics.values():
            assert interval.low <= interval.high
    assert evaluation.metrics["rouge_l"].low < evaluation.metrics["rouge_l"].value < evaluation.metrics["rouge_l"].high


def test_values_are_the_metrics_own(evaluation: Evaluation) -> None:
    cleaned = [text.lower().replace(".", " .") for text in (DRAFTS[k] for k in sorted(DRAFTS))]
    targets = [[REFERENCES[k].lower().replace(".", " .")] for k in sorted(REFERENCES)]
    for metric in (resolve(METRICS, name, kind="metric")() for name in WITHOUT_WEIGHTS):
        rows = metric.rows(cleaned, targets)
        for name, value in zip(metric.names, metric.scores(rows.sum(axis=0)), strict=True):
            assert evaluation.metrics[name].value == pytest.approx(float(value), abs=1e-12)
        for k, row in enumerate(evaluation.study_rows):
            for name, value in zip(metric.names, metric.scores(rows[k]), strict=True):
                assert row[name] == pytest.approx(float(value), abs=1e-12)


EVERY_CLASS = [
    "The heart and lungs are normal today.",
    "The mediastinum is widened at the top.",
    "There is moderate cardiomegaly once more.",
    "A nodule is seen in the right lung.",
    "Hazy opacity is noted at both bases.",
    "There is mild pulmonary edema on this film.",
    "A dense consolidation fills the left lower lobe.",
    "Findings are those of a lobar pneumonia.",
    "Bands of atelectasis lie at the right base.",
    "A small pneumothorax is seen on the left.",
    "There is a large pleural effusion on the right.",
    "The pleural thickening is seen at the apex.",
    "There is a fracture of the sixth left rib.",
    "The endotracheal tube ends above the carina.",
]


def test_identical_texts_reach_the_maximum_of_every_score() -> None:
    texts = {f"v{k}": text for k, text in enumerate(EVERY_CLASS)}
    found = score(texts, texts, num_resamples=2)
    maxima = {name: 0.0 if name in found.lower_is_better else 1.0 for name in found.metrics} | {
        "cider": 10,
        "chrf": 100,
    }
    assert len(maxima) > 30
    assert {name: interval.value for name, interval in found.metrics.items()} == pytest.approx(maxima, abs=1e-9)


def test_order_of_studies_changes_nothing(evaluation: Evaluation) -> None:
    again = score(
        dict(reversed(DRAFTS.items())),
        dict(reversed(REFERENCES.items())),
        train=dict(reversed(TRAIN.items())),
        num_resamples=200,
    )
    assert again == evaluation


def test_seed_changes_intervals_not_values(evaluation: Evaluation) -> None:
    other = score(DRAFTS, REFERENCES, train=TRAIN, num_resamples=200, seed=1)
    assert other.metrics["cider"].value == evaluation.metrics["cider"].value
    assert other.metrics["cider"].low != evaluation.metrics["cider"].low
    assert "seed 1" in other.signature


def test_perfect_drafts_and_per_study_rows() -> None:
    found = score(REFERENCES, REFERENCES, train=TRAIN, num_resamples=50)
    assert found.metrics["bleu_4"].value == pytest.approx(1, abs=1e-6)
    assert found.metrics["meteor15_es"].plain() == {"value": 1, "low": 1, "high": 1}
    assert [row["rouge_l"] for row in found.study_rows] == [1.0] * 20
    assert not found.diversity.collapsed


def test_collapsed_drafts_raise_the_alarm() -> None:
    found = score(dict.fromkeys(REFERENCES, "Lungs clear."), REFERENCES, train=TRAIN, num_resamples=10)
    assert found.diversity.collapsed
    assert any("collapsed: one draft was given to 100% of the studies" in note for note in found.notes)


def test_constants_are_chosen_without_the_evaluated_studies() -> None:
    # Read on the evaluated studies, the best constant would be theirs; it must come from the others.
    mine = dict.fromkeys(("v1", "v2", "v3"), "Scoliosis of the spine is seen.")
    pool = mine | {f"o{k}": f"Lungs are clear today {k % 2}." for k in range(8)}
    found = score(mine, mine, constants_from=pool, num_resamples=10)
    for name in ("constant_bleu_4", "constant_cider"):
        report = found.baselines[name].report
        assert report is not None
        assert "lungs" in report
    nothing_left = score(mine, mine, constants_from=mine, num_resamples=10)
    assert "constant_bleu_4" not in nothing_left.baselines
    assert any("is itself evaluated" in note for note in nothing_left.notes)


def test_constants_come_from_their_own_file_and_the_random_report_from_train() -> None:
    found = score(DRAFTS, REFERENCES, train={"t": "Only train."}, constants_from={"c": "Only val."}, num_resamples=10)
    assert found.baselines["constant_cider"].report == "only val ."
    assert found.baselines["random_train_report"].report is None
    assert found.baselines["random_train_report"].metrics["bleu_1"].value < 0.5


def test_without_other_reports_there_are_no_baselines_and_a_note() -> None:
    found = score(DRAFTS, REFERENCES, num_resamples=10)
    assert found.baselines == {}
    assert any("no trivial baselines" in note for note in found.notes)


def test_best_constant_is_the_best_of_all_candidates() -> None:
    texts = sorted({text.lower().replace(".", " .") for text in TRAIN.values()})
    targets = [[text] for text in texts]
    chosen = choose_constants(texts, texts, seed=0)
    for name, metric in (("constant_bleu_4", Bleu()), ("constant_cider", Cider())):
        values = [float(metric.scores(metric.rows([text] * len(texts), targets).sum(axis=0))[-1]) for text in texts]
        assert values[texts.index(chosen[name])] == pytest.approx(max(values))


def test_random_reports_depend_on_the_seed_only() -> None:
    first, again, other = (random_reports(list("abcdef"), 30, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert set(first) <= set("abcdef")
    assert len(set(first)) > 1


@pytest.mark.parametrize(
    ("drafts", "references", "message"),
    [
        ({"a": "x", "b": "x"}, {"a": "x"}, r"no reference for 1 study \('b'\).*--allow-missing"),
        ({"a": "x"}, {"a": "x", "b": "x"}, r"no draft for 1 study \('b'\)"),
        ({"a": "x"}, {"a": "x", "b": "x", "c": "x"}, r"is it the right --split\?"),
        ({"a": "x", "b": "x"}, {"a": "x", "b": "XXXX."}, r"holds no words for 1 study \('b'\).*'report'"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    drafts: dict[str, str], references: dict[str, str], message: str
) -> None:
    with pytest.raises(ScoringError, match=message):
        score(drafts, references, num_resamples=5)
    found = score(drafts, references, num_resamples=5, allow_missing=True)
    assert found.study_ids == ("a",)
    assert "coverage=intersection" in found.signature
    assert found.without_draft or found.without_reference


def test_nothing_in_common_is_refused_even_then() -> None:
    with pytest.raises(ScoringError, match="of one data set"):
        score({"a": "x"}, {"b": "x"}, allow_missing=True)
    with pytest.raises(ScoringError, match="--train"):
        score({"a": "x"}, {"a": "x"}, convention="r2gen-iu")
    with pytest.raises(ConfigError, match="did you mean 'bleu'"):
        score({"a": "x"}, {"a": "x"}, metrics=["blue"])


def test_empty_drafts_are_scored_and_counted() -> None:
    found = score({"a": "", "b": "Lungs clear."}, {"a": "Heart large.", "b": "Lungs clear."}, num_resamples=5)
    assert found.diversity.num_empty == 1
    assert found.study_rows[0]["rouge_l"] == 0
    assert found.metrics["rouge_l"].value == pytest.approx(0.5)


def test_a_missing_extra_takes_away_its_metric_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *, extra: str) -> Any:
        raise errors.MissingExtraError(f'this needs {name}: pip install "radwright[{extra}]"')

    monkeypatch.setattr("radwright.metrics.chrf.require", refuse)
    found = score(DRAFTS, REFERENCES, num_resamples=5)
    assert "chrf" not in found.metrics
    assert list(found.metrics) == [name for name in NAMES if name != "chrf"]
    assert "radwright[metrics]" in found.unavailable["chrf"]


def test_the_signature_says_what_numbers_may_be_compared(evaluation: Evaluation) -> None:
    assert evaluation.signature == score(DRAFTS, REFERENCES, num_resamples=200).signature
    others = [
        score(DRAFTS, REFERENCES, train=TRAIN, convention="r2gen-iu", num_resamples=200),
        score(DRAFTS, REFERENCES, convention="raw", num_resamples=200),
        score(DRAFTS, REFERENCES, cider_from=TRAIN, num_resamples=200),
        score({"v0": "x"}, {"v0": "y"}, num_resamples=200),
    ]
    signatures = {evaluation.signature, *(other.signature for other in others)}
    assert len(signatures) == 5
    for part in (
        "convention=report",
        "cut=none",
        "unk=none",
        "n=20",
        "ids=",
        "version=",
        "meteor15_es: 1.5",
        "df=refs",
    ):
        assert part in evaluation.signature


def test_resamples_are_drawn_with_replacement() -> None:
    counts = draw_counts(50, num_resamples=300, seed=0)
    assert counts.shape == (300, 50)
    assert (counts.sum(axis=1) == 50).all()
    assert counts.max() >= 3
    assert counts.mean(axis=0) == pytest.approx(np.ones(50), abs=0.3)
    assert (counts == draw_counts(50, num_resamples=300, seed=0)).all()


@pytest.mark.parametrize("num_studies", [1, 50, 3001])
def test_resamples_kept_small_are_those_of_the_whole_matrix(num_studies: int) -> None:
    """In one go, as numpy draws them, against part by part; 3,001 studies need two parts."""
    shares = np.full(num_studies, 1 / num_studies)
    whole_Rn = np.random.default_rng(5).multinomial(num_studies, shares, size=300)
    resamples = Resamples.draw(num_studies, num_resamples=300, seed=5)
    assert np.array_equal(resamples.counts_Rn, whole_Rn)
    rows_nS = np.random.default_rng(0).integers(0, 100, (num_studies, 7)).astype(np.float64)
    assert np.array_equal(resamples.sums(rows_nS), whole_Rn @ rows_nS)


def test_intervals_cover_the_mean_as_often_as_they_say() -> None:
    class Mean:
        names = ("mean",)
        higher_is_better = (True,)
        reads_as_written = False
        variant = "test"

        def rows(self, hypotheses: Any, references: Any) -> Any:
            raise NotImplementedError

        def scores(self, sums: Any) -> Any:
            return sums[..., :1] / sums[..., 1:]

    random = np.random.default_rng(0)
    inside = 0
    for trial in range(200):
        rows = np.stack([random.normal(3, 1, size=80), np.ones(80)], axis=1)
        interval = score_with_intervals(Mean(), rows, Resamples.draw(80, num_resamples=300, seed=trial))["mean"]
        inside += interval.low <= 3 <= interval.high
    assert 0.88 <= inside / 200 <= 0.99


def test_paired_differences_are_differences_on_the_same_resamples() -> None:
    """The definition, resample by resample: texts are repeated as often as drawn and scored anew."""
    other = dict(zip(REFERENCES, make_reports(20, seed=4, prefix="o").values(), strict=True))
    found = score(DRAFTS, REFERENCES, against={"other": other}, metrics=["bleu", "rouge_l"], num_resamples=20, seed=7)
    counts = draw_counts(20, num_resamples=20, seed=7)
    ids = sorted(REFERENCES)
    values = []
    for row in counts:
        drawn = {f"{k}-{j}": k for k, times in zip(ids, row, strict=True) for j in range(int(times))}
        own, its = (
            score(
                {new: texts[k] for new, k in drawn.items()},
                {new: REFERENCES[k] for new, k in drawn.items()},
                metrics=["bleu", "rouge_l"],
                num_resamples=1,
            ).metrics
            for texts in (DRAFTS, other)
        )
        values.append([own[name].value - its[name].value for name in ("bleu_4", "rouge_l")])
    low, high = np.percentile(values, (2.5, 97.5), axis=0)
    for place, name in enumerate(("bleu_4", "rouge_l")):
        difference = found.differences["other"][name]
        assert (difference.low, difference.high) == pytest.approx((low[place], high[place]))
        assert difference.value == pytest.approx(
            found.metrics[name].value - score(other, REFERENCES, num_resamples=5).metrics[name].value
        )


def test_differences_from_oneself_are_zero_and_turn_round_with_the_sign() -> None:
    other = dict(zip(REFERENCES, make_reports(20, seed=4, prefix="o").values(), strict=True))
    forth = score(DRAFTS, REFERENCES, against={"itself": DRAFTS, "other": other}, num_resamples=50)
    back = score(other, REFERENCES, against={"drafts": DRAFTS}, num_resamples=50)
    assert list(forth.differences) == ["itself", "other"]
    for name in NAMES:
        assert forth.differences["itself"][name].plain() == {"value": 0, "low": 0, "high": 0}
        there, here = forth.differences["other"][name], back.differences["drafts"][name]
        assert (there.value, there.low, there.high) == pytest.approx((-here.value, -here.high, -here.low))


def test_every_baseline_has_its_paired_difference(evaluation: Evaluation) -> None:
    assert list(evaluation.differences) == list(evaluation.baselines)
    for name, baseline in evaluation.baselines.items():
        for metric, difference in evaluation.differences[name].items():
            assert difference.value == pytest.approx(evaluation.metrics[metric].value - baseline.metrics[metric].value)


def test_a_system_that_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ScoringError, match=r"other: has no draft for 1 study \('b'\)"):
        score({"a": "x", "b": "y"}, {"a": "x", "b": "y"}, against={"other": {"a": "x"}}, num_resamples=5)
    with pytest.raises(ScoringError, match="name of a trivial baseline"):
        score(DRAFTS, REFERENCES, train=TRAIN, against={"constant_cider": DRAFTS}, num_resamples=5)


def write_lines(path: Path, reports: dict[str, str], split: str | None = None) -> None:
    extra = {} if split is None else {"split": split}
    path.write_text("".join(json.dumps({"study_id": k, "report": v} | extra) + "\n" for k, v in reports.items()))


def test_command_writes_json_and_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines(tmp_path / "drafts.jsonl", DRAFTS)
    annotation = {
        "train": [{"id": k, "report": v} for k, v in TRAIN.items()],
        "val": [{"id": k, "report": v} for k, v in REFERENCES.items()],
    }
    (tmp_path / "annotation.json").write_text(json.dumps(annotation))
    where = str(tmp_path / "annotation.json")
    with pytest.raises(SystemExit) as stop:
        main(
            [
                *("score", str(tmp_path / "drafts.jsonl"), "--references", where, "--split", "val", "--train", where),
                *("--constants-from", where, "--convention", "r2gen-iu", "--resamples", "50"),
                *("--per-study", str(tmp_path / "rows.csv"), "--json", str(tmp_path / "out.json")),
            ]
        )
    assert not stop.value.code
    out = json.loads((tmp_path / "out.json").read_text())
    assert out["n"] == 20
    assert set(out) >= {"n", "ids", "signature", "metrics", "baselines"}
    assert list(out["metrics"]) == NAMES
    assert set(out["metrics"]["bleu_4"]) == {"value", "low", "high"}
    assert set(out["baselines"]) == {"constant_bleu_4", "constant_cider", "random_train_report"}
    assert set(out["baselines"]["constant_cider"]["metrics"]) == set(NAMES)
    direct = score(DRAFTS, REFERENCES, train=TRAIN, convention="r2gen-iu", num_resamples=50)
    assert out == json.loads(json.dumps(direct.plain()))
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["study_id"] for row in rows] == sorted(REFERENCES)
    assert set(rows[0]) == {"study_id", *NAMES, "draft_words", "reference_words"}
    printed = capsys.readouterr().out
    assert "bleu_4" in printed
    assert out["ids"] in printed.replace("\n", "")


def test_command_compares_with_other_drafts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b").mkdir()
    write_lines(tmp_path / "drafts.jsonl", DRAFTS)
    write_lines(tmp_path / "other.jsonl", REFERENCES)
    write_lines(tmp_path / "b" / "other.jsonl", DRAFTS)
    write_lines(tmp_path / "refs.jsonl", REFERENCES)
    common = [
        "score",
        str(tmp_path / "drafts.jsonl"),
        "--references",
        str(tmp_path / "refs.jsonl"),
        "--resamples",
        "20",
    ]
    common += ["--json", str(tmp_path / "out.json"), "--against", str(tmp_path / "other.jsonl")]
    with pytest.raises(SystemExit) as stop:
        main(common)
    assert not stop.value.code
    out = json.loads((tmp_path / "out.json").read_text())
    assert out["differences"]["other"]["rouge_l"]["value"] == pytest.approx(out["metrics"]["rouge_l"]["value"] - 1)
    assert "drafts minus each" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main([*common, "--against", str(tmp_path / "b" / "other.jsonl")])
    assert stop.value.code == 1
    assert "two files of one name" in capsys.readouterr().err


def test_command_fails_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines(tmp_path / "drafts.jsonl", DRAFTS)
    write_lines(tmp_path / "refs.jsonl", REFERENCES, "val")
    common = ["score", str(tmp_path / "drafts.jsonl"), "--references", str(tmp_path / "refs.jsonl")]
    for arguments, message in (
        (["--split", "test"], "it has val"),
        (["--convention", "r2gen-iu"], "--train"),
        (["--train", str(tmp_path / "none.jsonl")], "none.jsonl: cannot be read"),
        (["--json", str(tmp_path / "drafts.jsonl" / "scores.json"), "--resamples", "5"], "cannot be written"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(common + arguments)
        assert stop.value.code == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert message in error
        assert error.count("\n") == 1


def test_constants_on_real_reports_score_like_published_ones(shared: Path) -> None:
    """A constant chosen on train scores on IU val what a published constant did on test: BLEU-4 .172, METEOR .224."""
    import zipfile

    with zipfile.ZipFile(shared / "data" / "iu_xray.zip") as archive:
        annotation = json.loads(archive.read("iu_xray/annotation.json"))
    val, train = ({row["id"]: row["report"] for row in annotation[split]} for split in ("val", "train"))
    found = score(val, val, train=train, convention="r2gen-iu", num_resamples=20, metrics=["bleu", "cider"])
    assert 0.14 < found.baselines["constant_bleu_4"].metrics["bleu_4"].value < 0.21
    assert 0.2 < found.baselines["constant_cider"].metrics["cider"].value < 0.6
    assert found.metrics["bleu_4"].value > 0.85  # below 1: the references are cut and mapped, the drafts are not
