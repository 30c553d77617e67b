"""The files of each architecture tell of the model what its modules do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlxwire_worker.mlx_engine.discovery.beside import Adapters
from mlxwire_worker.mlx_engine.discovery.describing import correct, describe
from mlxwire_worker.mlx_engine.discovery.expected_dtype import Machine
from mlxwire_worker.mlx_engine.discovery.full_check import FullCheck
from mlxwire_worker.mlx_engine.models.preflight import check_folder
from support.building import built_info


@pytest.fixture(scope="module")
def check() -> Iterator[FullCheck]:
    """Yield a process that builds models."""
    shared = FullCheck()
    yield shared
    shared.close()


def test_headers_tell_what_the_modules_tell(
    animal: str, built: Callable[[str], Path], check: FullCheck
) -> None:
    checked = check_folder(built(animal))
    described = describe(checked, Machine(True, True, None), Adapters())
    corrected = describe(checked, Machine(True, True, None), Adapters())
    correct(corrected, built_info(check, checked.path))
    known = described["capabilities"].keys()

    assert corrected.pop("capabilities").items() >= described.pop("capabilities").items(), known
    assert described == corrected
