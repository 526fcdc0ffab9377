"""What RadCARE hides: degradation, patches, masks with their un-shuffling, and the draws that decide it per study.

Shape legend: B studies, V views, I images, S image side, c channels, G patches per side, P = G * G patches, K visible
patches, X pixel values of a patch, D width.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from radwright.types import Batch


def degrade(images_IcSS: Tensor) -> Tensor:
    """Low resolution at the same size: nearest x2 of a 3x3 maximum with stride 2 and padding 1 (as released).

    The maximum commutes with a channel's normalisation, so images in [0, 1] and normalised ones degrade alike. An odd
    side is cut back to S.
    """
    side = images_IcSS.shape[-1]
    small = F.max_pool2d(images_IcSS, 3, 2, 1)
    return F.interpolate(small, scale_factor=2, mode="nearest")[..., :side, :side]


def to_patches(images_IcSS: Tensor, patches_per_side: int) -> Tensor:
    """Images to (I, P, X): patches row-major, and in a patch channel, row, column."""
    side = images_IcSS.shape[-1] // patches_per_side
    return F.unfold(images_IcSS, side, stride=side).transpose(1, 2)


def from_patches(patches_IPX: Tensor, size_px: int, in_channels: int) -> Tensor:
    """The inverse of ``to_patches``: images (I, c, S, S)."""
    side = round(math.sqrt(patches_IPX.shape[-1] // in_channels))
    return F.fold(patches_IPX.transpose(1, 2), size_px, side, stride=side)


def num_visible(num_patches: int, mask_ratio: float) -> int:
    """floor(P * (1 - ratio)): 29 of 196 at the published ratio of 0.85."""
    return math.floor(num_patches * (1.0 - mask_ratio) + 1e-9)


@dataclass(frozen=True, slots=True)
class PatchMask:
    """Which patches of each image are seen (MAE, He et al. 2022): those with the K smallest noise values.

    Attributes:
        visible_IK: int64, the seen patches in the order in which their tokens are encoded.
        restore_IP: int64, for each patch its place in [visible ‖ masked]; undoes the shuffle.
        masked_IP: bool, True where the patch is hidden and the loss counts.
    """

    visible_IK: Tensor
    restore_IP: Tensor
    masked_IP: Tensor

    @classmethod
    def from_noise(cls, noise_IP: Tensor, num_kept: int) -> PatchMask:
        """A uniform mask from uniform noise."""
        order_IP = noise_IP.argsort(dim=1, stable=True)
        restore_IP = order_IP.argsort(dim=1)
        return cls(order_IP[:, :num_kept], restore_IP, restore_IP >= num_kept)

    def rows(self, index_J: Tensor) -> PatchMask:
        """The masks of some images."""
        return PatchMask(self.visible_IK[index_J], self.restore_IP[index_J], self.masked_IP[index_J])

    def keep(self, tokens_IPD: Tensor) -> Tensor:
        """The seen tokens, (I, K, D)."""
        return tokens_IPD.gather(1, self.visible_IK.unsqueeze(-1).expand(-1, -1, tokens_IPD.shape[-1]))

    def unshuffle(self, visible_IKD: Tensor, mask_token_D: Tensor) -> Tensor:
        """Every seen token back at its place and the mask token everywhere else, (I, P, D)."""
        num_images, num_kept, dim = visible_IKD.shape
        num_hidden = self.restore_IP.shape[1] - num_kept
        hidden_IMD = mask_token_D.to(visible_IKD.dtype).expand(num_images, num_hidden, dim)
        shuffled_IPD = torch.cat([visible_IKD, hidden_IMD], dim=1)
        return shuffled_IPD.gather(1, self.restore_IP.unsqueeze(-1).expand(-1, -1, dim))


@dataclass(frozen=True, slots=True)
class Draws:
    """What is drawn at random from the studies of a batch, on the CPU.

    Attributes:
        used_BV: bool, the views that are looked at.
        cut_B: float64 in [0, 1), where a report is cut.
        lot_B: float64 in [0, 1), which task a study takes part in.
        noise_IP: float64 in [0, 1) per used image and patch, studies in order, views in order.
        low_I: float64 in [0, 1) per used image: shown degraded where it lies below the share.
    """

    used_BV: Tensor
    cut_B: Tensor
    lot_B: Tensor
    noise_IP: Tensor
    low_I: Tensor


def draw_from(batch: Batch, num_patches: int, *, one_view: bool) -> Draws:
    """Draw from each study with a generator of its own, so neither padding, batch nor process changes a draw.

    Args:
        batch: its ``seeds_B`` key the draws; without them a hash of the study ids does, the same in every epoch.
        num_patches: P.
        one_view: one of a study's views (as released for two-view studies); False: all.
    """
    seeds = [_id_seed(study_id) for study_id in batch.study_ids] if batch.seeds_B is None else batch.seeds_B.tolist()
    used_BV = batch.view_mask_BV.cpu().clone()
    cuts, lots, noise, low = [], [], [], []
    for row, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(seed)
        view, cut, lot = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        places = used_BV[row].nonzero().flatten()
        if one_view and len(places):
            used_BV[row] = False
            used_BV[row, places[int(view * len(places))]] = True
        cuts.append(cut)
        lots.append(lot)
        shape = (int(used_BV[row].sum()), num_patches)
        noise.append(torch.rand(shape, generator=generator, dtype=torch.float64))
        low.append(torch.rand(shape[0], generator=generator, dtype=torch.float64))
    cut_B, lot_B = (torch.tensor(drawn, dtype=torch.float64) for drawn in (cuts, lots))
    return Draws(used_BV, cut_B, lot_B, torch.cat(noise), torch.cat(low))


def _id_seed(study_id: str) -> int:
    return int.from_bytes(hashlib.sha256(study_id.encode()).digest()[:8], "big") >> 1
