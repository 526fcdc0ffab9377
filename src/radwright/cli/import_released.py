"""``radwright import-released``: the authors' CMCRL weights as a checkpoint, and the parity check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from radwright.runs.released import Imported


def import_released(
    file: Path | None = typer.Argument(None, help="The authors' weights: .pth (tensors only) or .safetensors."),
    out: Path | None = typer.Option(
        None, "--out", help="Checkpoint directory to write; `radwright generate` takes it."
    ),
    vocabulary: list[Path] = typer.Option(
        [],
        "--vocabulary",
        help="An annotation.json (or its folder or zip) of IU X-Ray, again for MIMIC-CXR's; or a file of words, one a "
        "line. The release rebuilds its vocabulary from these and saves none.",
    ),
    views: int = typer.Option(2, min=1, help="Views per study: 2 for IU X-Ray, 1 for MIMIC-CXR."),
    max_tokens: int = typer.Option(60, min=1, help="Decoding steps: 60 for IU X-Ray, 80 or 100 for MIMIC-CXR."),
    num_heads: int = typer.Option(8, min=1, help="Attention heads."),
    projected: bool = typer.Option(False, "--projected", help="Trained with causal_proj: true."),
    visual: bool = typer.Option(True, help="Trained with v_causal: y."),
    linguistic: bool = typer.Option(True, help="Trained with l_causal: y."),
    check: Path | None = typer.Option(
        None, "--check", metavar="FIXTURE", help="Instead: run a parity fixture, print the differences as JSON."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the summary as JSON."),
) -> None:
    """Turn the authors' released VLCI weights into a checkpoint, every weight accounted for.

    Sizes are read from the weights' shapes; what shapes do not say has options. With --check, exit status 1 when a
    difference is 1e-4 or more, or a beam differs.
    """
    from radwright.errors import ConfigError
    from radwright.methods.cmcrl.released import ReleasedFacts
    from radwright.runs.parity import agrees, check_parity
    from radwright.runs.released import import_released as import_weights

    if check is not None:
        if file is not None or out is not None or vocabulary:
            raise ConfigError("--check FIXTURE stands alone: leave FILE, --out and --vocabulary away")
        found = check_parity(check)
        print(json.dumps(found))
        if not agrees(found):
            raise typer.Exit(1)
        return
    if file is None or out is None:
        raise ConfigError("give FILE --out DIR to import weights, or --check FIXTURE to check the network")
    facts = ReleasedFacts(
        num_heads=num_heads,
        projected=projected,
        visual=visual,
        linguistic=linguistic,
        num_views=views,
        max_tokens=max_tokens,
    )
    _tell(import_weights(file, out, facts=facts, vocabulary=vocabulary), as_json=as_json)


def _tell(imported: Imported, *, as_json: bool) -> None:
    from radwright.cli.progress import say

    network, account, config = imported.network, imported.account, imported.network.config
    summary: dict[str, Any] = {
        "out": str(imported.out),
        "num_weights": imported.num_weights,
        "model": config.plain(),
        "vocab_size": network.vocab_size,
        "size_px": network.size_px,
        "loaded": len(account.loaded),
        "ignored": {reason: list(names) for reason, names in account.ignored.items()},
        "unused": list(account.unused),
        "missing": [],
        "vocabulary": list(imported.words),
        "notes": list(imported.notes),
    }
    if as_json:
        print(json.dumps(summary))
        return
    parts = [name for name in ("visual", "linguistic") if getattr(config, name)]
    say(
        f"{imported.num_weights / 1e6:.2f} M weights: width {config.dim}, {config.num_encoder_layers} + "
        f"{config.num_decoder_layers} layers, {config.num_heads} heads, {network.size_px} px, "
        f"{network.vocab_size} ids; deconfounding: {', '.join(parts) or 'none (baseline)'}"
    )
    say(f"loaded: {len(account.loaded)} tensors; missing: 0; of another shape: 0")
    for reason, names in account.ignored.items():
        say(f"ignored: {len(names)} ({reason})")
    for name in account.unused:
        say(f"unused: {name}")
    for source in imported.words:
        say(f"vocabulary: {source}")
    for note in imported.notes:
        say(f"note: {note}")
    say(f"checkpoint: {imported.out}")
