"""Writes a small random model of any architecture of mlx-lm as a folder that a load accepts.

The weights are float32 and drawn so that answers are decided and each part of the model matters:
norms near 1, biases that are not zero, decays of recurrences between forgetting and keeping.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.utils import _get_classes, load_model
from tokenizers import Tokenizer

from factories.models import write_json
from factories.tokenization import added_tokens_decoder, special, train_qwen

from .configurations import CONFIGURATIONS
from .configurations.sizes import VOCABULARY
from .refused import BEFORE_WEIGHTS

END = "<|im_end|>"
_MARKERS = ("<|endoftext|>", "<|im_start|>", END, "<|pad|>")
_LOGIT_DEVIATION = 3.0
_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")
_UNSCALED = ("gemma4",)
"""Models that do not divide scores by the root of a head's size: the norm of queries has to.

With norms near 1, their attention would turn a change of the weights by 1e-7 into one of 0.03 nats.
"""
_EMBEDDINGS = (
    "embed_tokens.weight",
    "embeddings.weight",
    "wte.weight",
    "tok_embeddings.weight",
)


def build(
    name: str, directory: Path, *, seed: int = 0, fields: dict[str, Any] | None = None
) -> Path:
    """Write the animal ``name`` into ``directory``, which is made if absent; return the folder.

    The same seed gives the same weights. ``fields`` replace some of its configuration's.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    config = {
        **CONFIGURATIONS[name],
        **(fields or {}),
        "eos_token_id": tokenizer.token_to_id(END),
    }
    write_json(directory / "config.json", config)
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "added_tokens_decoder": added_tokens_decoder(tokenizer),
        "clean_up_tokenization_spaces": False,
    }
    write_json(directory / "tokenizer_config.json", settings)
    # A load of these is refused before it comes as far as their weights.
    weights = {"absent": mx.zeros(1)} if name in BEFORE_WEIGHTS else _weights(config, seed)
    mx.save_safetensors(
        str(directory / "model.safetensors"), weights, metadata={"format": "mlx"}
    )
    return directory


def load_alone(directory: Path) -> Any:
    """Return the model as mlx-lm itself loads it, in float32."""
    with contextlib.redirect_stdout(io.StringIO()):
        model, _ = load_model(directory)
    model.set_dtype(mx.float32)
    mx.eval(model.parameters())
    return model


def _tokenizer() -> Tokenizer:
    tokenizer = train_qwen(special(*_MARKERS))
    assert tokenizer.get_vocab_size() == VOCABULARY, tokenizer.get_vocab_size()
    return tokenizer


def _weights(config: dict[str, Any], seed: int) -> dict[str, mx.array]:
    model_class, arguments = _get_classes(config)
    # A copy: some architectures write into their `text_config`.
    model = model_class(arguments.from_dict(json.loads(json.dumps(config))))
    flat: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    names = sorted(flat)
    head = any(name.endswith(_HEADS) for name in names)
    drawn: dict[str, mx.array] = {}
    with mx.stream(mx.cpu):
        keys = mx.random.split(mx.random.key(seed), len(names))
        for name, key in zip(names, keys, strict=True):
            drawn[name] = _draw(name, flat[name], key)
            if not head and name.endswith(_EMBEDDINGS):
                # Drawn for a head too: larger logits would magnify the noise of float32.
                drawn[name] *= _LOGIT_DEVIATION / math.sqrt(flat[name].shape[-1])
            if name.endswith("q_norm.weight") and config["model_type"].startswith(_UNSCALED):
                drawn[name] *= 2.0 / math.sqrt(flat[name].shape[-1])
        if "quantization" in config:
            model.load_weights(list(drawn.items()))
            drawn = _quantized(model, **config["quantization"])
        mx.eval(drawn)
    return drawn


def _quantized(model: Any, group_size: int, bits: int) -> dict[str, mx.array]:
    """Return a model's weights, packed wherever a row has whole groups."""

    def has_groups(_: str, module: nn.Module) -> bool:
        return hasattr(module, "to_quantized") and module.weight.shape[-1] % group_size == 0

    nn.quantize(model, group_size, bits, class_predicate=has_groups)
    return dict(tree_flatten(model.parameters()))


def _draw(name: str, array: mx.array, key: mx.array) -> mx.array:
    """Draw one parameter from the distribution that its name and shape stand for."""
    shape = array.shape
    last = name.rsplit(".", 1)[-1]
    whole = name.lower()
    if not mx.issubdtype(array.dtype, mx.floating):
        return array
    normal = mx.random.normal(shape, key=key)
    if last.lower() == "a_log":
        return mx.log(mx.random.uniform(0.5, 4.0, shape, key=key))
    if last == "dt_bias" or whole.endswith("dt_proj.bias"):
        return -1.0 + 0.5 * normal
    if last == "d" or name.endswith((".D", "mixer.D")):
        return 1.0 + 0.2 * normal
    if "a_param" in whole or whole.endswith("rg_lru.recurrent_param"):
        return 0.5 * normal
    if "norm" in whole and last in ("weight", "scale") and len(shape) == 1:
        return 1.0 + 0.1 * normal
    if len(shape) <= 1 or last.endswith("bias"):
        if "norm" in whole or "scale" in last or "gain" in last or "alpha" in last:
            centre = 0.0 if last == "bias" else 1.0
            return centre + 0.1 * normal
        return 0.2 * normal
    if whole.endswith(_HEADS):
        return _LOGIT_DEVIATION / math.sqrt(shape[-1]) * normal
    if "embed" in whole or whole.endswith(
        ("wte.weight", "wpe.weight", "tok_embeddings.weight")
    ):
        return normal if "embed_q" not in whole else normal / math.sqrt(shape[-1])
    if "conv" in whole:
        fan = math.prod(shape[1:])
        return normal / math.sqrt(fan)
    return 1.5 / math.sqrt(shape[-1]) * normal
