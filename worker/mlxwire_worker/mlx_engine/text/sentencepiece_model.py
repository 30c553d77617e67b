"""Corrects what transformers makes of a SentencePiece model (tokenizer.model without tokenizer.json).

transformers chooses the steps around the vocabulary by the tokenizer's class, and a class that is
missing or not its own loses the dummy prefix: "Hello" is then another token. The file says it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as FastTokenizer

from mlxwire_protocol import WireError

_UNIGRAM, _BPE = 1, 2


def corrected(fast: FastTokenizer, file: Path) -> FastTokenizer:
    """Return a converted tokenizer with the steps that its SentencePiece model asks for.

    A conversion that has the dummy prefix as the file wants it is kept as it is. Raises: WireError
    ``unsupported_model`` for a model of whole words or of characters.
    """
    proto = _read(file)
    kind = proto.trainer_spec.model_type
    if kind not in (_UNIGRAM, _BPE):
        raise WireError(
            "unsupported_model",
            f"{file.name} is a SentencePiece model of words or characters; the worker reads those "
            "of the kinds BPE and Unigram. Use a model folder that has a tokenizer.json",
            data={"reason": "tokenizer", "file": file.name},
        )
    own = models.Unigram if kind == _UNIGRAM else models.BPE
    spec = proto.normalizer_spec
    prefixed = bool(spec.add_dummy_prefix)
    fits = isinstance(fast.model, own) and not spec.remove_extra_whitespaces
    if fits and _prefixes(fast) == prefixed:
        return fast
    if not isinstance(fast.model, own):
        fast = _with_own_model(fast, file, proto)
    fast.normalizer = normalizers.Sequence(list(_normalizers(spec)))
    # The library's setters take no None; no steps keep the text in one piece.
    fast.pre_tokenizer = pre_tokenizers.Sequence([])
    steps: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefixed:
        steps.append(decoders.Strip(" ", 1, 0))
    fast.decoder = decoders.Sequence(steps)
    return fast


def _read(file: Path) -> Any:
    from transformers import convert_slow_tokenizer

    theirs: Any = convert_slow_tokenizer  # its types don't know the generated classes
    proto = theirs.import_protobuf().ModelProto()
    proto.ParseFromString(file.read_bytes())
    return proto


def _prefixes(fast: FastTokenizer) -> bool:
    """Return True if a tokenizer puts a `▁` before a text."""
    first = fast.encode("a", add_special_tokens=False).tokens[:1]
    return bool(first) and first[0].startswith("▁")


def _normalizers(spec: Any) -> Any:
    """Yield the steps of SentencePiece's normalizer, in its order."""
    if spec.precompiled_charsmap:
        yield normalizers.Precompiled(spec.precompiled_charsmap)
    if spec.remove_extra_whitespaces:
        yield normalizers.Strip()
        yield normalizers.Replace(Regex(" {2,}"), " ")
    if spec.add_dummy_prefix:
        yield normalizers.Prepend("▁")
    yield normalizers.Replace(" ", "▁")


def _with_own_model(fast: FastTokenizer, file: Path, proto: Any) -> FastTokenizer:
    """Build the tokenizer from the file's own pieces, with the added tokens of the conversion."""
    from transformers import convert_slow_tokenizer

    theirs: Any = convert_slow_tokenizer  # its types say less than its functions return
    extracted: dict[str, Any] = theirs.SentencePieceExtractor(str(file)).extract(None)
    built: FastTokenizer = theirs.SpmConverter.build_tokenizer_from_spm_proto(
        proto, extracted["vocab"], extracted.get("merges")
    )
    added = fast.get_added_tokens_decoder()
    built.add_tokens([added[token_id] for token_id in sorted(added)])
    built.post_processor = fast.post_processor
    return built
