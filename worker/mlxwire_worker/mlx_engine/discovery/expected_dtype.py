"""Predicts the dtype that `compute_dtype` "auto" would choose for a model that is not loaded.

The rule is that of `models.compute_dtype`, with an estimate of the caches in place of the modules.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from ...process.system_share import memory_bytes, within_share
from ..importing import open_blas
from ..models.context_length import SEQUENCE_TOKENS, first_number
from .weights import layer_count

_CUDA = ("mlx-cuda-12", "mlx-cuda-13", "mlx-cuda")


class Machine(NamedTuple):
    """The facts by which `auto` chooses: whether MLX computes on a CPU and has a fast BLAS there.

    ``available`` is the free memory in bytes; None if it is not known.
    """

    on_cpu: bool
    fast_blas: bool
    available: int | None

    @classmethod
    def here(cls, held: int) -> Machine:
        """Describe this machine. A load would free the ``held`` bytes of the loaded model."""
        available = memory_bytes()
        if not _on_cpu():
            return cls(False, False, available)
        try:
            fast = not open_blas().slow
        except MemoryError:
            fast = False
        return cls(True, fast, None if available is None else available + held)

    def choose(
        self, sizes: dict[str, int], text: dict[str, Any], context: int, *, narrow_experts: bool
    ) -> str:
        """Return a key of ``sizes``, the bytes of the weights in each dtype.

        ``text`` has the settings of the text model. ``narrow_experts`` is True for plain experts that
        MLX can compute in float32 alone on a CPU.
        """
        if not self.on_cpu:
            return "stored"
        tokens = min(context, SEQUENCE_TOKENS)
        size = sizes["float32"] + 4 * tokens * _numbers_per_token(text)
        expands = self.fast_blas and within_share(size, self.available)
        return "float32" if expands or narrow_experts else "stored"


def _on_cpu() -> bool:
    if sys.platform != "linux":
        return False
    for name in _CUDA:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return False
    return True


def _numbers_per_token(text: dict[str, Any]) -> int:
    """Return about how many numbers of keys and values a token has in all layers."""
    layers = layer_count(text)
    latent = first_number(text, "kv_lora_rank")
    if latent:
        return layers * (latent + first_number(text, "qk_rope_head_dim"))
    heads = first_number(text, "num_attention_heads", "n_head", "n_heads") or 1
    width = (
        first_number(text, "head_dim") or first_number(text, "hidden_size", "n_embd") // heads
    )
    return 2 * layers * (first_number(text, "num_key_value_heads") or heads) * width
