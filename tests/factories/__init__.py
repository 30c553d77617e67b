"""Random-weight models of each family, adapters for them, and broken model folders."""

from .adapters import build_adapter
from .broken import BROKEN, build_broken
from .models import FAMILIES, build_model
from .peft_adapters import build_peft_adapter

__all__ = [
    "BROKEN",
    "FAMILIES",
    "build_adapter",
    "build_broken",
    "build_model",
    "build_peft_adapter",
]
