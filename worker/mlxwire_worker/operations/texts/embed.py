"""`embed`: return a vector for each text."""

from __future__ import annotations

import base64
import struct
from typing import ClassVar

from msgspec import Struct

from mlxwire_protocol.texts.replies import EmbeddingItem
from mlxwire_protocol.texts.requests import Embed

from ...passes import EmbedOptions, Texts
from .items import TextItems


class EmbedOperation(TextItems[Texts, list[float]]):
    """An `embed` request, whose texts are computed in groups, slice by slice."""

    __slots__ = ()

    phase: ClassVar[str] = "embed"

    def texts(self) -> Texts:
        """Tokenize the texts."""
        request = self.job.command
        assert isinstance(request, Embed)
        options = EmbedOptions(
            dimensions=request.dimensions,
            normalize=request.normalize,
            instruction=request.instruction,
            prompt_name=request.prompt_name,
            pooling=request.pooling,
        )
        return self.engine.embed_texts(request.texts, options, request.adapter)

    def compute(self, texts: Texts) -> list[tuple[int, list[float]]]:
        """Compute one slice."""
        return self.engine.embed(texts)

    def item(self, index: int, result: list[float]) -> Struct:
        """Return the vector as the request wants it."""
        request = self.job.command
        assert isinstance(request, Embed)
        return EmbeddingItem(
            id=self.job.id,
            index=index,
            embedding=_packed(result) if request.encoding_format == "base64" else result,
            tokens=self.tokens_of(index),
        )


def _packed(vector: list[float]) -> str:
    """Return the bytes of a vector in base64, as float32 with the least byte first."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
