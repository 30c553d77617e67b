"""Corrects what transformers makes of a SentencePiece model (tokenizer.model without tokenizer.json).

transformers chooses the steps around the vocabulary by the tokenizer's class, and a class that is
missing or not its own loses the dummy prefix: "Hello" is then another token. The file says it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as FastTokenizer

from ..models.model_files import unsupported

_UNIGRAM, _BPE = 1, 2
_NORMAL = 1
"""A piece of text; the others are control tokens, bytes and symbols of the user."""


def corrected(fast: FastTokenizer, file: Path) -> FastTokenizer:
    """Return a converted tokenizer with the steps that its SentencePiece model asks for.

    A step is kept where it does what the file says. Raises: WireError
    ``unsupported_model`` for a model of whole words or of characters.
    """
    proto = _read(file)
    kind = proto.trainer_spec.model_type
    if kind not in (_UNIGRAM, _BPE):
        raise unsupported(
            "tokenizer",
            f"{file.name} is a SentencePiece model of words or characters; the worker reads those "
            "of the kinds BPE and Unigram. Use a model folder that has a tokenizer.json",
            file=file.name,
        )
    if not _has_own_model(fast, proto):
        fast.model = _own_model(proto)
    spec = proto.normalizer_spec
    prefixed = bool(spec.add_dummy_prefix)
    if _prefixes(fast) == prefixed and not spec.remove_extra_whitespaces:
        return fast
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


def _has_own_model(fast: FastTokenizer, proto: Any) -> bool:
    """Return True if a conversion has the file's kind of model, with its merges in their order.

    transformers orders the merges of BPE by the ids of their results. Mistral's runs of spaces have
    low ids, but the lowest scores.
    """
    if proto.trainer_spec.model_type == _UNIGRAM:
        return isinstance(fast.model, models.Unigram)
    scores = [piece.score for piece in proto.pieces if piece.type == _NORMAL]
    return isinstance(fast.model, models.BPE) and scores == sorted(scores, reverse=True)


def _own_model(proto: Any) -> models.Model:
    """Build the model from the file's pieces and scores."""
    from transformers.tokenization_utils_base import generate_merges

    spec = proto.trainer_spec
    if spec.model_type == _UNIGRAM:
        pieces = [(piece.piece, piece.score) for piece in proto.pieces]
        return models.Unigram(pieces, unk_id=spec.unk_id, byte_fallback=spec.byte_fallback)
    vocabulary = {piece.piece: place for place, piece in enumerate(proto.pieces)}
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == _NORMAL}
    return models.BPE(
        vocabulary,
        generate_merges(vocabulary, scores),
        unk_token=spec.unk_piece,
        fuse_unk=True,
        byte_fallback=spec.byte_fallback,
    )
