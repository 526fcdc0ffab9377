"""Small DICOM files made on the spot."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

RAMP = np.arange(1000, 1000 + 32 * 32, dtype=np.uint16).reshape(32, 32)
CR = "1.2.840.10008.5.1.4.1.1.1"
IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"


def dicom(
    pixels: npt.NDArray[Any] = RAMP,
    *,
    stored: int = 12,
    syntax: str = EXPLICIT,
    without: tuple[str, ...] = (),
    **tags: Any,
) -> bytes:
    """An uncompressed DICOM file; ``tags`` are set over what it has anyway, ``without`` names what it lacks."""
    import pydicom

    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = tags.get("SOPClassUID", CR)
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SOPClassUID, dataset.SOPInstanceUID = CR, "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = stored, stored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in tags.items():
        setattr(dataset, name, value)
    big = syntax == BIG_ENDIAN
    dataset.PixelData = (pixels.byteswap() if big else pixels).tobytes()
    dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    for name in without:
        delattr(dataset, name)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def compressed(data: bytes, syntax: str, folder: Any) -> bytes:
    """The file with its pixels in another transfer syntax, a name of ``gdcm.TransferSyntax``."""
    import gdcm

    before, after = folder / "before.dcm", folder / "after.dcm"
    before.write_bytes(data)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(before))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(after))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return after.read_bytes()
