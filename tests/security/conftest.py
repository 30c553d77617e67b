from __future__ import annotations

from engine.conftest import models, worker

__all__ = ["models", "worker"]
