"""The PACS side of the reading room: images come in by DICOM C-STORE, signed reports go out by it."""
