from __future__ import annotations

from support.model_worker import worker

__all__ = ["worker"]
