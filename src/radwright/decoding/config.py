"""How a report is read out of a model, as data: greedy, beam search or sampling, and what every one of them obeys."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from radwright.config import Config


class Greedy(Config):
    """The likeliest token at every step."""

    kind: Literal["greedy"] = "greedy"
    """Selects this strategy in a recipe."""


class Beam(Config):
    """Beam search: the ``num_beams`` likeliest beginnings are carried on together.

    With the default values the answer is the one of the released method (beam 3, no length penalty), which runs every
    step; here a study stops as soon as nothing can change its answer any more.
    """

    kind: Literal["beam"] = "beam"
    """Selects this strategy in a recipe."""

    num_beams: int = Field(default=3, ge=1)
    """Beginnings kept per step (W), those that end in this step included unless ``keep_live``."""

    keep_live: bool = False
    """Ended beginnings give up their place: the num_beams likeliest unended ones go on at every step, as in
    transformers and fairseq. False: what ends takes one of the W places of its step, as released."""

    length_penalty: float = Field(default=0.0, ge=-10, le=10)
    """Exponent alpha: reports are ranked by (summed log-probability) / length**alpha, length in tokens with EOS.
    0 ranks by the sum, as released; above 0 favours longer reports, below 0 shorter ones."""

    num_reports: int = Field(default=1, ge=1)
    """Length of the n-best list per study, at most ``num_beams``; more than 1 delays the early stop."""

    early_stop: bool = True
    """Stop a study once its n-best list is certain. False goes on while a beam is live, as released; the answer is the
    same, it only costs more."""

    @model_validator(mode="after")
    def _reports_fit_beams(self) -> Self:
        if self.num_reports > self.num_beams:
            raise ValueError(f"num_reports ({self.num_reports}) is above num_beams ({self.num_beams})")
        return self


class _Draws(Config):
    """Draws from the model's distribution token by token, cut and sharpened: temperature, then top-k, then top-p."""

    temperature: float = Field(default=1.0, gt=0, le=100)
    """Log-probabilities are divided by it before drawing; below 1 sharpens."""

    top_k: int = Field(default=0, ge=0)
    """Draw from the k likeliest tokens only; 0 = off."""

    top_p: float = Field(default=1.0, gt=0, le=1)
    """Draw from the fewest likeliest tokens whose probabilities add up to at least this; 1 = off."""

    num_samples: int = Field(default=1, ge=1)
    """Reports drawn per study, independently of each other (W)."""

    seed: int = 0
    """The draw of a token depends on (seed, study_id, step, sample) only, never on the rest of the batch."""


class Sampling(_Draws):
    """The likeliest of ``num_samples`` draws; the others are its n-best list."""

    kind: Literal["sampling"] = "sampling"
    """Selects this strategy in a recipe."""


class Consensus(_Draws):
    """The draw that agrees most with all the others: minimum Bayes risk (Kumar and Byrne 2004) over samples.

    Beam search looks for the one likeliest wording, which for X-rays is the most common normal report, whatever the
    image; a consensus looks for the report that is closest to everything the model thinks it might be.
    """

    kind: Literal["consensus"] = "consensus"
    """Selects this strategy in a recipe."""

    temperature: float = Field(default=0.5, gt=0, le=100)
    """See ``Sampling``; sharpened, since few samples of a flat distribution agree on nothing."""

    num_samples: int = Field(default=24, ge=2)
    """Reports drawn per study. Time grows with it: about as much as that many beams."""

    num_candidates: int = Field(default=0, ge=0)
    """Further reports per study that may be chosen but do not vote; the draws then only vote. Votes want the model's
    whole doubt (temperature 1, many draws), candidates want good wording (a low temperature). 0: each draw is both."""

    candidate_temperature: float = Field(default=0.5, gt=0, le=100)
    """Temperature of the candidates."""

    rarity: float = Field(default=0.33, ge=0, le=1)
    """Share of the agreement in which an n-gram counts by how rare it is in the train reports (tf-idf, as in CIDEr-D);
    in the rest all n-grams count alike."""


Strategy = Annotated[Greedy | Beam | Sampling | Consensus, Field(discriminator="kind")]


class DecodingConfig(Config):
    """How reports are generated."""

    strategy: Strategy = Beam()
    """Greedy, beam, sampling or consensus, with its own settings (``{kind: beam, num_beams: 3}``)."""

    max_tokens: int = Field(default=60, ge=1)
    """Tokens generated per report at most, EOS included, BOS not; a report that reaches it without EOS is kept and
    marked as not finished. Equals the number of decoding steps (max_seq_length of the released code)."""

    min_tokens: int = Field(default=1, ge=1)
    """Tokens generated per report at least, EOS included; 1 allows an empty report."""

    no_repeat_ngram: int = Field(default=0, ge=0)
    """No sequence of this many tokens occurs twice in a report; 0 = off (as released)."""

    @model_validator(mode="after")
    def _shortest_fits_longest(self) -> Self:
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens ({self.min_tokens}) is above max_tokens ({self.max_tokens})")
        return self
