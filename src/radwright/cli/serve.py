"""``radwright serve``: the reading room over HTTP."""

from __future__ import annotations

from pathlib import Path

import typer


def serve(
    checkpoint: Path = typer.Argument(..., help="Checkpoint directory (RUN/best)."),
    data: Path = typer.Option(..., "--data", metavar="DIR", help="Folder of the reading room: studies, reports, log."),
    host: str = typer.Option("127.0.0.1", help="Address to listen at; beyond loopback tokens are needed."),
    port: int = typer.Option(8000, min=0, max=65535, help="Port; 0 takes any free one."),
    allow_host: list[str] = typer.Option(
        [], "--allow-host", metavar="NAME", help="A name by which clients call this server; '*' for any."
    ),
    certificate: Path | None = typer.Option(None, "--certificate", metavar="PEM", help="For HTTPS."),
    key: Path | None = typer.Option(None, "--key", metavar="PEM", help="For HTTPS."),
    organization: str = typer.Option("", help="Where the radiologists work; stands in signed reports."),
    model_name: str = typer.Option(
        "", "--model-name", metavar="NAME", help="What drafts call the network; default: the run's folder."
    ),
    max_batch: int = typer.Option(8, min=1, help="Studies drafted at once."),
    max_waiting: int = typer.Option(64, min=1, help="Drafts that may wait; more are answered 429."),
    settings: list[str] = typer.Option(
        [], "--set", metavar="KEY=VALUE", help="Any other limit, e.g. draft_deadline_s=300 (docs/reading_room.md)."
    ),
    risk: float | None = typer.Option(None, "--risk", metavar="LEVEL", help="As in radwright generate."),
    uncertain: str | None = typer.Option(None, "--uncertain", metavar="mark|drop", help="As in radwright generate."),
    decoding: list[str] = typer.Option([], "--decoding", metavar="KEY=VALUE", help="As in radwright generate."),
    device: str = typer.Option("auto", help="cpu, cuda, cuda:1, ...; auto takes a GPU where there is one."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads of the network; default: all cores."),
    verbose: bool = typer.Option(False, "--verbose", help="Log every request (method, route, status, time)."),
) -> None:
    """Open the reading room: studies come in, drafts are written, a radiologist checks, corrects and signs them.

    Research only: not a medical device. Everything stays on this machine. Stops on Ctrl-C once what is being answered
    and drafted is done; what waits is drafted after the next start.
    """
    import logging

    from radwright.cli.progress import say
    from radwright.config import apply_overrides
    from radwright.serving.running import ServeRequest, run_server

    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
    )
    logging.getLogger("radwright").setLevel(logging.INFO if verbose else logging.WARNING)
    chosen = apply_overrides(
        {
            "organization": organization,
            "model_name": model_name,
            "max_batch": max_batch,
            "max_waiting": max_waiting,
        },
        settings,
    )
    request = ServeRequest(
        checkpoint,
        data,
        host=host,
        port=port,
        allow_hosts=tuple(allow_host),
        certificate=certificate,
        key=key,
        settings=chosen,
        device=device,
        threads=threads,
        decoding=tuple(decoding),
        risk=risk,
        uncertain=uncertain,
    )
    say("Research only: not a medical device. A radiologist must check every draft.")
    if not run_server(request, tell=say):
        say("stopped before the last batch was drafted; it is drafted after the next start")
        raise typer.Exit(1)
