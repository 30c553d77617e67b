"""The version of this package as it is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mlxwire")
except PackageNotFoundError:  # used from a source tree that is not installed
    __version__ = "0.0.0"
