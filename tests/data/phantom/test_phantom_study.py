"""One phantom study: the same everywhere, and toggling one element changes no pixel outside its mask."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from radwright.data.phantom import KINDS, PhantomConfig, PhantomStudy, contact_sheet, generate_study
from radwright.data.phantom.anatomy import draw_anatomy
from radwright.data.phantom.frontal import frontal_view
from radwright.data.phantom.lateral import lateral_view
from radwright.data.phantom.overlay import VIEW_NAMES
from radwright.data.phantom.streams import Stream
from radwright.errors import ConfigError

SMALL = PhantomConfig(size_px=64)
DEEP = PhantomConfig(bits=16, markers={"L": 0.5, "P": 0.2, "S": 0.2, "X": 0.2})
VISIBLE = [name for name in DEEP.elements() if not name.startswith("phrase:")]
# What a mask may fill of the frontal view at most; the lungs together fill about a third of it.
LARGEST = {
    "cardiomegaly": 0.25,
    "effusion": 0.30,
    "edema": 0.40,
    "consolidation": 0.15,
    "pneumothorax": 0.20,
    "nodule": 0.01,
    "fracture": 0.02,
    "pacemaker": 0.08,
    "central_line": 0.05,
    "endotracheal_tube": 0.03,
    "chest_tube": 0.04,
    "sternal_wires": 0.05,
}


def digest(study: PhantomStudy) -> str:
    parts = [study.images[view].tobytes() for view in VIEW_NAMES]
    parts += [study.masks[name][view].tobytes() for name in sorted(study.masks) for view in VIEW_NAMES]
    return hashlib.sha256(b"".join(parts) + repr((study.findings, study.sections)).encode()).hexdigest()


def test_same_bytes_in_another_process_and_order() -> None:
    here = {index: digest(generate_study(SMALL, "val", index)) for index in (3, 1, 2)}
    assert len(set(here.values())) == 3
    code = (
        f"import sys; sys.path.insert(0, {str(__file__.rpartition('/')[0])!r})\n"
        "from test_phantom_study import SMALL, digest\nfrom radwright.data.phantom import generate_study\n"
        "for index in (1, 2, 3): print(digest(generate_study(SMALL, 'val', index)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [here[1], here[2], here[3]], done.stderr


def test_seed_split_and_index_each_make_another_study() -> None:
    studies = [
        generate_study(SMALL, "train", 0),
        generate_study(SMALL, "train", 1),
        generate_study(SMALL, "test", 0),
        generate_study(SMALL.model_copy(update={"seed": 1}), "train", 0),
    ]
    assert len({digest(study) for study in studies}) == 4
    assert len({study.patient_id for study in studies[:3]}) == len({study.study_id for study in studies[:3]}) == 3


@pytest.mark.parametrize("element", VISIBLE)
def test_toggling_an_element_changes_exactly_its_mask(element: str) -> None:
    fractions = []
    for index in range(4):
        there = generate_study(DEEP, "train", index, override={element: True})
        gone = generate_study(DEEP, "train", index, override={element: False})
        assert element not in gone.masks
        assert {**there.elements, element: False} == gone.elements
        for view in VIEW_NAMES:
            mask = there.masks[element][view]
            changed = there.images[view] != gone.images[view]
            assert not (changed & ~mask).any(), f"{element} touches pixels outside its mask in the {view} view"
            if view == "frontal":
                assert mask.any()
                # 16 bits show nearly every change, save where the film is saturated.
                assert (changed & mask).sum() > 0.8 * mask.sum()
                fractions.append(mask.mean())
        for other in gone.masks:
            for view in VIEW_NAMES:
                assert np.array_equal(gone.masks[other][view], there.masks[other][view])
    assert max(fractions) < LARGEST.get(element, 0.02)


def test_lateral_view_shows_everything_but_a_fracture() -> None:
    study = generate_study(DEEP, "train", 7, override=dict.fromkeys(KINDS, True))
    for kind in KINDS:
        assert study.masks[kind]["lateral"].any() == (kind != "fracture"), kind


def test_all_elements_off_is_the_healthy_chest_whatever_was_drawn() -> None:
    nothing = dict.fromkeys(DEEP.elements(), False)
    study = generate_study(DEEP, "train", 3, override=nothing)
    assert study.masks == {}
    assert study.findings == ()
    assert not any(study.labels.values())
    everything = generate_study(DEEP, "train", 3, override=dict.fromkeys(DEEP.elements(), True))
    union = {view: np.any([masks[view] for masks in everything.masks.values()], axis=0) for view in VIEW_NAMES}
    for view in VIEW_NAMES:
        outside = ~union[view]
        assert np.array_equal(study.images[view][outside], everything.images[view][outside])


def test_phrases_and_markers_stay_in_their_own_medium() -> None:
    plain = generate_study(SMALL, "train", 0, override={"phrase:portable": False, "marker:P": False})
    worded = generate_study(SMALL, "train", 0, override={"phrase:portable": True, "marker:P": False})
    marked = generate_study(SMALL, "train", 0, override={"phrase:portable": False, "marker:P": True})
    assert all(np.array_equal(plain.images[view], worded.images[view]) for view in VIEW_NAMES)
    assert plain.sections != worded.sections
    assert plain.sections == marked.sections
    assert not np.array_equal(plain.images["frontal"], marked.images["frontal"])


def test_unknown_override_names_the_near_element() -> None:
    with pytest.raises(ConfigError, match=r"'efusion'.*did you mean 'effusion'"):
        generate_study(SMALL, "train", 0, override={"efusion": True})


@pytest.mark.parametrize("size_px", [32, 50, 64, 200])
@pytest.mark.parametrize("bits", [8, 16])
def test_every_size_and_depth(size_px: int, bits: int) -> None:
    config = PhantomConfig(size_px=size_px, bits=bits)
    study = generate_study(config, "train", 5, override=dict.fromkeys(config.elements(), True))
    for view in VIEW_NAMES:
        image = study.images[view]
        assert image.shape == (size_px, size_px)
        assert image.dtype == (np.uint8 if bits == 8 else np.uint16)
        assert np.ptp(image) > 0.7 * (2**bits - 1), "neither air nor bone"
        assert image.std() > 0.1 * (2**bits - 1)


def test_resolution_shows_the_same_patient() -> None:
    small, large = (generate_study(PhantomConfig(size_px=size), "train", 2) for size in (64, 128))
    assert small.findings == large.findings
    assert small.sections == large.sections
    for view in VIEW_NAMES:
        halved = large.images[view].reshape(64, 2, 64, 2).mean((1, 3))
        assert np.corrcoef(halved.ravel(), small.images[view].ravel())[0, 1] > 0.98


def test_png_views_hold_the_pixels() -> None:
    for bits in (8, 16):
        study = generate_study(PhantomConfig(size_px=64, bits=bits), "val", 1)
        record = study.study()
        assert record.split == "val"
        assert [view.position for view in record.views] == ["frontal", "lateral"]
        assert record.section("findings")
        for view, name in zip(record.views, VIEW_NAMES, strict=True):
            decoded = np.asarray(Image.open(io.BytesIO(view.image.read())))
            assert np.array_equal(decoded, study.images[name])


def test_attenuation_stays_in_single_precision() -> None:
    anatomy = draw_anatomy(Stream("patient"))
    for view in (frontal_view(anatomy, 64), lateral_view(anatomy, 64)):
        for field in (view.healthy_SS, view.lung_SS, view.vessels_SS, view.frame.u_SS, view.frame.v_S1):
            assert field.dtype == np.float32


def test_the_healthy_frontal_view_is_a_chest() -> None:
    """Air beside the neck is darkest, lungs are dark, heart and spine are bright, the heart lies more to the left."""
    images = [
        generate_study(PhantomConfig(), "train", index, override=dict.fromkeys(PhantomConfig().elements(), False))
        .images["frontal"]
        .astype(float)
        for index in range(12)
    ]
    mean = np.mean(images, 0)
    air, lungs = mean[:8, :16].mean(), (mean[40:70, 26:46].mean() + mean[40:70, 84:104].mean()) / 2
    heart, spine, belly = mean[75:85, 70:80].mean(), mean[80:90, 62:66].mean(), mean[110:, 30:98].mean()
    assert air < lungs < belly < spine
    assert lungs + 40 < heart
    assert mean[70:85, 76:86].mean() > mean[70:85, 42:52].mean() + 15


def test_contact_sheet() -> None:
    studies = [generate_study(SMALL, "train", index) for index in range(3)]
    sheet = contact_sheet(studies, columns=2, side_px=64, outlines=True)
    assert sheet.mode == "L"
    assert sheet.size[0] == 2 * 68 + 4
    assert sheet.size[1] > 4 * 64
    with pytest.raises(ValueError, match="at least one study"):
        contact_sheet([])


def test_streams_are_uniform_and_independent_of_each_other() -> None:
    stream = Stream(0, "train", 1, "name")
    numbers = np.array([stream.unit() for _ in range(4000)])
    assert abs(numbers.mean() - 0.5) < 0.02
    assert abs(numbers.var() - 1 / 12) < 0.005
    again, other = Stream(0, "train", 1, "name"), Stream(0, "train", 11, "name")
    assert [again.unit() for _ in range(70)] == list(numbers[:70])
    assert abs(np.corrcoef(numbers, [other.unit() for _ in range(4000)])[0, 1]) < 0.06
    # (1, 12) and (11, 2) must not run together into one key.
    assert Stream(1, 12).unit() != Stream(11, 2).unit()
