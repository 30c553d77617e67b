"""The trained model in `testdata`, for tests that need a model whose text makes sense."""

from __future__ import annotations

import pytest

from .repository import TESTDATA

TINY = TESTDATA / "tiny"
needs_tiny = pytest.mark.skipif(
    not (TINY / "model.safetensors").exists(), reason="the tiny model has not been trained"
)
