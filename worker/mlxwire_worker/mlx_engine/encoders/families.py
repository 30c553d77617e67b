"""The encoders that this worker computes, and how each family names settings and weights.

Imports no MLX. A weight's module has one name here (`bert.py`); each family's own name follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field

from ..models.model_files import failed, quoted, unsupported

_LAYER = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm": "output.LayerNorm",
}
_EMBEDDINGS = {
    "words": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "types": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
}
_SETTINGS = {
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "inner": "intermediate_size",
    "activation": "hidden_act",
}


class Family(Struct, frozen=True, kw_only=True):
    """The names of one family.

    ``fixed_padding`` is the id of padding that all its models have; None if config.json tells it.
    ``counts_from_padding`` is True if the first position is the one behind that id.
    ``head`` names its dense layer, its last layer and the activation between.
    """

    prefix: str
    counts_from_padding: bool = False
    fixed_padding: int | None = None
    typed: bool = True
    relative: bool = False
    projected: bool = False
    stack: str = "encoder.layer"
    settings: dict[str, str] = field(default_factory=lambda: _SETTINGS)
    layer: dict[str, str] = field(default_factory=lambda: _LAYER)
    head: tuple[str, str, str] = ("classifier.dense", "classifier.out_proj", "tanh")


_ROBERTA = Family(prefix="roberta", counts_from_padding=True)
FAMILIES: dict[str, Family] = {
    "bert": Family(prefix="bert", head=("pooler.dense", "classifier", "tanh")),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": Family(
        prefix="electra",
        projected=True,
        head=("classifier.dense", "classifier.out_proj", "gelu"),
    ),
    "mpnet": Family(
        prefix="mpnet",
        counts_from_padding=True,
        fixed_padding=1,
        typed=False,
        relative=True,
        layer=_LAYER
        | {
            "query": "attention.attn.q",
            "key": "attention.attn.k",
            "value": "attention.attn.v",
            "output": "attention.attn.o",
            "attention_norm": "attention.LayerNorm",
        },
    ),
    "distilbert": Family(
        prefix="distilbert",
        typed=False,
        stack="transformer.layer",
        settings={
            "width": "dim",
            "layers": "n_layers",
            "heads": "n_heads",
            "inner": "hidden_dim",
            "activation": "activation",
        },
        layer={
            "query": "attention.q_lin",
            "key": "attention.k_lin",
            "value": "attention.v_lin",
            "output": "attention.out_lin",
            "attention_norm": "sa_layer_norm",
            "up": "ffn.lin1",
            "down": "ffn.lin2",
            "norm": "output_layer_norm",
        },
        head=("pre_classifier", "classifier", "relu"),
    ),
}
"""The families by `model_type`."""
_UNUSED = (
    *("pooler.", "cls.", "lm_head.", "vocab_", "qa_outputs.", "discriminator_predictions."),
    *("generator_", "classifier.", "pre_classifier.", "embeddings.position_ids", "mlm."),
)
"""Beginnings of the names of heads and buffers that an embedding does not use."""
_LABEL_HEAD = "ForSequenceClassification"
ACTIVATIONS = {
    **dict.fromkeys(("gelu", "gelu_python"), "gelu"),
    **dict.fromkeys(
        ("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_python_tanh", "gelu_accurate"),
        "gelu_tanh",
    ),
    **dict.fromkeys(("silu", "swish"), "silu"),
    **{name: name for name in ("relu", "tanh")},
}


class EncoderShape(Struct, frozen=True, kw_only=True):
    """The sizes and settings of one encoder, under one name for all families.

    ``positions`` is the number of tokens that a text may have, ``offset`` the first position.
    ``labels`` is the number of a head's outputs, 0 without a head. ``embedded`` is the width of the
    embeddings, ``buckets`` the number of distances that attention tells apart, 0 for none.
    """

    family: Family
    vocabulary: int
    width: int
    embedded: int
    layers: int
    heads: int
    inner: int
    positions: int
    offset: int
    padding: int
    types: int
    buckets: int
    labels: int
    activation: str
    eps: float


def is_encoder(config: dict[str, Any]) -> bool:
    """Return True if the architecture of a config.json is an encoder that this worker computes."""
    return isinstance(kind := config.get("model_type"), str) and kind in FAMILIES


def read_shape(config: dict[str, Any]) -> EncoderShape:
    """Read the settings of an encoder from its config.json.

    Raises: WireError ``model_load_failed`` for a missing or impossible setting,
    ``unsupported_model`` for one that changes numbers and that `bert.py` does not compute.
    """
    family = FAMILIES[config["model_type"]]
    names = family.settings
    _refuse_other_forms(config)
    activation = config.get(names["activation"], "gelu")
    if activation not in ACTIVATIONS:
        raise unsupported(
            "unsupported_setting",
            f"config.json sets `{names['activation']}` to {quoted(activation)[:80]!r}; accepted are "
            f"{', '.join(ACTIVATIONS)}. Use another model",
            field=names["activation"],
        )
    width, heads = _size(config, names["width"]), _size(config, names["heads"])
    if width % heads:
        raise _invalid(f"`{names['width']}` {width} is not divisible by the {heads} heads")
    padding = family.fixed_padding
    if padding is None:
        padding = config.get("pad_token_id") or 0
    offset = padding + 1 if family.counts_from_padding else 0
    table = _size(config, "max_position_embeddings")
    if type(padding) is not int or padding < 0 or offset >= table:
        raise _invalid(f"`pad_token_id` is {quoted(padding)[:80]}")
    eps = config.get("layer_norm_eps", 1e-12)
    if not isinstance(eps, int | float) or not 0 <= eps < 1:
        raise _invalid(f"`layer_norm_eps` is {quoted(eps)[:80]}")
    return EncoderShape(
        family=family,
        vocabulary=_size(config, "vocab_size"),
        width=width,
        embedded=_size(config, "embedding_size", width) if family.projected else width,
        layers=_size(config, names["layers"]),
        heads=heads,
        inner=_size(config, names["inner"]),
        positions=table - offset,
        offset=offset,
        padding=padding,
        types=_size(config, "type_vocab_size", 2) if family.typed else 0,
        buckets=_size(config, "relative_attention_num_buckets", 32) if family.relative else 0,
        labels=_labels(config),
        activation=ACTIVATIONS[activation],
        eps=float(eps),
    )


def module_names(shape: EncoderShape) -> Iterator[tuple[str, str]]:
    """Yield the name of each module of an encoder, in this worker and in its family."""
    family = shape.family
    for ours, theirs in _EMBEDDINGS.items():
        if ours != "types" or shape.types:
            yield ours, theirs
    if shape.embedded != shape.width:
        yield "projection", "embeddings_project"
    if shape.buckets:
        yield "relative", "encoder.relative_attention_bias"
    for number in range(shape.layers):
        for ours, theirs in family.layer.items():
            yield f"layers.{number}.{ours}", f"{family.stack}.{number}.{theirs}"
    if shape.labels:
        yield "head.dense", family.head[0]
        yield "head.last", family.head[1]


def is_unused(name: str) -> bool:
    """Return True for a tensor of a head that an encoder has beside what is computed here."""
    return name.startswith(_UNUSED) or name.endswith(("position_ids", "token_type_ids"))


def _refuse_other_forms(config: dict[str, Any]) -> None:
    form = config.get("position_embedding_type", "absolute")
    if form not in ("absolute", None):
        raise unsupported(
            "unsupported_setting",
            f"config.json sets `position_embedding_type` to {quoted(form)[:80]!r}; accepted is "
            "absolute. Use another model",
            field="position_embedding_type",
        )
    if config.get("is_decoder") is True:
        raise unsupported(
            "unsupported_setting",
            "config.json sets `is_decoder` to true; accepted is false: the worker computes this "
            "architecture as an encoder. Use another model to generate",
            field="is_decoder",
        )


def _labels(config: dict[str, Any]) -> int:
    """Return the number of labels of a classification head; 0 if the folder has none."""
    names = config.get("architectures")
    if not isinstance(names, list) or not any(str(n).endswith(_LABEL_HEAD) for n in names):
        return 0
    listed = config.get("id2label")
    if isinstance(listed, dict) and listed:
        return len(listed)
    return _size(config, "num_labels", 2)


def _size(config: dict[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name)
    if value is None and default is not None:
        return default
    if value is None:
        raise failed(
            "incomplete_config",
            f"config.json lacks `{name}`; copy it again from the model's source",
            file="config.json",
        )
    if type(value) is not int or not 0 < value < 1 << 24:
        raise _invalid(f"`{name}` is {quoted(value)[:80]}")
    return value


def _invalid(what: str) -> Exception:
    return failed(
        "invalid_config",
        f"config.json can't be right: {what}; copy it again from the model's source",
        file="config.json",
    )
