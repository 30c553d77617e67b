"""Imports MLX and mlx-lm at their first use, over a fast BLAS, and explains a failure.

This file itself imports nothing heavy.
"""

from __future__ import annotations

from mlxwire_protocol import WireError

_NO_MEMORY = ("failed to map segment", "annot allocate memory")
"""Parts of the dynamic linker's messages when the process gets no more memory."""


def import_mlx() -> None:
    """Import mlx_lm over a fast BLAS, which has to be there first."""
    from .mlx_patches.blas import use_fast_blas
    from .mlx_patches.light_import import import_mlx_lm

    use_fast_blas()
    import_mlx_lm()


def import_or_explain() -> None:
    """Import mlx_lm. Raises: WireError ``model_load_failed`` or ``out_of_memory``."""
    try:
        import_mlx()
    except ModuleNotFoundError as error:
        raise WireError(
            "model_load_failed",
            f"MLX is not installed for this worker ({error}); run: pip install 'mlxwire[mlx]'",
            data={"reason": "mlx_not_installed"},
        ) from None
    except ImportError as error:
        told = str(error)
        if any(words in told for words in _NO_MEMORY):
            raise WireError(
                "out_of_memory",
                f"there is too little memory to load MLX itself ({told}); end other programs, or "
                "raise the process's limit",
            ) from None
        raise WireError(
            "model_load_failed",
            f"MLX can't be loaded on this machine ({told}); install it again for this platform",
            data={"reason": "mlx_not_installed"},
        ) from None
