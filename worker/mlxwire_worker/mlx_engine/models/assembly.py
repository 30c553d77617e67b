"""Builds a model's module tree in the dtype that it will compute in, and then reads its weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
from mlx.utils import tree_flatten

from mlxwire_protocol import WireError

from ...engine import LoadOptions, ProgressReport
from ..adapters.applying import apply_adapter
from ..cache.memory_guard import MemoryGuard
from ..cache.policy import CachePolicy, can_rotate
from ..fitting.available import available_bytes
from ..fitting.footprint import LEAST_CONTEXT, Footprint, footprint_of
from . import compute_dtype
from .context_length import SEQUENCE_TOKENS, Context, choose_context
from .model_files import failed
from .module_tree import build_tree, private_arrays
from .preflight import CheckedModel

_OF_PACKING = ("weight", "scales", "biases", "global_scale")
"""The arrays of a quantized module that stand for its weight."""


class Assembled(NamedTuple):
    """A module tree in the dtype that it computes in, and what depends on that dtype.

    ``quant_bits``, ``quant_group`` and ``quant_mode`` are those of the stored weights, which take
    ``stored_bytes``; ``parameters`` are counted without an adapter. ``longest`` is the longest context
    that the model allows, in tokens. A ``headless`` model has hidden states and no logits of its own.
    """

    model: Any
    config: dict[str, Any]
    parameters: int
    quant_bits: int
    quant_group: int
    quant_mode: str
    context: Context
    longest: int
    policy: CachePolicy
    guard: MemoryGuard
    headless: bool
    stored_bytes: int

    def footprint(self) -> Footprint:
        """Work out what decides the memory that the model will take."""
        return footprint_of(
            self.model,
            self.policy,
            self.guard.sizes,
            context=self.context.tokens,
            load_bytes=load_bytes(self.model, self.stored_bytes),
        )

    def slots(self, asked: int | None) -> int:
        """Return the number of sequences to count on: one, unless the host asks for more."""
        return (asked or 1) if self.policy.mergeable else 1

    def fitted(self, options: LoadOptions, held: int) -> Assembled:
        """Return the same with the longest context that fits into memory.

        Raises: WireError ``out_of_memory`` if not even `LEAST_CONTEXT` tokens do.
        """
        slots = self.slots(options.parallel_slots)
        available = available_bytes(options.memory_limit, held)
        footprint = self.guard.footprint = self.footprint()
        tokens = footprint.longest_context(available, slots, self.longest)
        if tokens == self.longest:
            return self
        if not tokens:
            raise _nothing_fits(footprint, min(LEAST_CONTEXT, self.longest), slots, available)
        told = (
            f"`context_len` is {tokens} in place of {self.longest}, because more does not fit: "
            f"{available} bytes are available, for {slots} {'sequence' if slots == 1 else 'sequences at once'}"
        )
        context = Context(tokens, " ".join(filter(None, (self.context.shortened, told))))
        if not self.policy.rotates:
            return self._replace(context=context)
        policy = self.policy.with_window(tokens)
        guard = MemoryGuard(self.model, policy, options.memory_limit)
        guard.footprint = footprint
        return self._replace(context=context, policy=policy, guard=guard)


def _nothing_fits(footprint: Footprint, tokens: int, slots: int, available: int) -> WireError:
    needed = footprint.total_bytes(tokens, slots)
    return WireError(
        "out_of_memory",
        f"the model needs {needed} bytes for {slots} sequences of {tokens} tokens, but {available} "
        "bytes are available; free memory, raise `memory_limit`, lower `parallel_slots`, or load a "
        "smaller or a quantized model",
        retryable=False,
        data={"needed": needed, "available": available},
    )


def assemble(
    options: LoadOptions,
    checked: CheckedModel,
    adapter: Path | None,
    heard: Callable[[], None],
    held: int | None = None,
) -> Assembled:
    """Build the module tree in the wanted dtype, or as stored if that takes too much memory.

    `auto` takes no dtype that MLX can't compute the model in.

    No weight is read: shapes and dtypes are known. ``heard`` is called during long work, and may
    raise to end it. ``held`` are the bytes of a model that goes when the weights come; None means
    all that MLX holds. Raises: as `build`; WireError ``out_of_memory`` if no context fits.
    """
    held = mx.get_active_memory() if held is None else held
    assembled = _in_wanted_dtype(options, checked, adapter, heard, held)
    if options.context_len == "auto":
        return assembled.fitted(options, held)
    return assembled


def _in_wanted_dtype(
    options: LoadOptions,
    checked: CheckedModel,
    adapter: Path | None,
    heard: Callable[[], None],
    held: int,
) -> Assembled:
    dtype = compute_dtype.wanted_dtype(options.compute_dtype)
    assembled = _assemble_in(dtype, options, checked, adapter, heard)
    if options.compute_dtype != "auto":
        return assembled
    other = assembled
    if dtype is not None:
        tokens = min(assembled.context.tokens, SEQUENCE_TOKENS)
        size = weight_bytes(assembled.model) + assembled.guard.sequence_bytes(tokens)
        if not compute_dtype.fits(size, options.memory_limit, held):
            other = _assemble_in(None, options, checked, adapter, heard)
    elif not compute_dtype.computes_as_stored(assembled.model):
        other = _assemble_in(mx.float32, options, checked, adapter, heard)
    return other if compute_dtype.computes_as_stored(other.model) else assembled


def _assemble_in(
    dtype: mx.Dtype | None,
    options: LoadOptions,
    checked: CheckedModel,
    adapter: Path | None,
    heard: Callable[[], None],
) -> Assembled:
    tree = build_tree(checked, heard)
    count = parameter_count(tree.model)
    model = _with_adapter(tree.model, checked, adapter)
    asked = options.asked_context
    longest = choose_context(None, checked.config, tree.unused_lengths)
    context = choose_context(asked, checked.config, tree.unused_lengths) if asked else longest
    bits, group, mode = most_common_quantization(model)
    if dtype is not None:
        compute_dtype.convert(model, dtype)
    rotates = options.context_policy == "rotate" or (
        options.context_policy == "rotate_if_possible"
        and options.kv_bits is None  # rotating caches can't be quantized
        and can_rotate(model)
    )
    policy = CachePolicy(
        model,
        window=context.tokens if rotates else None,
        kv_bits=options.kv_bits,
        kv_group_size=options.kv_group_size,
    )
    guard = MemoryGuard(model, policy, options.memory_limit)
    return Assembled(
        model,
        tree.config,
        count,
        bits,
        group,
        mode,
        context,
        longest.tokens,
        policy,
        guard,
        tree.headless,
        checked.weight_bytes,
    )


def materialize(model: Any, report: ProgressReport) -> None:
    """Read the weights, reporting bytes as they come, and evaluate every other array too.

    Arrays that are no parameters (the frequencies of scaled RoPE) stay lazy in mlx-lm and can
    then be evaluated by this thread alone (engine-notes §1).
    """
    arrays = parameters(model)
    total = sum(array.nbytes for array in arrays)
    done = 0
    report("load", 0, total)
    for group in _groups(arrays, _group(total)):
        mx.eval(group)
        done += sum(array.nbytes for array in group)
        report("load", done, total)
    mx.eval(list(private_arrays(model)))


def most_common_quantization(model: Any) -> tuple[int, int, str]:
    """Return bits, group size and mode of most quantized numbers; 0, 0 and "" if there are none."""
    numbers: Counter[tuple[int, int, str]] = Counter()
    for module in quantized_modules(model):
        form = (module.bits, module.group_size, str(getattr(module, "mode", "affine")))
        numbers[form] += module.weight.nbytes * 8 // module.bits
    return max(numbers, key=lambda form: numbers[form], default=(0, 0, ""))


def parameters(model: Any) -> list[mx.array]:
    """Return all parameters of a model, which may be lazy."""
    flat: Any = tree_flatten(model.parameters())
    return [array for _, array in flat]


def load_bytes(model: Any, stored: int) -> int:
    """Return the bytes at the peak of `materialize`; ``stored`` are those of the files."""
    arrays = parameters(model)
    total = sum(array.nbytes for array in arrays)
    if abs(total - stored) <= 0.05 * total:
        return total  # read into the arrays themselves
    largest = max(
        sum(array.nbytes for array in group) for group in _groups(arrays, _group(total))
    )
    return total + round(largest * min(stored / total, 1))


def weight_bytes(model: Any) -> int:
    """Return the bytes that all parameters of a model take in memory."""
    return sum(array.nbytes for array in parameters(model))


def _with_adapter(model: Any, checked: CheckedModel, adapter: Path | None) -> Any:
    if adapter is not None:
        apply_adapter(model, adapter)
    if checked.config.get("quantization") and not quantized_modules(model):
        raise failed(
            "quantization",
            "config.json says that the weights are quantized, but no weight of the model is; "
            "remove `quantization` from config.json, or download the quantized weights",
            file="config.json",
        )
    return model


def parameter_count(model: Any) -> int:
    """Return the number of a model's parameters; packed weights count as what they stand for.

    Scales and biases of a quantization count nothing.
    """
    count = sum(array.size for array in parameters(model))
    for module in quantized_modules(model):
        count -= sum(module[name].size for name in _OF_PACKING if module.get(name) is not None)
        count += module.weight.nbytes * 8 // module.bits
    for module in model.modules():
        if _is_ternary(module):
            count -= module.weight.size + module.weight_scale.size
            count += module.out_features * module.in_features
    return count


def _is_ternary(module: Any) -> bool:
    """Return True for BitNet's linear module, which packs four weights into a byte."""
    return "weight_scale" in module and module.weight.dtype == mx.uint8


def quantized_modules(model: Any) -> list[Any]:
    """Return the modules of a model whose weights are quantized."""
    return [
        module
        for module in model.modules()
        if isinstance(getattr(module, "bits", None), int)
        and isinstance(getattr(module, "group_size", None), int)
    ]


def _group(total: int) -> int:
    """Return the bytes of the weights that are read at once."""
    return max(total // 20, 1 << 24)


def _groups(arrays: list[mx.array], size: int) -> Iterator[list[mx.array]]:
    group: list[mx.array] = []
    held = 0
    for array in arrays:
        group.append(array)
        held += array.nbytes
        if held >= size:
            yield group
            group, held = [], 0
    if group:
        yield group
