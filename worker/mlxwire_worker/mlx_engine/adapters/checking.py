"""Checks an adapter's file and its tensors against a model's modules; nothing changes by it.

Each refusal is `model_load_failed` with ``data.reason`` "adapter", ``data.file``, and where one
tensor is at fault ``data.tensor``, the first by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import mlx.core as mx
from mlx import nn

from mlxwire_protocol import WireError

from ...process.system_share import memory_bytes
from ..models.model_files import ADAPTER_CONFIG, failed, quoted
from ..models.safetensors_header import read_header
from ..models.soundness import are_numbers
from ..models.weight_files import MAX_TENSORS, damage
from .layers import EMBEDDING, EXPERTS, LINEAR

CONFIG = ADAPTER_CONFIG
_FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
MOST_QUOTED_NAMES = 8
MOST_NAME_CHARACTERS = 512
_READ_DIRECTLY = frozenset(
    {
        *("prediction_coefs", "correction_coefs"),  # gemma3n
        *("self_attention_res_proj", "mlp_res_proj", "output_attn_res_proj"),  # kimi_k3
    }
)
"""Linear layers that architectures of mlx-lm do not call, but take apart."""
FROM_TRAINING = "copy it again from where the adapter was trained"


def refused(message: str, *, file: str, tensor: str | None = None) -> WireError:
    """Create the WireError for an adapter that can't be used."""
    named = {} if tensor is None else {"tensor": quoted(tensor)}
    return failed("adapter", message, file=file, **named)


def check_numbers(logits: Any) -> None:
    """Refuse an adapter with which the model's logits are NaN or infinity. Raises: WireError."""
    if not are_numbers(logits):
        raise failed(
            "adapter",
            "the model computes NaN or infinity with the adapter: its numbers are too large, or it was "
            "trained on another model; train it again with a lower learning rate or `scale`",
        )


class TensorFile:
    """A safetensors file whose header is sound, with floating-point tensors alone.

    ``shapes`` are the shapes of its tensors, sorted by name. Raises: WireError.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        try:
            found = read_header(path)
            if len(found) > MAX_TENSORS:
                raise ValueError(f"it has more than {MAX_TENSORS} tensors")
            if any(len(name) > MOST_NAME_CHARACTERS for name in found):
                raise ValueError(f"a name has more than {MOST_NAME_CHARACTERS} characters")
        except (OSError, ValueError) as error:
            raise refused(
                f"{self.name} {damage(path, error)}; {FROM_TRAINING}", file=self.name
            ) from None
        self.shapes = {name: found[name].shape for name in sorted(found)}
        if not found:
            raise refused(f"{self.name} holds no tensor; {FROM_TRAINING}", file=self.name)
        for name in self.shapes:
            dtype = found[name].dtype
            if dtype not in _FLOATS:
                raise self.refused(
                    name,
                    f"has the dtype {dtype}; accepted are {', '.join(_FLOATS.values())}. Save the "
                    "adapter again in one of these",
                )

    def refused(self, tensor: str, why: str) -> WireError:
        """Create the WireError for one tensor; ``why`` goes on after its name."""
        return refused(
            f"`{quoted(tensor)}` in {self.name} {why}", file=self.name, tensor=tensor
        )

    def missing(self, tensor: str, why: str) -> WireError:
        """Create the WireError for a tensor that the file lacks."""
        return refused(
            f"{self.name} lacks the tensor `{quoted(tensor)}`{why}; {FROM_TRAINING}",
            file=self.name,
            tensor=tensor,
        )

    def read(self) -> dict[str, mx.array]:
        """Read all tensors, evaluated.

        Raises: WireError if a number is not finite, or ``out_of_memory``.
        """
        self._check_memory()
        try:
            loaded: Any = mx.load(str(self._path))
            finite = {name: mx.isfinite(loaded[name]).all() for name in self.shapes}
            mx.eval(loaded, finite)
        except MemoryError:
            raise
        except (RuntimeError, KeyError, OSError) as error:
            raise refused(
                f"{self.name} can't be read ({quoted(error)}); {FROM_TRAINING}", file=self.name
            ) from error
        for name, is_finite in finite.items():
            if not is_finite.item():
                raise self.refused(
                    name, "has numbers that are NaN or infinite; train the adapter again"
                )
        return {name: loaded[name] for name in self.shapes}

    def _check_memory(self) -> None:
        """Refuse tensors that do not fit into memory, both as stored and as float32."""
        available = memory_bytes()
        needed = 2 * 4 * sum(math.prod(shape) for shape in self.shapes.values())
        if available is not None and needed > available:
            raise WireError(
                "out_of_memory",
                f"the adapter in {self.name} takes {needed} bytes while it is read, and {available} "
                "are free; use one of a smaller rank, or load a smaller model",
                data={"file": self.name},
            )

    def check_shape(self, tensor: str, axes: Mapping[str, int], base: str | None) -> None:
        """Compare a tensor's shape with the sizes of its axes by name, in order.

        ``rank`` among them is that of the config; ``base`` is the model that the config names.
        """
        shape, wanted = self.shapes[tensor], tuple(axes.values())
        if shape == wanted:
            return
        told = f"has the shape {_by(shape)}, not {_by(wanted)} ({' × '.join(axes)})"
        place = list(axes).index("rank") if "rank" in axes else None
        others_fit = (
            place is not None
            and len(shape) == len(wanted)
            and all(
                found == right or axis == place
                for axis, (found, right) in enumerate(zip(shape, wanted, strict=True))
            )
        )
        if others_fit and place is not None:
            raise self.refused(
                tensor,
                f"{told}: its rank is {shape[place]}, and {CONFIG} says {wanted[place]}; copy both files "
                "again from where the adapter was trained",
            )
        trained = f" ({quoted(base)})" if base else ""
        raise self.refused(
            tensor,
            f"{told}: the adapter was trained on another model{trained}; use one that was trained "
            "on this model",
        )


class Sizes(NamedTuple):
    """The sizes of a module, unpacked where it is quantized; an embedding's inputs are its ids."""

    kind: Literal["linear", "embedding", "experts"]
    inputs: int
    outputs: int
    experts: int = 0


def sizes_of(module: Any) -> Sizes | None:
    """Return the sizes of a module that can have adapters; None for one of any other class."""
    if type(module) not in (*LINEAR, *EMBEDDING, *EXPERTS):
        return None
    width = module.weight.shape[-1]
    if "scales" in module:
        width = width * 32 // module.bits
    if type(module) in EXPERTS:
        experts, outputs, _ = module.weight.shape
        return Sizes("experts", width, outputs, experts)
    rows = module.weight.shape[0]
    return (
        Sizes("linear", width, rows)
        if type(module) in LINEAR
        else Sizes("embedding", rows, width)
    )


def checked_sizes(
    path: str, module: nn.Module, *, dora: bool, tensor: str, file: TensorFile
) -> Sizes:
    """Return the sizes of the module of a tensor. Raises: WireError for a class without adapters."""
    sizes = sizes_of(module)
    if sizes is None:
        raise file.refused(
            tensor,
            f"adapts `{quoted(path)}`, whose class {type(module).__name__} can have no adapter; "
            "train one for linear layers, embeddings or experts",
        )
    if path.rpartition(".")[2] in _READ_DIRECTLY:
        raise file.refused(
            tensor,
            f"adapts `{quoted(path)}`, whose weight the model's own code reads past the layer; train "
            "without it",
        )
    if dora and sizes.kind != "linear":
        raise file.refused(
            tensor,
            f"is a DoRA of `{quoted(path)}`, which is no linear layer ({type(module).__name__}); "
            "train DoRA on linear layers alone, or LoRA",
        )
    return sizes


def finite_number(value: object) -> float | None:
    """Return a number of a config that float32 can hold; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and abs(number) < 3e38 else None


def whole_number(value: object, least: int) -> int | None:
    """Return an integer of a config that is at least ``least``; None for any other value."""
    return value if type(value) is int and value >= least else None


def parts_of(modules: Mapping[str, nn.Module], path: str) -> str:
    """Name the parts of the nearest module above a path that the model has, for an error."""
    above = path
    while above and above not in modules:
        above = above.rpartition(".")[0]
    start = f"{above}." if above else ""
    parts = {
        name.removeprefix(start).partition(".")[0] for name in modules if name.startswith(start)
    }
    named = ", ".join(sorted(parts - {""}, key=_by_number)[:MOST_QUOTED_NAMES])
    return f"`{above}` has {named}" if above else f"it has {named}"


def _by_number(part: str) -> tuple[int, str]:
    return (int(part) if part.isdecimal() else -1, part)


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "of one number"
