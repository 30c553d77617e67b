from __future__ import annotations

from support.model_worker import loaded, worker

__all__ = ["loaded", "worker"]
