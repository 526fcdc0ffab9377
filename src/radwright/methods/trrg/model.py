"""Stage 2 of TRRG: clues into a language model that writes the report.

An independent design after the published abstract: zero-shot perception, clue injection, cross-modal interaction with
any number of clues and an LLM are stated there; how each is built is ours (docs/trrg.md).

Shape legend: B studies, V views, P patches per view, N = V * P, M diseases, K = 1 + M clues with the null one, L prompt
length, T report tokens with BOS and EOS, W beams, D interaction width, E width of the language model, U vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from radwright.errors import CheckpointError, ConfigError, StudyError
from radwright.methods.trrg.alignment import Alignment, AlignmentConfig, Seen
from radwright.methods.trrg.clue_bank import ClueBank
from radwright.methods.trrg.injection import ClueInjection
from radwright.methods.trrg.interaction import ClueInteraction
from radwright.methods.trrg.perception import Clues, Policy, PolicyName, make_policy, noisy
from radwright.nn.attention import linear
from radwright.nn.language import Language, LanguageConfig
from radwright.text.prompts import PromptConfig
from radwright.types import VIEW_POSITIONS, Attention, Batch, Tokenizer


class TrrgConfig(AlignmentConfig):
    """Stage 1's encoders, and what stage 2 puts behind them."""

    language: LanguageConfig = LanguageConfig()
    """The language model: a folder, or a small Llama of our own."""
    prompt: PromptConfig = PromptConfig()
    """What it is told."""
    interaction_dim: int = Field(default=256, ge=1)
    """Width D of clues and patches while they exchange."""
    num_interaction_layers: int = Field(default=2, ge=0)
    """0 switches the interaction off (ablation): the tokens only pass their projections."""
    num_interaction_heads: int = Field(default=8, ge=1)
    """Attention heads of the interaction."""
    interaction_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout of its attention."""
    patches_per_side: int | None = Field(default=None, ge=1)
    """Patches are pooled to so many per side before the language model reads them; None: all of them."""
    policy: PolicyName = "threshold"
    """Which diseases are told, in training and afterwards."""
    max_clues: int = Field(default=13, ge=1)
    """At most so many clues (K_max), or exactly so many with ``topk``."""
    clue_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Chance that training leaves a clue out."""
    false_clue: float = Field(default=0.05, ge=0, lt=1)
    """Chance that training tells a study one disease more."""
    guidance: float = Field(default=0.0, ge=0, le=20)
    """How much further decoding goes in the direction of the clues (ours; classifier-free guidance, Ho and Salimans
    2022): log p = (1 + w) log p(word | clues) - w log p(word | null clue), normalised again. 0: as trained."""
    min_auc: float | None = Field(default=0.6, ge=0, le=1)
    """Stage 2 refuses to start from a stage 1 whose ``auc_macro`` on tune is lower: the language model's loss falls as
    well with useless clues. None: start all the same, without a stage 1 too."""


@dataclass(frozen=True, slots=True)
class Prompted:
    """B studies ready for the language model.

    Attributes:
        prefix_BLE: embedded prompts, left-padded.
        keep_BL: bool, False at padding.
        patch_BL: int64, which of the study's V * P patches (as the language model reads them) stands at a place; -1 at
            all other places.
        pooled_BD: mean of the patches that exist after the interaction.
    """

    prefix_BLE: Tensor
    keep_BL: Tensor
    patch_BL: Tensor
    pooled_BD: Tensor


@dataclass(frozen=True, slots=True)
class GuidedState:
    """Decoding state of the same studies with their clues and without any."""

    told: Any
    untold: Any


class Trrg(Alignment):
    """Perceives, chooses clues, lets them and the image exchange, and writes.

    Args:
        config: the network.
        tokenizer: the run's, and the language model's.
        size_px: image side S.

    Attributes:
        choose: the policy in force; a command may put another one here (``radwright.types.ClueGuided``).
    """

    Config = TrrgConfig
    config: TrrgConfig

    def __init__(self, config: TrrgConfig, tokenizer: Tokenizer, size_px: int) -> None:
        super().__init__(config, tokenizer, size_px)
        self.tokenizer = tokenizer
        self.choose: Policy = make_policy(config.policy, max_clues=config.max_clues)
        dim = config.interaction_dim
        self.injection = ClueInjection(self.text_encoder.dim, dim)
        self.interaction = ClueInteraction(
            self.backbone.out_channels,
            dim,
            config.num_interaction_layers,
            config.num_interaction_heads,
            config.interaction_dropout,
        )
        self.language = Language(config.language, tokenizer)
        width = self.language.dim
        self.visual_project, self.visual_out = linear(dim, width), nn.LayerNorm(width)
        self.clue_project, self.clue_out = linear(dim, width), nn.LayerNorm(width)
        # As loud as the words beside them: a norm's output would drown an embedding of small variance.
        scale = float(self.language.embed(torch.arange(tokenizer.vocab_size)).detach().float().std())
        for norm in (self.visual_out, self.clue_out):
            nn.init.constant_(norm.weight, scale)

    # --- clues --------------------------------------------------------------------------------------------------

    def clues(self, batch: Batch, probability_BM: Tensor) -> Clues:
        """The clues that the policy chooses; with training's noise where the network trains."""
        clues = self.choose(batch.study_ids, probability_BM, self.bank)
        if not self.training or batch.seeds_B is None:
            return clues
        seeds = batch.seeds_B.tolist()
        return noisy(clues, seeds, dropout=self.config.clue_dropout, false_clue=self.config.false_clue)

    @property
    def findings(self) -> dict[str, str | None]:
        """See ``radwright.types.ClueTelling``."""
        return {disease.name: disease.finding for disease in self.bank.diseases}

    def policy(self, name: PolicyName, *, seed: int = 0) -> Policy:
        """See ``radwright.types.ClueTelling``."""
        return make_policy(name, max_clues=self.config.max_clues, seed=seed)

    def told(self, batch: Batch) -> list[dict[str, float]]:
        """See ``radwright.types.ClueTelling``; the images go through the encoder for it.

        Raises:
            StudyError: a study has no view.
        """
        clues = self._clues_of(batch, self._see_all(batch))
        rows = zip(clues.keep_BM.tolist(), clues.probability_BM.tolist(), strict=True)
        return [
            {name: p for name, is_told, p in sorted(zip(self.diseases, kept, probabilities, strict=True)) if is_told}
            for kept, probabilities in rows
        ]

    # --- the prompt ---------------------------------------------------------------------------------------------

    def prompt(self, batch: Batch) -> Prompted:
        """Everything the language model is told of B studies.

        Raises:
            StudyError: a study has no view.
        """
        seen = self._see_all(batch)
        return self._prompt(batch, seen, self._clues_of(batch, seen))

    def _see_all(self, batch: Batch) -> Seen:
        if not bool((has_image_B := batch.has_image_B).all()):
            study_id = batch.study_ids[int(has_image_B.int().argmin())]
            raise StudyError(f"study {study_id}: has no image, and a report is written from images; leave it out")
        return self.see(batch)

    def _clues_of(self, batch: Batch, seen: Seen) -> Clues:
        with torch.no_grad():
            probability_BM = self.disease_logits(seen).sigmoid()
        return self.clues(batch, probability_BM)

    def _prompt(self, batch: Batch, seen: Seen, clues: Clues) -> Prompted:
        words_MC = self.text_encoder.encode([disease.clue for disease in self.bank.diseases])
        clues_BKD, keep_BK = self.injection(words_MC, clues)
        patches_BND, clues_BKD = self.interaction(seen.patches_BVPC, seen.view_mask_BV, clues_BKD, keep_BK)
        valid_BN = seen.valid_BN.unsqueeze(-1).to(patches_BND.dtype)
        pooled_BD = (patches_BND * valid_BN).sum(1) / valid_BN.sum(1)
        visual_BVPE = self.visual_out(self.visual_project(self._fewer(patches_BND, batch.view_mask_BV.shape[1])))
        clues_BKE = self.clue_out(self.clue_project(clues_BKD))
        return Prompted(*self._assemble(batch, visual_BVPE, clues_BKE, keep_BK), pooled_BD)

    def _fewer(self, patches_BND: Tensor, num_views: int) -> Tensor:
        """Patches per view (B, V, P', D), pooled to ``patches_per_side`` where the config asks for it."""
        patches_BVPD = patches_BND.unflatten(1, (num_views, -1))  # type: ignore[no-untyped-call]
        wanted, side = self.config.patches_per_side, round(patches_BVPD.shape[2] ** 0.5)
        if wanted is None or wanted >= side:
            return patches_BVPD  # type: ignore[no-any-return]
        grid = patches_BVPD.transpose(2, 3).flatten(0, 1).unflatten(-1, (side, side))
        pooled = nn.functional.adaptive_avg_pool2d(grid, wanted).flatten(2).transpose(1, 2)
        return pooled.unflatten(0, patches_BVPD.shape[:2])  # type: ignore[no-untyped-call,no-any-return]

    def _assemble(
        self, batch: Batch, visual_BVPE: Tensor, clues_BKE: Tensor, keep_BK: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Left-padded prompts (B, L, E), which places are real, bool (B, L), and ``Prompted.patch_BL``.

        Every place is a row of one table: the batch's words, then all patches, then all clues.
        """
        num_patches, num_clues = visual_BVPE.shape[2], clues_BKE.shape[1]
        first_patch = self.tokenizer.vocab_size
        first_clue = first_patch + visual_BVPE.shape[0] * visual_BVPE.shape[1] * num_patches
        # Told in the order of their names: the order of the bank must change nothing.
        by_name = [0, *(1 + place for place in sorted(range(len(self.diseases)), key=self.diseases.__getitem__))]
        # A cleaning is for reports: it would turn "<Img>" into a word of a sentence.
        write = getattr(self.tokenizer, "encode_as_written", self.tokenizer.encode)
        rows: list[list[int]] = []
        indications = batch.indications or ("",) * len(batch)
        views = [mask.nonzero().flatten().tolist() for mask in batch.view_mask_BV]
        kept = keep_BK.tolist()
        for row, (places, indication) in enumerate(zip(views, indications, strict=True)):
            positions = [VIEW_POSITIONS[int(batch.positions_BV[row, place])] for place in places]
            ids: list[int] = [self.bos_id] if getattr(self.tokenizer, "begins_with_bos", True) else []
            for piece in self.config.prompt.pieces(positions, indication):
                if isinstance(piece, str):
                    ids += write(piece)
                elif piece.kind == "view":
                    start = first_patch + (row * visual_BVPE.shape[1] + places[piece.number]) * num_patches
                    ids += range(start, start + num_patches)
                else:
                    ids += [first_clue + row * num_clues + place for place in by_name if kept[row][place]]
            rows.append(ids)
        longest = max(map(len, rows))
        index_BL = torch.tensor([[self.pad_id] * (longest - len(ids)) + ids for ids in rows], device=keep_BK.device)
        keep_BL = torch.tensor(
            [[False] * (longest - len(ids)) + [True] * len(ids) for ids in rows], device=keep_BK.device
        )
        embedded_BLE = self.language.embed(index_BL.clamp(max=first_patch - 1))
        table = torch.cat([visual_BVPE.flatten(0, 2), clues_BKE.flatten(0, 1)]).to(embedded_BLE.dtype)
        other_BLE = table[(index_BL - first_patch).clamp(min=0)]
        own_patches = visual_BVPE.shape[1] * num_patches
        is_patch_BL = (index_BL >= first_patch) & (index_BL < first_clue)
        patch_BL = torch.where(is_patch_BL, (index_BL - first_patch) % own_patches, -1)
        return torch.where((index_BL >= first_patch).unsqueeze(-1), other_BLE, embedded_BLE), keep_BL, patch_BL

    # --- teacher forcing ----------------------------------------------------------------------------------------

    def logits(self, batch: Batch) -> Tensor:
        """(B, T-1, U): position t predicts token t+1 from the prompt and the tokens up to t."""
        return self.teach(batch)[0]

    def forward(self, batch: Batch) -> Tensor:
        """The same as ``logits``."""
        return self.logits(batch)

    def teach(self, batch: Batch) -> tuple[Tensor, Tensor, Prompted]:
        """Teacher-forced logits (B, T-1, U), the language model's states behind them (B, T-1, E), and the prompts."""
        if batch.token_ids_BT is None:
            raise ValueError("teacher forcing needs token ids")
        prompted = self.prompt(batch)
        # BOS is not read: it stands for the prompt.
        ids_BT = batch.token_ids_BT[:, 1:-1]
        self.language.check_length(prompted.prefix_BLE.shape[1], ids_BT.shape[1])
        logits, states = self.language(prompted.prefix_BLE, prompted.keep_BL, ids_BT)
        return logits, states, prompted

    # --- evidence -----------------------------------------------------------------------------------------------

    def attention_maps(self, batch: Batch) -> Attention:
        """See ``radwright.types.AttentionMaps``: the language model's attention, rolled out to the image's places.

        Elsewhere are the prompt's words, the clues and the report's own words: what the clues have seen of the image is
        not followed, and neither is what a patch has heard of the clues. A patch is what the encoder made of it, which
        sees beyond its edges.
        """
        if batch.token_ids_BT is None:
            raise ValueError("attention is that of given tokens; see radwright.evidence.sentences.with_drafts")
        prompted = self.prompt(batch)
        # One row more than tokens are read: the last place of the prompt predicts the first token.
        rolled_BTS = self.language.rolled_attention(prompted.prefix_BLE, prompted.keep_BL, batch.token_ids_BT[:, 1:-1])
        num_views, width = batch.view_mask_BV.shape[1], prompted.patch_BL.shape[1]
        side = min(self.patches_per_side, self.config.patches_per_side or self.patches_per_side)
        # What stands at no patch is added up in a column of its own.
        column_BL = torch.where(prompted.patch_BL < 0, num_views * side * side, prompted.patch_BL)
        shares_BTN = rolled_BTS.new_zeros(*rolled_BTS.shape[:2], num_views * side * side + 1)
        shares_BTN.scatter_add_(2, column_BL.unsqueeze(1).expand(-1, rolled_BTS.shape[1], -1), rolled_BTS[..., :width])
        patches_BTVGG = shares_BTN[..., :-1].unflatten(-1, (num_views, side, side))  # type: ignore[no-untyped-call]
        return Attention(patches_BTVGG, shares_BTN[..., -1] + rolled_BTS[..., width:].sum(-1))

    # --- decoding -----------------------------------------------------------------------------------------------

    def start(self, batch: Batch) -> Any:
        """Read the prompts of B studies; see ``radwright.types.Decodable``."""
        seen = self._see_all(batch)
        clues = self._clues_of(batch, seen)
        told = self._begin(self._prompt(batch, seen, clues))
        if not self.config.guidance:
            return told
        nothing = Clues(torch.zeros_like(clues.keep_BM), clues.probability_BM)
        return GuidedState(told, self._begin(self._prompt(batch, seen, nothing)))

    def _begin(self, prompted: Prompted) -> Any:
        return self.language.start(prompted.prefix_BLE, prompted.keep_BL)

    def step(self, state: Any, token_ids_BW: Tensor) -> tuple[Tensor, Any]:
        """Append one token per beam; see ``radwright.types.Decodable``."""
        if not isinstance(state, GuidedState):
            return self._step(state, token_ids_BW)
        told, state_told = self._step(state.told, token_ids_BW)
        untold, state_untold = self._step(state.untold, token_ids_BW)
        weight = self.config.guidance
        guided = ((1 + weight) * told - weight * untold).log_softmax(-1)
        return guided, GuidedState(state_told, state_untold)

    def _step(self, state: Any, token_ids_BW: Tensor) -> tuple[Tensor, Any]:
        logits, state = self.language.step(state, token_ids_BW)
        return logits.float().log_softmax(-1) if logits.dtype != torch.float64 else logits.log_softmax(-1), state

    def reorder(self, state: Any, studies_C: Tensor | None, parents_CW: Tensor) -> Any:
        """Pick studies and beams; see ``radwright.types.Decodable``."""
        if not isinstance(state, GuidedState):
            return self.language.reorder(state, studies_C, parents_CW)
        told, untold = (self.language.reorder(part, studies_C, parents_CW) for part in (state.told, state.untold))
        return GuidedState(told, untold)

    # --- what a run asks for ------------------------------------------------------------------------------------

    def gates(self) -> dict[str, float]:
        """The gates of the interaction, for the log."""
        return {
            f"{name}_gate_{number}": getattr(layer, f"{name}_gate").detach().tanh().item()
            for number, layer in enumerate(self.interaction.layers)
            for name in ("clue", "patch")
        }

    def load_pretrained(self) -> list[str] | None:
        """See ``Alignment``; without a stage 1 nothing is perceived, so that has to be asked for.

        Raises:
            ConfigError: ``min_auc`` is set.
        """
        if self.config.min_auc is not None:
            raise ConfigError(
                "model trrg starts from an alignment stage (init_from), which its clues come from; "
                "to train without one all the same: model.min_auc: null"
            )
        return super().load_pretrained()

    def take_over(self, values: Mapping[str, Any], scores: Mapping[str, float]) -> None:
        """Take the thresholds of stage 1, once it perceives well enough.

        Args:
            values: model config of the checkpoint that the weights came from.
            scores: how it did on tune.

        Raises:
            CheckpointError: its ``auc_macro`` is below ``min_auc``.
        """
        if "bank" in values:
            self.bank = ClueBank.parse(values["bank"], where="bank").replaced_by(self.bank)
        area, least = scores.get("auc_macro"), self.config.min_auc
        if area is not None and least is not None and not area >= least:
            raise CheckpointError(
                f"stage 1 perceives too little: auc_macro {area:.3f} on tune, at least {least} is asked for. Clues "
                "would be noise, and the loss would not show it. Train stage 1 longer, or set model.min_auc (null: any)"
            )

    def deployed_config(self) -> dict[str, Any]:
        """See ``Alignment``; with the language model."""
        language = self.config.language.plain() | self.language.deployed_part("language")
        return super().deployed_config() | {"language": language}
