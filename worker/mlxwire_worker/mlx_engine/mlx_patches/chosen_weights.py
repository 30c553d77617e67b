"""Makes mlx-lm read the weight files that the checks chose.

mlx-lm takes whatever ``glob`` finds for ``model*.safetensors``. That finds nothing below a folder
whose name has brackets, no file that only the index names, and files that no index names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlx_lm import utils as mlx_lm_utils


@contextmanager
def reading(shards: tuple[Path, ...]) -> Iterator[None]:
    """Have `mlx_lm.utils.load_model` read these files inside the block.

    The whole process sees the replacement, so only the engine's thread may load.
    """
    files = [str(shard) for shard in shards]
    module: Any = mlx_lm_utils
    theirs = module.glob
    module.glob = SimpleNamespace(glob=lambda pattern: files)
    try:
        yield
    finally:
        module.glob = theirs
