"""The reading room over HTTP."""
