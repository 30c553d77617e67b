"""Small random encoders of the BERT family, in folders of the form that transformers writes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from .models import write_json

LETTERS = "abcdefghijklmnopqrstuvwxyz:.?"
WORDS = "the cat dog sat on mat query passage eats food baby bread not is are"
ENCODERS = ("bert", "roberta", "xlm-roberta", "electra", "mpnet", "distilbert")
_WIDTH, _INNER, _LAYERS, _HEADS, _POSITIONS = 32, 48, 2, 4, 40
_MARKS = {
    "bert": ("[CLS]", "[SEP]", "[PAD]", "[UNK]"),
    "roberta": ("<s>", "</s>", "<pad>", "<unk>"),
}


def build_encoder(
    kind: str,
    folder: Path,
    *,
    pooling: str | None = "mean",
    normalize: bool = True,
    labels: int = 0,
    dtype: mx.Dtype = mx.float32,
    prefix: bool = False,
    seed: int = 0,
    config: dict[str, Any] | None = None,
    prompts: dict[str, Any] | None = None,
    limits: dict[str, Any] | None = None,
) -> Path:
    """Write an encoder of ``kind``, one of `ENCODERS`, and return its folder.

    ``pooling`` is the name that sentence-transformers gives it; None leaves modules.json out. With
    ``labels`` it has a classification head. ``prefix`` puts the family's name before each tensor's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(kind)
    settings = _config(kind, tokenizer, labels) | (config or {})
    write_json(folder / "config.json", settings)
    tokenizer.save(str(folder / "tokenizer.json"))
    marks = _marks(kind)
    named = dict(zip(("cls_token", "sep_token", "pad_token", "unk_token"), marks, strict=True))
    inputs = ["input_ids", "attention_mask"]
    if settings.get("type_vocab_size", 1) > 1:
        inputs.append("token_type_ids")
    loaded = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": inputs}
    write_json(folder / "tokenizer_config.json", {**named, **loaded})
    weights = _weights(kind, settings, labels, seed, dtype)
    name = kind.replace("xlm-", "")
    if prefix:
        weights = {
            each if each.startswith("classifier") else f"{name}.{each}": array
            for each, array in weights.items()
        }
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "pt"})
    if pooling is not None:
        write_modules(folder, pooling, normalize=normalize, prompts=prompts, limits=limits)
    return folder


def write_modules(
    folder: Path,
    pooling: str,
    *,
    normalize: bool = True,
    prompts: dict[str, Any] | None = None,
    limits: dict[str, Any] | None = None,
    width: int = _WIDTH,
) -> None:
    """Write the files by which sentence-transformers knows the modules behind a model."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{each}"}
        for n, (each, path) in enumerate(zip(kinds, paths, strict=False))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    modes = (*modes, "weightedmean_tokens", "lasttoken")
    chosen = {f"pooling_mode_{mode}": mode.startswith(pooling) for mode in modes}
    if pooling == "mean":
        chosen["pooling_mode_mean_sqrt_len_tokens"] = False
    write_json(
        folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **chosen}
    )
    if prompts is not None:
        write_json(folder / "config_sentence_transformers.json", prompts)
    if limits is not None:
        write_json(folder / "sentence_bert_config.json", limits)


def quantize_encoder(
    source: Path, target: Path, *, bits: int = 8, group_size: int = 32
) -> Path:
    """Write an encoder's linear layers and embeddings in MLX's quantized form."""
    target.mkdir(parents=True, exist_ok=True)
    for file in source.rglob("*"):
        if file.is_file() and file.name != "model.safetensors":
            copy = target / file.relative_to(source)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(file.read_bytes())
    stored: Any = mx.load(str(source / "model.safetensors"))
    weights: dict[str, mx.array] = {}
    for name, array in stored.items():
        if array.ndim == 2 and array.shape[-1] % group_size == 0 and array.shape[0] > 4:
            packed = mx.quantize(array, group_size=group_size, bits=bits)
            stem = name.removesuffix(".weight")
            for end, part in zip(("weight", "scales", "biases"), packed, strict=True):
                weights[f"{stem}.{end}"] = part
        else:
            weights[name] = array
    mx.save_safetensors(str(target / "model.safetensors"), weights, metadata={"format": "mlx"})
    config = json.loads((target / "config.json").read_text())
    config["quantization"] = {"group_size": group_size, "bits": bits}
    write_json(target / "config.json", config)
    return target


def _marks(kind: str) -> tuple[str, str, str, str]:
    return _MARKS["bert" if kind in ("bert", "electra", "distilbert") else "roberta"]


def _tokenizer(kind: str) -> Tokenizer:
    first, last, padding, unknown = _marks(kind)
    # RoBERTa's padding is the id 1, and its positions are counted from there.
    order = (
        [first, padding, last, unknown] if first == "<s>" else [padding, unknown, first, last]
    )
    vocabulary = {
        word: number for number, word in enumerate([*order, *LETTERS, *WORDS.split()])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.Lowercase() if first == "[CLS]" else None
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([first, last, padding, unknown])
    marks = [(first, vocabulary[first]), (last, vocabulary[last])]
    doubled = f" {last}" if first == "<s>" else ""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last}{doubled} $B:1 {last}:1",
        special_tokens=marks,
    )
    return tokenizer


def _config(kind: str, tokenizer: Tokenizer, labels: int) -> dict[str, Any]:
    sizes: dict[str, Any] = {
        "hidden_size": _WIDTH,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "intermediate_size": _INNER,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12 if kind in ("bert", "electra") else 1e-5,
    }
    if kind == "distilbert":
        sizes = {
            "dim": _WIDTH,
            "n_layers": _LAYERS,
            "n_heads": _HEADS,
            "hidden_dim": _INNER,
            "activation": "gelu",
        }
    if kind == "electra":
        sizes["embedding_size"] = _WIDTH // 2
    if kind == "mpnet":
        sizes["relative_attention_num_buckets"] = 32
    if kind in ("bert", "electra"):
        sizes["type_vocab_size"] = 2
    if "roberta" in kind:
        sizes["type_vocab_size"] = 1
    bare = kind.replace("xlm-r", "XLMR").replace("mpnet", "MPNet").capitalize()
    name = f"{bare}ForSequenceClassification" if labels else f"{bare}Model"
    return {
        "model_type": kind,
        "architectures": [name],
        "vocab_size": tokenizer.get_vocab_size(),
        "max_position_embeddings": _POSITIONS,
        "pad_token_id": tokenizer.token_to_id(_marks(kind)[2]),
        **sizes,
        **({"id2label": {str(n): f"L{n}" for n in range(labels)}} if labels else {}),
    }


def _weights(
    kind: str, config: dict[str, Any], labels: int, seed: int, dtype: mx.Dtype
) -> dict[str, mx.array]:
    shapes = _shapes(kind, config, labels)
    keys = mx.random.split(mx.random.key(seed + 11), len(shapes))
    drawn: dict[str, mx.array] = {}
    with mx.stream(mx.cpu):
        for (name, shape), key in zip(sorted(shapes.items()), keys, strict=True):
            norm = "norm" in name.lower()
            spread = 0.1 if norm or name.endswith("bias") else 1.5 / shape[-1] ** 0.5
            spread = 1.0 if "embeddings" in name and not norm else spread
            centre = 1.0 if norm and name.endswith("weight") else 0.0
            drawn[name] = (centre + spread * mx.random.normal(shape, key=key)).astype(dtype)
        mx.eval(drawn)
    return drawn


def _shapes(kind: str, config: dict[str, Any], labels: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    embedded = config.get("embedding_size", _WIDTH)

    def linear(name: str, inputs: int, outputs: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norm(name: str, width: int = _WIDTH) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)

    shapes["embeddings.word_embeddings.weight"] = (config["vocab_size"], embedded)
    shapes["embeddings.position_embeddings.weight"] = (_POSITIONS, embedded)
    if types := config.get("type_vocab_size"):
        shapes["embeddings.token_type_embeddings.weight"] = (types, embedded)
    norm("embeddings.LayerNorm", embedded)
    if kind == "electra":
        linear("embeddings_project", embedded, _WIDTH)
    if kind == "mpnet":
        shapes["encoder.relative_attention_bias.weight"] = (32, _HEADS)
    for number in range(_LAYERS):
        if kind == "distilbert":
            layer = f"transformer.layer.{number}"
            for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
                linear(f"{layer}.attention.{part}", _WIDTH, _WIDTH)
            norm(f"{layer}.sa_layer_norm")
            linear(f"{layer}.ffn.lin1", _WIDTH, _INNER)
            linear(f"{layer}.ffn.lin2", _INNER, _WIDTH)
            norm(f"{layer}.output_layer_norm")
            continue
        layer = f"encoder.layer.{number}"
        if kind == "mpnet":
            for part in "qkvo":
                linear(f"{layer}.attention.attn.{part}", _WIDTH, _WIDTH)
            norm(f"{layer}.attention.LayerNorm")
        else:
            for part in ("query", "key", "value"):
                linear(f"{layer}.attention.self.{part}", _WIDTH, _WIDTH)
            linear(f"{layer}.attention.output.dense", _WIDTH, _WIDTH)
            norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", _WIDTH, _INNER)
        linear(f"{layer}.output.dense", _INNER, _WIDTH)
        norm(f"{layer}.output.LayerNorm")
    if kind in ("bert", "mpnet"):
        linear("pooler.dense", _WIDTH, _WIDTH)
    if labels:
        with contextlib.suppress(KeyError):
            dense, last = _HEAD_NAMES[kind]
            linear(dense, _WIDTH, _WIDTH)
            linear(last, _WIDTH, labels)
    return shapes


_HEAD_NAMES = {
    "bert": ("pooler.dense", "classifier"),
    "distilbert": ("pre_classifier", "classifier"),
    **dict.fromkeys(
        ("roberta", "xlm-roberta", "electra", "mpnet"),
        ("classifier.dense", "classifier.out_proj"),
    ),
}
