"""Reports out: a study with its report as a DICOM structured report, as FHIR resources, and as plain text."""
