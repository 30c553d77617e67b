"""Checks what a loaded model can do, beside the choice of its options, and announces it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING

import mlx.core as mx
from msgspec import structs

from .. import __version__
from ..engine import DEFAULT_KV_GROUP_SIZE, LoadOptions
from ..process.kernel_folder import slow_kernels
from ..process.private_folder import private_folder
from ..process.stdio import log
from .cache.cache_files import fingerprint
from .cache.model_check import REVISION, check_model
from .mlx_patches.blas import in_use

if TYPE_CHECKING:
    from .cache.policy import CachePolicy
    from .loading import LoadedModel

PARALLEL_SLOTS = 128
"""Sequences at once, where the host names no number."""


def find_abilities(loaded: LoadedModel, options: LoadOptions, *, elapsed: float) -> None:
    """Check the model itself, or read what an earlier load found, and note it in ``info``.

    ``elapsed`` are the seconds since the load began. Raises: WireError ``unsupported_model`` if the
    model does not answer rightly even alone.
    """
    loaded.policy.verdict = check_model(
        loaded.model,
        loaded.policy.make_unbounded,
        vocabulary=loaded.info.vocab_size,
        elapsed=elapsed,
        folder=private_folder().path,
        key=_key(loaded, options),
    )
    _announce(loaded, options)


def _key(loaded: LoadedModel, options: LoadOptions) -> str:
    """Return a name for a verdict that changes with anything that may change it."""
    versions = (version("mlx"), version("mlx-lm"), __version__, REVISION)
    packing = f"{options.kv_bits}/{options.kv_group_size}" if options.kv_bits else None
    return fingerprint(
        loaded.files,
        *versions,
        str(mx.default_device()),
        loaded.info.compute_dtype,
        packing,
    )


def _announce(loaded: LoadedModel, options: LoadOptions) -> None:
    """Note in ``info`` what the check allows, and warn of what it does not."""
    policy = loaded.policy
    loaded.info = structs.replace(
        loaded.info,
        parallel_slots=(options.parallel_slots or PARALLEL_SLOTS) if policy.batchable else 1,
        capabilities={
            **loaded.info.capabilities,
            "batchable": policy.batchable,
            "batch_lengths": "any" if policy.pads else "equal",
            "cache_trimmable": policy.trimmable,
        },
    )
    loaded.warnings.extend(_warnings(options, policy))
    for warning in loaded.warnings:
        log(warning)


def slow_parts() -> Iterator[str]:
    """Yield a warning for each part of MLX that is slower on this machine than it could be."""
    if slow := slow_kernels():
        yield f"MLX computes without compiled kernels, which is slower: {slow}"
    if slow := in_use().slow:
        yield f"MLX computes with its own BLAS, which is slow: {slow}"


def _warnings(options: LoadOptions, policy: CachePolicy) -> Iterator[str]:
    """Yield what this worker can't do as asked, or does many times slower than it could."""
    yield from slow_parts()
    if policy.dequantizes:
        yield (
            "with `kv_bits` each token takes longer: this architecture's attention can't compute "
            "with quantized keys and values, so all of a sequence's are dequantized for each token"
        )
    if not options.kv_bits and options.kv_group_size != DEFAULT_KV_GROUP_SIZE:
        yield "`kv_group_size` has no effect without `kv_bits`"
    if not policy.batchable and (options.parallel_slots or 1) > 1:
        yield (
            f"`parallel_slots` is {options.parallel_slots}, but sequences of this model can't be "
            "computed together, so its requests run one after the other"
        )
