"""Random weights of a few thousand numbers in the real files and architectures, for metrics that need weights."""

from __future__ import annotations

import functools
import json
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from radwright.evaluation.learned.bertscore import BertScore
from radwright.evaluation.learned.chexbert import HEADS, Chexbert
from radwright.evaluation.learned.green import ERRORS, Green
from radwright.evaluation.learned.radcliq import RadCliQ
from radwright.evaluation.learned.radgraph import RadGraph, key
from radwright.evaluation.learned.ratescore import TYPES, RateScore
from radwright.metrics.base import Metric

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "heart",
    "is",
    "normal",
    "no",
    "effusion",
    "lungs",
    "clear",
]
WORDS += [".", "nodule", "##s", "a", "seen", "in", "and", "large", "left", "there", "pneumothorax"]
PROMPT = "Reference: {reference}\nCandidate: {candidate}\nAnswer:"


def write_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_word_tokenizer(folder: Path) -> Path:
    """A WordPiece tokenizer as bert-base-uncased's folder holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": True})
    return folder


def write_byte_tokenizer(folder: Path) -> Path:
    """A byte-level tokenizer as RoBERTa's, without merges."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder.mkdir(parents=True, exist_ok=True)
    names = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={name: k for k, name in enumerate(names)}, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **special})
    return folder


def bert_config(**given: Any) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=1,
        intermediate_size=48,
        max_position_embeddings=64,
        initializer_range=0.5,
        **given,
    )


def write_chexbert(folder: Path) -> dict[str, Path]:
    """``chexbert.pth`` as published: a training checkpoint with prefixed names, a pooler and a buffer."""
    from transformers import BertModel

    torch.manual_seed(4)
    bert = {f"module.bert.{name}": tensor for name, tensor in BertModel(bert_config()).state_dict().items()}
    heads = {}
    for number, name in enumerate(HEADS):
        classes = 2 if name == "No Finding" else 4
        heads[f"module.linear_heads.{number}.weight"] = torch.randn(classes, 32)
        heads[f"module.linear_heads.{number}.bias"] = torch.randn(classes)
    positions = {"module.bert.embeddings.position_ids": torch.arange(64)[None]}
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"epoch": 7, "model_state_dict": {**bert, **positions, **heads}}, folder / "chexbert.pth")
    return {"weights": folder / "chexbert.pth", "tokenizer": write_word_tokenizer(folder / "words")}


def write_encoder(folder: Path, *, num_layers: int) -> Path:
    """A RoBERTa saved with its language-model head and without a pooler, as distilroberta-base is."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    torch.manual_seed(4)
    config = RobertaConfig(
        vocab_size=260,
        hidden_size=32,
        num_hidden_layers=num_layers,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=130,
        initializer_range=0.5,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    RobertaForMaskedLM(config).save_pretrained(folder)
    write_byte_tokenizer(folder)
    # distilroberta-base has 512 positions; these have 128.
    path = folder / "tokenizer_config.json"
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), "model_max_length": 128})
    return folder


def write_ratescore(folder: Path) -> dict[str, Path]:
    from transformers import BertForTokenClassification, BertModel

    torch.manual_seed(2)
    labels = ["O", *(f"{place}-{kind}" for kind in TYPES for place in "BI")]
    config = bert_config(id2label=dict(enumerate(labels)), label2id={name: k for k, name in enumerate(labels)})
    BertForTokenClassification(config).save_pretrained(folder / "classifier")
    BertModel(bert_config()).save_pretrained(folder / "encoder")
    for name in ("classifier", "encoder"):
        write_word_tokenizer(folder / name)
    pairs = [f"{first}_{second}".lower() for first in TYPES for second in TYPES]
    affinity = {pair: 0.1 + 0.03 * k for k, pair in enumerate(pairs)}
    return {
        "classifier": folder / "classifier",
        "encoder": folder / "encoder",
        "affinity": write_json(folder / "long_weight.json", affinity),
    }


def write_language_model(folder: Path) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(6)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
        initializer_range=0.5,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return write_word_tokenizer(folder)


def graph_of(text: str) -> dict[str, Any]:
    """A graph as RadGraph would write it: every word an observation that modifies the next one."""
    words = re.findall(r"\w+", text)
    return {
        str(k): {
            "tokens": word,
            "label": "Observation::definitely present",
            "start_ix": k,
            "end_ix": k,
            "relations": [["modify", str(k + 1)]] if k < len(words) else [],
        }
        for k, word in enumerate(words, start=1)
    }


def write_graphs(path: Path, texts: Iterable[str]) -> Path:
    spaced = [" ".join(re.findall(r"\w+|[^\w\s]", text)) for text in texts]
    return write_json(path, {f"s{k}": {"text": text, "entities": graph_of(text)} for k, text in enumerate(spaced)})


def counting_judge(prompts: Sequence[str]) -> list[str]:
    """Answers as GREEN's model would: common words match, every word on one side only is an error of each kind."""
    answers = []
    for prompt in prompts:
        reference, candidate = (set(line.split(":")[1].split()) - {"."} for line in prompt.split("\n")[:2])
        wrong = len(reference ^ candidate)
        errors = "\n".join(f"({kind}) Some error: {wrong}. one; two" for kind in "abcdef"[: len(ERRORS)])
        answers.append(
            f"[Explanation]:\nnone\n\n[Clinically Significant Errors]:\n{errors}\n\n"
            f"[Clinically Insignificant Errors]:\nNo errors.\n\n[Matched Findings]:\n{len(reference & candidate)}. x"
        )
    return answers


def make_metrics(texts: Iterable[str]) -> dict[str, Metric]:
    """Every metric that needs weights, by its name; graphs are there for ``texts``."""
    folder = Path(_temporary().name)
    chexbert = Chexbert.load(**write_chexbert(folder / "chexbert"))
    encoder = write_encoder(folder / "encoder", num_layers=2)
    bertscore = BertScore.load(encoder)
    radgraph = RadGraph({key(text): graph_of(text) for text in texts})
    return {
        "chexbert": chexbert,
        "bertscore": bertscore,
        "radgraph": radgraph,
        "radcliq": RadCliQ(chexbert, bertscore, radgraph),
        "ratescore": RateScore.load(**write_ratescore(folder / "ratescore")),
        "green": Green(counting_judge, PROMPT),
    }


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()
