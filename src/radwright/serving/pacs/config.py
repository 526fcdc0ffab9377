"""What ``radwright listen`` must know of the PACS: who may send, where reports go, and what no peer may exceed."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from radwright.config import Config


def _ae_title(text: str) -> str:
    title = text.strip(" ")
    if not 1 <= len(title) <= 16 or not all(" " <= each <= "~" and each != "\\" for each in title):
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash")
    return title


def _network(text: str) -> str:
    ipaddress.ip_network(text)
    return text


AeTitle = Annotated[str, AfterValidator(_ae_title)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Peer(Config):
    """Another DICOM node that objects are sent to."""

    ae_title: AeTitle
    """What it is called."""

    host: str = Field(min_length=1)
    """Its host name or address."""

    port: Port
    """Where it listens."""


class PacsLimits(Config):
    """What a sender may not exceed; whatever does is refused, and the listener goes on."""

    max_bytes: int = Field(default=134_217_728, ge=1024, le=2**31)
    """Bytes of one object. What is longer is not kept in memory either."""

    max_pixels: int = Field(default=50_000_000, ge=1, le=89_000_000)
    """Width times height of one image."""

    inspection_s: float = Field(default=5.0, gt=0)
    """Seconds to decode an image on arrival; it is refused then."""

    inspection_memory_mb: int = Field(default=2048, ge=64)
    """Memory to decode an image on arrival, in MiB."""

    max_objects: int = Field(default=10_000, ge=1)
    """Objects on one association; the sender must open another one for more."""

    max_associations: int = Field(default=8, ge=1, le=100)
    """Associations at the same time; further ones are rejected for the moment."""


class Timeouts(Config):
    """Seconds after which a silent peer is given up."""

    connect_s: float = Field(default=10.0, gt=0)
    """Opening a connection to a peer."""

    associate_s: float = Field(default=30.0, gt=0)
    """Agreeing on an association."""

    reply_s: float = Field(default=60.0, gt=0)
    """A peer's answer to an object."""

    idle_s: float = Field(default=120.0, gt=0)
    """An association on which nothing happens, and one piece (PDU) that does not get complete."""


class PacsConfig(Config):
    """One reading room beside one PACS."""

    ae_title: AeTitle = "RADWRIGHT"
    """What this node is called; peers that call it otherwise are rejected."""

    address: str = Field(default="127.0.0.1", min_length=1)
    """Where it listens; 0.0.0.0 for every network of the machine."""

    port: Port = 11112
    """Where it listens."""

    accept_from: tuple[AeTitle, ...] = Field(min_length=1)
    """Calling AE titles that may send; all others are rejected."""

    accept_addresses: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    """IP addresses or networks (10.1.0.0/16) that may connect; empty: any. An AE title alone is easily made up."""

    study_complete_after_s: float = Field(default=60.0, gt=0)
    """A study that got no image for so long is complete, and is drafted."""

    send_to: Peer | None = None
    """Where signed reports go; without it they stay in the reading room."""

    send_unsigned_to: Peer | None = None
    """Where drafts that nobody has signed go, marked as such, if the command is told to with ``--send-unsigned``. Never
    the node of the signed reports: a draft must not stand beside them."""

    poll_s: float = Field(default=1.0, gt=0, le=60)
    """How often it looks for complete studies and for reports to send."""

    limits: PacsLimits = PacsLimits()
    """What a sender may not exceed."""

    timeouts: Timeouts = Timeouts()
    """When a silent peer is given up."""

    @model_validator(mode="after")
    def _unsigned_go_elsewhere(self) -> Self:
        for name in ("send_to", "send_unsigned_to"):
            peer = getattr(self, name)
            if peer is not None and peer.ae_title == self.ae_title:
                raise ValueError(f"{name}.ae_title is this node's own ({self.ae_title}); name the PACS's")
        signed, unsigned = self.send_to, self.send_unsigned_to
        if signed and unsigned:
            if unsigned.ae_title == signed.ae_title:
                raise ValueError("send_unsigned_to.ae_title is that of send_to; unsigned drafts need another AE")
            if (unsigned.host.lower(), unsigned.port) == (signed.host.lower(), signed.port):
                raise ValueError("send_unsigned_to is the host and port of send_to; unsigned drafts need another node")
        return self
