"""The vocabulary that the tests of this folder compile schemas for."""

from __future__ import annotations

import pytest

from mlxwire_worker.mlx_engine.constraints.vocabulary import Vocabulary

from .compiled import TOKENIZER


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary(TOKENIZER, TOKENIZER.size, [0])
