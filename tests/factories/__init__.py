"""Random-weight models of each family, adapters for them, and broken model folders."""

from .adapters import build_adapter
from .broken import BROKEN, build_broken
from .models import FAMILIES, build_model

__all__ = ["BROKEN", "FAMILIES", "build_adapter", "build_broken", "build_model"]
