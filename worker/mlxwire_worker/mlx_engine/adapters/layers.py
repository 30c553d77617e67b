"""Layers that add adapters to a module of the model, each row its own.

A layer stands in the module tree in its module's place. Slot 0 is the model alone, and holds zeros:
so a row without an adapter gets exactly the module's own numbers. The arrays are float32, and
``b`` has the adapter's scale in it; ranks differ, so they are filled up with zeros.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import mlx.core as mx
from mlx import nn
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

from .adapter import AdapterTensors
from .pass_slots import BASE, PassSlots

LINEAR = (nn.Linear, nn.QuantizedLinear)
EMBEDDING = (nn.Embedding, nn.QuantizedEmbedding)
EXPERTS = (SwitchLinear, QuantizedSwitchLinear)


class _Part(NamedTuple):
    """The arrays of one slot: ``a``, ``b`` with the scale in it, and DoRA's ``excess``.

    DoRA multiplies a module's output by magnitude / norm; ``excess`` [out] is that less 1.
    """

    a: mx.array
    b: mx.array
    excess: mx.array | None


class _Stack:
    """The arrays of all slots: ``a`` and ``b`` [slots, …], ``excess`` [slots, out] if one has DoRA.

    It is no array and no dict, so a module that holds it counts none of it as a parameter.
    """

    def __init__(self) -> None:
        self.parts: dict[int, _Part] = {}
        self.a = self.b = mx.zeros(0)
        self.excess: mx.array | None = None

    @property
    def arrays(self) -> list[mx.array]:
        return [self.a, self.b, *([] if self.excess is None else [self.excess])]


class AdaptedModule(nn.Module, ABC):  # type: ignore[misc]
    """A module with the adapters of several slots.

    ``rank_axes`` are the axes of the rank in ``a`` and in ``b`` of one slot.
    """

    rank_axes: tuple[int, int] = (1, 0)
    module: Any

    def __init__(self, module: Any, slots: PassSlots) -> None:
        super().__init__()
        _hold(self, module)
        self._slots = slots
        self._stack = _Stack()

    @property
    def nbytes(self) -> int:
        """Return the bytes of all slots' arrays."""
        return sum(array.nbytes for array in self._stack.arrays)

    def put(self, slot: int, tensors: AdapterTensors) -> None:
        """Add an adapter under a slot; `arrange` must follow."""
        a = tensors.a.astype(mx.float32)
        b = tensors.scale * tensors.b.astype(mx.float32)
        excess = None if tensors.magnitude is None else self.excess(a, b, tensors.magnitude)
        self._stack.parts[slot] = _Part(a, b, excess)

    def remove(self, slot: int) -> bool:
        """Remove a slot's adapter; return True if none is left. `arrange` must follow if not."""
        self._stack.parts.pop(slot, None)
        return not self._stack.parts

    def arrange(self, count: int) -> None:
        """Stack the adapters for ``count`` slots."""
        stack, (axis_a, axis_b) = self._stack, self.rank_axes
        rank = max(part.a.shape[axis_a] for part in stack.parts.values())
        first = next(iter(stack.parts.values()))
        none = _Part(mx.zeros_like(first.a), mx.zeros_like(first.b), None)
        parts = [stack.parts.get(slot, none) for slot in range(count)]
        stack.a = mx.stack([_widened(part.a, axis_a, rank) for part in parts])
        stack.b = mx.stack([_widened(part.b, axis_b, rank) for part in parts])
        like = next((part.excess for part in parts if part.excess is not None), None)
        stack.excess = None
        if like is not None:
            rows = [mx.zeros_like(like) if p.excess is None else p.excess for p in parts]
            stack.excess = mx.stack(rows)
        mx.eval(stack.arrays)
        for slot, part in stack.parts.items():  # views, so that nothing is held twice
            size = part.a.shape[axis_a]
            excess = None if part.excess is None or stack.excess is None else stack.excess[slot]
            stack.parts[slot] = _Part(
                _narrowed(stack.a[slot], axis_a, size),
                _narrowed(stack.b[slot], axis_b, size),
                excess,
            )

    @abstractmethod
    def excess(self, a: mx.array, b: mx.array, magnitude: mx.array) -> mx.array:
        """Return DoRA's factors less 1 [out]. Raises: ValueError where DoRA has no meaning."""


class AdaptedLinear(AdaptedModule):
    """A linear layer with adapters."""

    def __call__(self, x: mx.array) -> mx.array:
        """Return the layer's output for x [B, …, in], and what the rows' adapters add."""
        y: mx.array = self.module(x)
        index = self._slots.index
        if index is None:
            return y
        rows = len(self._slots.rows)
        flat = x.reshape(rows, -1, x.shape[-1]).astype(mx.float32)
        added = mx.gather_mm(flat, self._stack.a, rhs_indices=index)
        added = mx.gather_mm(added, self._stack.b, rhs_indices=index)
        if self._stack.excess is not None:
            own = y.reshape(rows, -1, y.shape[-1]).astype(mx.float32)
            if "bias" in self.module:
                own = own - self.module.bias
            added = added + self._stack.excess[index][:, None] * (own + added)
        return y + added.reshape(y.shape).astype(y.dtype)

    def excess(self, a: mx.array, b: mx.array, magnitude: mx.array) -> mx.array:
        """Return the factors by the norm of the adapted weight's rows (arXiv:2402.09353)."""
        weight = dense_weight(self.module).astype(mx.float32)
        return magnitude.astype(mx.float32) / mx.linalg.norm(weight + (a @ b).T, axis=1) - 1


class AdaptedEmbedding(AdaptedModule):
    """An embedding with adapters, also where it is the last layer as well."""

    def __call__(self, ids: mx.array) -> mx.array:
        """Return the embeddings of ids [B, T], and what the rows' adapters add."""
        y: mx.array = self.module(ids)
        index = self._slots.index
        if index is None:
            return y
        flat = ids.reshape(len(self._slots.rows), -1)
        chosen = self._stack.a[index[:, None], flat]
        added = mx.gather_mm(chosen, self._stack.b, rhs_indices=index)
        return y + added.reshape(y.shape).astype(y.dtype)

    def as_linear(self, x: mx.array) -> mx.array:
        """Return the logits of x [B, …, dimensions]."""
        y: mx.array = self.module.as_linear(x)
        index = self._slots.index
        if index is None:
            return y
        flat = x.reshape(len(self._slots.rows), -1, x.shape[-1]).astype(mx.float32)
        added = mx.gather_mm(flat, self._stack.b.swapaxes(-1, -2), rhs_indices=index)
        added = mx.gather_mm(added, self._stack.a.swapaxes(-1, -2), rhs_indices=index)
        return y + added.reshape(y.shape).astype(y.dtype)

    def excess(self, a: mx.array, b: mx.array, magnitude: mx.array) -> mx.array:
        """Refuse."""
        raise ValueError("DoRA of an embedding")


class AdaptedExperts(AdaptedModule):
    """A layer of experts with adapters; all rows of its pass have one slot (see `RowwiseExperts`)."""

    rank_axes = (1, 2)

    def __call__(
        self, x: mx.array, indices: mx.array, sorted_indices: bool = False
    ) -> mx.array:
        """Return the experts' output, and what the adapter of the pass adds."""
        y: mx.array = self.module(x, indices, sorted_indices=sorted_indices)
        slot = self._slots.single
        if slot == BASE:
            return y
        if slot is None:
            raise ValueError("experts that take no rows")
        options: Any = {"rhs_indices": indices, "sorted_indices": sorted_indices}
        added = mx.gather_mm(
            x.astype(mx.float32), self._stack.a[slot].swapaxes(-1, -2), **options
        )
        added = mx.gather_mm(added, self._stack.b[slot].swapaxes(-1, -2), **options)
        return y + added.astype(y.dtype)

    def excess(self, a: mx.array, b: mx.array, magnitude: mx.array) -> mx.array:
        """Refuse."""
        raise ValueError("DoRA of experts")


class RowwiseExperts(nn.Module):  # type: ignore[misc]
    """A block of experts that is computed once for each adapter among its rows.

    The block sorts its tokens by expert, so its layers can't tell the rows apart.
    """

    module: Any

    def __init__(self, module: Any, slots: PassSlots) -> None:
        super().__init__()
        _hold(self, module)
        self._slots = slots

    def __call__(self, x: mx.array, indices: mx.array, *rest: Any) -> mx.array:
        """Return the block's output for x [B, …] and the experts [B, …] that were chosen."""
        slots = self._slots
        if slots.single is not None:
            y: mx.array = self.module(x, indices, *rest)
            return y
        each = x.shape[0] // len(slots.rows)
        owners = [slot for slot in slots.rows for _ in range(each)]
        order: list[int] = []
        parts = []
        for slot in dict.fromkeys(owners):
            places = [place for place, owner in enumerate(owners) if owner == slot]
            order += places
            chosen = mx.array(places)
            with slots.of([slot] * len(places)):
                parts.append(self.module(x[chosen], indices[chosen], *rest))
        back = sorted(range(len(order)), key=order.__getitem__)
        return mx.concatenate(parts)[mx.array(back)]


def adapted(module: Any, slots: PassSlots) -> AdaptedModule | None:
    """Return a layer that can hold adapters of a module; None for a kind that can't have any."""
    if type(module) in LINEAR:
        return AdaptedLinear(module, slots)
    if type(module) in EMBEDDING:
        return AdaptedEmbedding(module, slots)
    if type(module) in EXPERTS:
        return AdaptedExperts(module, slots)
    return None


def dense_weight(module: Any) -> mx.array:
    """Return the weight of a linear layer [out, in], dequantized where it is quantized."""
    if not isinstance(module, nn.QuantizedLinear):
        weight: mx.array = module.weight
        return weight
    return mx.dequantize(
        module.weight,
        module.scales,
        module.get("biases"),
        group_size=module.group_size,
        bits=module.bits,
        mode=module.mode,
    )


def _hold(layer: nn.Module, module: Any) -> None:
    """Make a module the part ``module``, found directly too, as `hold_children_directly` does."""
    layer["module"] = module
    object.__setattr__(layer, "module", module)


def _widened(array: mx.array, axis: int, size: int) -> mx.array:
    padding = [(0, 0)] * array.ndim
    padding[axis] = (0, size - array.shape[axis])
    return mx.pad(array, padding)


def _narrowed(array: mx.array, axis: int, size: int) -> mx.array:
    return mx.take(array, mx.arange(size), axis=axis) if size < array.shape[axis] else array
