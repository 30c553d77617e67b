"""Builds a tiny model of a family in a folder of Hugging Face format, which `mlx_lm.load` reads."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.utils import load_model, load_tokenizer, quantize_model, save
from tokenizers import Tokenizer

from .families import BY_NAME, GEMMA3, Family
from .tokenization import added_tokens_decoder
from .weights import random_weights, shapes_of

FAMILIES: tuple[str, ...] = tuple(BY_NAME)

_DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16}
_GROUP_SIZE = 32


def build_model(
    family: str,
    directory: Path | str,
    *,
    quantized: bool = False,
    seed: int = 0,
    dtype: str = "float32",
    shards: int = 1,
    config: dict[str, Any] | None = None,
) -> Path:
    """Write a model of `family` into `directory`, which is made if absent; return the folder.

    Args:
        family: one of `FAMILIES`.
        quantized: convert to 4 bits (affine, groups of 32) through mlx-lm, whose way of saving
            decides the layout: an index beside the weights, a tokenizer saved by transformers.
        seed: of the weights; the same seed gives the same bytes. The tokenizer has none.
        dtype: "float32" or "bfloat16".
        shards: number of weight files; more than one come with an index. Not for quantized models.
        config: entries that replace those of the family's config.json.

    Raises:
        ValueError: for shards of a quantized model.
    """
    if quantized and shards != 1:
        raise ValueError("mlx-lm decides the shards of a quantized model: leave shards at 1")
    target = Path(directory)
    if not quantized:
        _write_plain(
            BY_NAME[family],
            target,
            seed=seed,
            dtype=dtype,
            shards=shards,
            overrides=config or {},
        )
        return target
    with tempfile.TemporaryDirectory() as scratch:
        plain = build_model(
            family, Path(scratch) / "plain", seed=seed, dtype=dtype, config=config
        )
        _quantize(plain, target)
    return target


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON in UTF-8."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save_shards(directory: Path, weights: dict[str, mx.array], shards: int) -> None:
    """Write model.safetensors, or `shards` numbered files and the index that names them."""
    if shards == 1:
        mx.save_safetensors(
            str(directory / "model.safetensors"), weights, metadata={"format": "pt"}
        )
        return
    weight_map: dict[str, str] = {}
    names = sorted(weights)
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: weights[name] for name in names[number::shards]}
        mx.save_safetensors(str(directory / file), part, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    total = sum(array.nbytes for array in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(directory / "model.safetensors.index.json", index)


def _write_plain(
    family: Family,
    directory: Path,
    *,
    seed: int,
    dtype: str,
    shards: int,
    overrides: dict[str, Any],
) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = family.train(family.markers)
    config = _config(family, tokenizer, dtype) | overrides
    muted = _muted(family, tokenizer, config["vocab_size"])
    weights = _weights(family, config, muted, seed, _DTYPES[dtype])
    write_json(directory / "config.json", config)
    write_json(directory / "generation_config.json", _generation_config(family, tokenizer))
    _write_tokenizer(family, tokenizer, directory)
    save_shards(directory, weights, shards)


def _config(family: Family, tokenizer: Tokenizer, dtype: str) -> dict[str, Any]:
    size = tokenizer.get_vocab_size()
    config = family.config | {
        "bos_token_id": _id(tokenizer, family.config_bos),
        "eos_token_id": _ids(tokenizer, family.config_eos),
        "torch_dtype": dtype,
        "vocab_size": size + -size % family.vocabulary_multiple,
    }
    if family is GEMMA3:
        config["pad_token_id"] = _id(tokenizer, "<pad>")
    return dict(sorted(config.items()))


def _generation_config(family: Family, tokenizer: Tokenizer) -> dict[str, Any]:
    ids = {
        "bos_token_id": _id(tokenizer, family.bos or family.config_bos),
        "eos_token_id": _ids(tokenizer, family.generation_eos),
    }
    if family.pad is not None:
        ids["pad_token_id"] = _id(tokenizer, family.pad)
    return ids | family.sampling | {"transformers_version": "4.51.0"}


def _ids(tokenizer: Tokenizer, tokens: str | list[str]) -> int | list[int]:
    if isinstance(tokens, str):
        return _id(tokenizer, tokens)
    return [_id(tokenizer, token) for token in tokens]


def _id(tokenizer: Tokenizer, token: str) -> int:
    index = tokenizer.token_to_id(token)
    if index is None:
        raise ValueError(
            f"the tokenizer has no token {token!r}: add it to the family's markers"
        )
    return index


def _muted(family: Family, tokenizer: Tokenizer, vocab_size: int) -> set[int]:
    """Return ids past the last, and those of control tokens, which would end a text early."""
    control = [marker.content for marker in family.markers if marker.content.strip("\n▁")]
    padding = range(tokenizer.get_vocab_size(), vocab_size)
    return {*(_id(tokenizer, token) for token in control), *padding}


def _write_tokenizer(family: Family, tokenizer: Tokenizer, directory: Path) -> None:
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = family.tokenizer_config | {
        "added_tokens_decoder": added_tokens_decoder(tokenizer)
    }
    if family.template_file:
        (directory / "chat_template.jinja").write_text(family.chat_template, encoding="utf-8")
    else:
        settings["chat_template"] = family.chat_template
    write_json(directory / "tokenizer_config.json", dict(sorted(settings.items())))


def _weights(
    family: Family, config: dict[str, Any], muted: Iterable[int], seed: int, dtype: mx.Dtype
) -> dict[str, mx.array]:
    module = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    model = module.Model(module.ModelArgs.from_dict(config))
    shapes = shapes_of(model.parameters())
    if not family.head:
        shapes.pop("lm_head.weight", None)
    return random_weights(
        shapes,
        key=mx.random.key(family.first_seed + seed),
        head=family.head,
        muted=muted,
        residual_gain=family.residual_gain,
        dtype=dtype,
    )


def _quantize(source: Path, target: Path) -> None:
    # mlx-lm reports the bits per weight on stdout, where a worker's protocol may be.
    with contextlib.redirect_stdout(io.StringIO()):
        model, config = load_model(source)
        model, config = quantize_model(model, config, group_size=_GROUP_SIZE, bits=4)
        tokenizer = load_tokenizer(source, eos_token_ids=config["eos_token_id"])
        save(target, source, model, tokenizer, config)
