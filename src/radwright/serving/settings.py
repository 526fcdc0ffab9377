"""How the server behaves: its limits, in one place, with what each is for."""

from __future__ import annotations

from pydantic import Field

from radwright.config import Config


class ServeConfig(Config):
    """Limits and times of ``radwright serve``."""

    max_waiting: int = Field(default=64, ge=1)
    """Drafts that may wait; an upload beyond it is answered 429 with Retry-After."""
    max_batch: int = Field(default=8, ge=1, le=256)
    """Studies drafted at once."""
    batch_wait_ms: float = Field(default=20.0, ge=0, le=10_000)
    """How long a study that could be drafted waits for others to join it, in milliseconds."""
    draft_deadline_s: float = Field(default=120.0, gt=0)
    """An uploaded study that has no draft by then is given up, with a reason; a study from the PACS never is."""
    max_upload_mb: float = Field(default=128.0, gt=0)
    """Largest request body, in MiB, refused before it is read whole."""
    max_files: int = Field(default=16, ge=1)
    """Most images in one upload."""
    max_pixels: int = Field(default=40_000_000, ge=1, le=80_000_000)
    """Most pixels of an image, held on its header (the largest detectors have some 15 million)."""
    body_timeout_s: float = Field(default=30.0, gt=0)
    """A client that sends nothing of its request for so long is answered 408."""
    inspection_s: float = Field(default=5.0, gt=0)
    """Time to decode an image on arrival."""
    inspection_memory_mb: int = Field(default=2048, ge=64)
    """Memory to decode an image on arrival, in MiB."""
    inspection_processes: int = Field(default=2, ge=1, le=32)
    """Processes that look at images on arrival."""
    evidence_wait_s: float = Field(default=60.0, gt=0)
    """A request for evidence waits so long for it; asked again later, it is there."""
    evidence_kept: int = Field(default=64, ge=1)
    """Explained drafts that are kept in memory."""
    windows_per_side: int = Field(default=8, ge=1, le=64)
    """Windows per side that are hidden for evidence; its cost grows with their square."""
    organization: str = ""
    """Where the radiologists work; stands in signed reports."""
    model_name: str = Field(default="", max_length=64)
    """What drafts call the network; the name of the run's folder where it is empty."""
