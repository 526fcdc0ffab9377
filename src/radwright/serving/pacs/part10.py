"""A dataset as it came over the network -> a DICOM file (PS3.10), the same bytes however often it is sent."""

from __future__ import annotations

import struct

IMPLEMENTATION_UID = "2.25.335922484957111045027808229332751086772"
"""Of this software as DICOM (PS3.7 D.3.3.2); never changed: an object sent again after an update stays the same."""


def dicom_file(dataset: bytes, *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble and file meta information before the encoded dataset, whose bytes stay as they are.

    Nothing of the association (who sent it, when) goes into the file: the image is known by its digest.
    """
    uids = ((2, sop_class_uid), (3, sop_instance_uid), (16, transfer_syntax_uid), (18, IMPLEMENTATION_UID))
    meta = struct.pack("<HH2sHL2s", 2, 1, b"OB", 0, 2, b"\0\1")
    for element, uid in uids:
        value = uid.encode("ascii")
        value += b"\0" * (len(value) % 2)
        meta += struct.pack("<HH2sH", 2, element, b"UI", len(value)) + value
    length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(meta))
    return b"".join((b"\0" * 128, b"DICM", length, meta, dataset))
