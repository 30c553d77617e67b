"""Encoders of the BERT family in numpy, by the names in their files: the truth for our own.

One text at a time, in float64, without masks, padding or groups.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from tokenizers import Tokenizer

Array = np.ndarray[Any, np.dtype[np.float64]]


class EncoderReference:
    """An encoder of a folder."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.kind = self.config["model_type"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        stored: Any = mx.load(str(folder / "model.safetensors"))
        prefix = self.kind.replace("xlm-", "") + "."
        self.tensors: dict[str, Array] = {
            name.removeprefix(prefix): np.array(array.astype(mx.float32)).astype(np.float64)
            for name, array in stored.items()
        }

    def ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text).ids
        return ids

    def states(self, ids: Sequence[int], types: Sequence[int] | None = None) -> Array:
        """Return the last layer's states [T, D]."""
        x = self._embed(ids, types)
        for number in range(self.config.get("num_hidden_layers") or self.config["n_layers"]):
            x = self._layer(x, number)
        return x

    def logits(self, text: str, other: str) -> Array:
        """Return the logits of a pair's labels."""
        pair = self.tokenizer.encode(text, other)
        typed = self.config.get("type_vocab_size", 1) > 1
        first = self.states(pair.ids, pair.type_ids if typed else None)[0]
        dense, last, act = {
            "bert": ("pooler.dense", "classifier", np.tanh),
            "distilbert": ("pre_classifier", "classifier", lambda x: np.maximum(x, 0)),
            "electra": ("classifier.dense", "classifier.out_proj", _gelu),
        }.get(self.kind, ("classifier.dense", "classifier.out_proj", np.tanh))
        logits: Array = self._linear(act(self._linear(first, dense)), last)
        return logits

    def _embed(self, ids: Sequence[int], types: Sequence[int] | None) -> Array:
        words = self.tensors["embeddings.word_embeddings.weight"][list(ids)]
        places = list(range(len(ids)))
        if self.kind in ("roberta", "xlm-roberta", "mpnet"):
            padding, place, places = 1, 1, []
            for number in ids:
                place += number != padding
                places.append(place if number != padding else padding)
        x = words + self.tensors["embeddings.position_embeddings.weight"][places]
        kinds = self.tensors.get("embeddings.token_type_embeddings.weight")
        if kinds is not None:
            x = x + kinds[list(types or [0] * len(ids))]
        x = self._norm(x, "embeddings.LayerNorm")
        return self._linear(x, "embeddings_project") if self.kind == "electra" else x

    def _layer(self, x: Array, number: int) -> Array:
        distil, mpnet = self.kind == "distilbert", self.kind == "mpnet"
        layer = f"{'transformer' if distil else 'encoder'}.layer.{number}"
        parts = ["self.query", "self.key", "self.value"]
        if distil:
            parts = ["q_lin", "k_lin", "v_lin"]
        if mpnet:
            parts = ["attn.q", "attn.k", "attn.v"]
        q, k, v = (self._linear(x, f"{layer}.attention.{part}") for part in parts)
        heads = self.config.get("num_attention_heads") or self.config["n_heads"]
        size = q.shape[-1] // heads
        mixed = []
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            scores = q[:, own] @ k[:, own].T / math.sqrt(size)
            if mpnet:
                scores = scores + self._distances(len(x))[:, :, head]
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            mixed.append(weights / weights.sum(axis=-1, keepdims=True) @ v[:, own])
        output = "out_lin" if distil else "attn.o" if mpnet else "output.dense"
        norm = "sa_layer_norm" if distil else "attention.LayerNorm"
        norm = norm if distil or mpnet else "attention.output.LayerNorm"
        attended = self._linear(np.concatenate(mixed, axis=-1), f"{layer}.attention.{output}")
        x = self._norm(x + attended, f"{layer}.{norm}")
        up, down = (
            ("ffn.lin1", "ffn.lin2") if distil else ("intermediate.dense", "output.dense")
        )
        changed = self._linear(_gelu(self._linear(x, f"{layer}.{up}")), f"{layer}.{down}")
        return self._norm(
            x + changed, f"{layer}.{'output_layer_norm' if distil else 'output.LayerNorm'}"
        )

    def _distances(self, length: int) -> Array:
        """Return MPNet's bias [T, T, H] for each distance, bucket by bucket."""
        table = self.tensors["encoder.relative_attention_bias.weight"]
        bias = np.empty((length, length, table.shape[1]))
        for query in range(length):
            for key in range(length):
                away = abs(key - query)
                far = 8 + int(math.log(max(away, 1) / 8) / math.log(128 / 8) * 8)
                bucket = away if away < 8 else min(far, 15)
                bias[query, key] = table[bucket + (16 if key > query else 0)]
        return bias

    def _linear(self, x: Array, name: str) -> Array:
        y: Array = x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]
        return y

    def _norm(self, x: Array, name: str) -> Array:
        eps = self.config.get("layer_norm_eps", 1e-12)
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
        y: Array = scaled * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]
        return y


def _gelu(x: Array) -> Array:
    gated: Array = x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
    return gated


def pooled(states: Array, pooling: str, *, normalize: bool = True) -> Array:
    """Return the vector of a text's states [T, D]."""
    places = np.arange(1, len(states) + 1)[:, None]
    vector = {
        "mean": lambda: states.mean(axis=0),
        "cls": lambda: states[0],
        "first": lambda: states[0],
        "last": lambda: states[-1],
        "lasttoken": lambda: states[-1],
        "max": lambda: states.max(axis=0),
        "mean_sqrt_len": lambda: states.sum(axis=0) / math.sqrt(len(states)),
        "weightedmean": lambda: (states * places).sum(axis=0) / places.sum(),
    }[pooling]()
    result: Array = vector / np.linalg.norm(vector) if normalize else vector
    return result
