"""The real engine driven by hand for vectors: a model loaded, texts embedded, slices counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlxwire_protocol import WireError
from mlxwire_worker.engine import LoadOptions
from mlxwire_worker.mlx_engine import MlxEngine
from mlxwire_worker.passes import EmbedOptions, TextInput, Texts


class Vectors:
    """An engine in this process that embeds. ``slices`` counts the steps of the last request."""

    def __init__(self) -> None:
        self.engine = MlxEngine()
        self.slices = 0

    def load(self, path: Path, **options: Any) -> Vectors:
        options = {"warmup": False, **options}
        self.info = self.engine.load(LoadOptions(path=str(path), **options), lambda *_: None)
        return self

    def prepared(
        self, texts: list[TextInput], *, adapter: str | None = None, **options: Any
    ) -> Texts:
        return self.engine.embed_texts(texts, EmbedOptions(**options), adapter)

    def embed(self, *texts: TextInput, **options: Any) -> np.ndarray[Any, Any]:
        """Return the vectors [B, D] of texts, none of which may fail."""
        prepared = self.prepared(list(texts), **options)
        assert not prepared.failed, prepared.failed
        found: dict[int, list[float]] = {}
        self.slices = 0
        while len(found) < len(texts):
            found |= dict(self.engine.embed(prepared))
            self.slices += 1
        assert prepared.work is None
        return np.array([found[place] for place in range(len(texts))])

    def refusal(self, *texts: TextInput, **options: Any) -> WireError:
        """Return the error of a request that is refused before a step."""
        try:
            self.prepared(list(texts), **options)
        except WireError as error:
            return error
        raise AssertionError("the request was not refused")

    def close(self) -> None:
        self.engine.unload()
        self.engine.close()
