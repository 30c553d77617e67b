"""Adds what tokenizer_config.json and its older companions declare to a tokenizer.json.

Transformers treats tokenizer.json as incomplete: a token that only another file declares is added,
and one that the vocabulary has but does not list among its added tokens is matched as a whole. So
`<|im_end|>` ends a turn instead of being five pieces of text.
"""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, pre_tokenizers

SPECIAL_NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_EXTRA = ("extra_special_tokens", "additional_special_tokens")
_MOST_CHARACTERS = 4096
"""Each render of a template gets the named tokens; one of many megabytes would stop it."""
_MISTRAL_TYPES = ("mistral", "mistral3", "voxtral", "ministral", "pixtral")
_MISTRAL_LEAST = 100_000
"""Tokens. Only Mistral's vocabularies that are larger were published with the wrong pattern."""
_MISTRAL_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def merge_special_tokens(config: dict[str, Any], legacy: dict[str, Any]) -> dict[str, Any]:
    """Return tokenizer_config.json with the tokens of special_tokens_map.json.

    As in transformers, the older file wins unless the config has `added_tokens_decoder`.
    """
    if isinstance(config.get("added_tokens_decoder"), dict):
        return {**legacy, **config}
    return {**config, **legacy}


def special_tokens(config: dict[str, Any]) -> dict[str, str]:
    """Return the named special tokens as strings, for chat templates, but for absurdly long ones."""
    found: dict[str, str] = {}
    for name in SPECIAL_NAMES:
        content = _content(config.get(name))
        if content is not None and len(content) <= _MOST_CHARACTERS:
            content.encode()  # raises for an unpaired surrogate, which no tokenizer accepts
            found[name] = content
    return found


def add_declared_tokens(fast: Tokenizer, config: dict[str, Any], older: dict[str, Any]) -> None:
    """Add tokens in transformers' order: by id, then the named special ones, then further ones.

    ``older`` is added_tokens.json, which counts if the config has no `added_tokens_decoder`.
    """
    named = set(special_tokens(config).values())
    declared = config.get("added_tokens_decoder")
    if not isinstance(declared, dict):
        declared = {
            str(index): {"content": content, "special": content in named, "normalized": True}
            for content, index in older.items()
            if type(index) is int
        }
    entries = [
        entry
        for key, entry in sorted(declared.items(), key=lambda item: _number(item[0]))
        if isinstance(entry, dict) and isinstance(entry.get("content"), str)
    ]
    tokens = [
        AddedToken(entry["content"], **{name: bool(entry.get(name)) for name in _FLAGS})
        for entry in entries
    ]
    known = {token.content for token in fast.get_added_tokens_decoder().values()}
    fast.add_tokens([token for token in tokens if token.content not in known])
    known |= {token.content for token in tokens}
    special = [*special_tokens(config).values(), *_extra(config)]
    fast.add_special_tokens(
        [
            AddedToken(content, special=True, normalized=False)
            for content in dict.fromkeys(special)
            if content not in known
        ]
    )


def mend_mistral_pattern(
    fast: Tokenizer, tokenizer_config: dict[str, Any], config: dict[str, Any]
) -> None:
    """Replace the wrong pattern of Mistral's tokenizers, where the folder asks for it.

    Transformers does so for `fix_mistral_regex` in tokenizer_config.json, for folders that were
    written before its version 5.
    """
    major = str(config.get("transformers_version") or "0").split(".")[0]
    if (
        tokenizer_config.get("fix_mistral_regex") is not True
        or config.get("model_type") not in (None, *_MISTRAL_TYPES)
        or (major.isdecimal() and int(major) >= 5)
        or fast.get_vocab_size() <= _MISTRAL_LEAST
        or fast.pre_tokenizer is None
    ):
        return
    split = pre_tokenizers.Split(Regex(_MISTRAL_PATTERN), behavior="isolated")
    current: Any = fast.pre_tokenizer
    if isinstance(current, pre_tokenizers.Sequence):
        current[0] = split
        return
    if isinstance(current, pre_tokenizers.Metaspace):
        current = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    fast.pre_tokenizer = pre_tokenizers.Sequence([split, current])


def _extra(config: dict[str, Any]) -> list[str]:
    listed = [config.get(name) for name in _EXTRA]
    entries = [entry for each in listed if isinstance(each, list) for entry in each]
    contents = [_content(entry) for entry in entries]
    return [content for content in contents if content is not None]


def _content(token: Any) -> str | None:
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _number(key: str) -> int:
    return int(key) if key.isdecimal() else 0
