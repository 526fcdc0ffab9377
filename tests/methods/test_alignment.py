"""Stage 1 of TRRG: targets, sampling, the loss over ranks, perception, and a bank that grows without code."""

from __future__ import annotations

import socket
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch

from radwright.errors import ConfigError
from radwright.methods.trrg.alignment import AlignmentConfig
from radwright.methods.trrg.clue_bank import ClueBank, Disease, default_bank, read_bank
from radwright.methods.trrg.contrast import SentenceContrast, SentenceContrastConfig, divergence, local_similarity
from radwright.methods.trrg.sentences import draw_sentences, report_sentences, report_signature
from trrg_toy import REPORTS, as_rank, one_step, tiny_alignment, toy_batch, values

FINDINGS = tuple(disease.finding or "" for disease in default_bank().diseases)


def contrast(**settings: Any) -> SentenceContrast:
    return SentenceContrast(tiny_alignment(), SentenceContrastConfig.parse(settings, where="test"))


def test_sentences_keep_numbers_and_names_whole_and_carry_their_own_signature() -> None:
    text = "1. A 1.2 cm nodule at T1. No effusion or pneumothorax. Dr. XXXX was told at 3 p.m. The heart is enlarged"
    sentences = report_sentences(text, FINDINGS)
    texts = [sentence.text for sentence in sentences]
    assert any("1.2 cm nodule at T1." in text for text in texts)
    assert "No effusion or pneumothorax." in texts
    by_text = {sentence.text: dict(zip(FINDINGS, sentence.signature, strict=True)) for sentence in sentences}
    assert by_text["No effusion or pneumothorax."]["Pleural Effusion"] == 0
    assert by_text["No effusion or pneumothorax."]["Pneumothorax"] == 0
    assert by_text["No effusion or pneumothorax."]["Cardiomegaly"] is None
    assert by_text["The heart is enlarged"]["Cardiomegaly"] == 1
    assert report_signature(text, FINDINGS)[FINDINGS.index("Pleural Effusion")] == 0


def test_equal_sentences_are_known_again_in_any_spelling_of_case_and_space() -> None:
    first, second = (report_sentences(text, FINDINGS)[0] for text in ("No  Pleural effusion.", "no pleural effusion"))
    assert first.canonical == second.canonical


def test_the_draw_keeps_every_assertion_and_few_of_the_others() -> None:
    text = (
        "The heart is enlarged. There is atelectasis. No effusion. No pneumothorax. No edema. No fracture. "
        "Comparison is made. The technologist noted motion."
    )
    sentences = report_sentences(text, FINDINGS)
    seen = set()
    for seed in range(40):
        drawn = draw_sentences(sentences, seed, num_negated=2, num_neutral=1)
        assert drawn == draw_sentences(sentences, seed, num_negated=2, num_neutral=1)
        assert sum(sentence.is_positive for sentence in drawn) == 2
        assert sum(sentence.is_neutral for sentence in drawn) == 1
        assert len(drawn) == 5
        seen |= {sentence.canonical for sentence in drawn}
    assert len(seen) == 8  # drawn anew each time, every sentence has its turn


def plain_loss(logits: torch.Tensor, positive: list[list[bool]], ignored: list[list[bool]]) -> list[float]:
    """Cross-entropy less entropy, row by row, as the specification writes it."""
    rows = []
    for row, (is_positive, is_ignored) in enumerate(zip(positive, ignored, strict=True)):
        kept = [c for c in range(logits.shape[1]) if is_positive[c] or not is_ignored[c]]
        number = sum(is_positive)
        if not number:
            rows.append(0.0)
            continue
        log_probs = logits[row, kept].log_softmax(0)
        target = torch.tensor([is_positive[c] / number for c in kept], dtype=logits.dtype)
        entropy = -(target[target > 0] * target[target > 0].log()).sum()
        rows.append(float(-(target * log_probs).sum() - entropy))
    return rows


def test_divergence_is_the_multi_positive_loss_less_its_floor() -> None:
    random = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 9, generator=random, dtype=torch.float64)
    positive = torch.rand(6, 9, generator=random) < 0.3
    ignored = torch.rand(6, 9, generator=random) < 0.4
    positive[2] = False
    positive[3], ignored[4] = False, True
    logits.requires_grad_()
    loss = divergence(logits, positive, ignored)
    assert loss.tolist() == pytest.approx(plain_loss(logits.detach(), positive.tolist(), ignored.tolist()))
    loss.sum().backward()
    assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]
    perfect = torch.where(positive, 0.0, -60.0).double()
    assert divergence(perfect, positive, ignored).abs().max() < 1e-9


def test_local_similarity_is_that_of_the_attended_patches() -> None:
    random = torch.Generator().manual_seed(2)
    unit = torch.nn.functional.normalize
    patches = unit(torch.randn(3, 7, 5, generator=random, dtype=torch.float64), dim=-1)
    texts = unit(torch.randn(4, 5, generator=random, dtype=torch.float64), dim=-1)
    valid = torch.ones(3, 7, dtype=torch.bool)
    valid[1, 4:] = False
    found = local_similarity(patches, valid, texts)
    for i in range(3):
        own = patches[i][valid[i]]
        for j in range(4):
            attention = (10 * own @ texts[j]).softmax(0)
            expected = unit((attention[:, None] * own).sum(0), dim=0) @ texts[j]
            assert float(found[i, j]) == pytest.approx(float(expected), abs=1e-12)


def targets(objective: SentenceContrast, numbers: list[int]) -> dict[tuple[int, str], str]:
    from radwright.methods.trrg.contrast import _targets

    share = objective._draw(toy_batch(numbers))
    positive, ignored = _targets([share], agreeing=objective.config.agreeing)
    kinds = {}
    for row in range(len(numbers)):
        for column, sentence in enumerate(share.sentences):
            kind = "positive" if positive[row, column] else "ignored" if ignored[row, column] else "negative"
            kinds[row, sentence.canonical] = kind
    return kinds


def test_targets_follow_from_what_reports_say() -> None:
    kinds = targets(contrast(num_negated=9, num_neutral=9), [0, 1, 2, 3, 4])
    assert kinds[0, "the heart is enlarged"] == "positive"
    assert kinds[1, "no pleural effusion"] == "positive"  # a copy is no negative
    assert kinds[1, "the heart is enlarged"] == "negative"
    assert kinds[3, "no pneumothorax"] == "ignored"  # that report does not speak of it
    assert kinds[4, "the heart is enlarged"] == "negative"  # said in other words
    agreeing = targets(contrast(num_negated=9, num_neutral=9, agreeing=True), [0, 1, 2, 3, 4])
    assert agreeing[4, "the heart is enlarged"] == "positive"
    assert agreeing[1, "the heart is enlarged"] == "negative"
    assert kinds[1, "degenerative changes of the spine"] == agreeing[1, "degenerative changes of the spine"]


SETTINGS = {"num_negated": 2, "num_neutral": 1, "report_weight": 0.3, "local_weight": 0.5}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("alone") / "0.pt"
    one_step(out, [[0, 1, 2, 3, 4]], SETTINGS)
    return torch.load(out)  # type: ignore[no-any-return]


@pytest.mark.parametrize("shares", [[[0, 1, 2], [3, 4]], [[0, 1, 2, 3, 4], []]])
def test_two_processes_equal_one(
    processes: ForkServerContext, alone: dict[str, Any], tmp_path: Path, shares: list[list[int]]
) -> None:
    """Ranks with fewer studies, other numbers of views, or none: one loss, one gradient."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = [processes.Process(target=as_rank, args=(rank, port, tmp_path, shares, SETTINGS)) for rank in (0, 1)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(120)
    stuck = [rank for rank in ranks if rank.exitcode is None]
    for rank in stuck:
        rank.kill()
    assert [rank.exitcode for rank in ranks] == [0, 0]
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found["counts"] == alone["counts"]
        assert found["sums"] == pytest.approx(alone["sums"], rel=1e-9)
        assert found["gradients"].keys() >= alone["gradients"].keys()
        for name, gradient in alone["gradients"].items():
            torch.testing.assert_close(found["gradients"][name], gradient, rtol=1e-7, atol=1e-10, msg=name)


def test_a_missing_view_and_the_others_of_a_batch_change_no_probability() -> None:
    model = tiny_alignment().eval()
    together = model.perceive(toy_batch([0, 1, 2], num_views=3))
    alone = torch.cat([model.perceive(toy_batch([number], num_views=2)) for number in (0, 1, 2)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_perception_is_the_sigmoid_of_the_scaled_difference() -> None:
    model = tiny_alignment().eval()
    batch = toy_batch([0])
    image = model.image_vectors(model.see(batch))
    disease = model.bank.diseases[1]
    unit = torch.nn.functional.normalize
    present, absent = (unit(model.text_vectors(texts).mean(0), dim=0) for texts in (disease.present, disease.absent))
    expected = (model.scale * image[0] @ (present - absent)).sigmoid()
    torch.testing.assert_close(model.perceive(batch)[0, 1], expected, rtol=0, atol=1e-9)


def test_a_disease_more_changes_no_shape_and_no_other_disease(tmp_path: Path) -> None:
    model = tiny_alignment().eval()
    before, shapes = model.perceive(toy_batch([0, 1])), {name: w.shape for name, w in model.state_dict().items()}
    path = tmp_path / "bank.yaml"
    path.write_text(
        "diseases:\n"
        "- {name: Hernia, finding: hiatal_hernia, present: [Large hernia.], absent: [No hernia.], clue: hernia}\n"
        "- {name: Cardiomegaly, finding: Cardiomegaly, present: [Big heart.], absent: [Small heart.], clue: heart}\n"
        "- {name: Anything, present: [A thing.], absent: [No thing.], clue: thing}\n",
        encoding="utf-8",
    )
    bank = read_bank(path)
    added = ClueBank(diseases=(*model.bank.diseases, bank.diseases[0]))
    model.bank = added
    after = model.perceive(toy_batch([0, 1]))
    torch.testing.assert_close(after[:, :-1], before, rtol=0, atol=1e-6)
    assert after.shape == (2, 14)
    model.bank = bank
    assert model.perceive(toy_batch([0, 1])).shape == (2, 3)
    assert shapes == {name: w.shape for name, w in model.state_dict().items()}
    from_config = AlignmentConfig.parse(values(bank=str(path)), where="test")
    assert from_config.bank == bank


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"finding": "Cardiomegali"}, "Cardiomegaly"),
        ({"present": []}, "present"),
        ({"absent": [" "]}, "empty"),
        ({"name": "edema"}, "twice"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_bank_is_refused_by_name(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    import yaml

    good = {"name": "Hernia", "finding": "hiatal_hernia", "present": ["A."], "absent": ["B."], "clue": "c"}
    other = {"name": "Edema", "finding": "Edema", "present": ["A."], "absent": ["B."], "clue": "c"}
    path = tmp_path / "bank.yaml"
    path.write_text(yaml.safe_dump({"diseases": [good | change, other]}), encoding="utf-8")
    with pytest.raises(ConfigError, match=told) as error:
        read_bank(path)
    assert str(path) in str(error.value)


def test_thresholds_stay_with_the_sentences_they_were_found_with() -> None:
    bank = default_bank().with_thresholds({"Edema": 0.3, "Fracture": 0.4})
    changed = [
        disease.model_copy(update={"threshold": None} | ({"present": ("X.",)} if disease.name == "Fracture" else {}))
        for disease in bank.diseases
    ]
    new = bank.replaced_by(ClueBank(diseases=tuple(changed)))
    thresholds = dict(zip(new.names, new.thresholds, strict=True))
    assert (thresholds["Edema"], thresholds["Fracture"]) == (0.3, 0.5)
    assert isinstance(new.diseases[0], Disease)


def test_calibration_finds_thresholds_and_scores_only_what_is_frequent_enough() -> None:
    objective = contrast(min_positives=3)
    names = objective.model.bank.names
    heart, edema = names.index("Cardiomegaly"), names.index("Edema")
    rows = []
    for number in range(12):
        probabilities = [0.5] * len(names)
        said: list[int | None] = [None] * len(names)
        probabilities[heart], said[heart] = (0.1 + 0.05 * number, int(number >= 8))
        probabilities[edema], said[edema] = (0.9 if number == 0 else 0.2, 1 if number < 2 else -1)
        rows.append((probabilities, tuple(said)))
    scores = objective.conclude([rows[:5], rows[5:]])
    assert scores == {"auc_macro": 1.0, "f1_macro": 1.0, "num_diseases": 1.0}
    thresholds = dict(zip(names, [d.threshold for d in objective.model.bank.diseases], strict=True))
    assert thresholds["Cardiomegaly"] == pytest.approx(0.475)
    assert thresholds["Edema"] == pytest.approx(0.2, abs=1e-5)  # all that is known has it
    assert thresholds["Fracture"] > 0.5  # nobody has it: nobody is told


def test_a_rare_disease_is_told_of_no_more_studies_than_have_it() -> None:
    objective = contrast(min_positives=3)
    names = objective.model.bank.names
    rows = [([number / 40] * len(names), tuple([int(number in {5, 7})] * len(names))) for number in range(40)]
    objective.conclude([rows])
    [threshold] = {disease.threshold for disease in objective.model.bank.diseases}
    assert sum(number / 40 > (threshold or 0) for number in range(40)) == 2


def test_a_disease_that_is_not_perceived_is_not_told_of_everybody() -> None:
    objective = contrast(min_positives=3)
    names = objective.model.bank.names
    # Every tenth study has it, whatever the probability: the best F1 would be to tell it of all.
    rows = [([number / 40] * len(names), tuple([int(number % 10 == 2)] * len(names))) for number in range(40)]
    objective.conclude([rows])
    [threshold] = {disease.threshold for disease in objective.model.bank.diseases}
    assert 1 <= sum(number / 40 > (threshold or 0) for number in range(40)) <= 8


def test_the_objective_learns_which_sentence_belongs_to_which_image() -> None:
    objective = contrast()
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    batch = toy_batch([0, 1, 2, 3, 4])
    losses = []
    for _ in range(25):
        sums, counts = objective(batch), objective.counts(batch)
        loss = sum(objective.weights[name] * sums[name] / counts[name] for name in sums)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    assert len(REPORTS) == 5
