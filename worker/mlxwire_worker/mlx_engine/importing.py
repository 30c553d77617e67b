"""Imports MLX and mlx-lm at their first use, over a fast BLAS, and explains a failure.

This file itself imports nothing heavy.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from mlxwire_protocol import WireError

from ..process.kernel_folder import keep_kernels_apart, use_private_kernels
from ..requests.surroundings import lacking

if TYPE_CHECKING:
    from .mlx_patches.blas import InUse

_LEAST = {resource.RLIMIT_AS: 560 << 20, resource.RLIMIT_DATA: 128 << 20}
"""With fewer bytes of addresses or data, OpenBLAS or MLX ends the process during the import."""


def import_mlx() -> None:
    """Import mlx_lm over a fast BLAS, which has to be there first.

    Raises: MemoryError if the process is limited to less memory than that takes; ImportError.
    """
    from .mlx_patches.light_import import import_mlx_lm

    open_blas()  # before `use_private_kernels`, which changes TMPDIR
    use_private_kernels()
    import_mlx_lm()
    keep_kernels_of_this_card()


def open_blas() -> InUse:
    """Open a fast BLAS, unless one was opened. Raises: MemoryError, as `import_mlx`."""
    for kind, least in _LEAST.items():
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY and limit < least:
            raise MemoryError(f"a limit of {limit} bytes is too low for MLX")
    from .mlx_patches.blas import use_fast_blas

    return use_fast_blas()


def keep_kernels_of_this_card() -> None:
    """Have MLX keep the kernels of a CUDA device by the device's architecture."""
    import mlx.core as mx

    if mx.cuda.is_available():
        from importlib.metadata import version

        keep_kernels_apart(version("mlx"), str(mx.device_info()["architecture"]))


def import_or_explain() -> None:
    """Import mlx_lm.

    Raises: WireError ``model_load_failed``; ``out_of_memory`` or ``unavailable`` if the
    surroundings lack what the import takes.
    """
    try:
        import_mlx()
    except ModuleNotFoundError as error:
        raise not_installed(str(error)) from None
    except ImportError as error:
        if lack := lacking(error, "MLX can't be loaded"):
            raise lack from None
        raise WireError(
            "model_load_failed",
            f"MLX can't be loaded on this machine ({error}); install it again for this platform",
            data={"reason": "mlx_not_installed"},
        ) from None


def not_installed(detail: str) -> WireError:
    """Create the WireError for a worker without MLX."""
    return WireError(
        "model_load_failed",
        f"MLX is not installed for this worker ({detail}); run: pip install 'mlxwire[mlx]'",
        data={"reason": "mlx_not_installed"},
    )


def preload() -> None:
    """Import what requests need, if that works now; `load` tries again and says what is missing."""
    try:
        import_mlx()
        from . import preparing  # noqa: F401
        from .one_pass import classifying  # noqa: F401
        from .sequences import runner  # noqa: F401
    except (ImportError, OSError, MemoryError, RuntimeError):
        return
