"""A self-contained page of bars: what a stage takes, with a tick where its floor is."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

STYLE = (Path(__file__).parent / "bars.css").read_text(encoding="utf-8")

MEANING = (
    "A bar is what a stage took; the tick is its floor: its operations and bytes at the best rates of this machine "
    "just before or after, or of image files and text the same done by the codec and by a plain join alone."
)


@dataclass(frozen=True)
class Bar:
    """One stage.

    Attributes:
        name: what it is called.
        cpu_s: CPU-seconds it took.
        floor_s: CPU-seconds it has to take.
        gflop: operations, in 10^9.
    """

    name: str
    cpu_s: float
    floor_s: float
    gflop: float

    @property
    def times(self) -> str:
        """How far from the floor."""
        return f"{self.cpu_s / self.floor_s:.2f}" if self.floor_s > 0 else "-"


def write_bars(path: Path, title: str, notes: list[str], sections: list[tuple[str, list[Bar]]]) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        title: heading.
        notes: machine, commit and the like.
        sections: heading and bars; the last bar of each is their sum and is not drawn to scale.
    """
    parts = [_section(heading, rows) for heading, rows in sections]
    said = " · ".join(escape(note) for note in notes)
    path.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(title)}</h1><p>{said}</p><p>{MEANING}</p>{''.join(parts)}</body></html>\n",
        encoding="utf-8",
    )


def _section(heading: str, rows: list[Bar]) -> str:
    largest = max(max(row.cpu_s, row.floor_s) for row in rows[:-1])
    lines = "".join(_line(row, largest, is_sum=row is rows[-1]) for row in rows)
    head = "".join(f"<th>{name}</th>" for name in ("stage", "", "CPU-s", "floor", "times the floor"))
    return f"<h2>{escape(heading)}</h2><table><tr>{head}</tr>{lines}</table>"


def _line(row: Bar, largest: float, *, is_sum: bool) -> str:
    drawn = ""
    if not is_sum:
        bar, tick = (f"{100 * value / largest:.1f}%" for value in (row.cpu_s, row.floor_s))
        drawn = f'<div class="track"><i style="width:{bar}"></i><b style="left:calc({tick} - 1px)"></b></div>'
    numbers = "".join(f"<td>{text}</td>" for text in (f"{row.cpu_s:.4f}", f"{row.floor_s:.4f}", row.times))
    return (
        f'<tr{" class=sum" if is_sum else ""}><td>{escape(row.name)}</td><td class="drawn">{drawn}</td>{numbers}</tr>'
    )
