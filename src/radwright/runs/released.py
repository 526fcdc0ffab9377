"""Importing the authors' released checkpoints: names and shapes -> config -> network -> strict loading -> directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from radwright.data.sources.r2gen import R2GenSource
from radwright.decoding.config import Beam, DecodingConfig
from radwright.errors import CheckpointError, ConfigError, OutputError
from radwright.imaging.config import ImageConfig
from radwright.inference.checkpoint import CheckpointConfig, save_checkpoint
from radwright.methods.cmcrl.released import (
    Account,
    ReleasedFacts,
    ReleasedNetwork,
    infer_network,
    load_released,
    looks_projected,
    plain_names,
)
from radwright.methods.cmcrl.vlci import Vlci
from radwright.nn.backbone import read_weights
from radwright.runs.provenance import provenance
from radwright.text.words import UNKNOWN, WordTokenizer, frequent_words

# How often a word must occur in train to be in the released vocabulary, and the cleaning it is counted after.
_CORPORA = {"IU X-Ray": (3, "r2gen-iu"), "MIMIC-CXR": (10, "r2gen-mimic")}


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import made.

    Attributes:
        out: the checkpoint directory.
        network: what the shapes said.
        account: what became of every weight.
        num_weights: numbers in the network.
        words: where the vocabulary comes from, one line per file; empty for numbered stand-ins.
        notes: what the person should look at.
    """

    out: Path
    network: ReleasedNetwork
    account: Account
    num_weights: int
    words: tuple[str, ...]
    notes: tuple[str, ...]


def import_released(file: Path, out: Path, *, facts: ReleasedFacts, vocabulary: Sequence[Path] = ()) -> Imported:
    """Turn a file of released weights into a checkpoint directory.

    Args:
        file: the authors' ``.pth`` (tensors only) or a ``.safetensors`` with the same names.
        out: the directory to write; must not exist, or be empty.
        facts: what shapes do not say.
        vocabulary: annotations of the corpora, or one list of words; none: words are numbered stand-ins.

    Raises:
        CheckpointError: weights are missing, of another shape, or no released VLCI's.
        ConfigError, SourceError: the vocabulary cannot be read or has another size than the weights.
        OutputError: ``out`` is taken or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: exists already; choose another --out")
    weights = read_weights(file)
    try:
        weights = plain_names(weights)
        network = infer_network(weights, facts)
        if not network.has_stem:
            raise CheckpointError("holds no image stem (vis_embed.patch_embed.embed.*): no image could be read")
        words, sources = read_vocabulary(vocabulary, network.vocab_size)
        model = Vlci(network.config, words, network.size_px)
        account = load_released(model, weights)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error
    config = CheckpointConfig(
        method="vlci",
        model=model.deployed_config(),
        image=ImageConfig(size_px=network.size_px, keep_aspect=False),
        max_views=facts.num_views,
        decoding=DecodingConfig(strategy=Beam(num_beams=3), max_tokens=facts.max_tokens),
    )
    save_checkpoint(out, config, model, words, _provenance(file, account, sources))
    num_weights = sum(parameter.numel() for parameter in model.parameters())
    return Imported(out, network, account, num_weights, sources, _notes(weights, facts, account, sources))


def _notes(
    weights: Mapping[str, Tensor], facts: ReleasedFacts, account: Account, sources: tuple[str, ...]
) -> tuple[str, ...]:
    notes = []
    if account.unused:
        notes.append(f"{len(account.unused)} weights are of no known part and are not used")
    trained = looks_projected(weights)
    if trained is not None and trained is not facts.projected:
        notes.append(
            "the interventions' projections look trained (their biases are not 0): was it causal_proj=true? --projected"
            if trained
            else "the interventions' projections look untrained (their biases are 0): was it causal_proj=false?"
        )
    if not sources:
        notes.append("no --vocabulary: the words are numbered stand-ins, drafts cannot be read")
    return tuple(notes)


def _provenance(file: Path, account: Account, sources: tuple[str, ...]) -> dict[str, Any]:
    facts = provenance()
    del facts["trained_at"]
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    studies = {
        "origin": "weights released by the authors of CMCRL (IEEE TIP 2025), trained by them",
        "file": file.name,
        "sha256": digest,
        "vocabulary": "; ".join(sources) or "numbered stand-ins",
        # Their pre-training mixes IU X-Ray and MIMIC-CXR; a file does not say whether it had any.
        "credentialed": True,
    }
    facts["imported_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    facts["studies"] = studies
    facts["imported"] = {
        "loaded": len(account.loaded),
        "ignored": {reason: len(names) for reason, names in account.ignored.items()},
        "unused": list(account.unused),
    }
    return facts


def read_vocabulary(paths: Sequence[Path], vocab_size: int) -> tuple[WordTokenizer, tuple[str, ...]]:
    """The released vocabulary: 0 is BOS, EOS and PAD; words and ``<unk>``, sorted, from 1.

    Args:
        paths: R2Gen annotations (``annotation.json``, a folder or a zip that holds one), whose train words count as
            the release counts them; or one file of words, a line or a JSON item each. None: numbered stand-ins.
        vocab_size: rows of the word embedding.

    Returns:
        The tokenizer, and a line about each path.

    Raises:
        ConfigError: a file cannot be read, or the words do not fit the embedding; both numbers are named.
        SourceError: an annotation is broken.
    """
    if not paths:
        return WordTokenizer.released(f"word{number:05d}" for number in range(2, vocab_size)), ()
    words, sources = {UNKNOWN}, []
    for path in paths:
        found, source = _read_words(path)
        words |= found
        sources.append(source)
    if len(words) != vocab_size - 1:
        raise ConfigError(
            f"--vocabulary: {len(words)} words with {UNKNOWN} ({'; '.join(sources)}), but the embedding has "
            f"{vocab_size} rows, that is {vocab_size - 1} words. The released vocabulary is IU X-Ray's alone (760 "
            "words) or, for all else, IU X-Ray's and MIMIC-CXR's together (4347): give both annotations"
        )
    return WordTokenizer.released(words), tuple(sources)


def _read_words(path: Path) -> tuple[set[str], str]:
    if path.is_file() and path.suffix.lower() != ".zip":
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--vocabulary {path}: cannot be read as text: {error}") from error
        listed = _as_list(text, path)
        if listed is not None:
            return set(listed), f"{path.name}: a list of {len(set(listed))} words"
    elif not path.exists():
        raise ConfigError(f"--vocabulary {path}: no such file")
    records = [reference.content[0] for reference in R2GenSource(path, {}).references() if reference.split == "train"]
    broken = next((r.get("id") for r in records if not isinstance(r.get("report"), str)), None)
    if broken is not None or not records:
        what = "has no train record" if not records else f"record {broken} has no report"
        raise ConfigError(f"--vocabulary {path}: {what}")
    corpus = "MIMIC-CXR" if "subject_id" in records[0] else "IU X-Ray"
    min_count, cleaning = _CORPORA[corpus]
    words = frequent_words((record["report"] for record in records), min_count=min_count, cleaning=cleaning)
    counted = f"words seen at least {min_count} times in {len(records)} train reports: {len(words)}"
    return words, f"{path.name} read as {corpus}, {counted}"


def _as_list(text: str, path: Path) -> list[str] | None:
    """The words of a list, by lines or JSON; None for a JSON object, which is an annotation."""
    if text.lstrip()[:1] not in {"[", "{"}:
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--vocabulary {path}: is not valid JSON: {error}") from error
    if isinstance(values, dict):
        return None
    if not all(isinstance(word, str) for word in values):
        raise ConfigError(f"--vocabulary {path}: a JSON list of words holds texts only")
    return list(values)
