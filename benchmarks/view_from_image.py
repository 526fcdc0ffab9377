"""How often the view that is seen in an image is the one that its dataset states: the table of docs/results.md.

    python benchmarks/view_from_image.py SOURCE --format F [--option NAME=VALUE ...]

SOURCE, F and options are those of `radwright prepare`; nothing is written. Images whose view the dataset does not state
are left out, and so are those that cannot be decoded.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import yaml

from radwright.errors import StudyError
from radwright.imaging.config import ImageConfig
from radwright.imaging.decode import decode, probe
from radwright.imaging.positions import SEEN_AT, seen_position
from radwright.tables import SOURCES, resolve


def main() -> None:
    """Read the images of a source and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--format", required=True)
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    chosen = parser.parse_args()
    options = {name: yaml.safe_load(value) for name, _, value in (each.partition("=") for each in chosen.option)}
    source = resolve(SOURCES, chosen.format, kind="dataset format")(Path(chosen.source), options)
    counts: Counter[tuple[str, str]] = Counter()
    unread = 0
    for reference in source.references():
        for view in source.load(reference).views:
            if view.position == "unknown":
                continue
            try:
                encoded = probe(view.image.read(), name=view.image.name, max_pixels=ImageConfig().max_pixels)
                counts[view.position, seen_position(decode(encoded, at_least=SEEN_AT))] += 1
            except (StudyError, OSError, KeyError):
                unread += 1
    print(f"{sum(counts.values())} images, {unread} unread")
    for position in ("frontal", "lateral"):
        right = counts[position, position]
        said = sum(counts[stated, position] for stated in ("frontal", "lateral"))
        stated = sum(count for (name, _), count in counts.items() if name == position)
        print(f"{position}: precision {right}/{said} = {right / max(said, 1):.4f}", end="; ")
        print(f"recall {right}/{stated} = {right / max(stated, 1):.4f}; unknown {counts[position, 'unknown']}")


if __name__ == "__main__":
    main()
