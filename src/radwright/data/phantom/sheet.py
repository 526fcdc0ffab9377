"""Contact sheets: studies side by side, for docs and for looking at what one has made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from radwright.data.phantom.overlay import VIEW_NAMES
from radwright.data.phantom.study import PhantomStudy

_MARGIN_PX = 4
_LINE_PX = 11


def contact_sheet(
    studies: Sequence[PhantomStudy], *, columns: int = 4, side_px: int = 160, outlines: bool = False
) -> Image.Image:
    """Frontal above lateral view of each study, its findings beneath.

    Args:
        studies: at least one.
        columns: studies per row.
        side_px: side of one view on the sheet.
        outlines: draw the borders of the findings' masks.

    Raises:
        ValueError: no study, or fewer than one column.
    """
    if not studies or columns < 1:
        raise ValueError("a contact sheet needs at least one study and one column")
    names = [[f"{f.size} {f.side} {f.kind}".replace("_", " ").strip() for f in study.findings] for study in studies]
    text_px = _LINE_PX * max(1, *map(len, names)) + _MARGIN_PX
    wide, high = side_px + _MARGIN_PX, 2 * side_px + text_px + _MARGIN_PX
    rows = -(-len(studies) // columns)
    sheet = Image.new("L", (wide * min(columns, len(studies)) + _MARGIN_PX, high * rows + _MARGIN_PX), 255)
    pen = ImageDraw.Draw(sheet)
    for number, study in enumerate(studies):
        left, top = wide * (number % columns) + _MARGIN_PX, high * (number // columns) + _MARGIN_PX
        for place, view in enumerate(VIEW_NAMES):
            pixels = study.images[view]
            picture = (pixels >> 8 if pixels.dtype == np.uint16 else pixels).astype(np.uint8)
            if outlines:
                for masks in study.masks.values():
                    picture = np.where(_outline(masks[view]), np.uint8(255), picture)
            shown = Image.fromarray(picture).resize((side_px, side_px), Image.Resampling.BICUBIC)
            sheet.paste(shown, (left, top + place * side_px))
        for line, name in enumerate(names[number] or ["no finding"]):
            pen.text((left, top + 2 * side_px + line * _LINE_PX), name, fill=0, font_size=10)
    return sheet


def _outline(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1] = mask[1:-1, 1:-1] & mask[2:, 1:-1] & mask[:-2, 1:-1] & mask[1:-1, 2:] & mask[1:-1, :-2]
    return mask & ~inner
