"""Whatever is written over a shard: its studies, or an error that names it, never a process that dies."""

from __future__ import annotations

import multiprocessing
import random
from pathlib import Path

from radwright.data.prepare import PrepareConfig, prepare
from radwright.data.store import PreparedStore
from radwright.errors import StoreError

STUDIES = "size_px: 32\nnum_studies: {train: 8, tune: 2, test: 3}\n"
DAMAGES = 500
SHARD = "shard-000000000.arrow"


def read_all(path: Path) -> None:
    store = PreparedStore(path)
    assert len(store.study_ids) == len(store.patient_ids) == len(store.positions) == len(store.splits)
    for study in store:
        assert study.study_id is not None


def damaged(whole: bytes, draw: random.Random) -> bytes:
    """A bit turned, eight bytes of noise, or up to a page of zeros (a block that never reached the disk)."""
    broken = bytearray(whole)
    place = draw.randrange(len(whole) - 8)
    if draw.random() < 0.3:
        broken[place] ^= 1 << draw.randrange(8)
    elif draw.random() < 0.5:
        broken[place : place + 8] = draw.randbytes(8)
    else:
        end = min(len(whole), place + draw.randrange(1, 4096))
        broken[place:end] = bytes(end - place)
    return bytes(broken)


def damage_and_read(path: Path) -> None:
    """In a process of its own: Arrow's C++ may end it."""
    whole, draw, refusals = (path / SHARD).read_bytes(), random.Random(4), []
    for _ in range(DAMAGES):
        (path / SHARD).write_bytes(damaged(whole, draw))
        try:
            read_all(path)
        except StoreError as error:
            refusals.append(str(error))
    assert len(refusals) > DAMAGES / 10
    assert all(f"{SHARD}: is damaged" in message and "prepare it again" in message for message in refusals)


def test_damage_anywhere_in_a_shard(tmp_path: Path) -> None:
    (tmp_path / "studies.yaml").write_text(STUDIES)
    prepare(tmp_path / "studies.yaml", tmp_path / "store", PrepareConfig(format="phantom"))
    process = multiprocessing.get_context("spawn").Process(target=damage_and_read, args=(tmp_path / "store",))
    process.start()
    process.join(120)
    assert process.exitcode == 0
