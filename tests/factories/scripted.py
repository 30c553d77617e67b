"""Builds a model that writes a given answer: a real folder, which the real mlx-lm computes.

A token's embedding is a unit vector, and the head maps it to the token that follows it in the script.
Attention and MLP add nothing. So the answer is the script, whatever the prompt says, and a mask or a
bias can lead away from it. Each piece of the script is one token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import mlx.core as mx
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from .models import write_json

TURNS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
END = "<|im_end|>"
_HEAD = 16


def write_scripted_model(
    directory: Path,
    script: Sequence[str],
    *,
    template: str = TURNS,
    special: Sequence[str] = (),
    plain: Sequence[str] = (),
    begin: str = "Ċ",
    after: Mapping[str, str] | None = None,
) -> Path:
    """Write a model whose answer is `script`, each piece one token, and then `<|im_end|>`.

    The prompt must end with the token `begin`, a line break. Pieces must differ. Characters of `script` outside of
    pieces are tokens too, one for each byte.

    Args:
        template: the chat template.
        special: control tokens beside those of the turns.
        plain: further added tokens that are not special.
        after: maps tokens that are not in the script to those that follow them.
    """
    if len(set(script)) < len(script):
        raise ValueError("a piece stands in the script twice: a token has one successor")
    tokenizer = _tokenizer(special, [*plain, *script])
    ids = [tokenizer.token_to_id(piece) for piece in script]
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    write_json(
        directory / "tokenizer_config.json",
        {"eos_token": END, "chat_template": template, "tokenizer_class": "PreTrainedTokenizer"},
    )
    vocabulary = tokenizer.get_vocab_size()
    end, first = tokenizer.token_to_id(END), tokenizer.token_to_id(begin)
    follower = dict.fromkeys(range(vocabulary), end)
    follower.update(zip([first, *ids], [*ids, end], strict=True))
    for token, following in (after or {}).items():
        follower[tokenizer.token_to_id(token)] = tokenizer.token_to_id(following)
    _write_weights(directory, follower, end)
    return directory


def _tokenizer(special: Sequence[str], plain: Sequence[str]) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({text: place for place, text in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", END, *special])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in plain])
    return tokenizer


def _write_weights(directory: Path, follower: dict[int, int], end: int) -> None:
    size = -(-len(follower) // 64) * 64
    config = {
        "model_type": "llama",
        "hidden_size": size,
        "num_hidden_layers": 1,
        "intermediate_size": _HEAD,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": _HEAD,
        "rms_norm_eps": 1e-6,
        "vocab_size": size,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "eos_token_id": end,
        "torch_dtype": "float32",
    }
    write_json(directory / "config.json", config)
    head = mx.zeros((size, size))
    for token, following in follower.items():
        head[following, token] = 1.0
    layer = "model.layers.0"
    weights = {
        "model.embed_tokens.weight": mx.eye(size),
        "model.norm.weight": mx.ones((size,)),
        "lm_head.weight": head,
        f"{layer}.input_layernorm.weight": mx.ones((size,)),
        f"{layer}.post_attention_layernorm.weight": mx.ones((size,)),
        **{f"{layer}.self_attn.{n}_proj.weight": mx.zeros((_HEAD, size)) for n in "qkv"},
        f"{layer}.self_attn.o_proj.weight": mx.zeros((size, _HEAD)),
        f"{layer}.mlp.gate_proj.weight": mx.zeros((_HEAD, size)),
        f"{layer}.mlp.up_proj.weight": mx.zeros((_HEAD, size)),
        f"{layer}.mlp.down_proj.weight": mx.zeros((size, _HEAD)),
    }
    mx.save_safetensors(
        str(directory / "model.safetensors"), weights, metadata={"format": "pt"}
    )
