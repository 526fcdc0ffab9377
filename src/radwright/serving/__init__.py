"""The reading room: drafts over HTTP, a page to check and sign them on, DICOM in, structured reports out."""
