"""Predicts the memory of an encoder, which keeps no caches, and refuses what does not fit."""

from __future__ import annotations

from typing import NamedTuple

from mlxwire_protocol import WireError

from ..fitting.available import available_bytes
from ..models.assembly import load_bytes, weight_bytes
from .bert import Encoder
from .families import EncoderShape
from .passing import pass_bytes


class EncoderFootprint(NamedTuple):
    """The bytes of the weights, and those that come on top at the peak."""

    weights: int
    scratch: int

    @property
    def total(self) -> int:
        """Return the bytes at the peak."""
        return self.weights + self.scratch

    def check_room(self, memory_limit: int | None, held: int) -> None:
        """Refuse a load that memory has no room for. Raises: WireError ``out_of_memory``.

        ``held`` are the bytes of a model that goes before the weights of this one come.
        """
        available = available_bytes(memory_limit, held)
        if self.total > available:
            raise WireError(
                "out_of_memory",
                f"the encoder needs {self.total} bytes, but {available} bytes are available; free "
                "memory, raise `memory_limit`, or load a smaller or a quantized model",
                retryable=False,
                data={"needed": self.total, "available": available},
            )


def footprint_of(
    model: Encoder, shape: EncoderShape, *, context: int, stored: int
) -> EncoderFootprint:
    """Predict the memory for texts of ``context`` tokens; ``stored`` are the bytes of the files."""
    weights = weight_bytes(model)
    return EncoderFootprint(
        weights, max(pass_bytes(shape, context), load_bytes(model, stored) - weights)
    )
