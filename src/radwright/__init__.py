"""Radwright trains, judges and serves models that write chest X-ray reports.

Research software, not a medical device: a radiologist must check every draft.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("radwright")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
