"""The real engine: mlx-lm behind the Engine protocol. Only files of this folder import mlx.

This file and `engine.py` import nothing heavy, since the handshake is answered first.
"""

from .engine import MlxEngine

__all__ = ["MlxEngine"]
