"""``radwright listen``: the PACS side of a reading room."""

from __future__ import annotations

from pathlib import Path

import typer


def listen(
    pacs: Path = typer.Argument(..., metavar="PACS.yaml", help="Who may send, where signed reports go; docs/pacs.md."),
    data: Path = typer.Option(..., "--data", metavar="DIR", help="The reading room, that of radwright serve."),
    send_unsigned: bool = typer.Option(
        False, "--send-unsigned", help="Also send drafts that nobody has signed, to send_unsigned_to alone."
    ),
    verbose: bool = typer.Option(False, "--verbose", help="Log every image and association."),
) -> None:
    """Receive chest radiographs from a PACS and send it the signed reports, until Ctrl-C or SIGTERM.

    radwright serve drafts what comes in here; both share DIR. Logs hold ids, never names. Without encryption: only on a
    network that may see the images.
    """
    import logging
    import signal
    import threading
    from types import FrameType

    from radwright.cli.progress import say
    from radwright.config import read_yaml
    from radwright.serving.database import FILE as DATABASE
    from radwright.serving.inspecting import InspectionLimits, Inspector
    from radwright.serving.out.sr import structured_report
    from radwright.serving.pacs.config import PacsConfig
    from radwright.serving.pacs.service import PacsService, image_limits
    from radwright.serving.room import ReadingRoom

    config = PacsConfig.parse(read_yaml(pacs), where=str(pacs))
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
    )
    logging.getLogger("radwright").setLevel(logging.DEBUG if verbose else logging.INFO)
    is_new = not (data / DATABASE).is_file()
    room = ReadingRoom(data)
    if is_new:
        say(f"{data} is a new reading room: radwright serve must be given the same --data")
    room.blobs.sweep()
    # Images are decoded in a process of their own: one that breaks the decoder takes nothing else along.
    cost = InspectionLimits(config.limits.inspection_s, config.limits.inspection_memory_mb, num_processes=1)
    inspector = Inspector(image_limits(config), cost)
    service = PacsService(
        room, config, build=structured_report, describe=inspector.describe, send_unsigned=send_unsigned
    )
    say("Research only: not a medical device. A radiologist must check every draft.")
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()
        # Who asks twice does not want to wait.
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        done = service.run(stop)
    finally:
        inspector.close()
    say(
        f"{done.images} images in {done.studies} complete studies received ({done.images_again} came again, "
        f"{done.refused} refused); {done.sent} reports sent, {done.waiting} wait for the PACS"
    )
