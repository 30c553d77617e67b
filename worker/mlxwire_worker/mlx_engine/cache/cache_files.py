"""Saves the prompt cache to a safetensors file, and loads a file that this model has saved.

Theory of operation. The file's layout: entry ``n`` has its token ids in ``n.tokens`` and the
arrays of layer ``p`` in ``n.p.PATH``, where PATH is the array's place in the cache's state
(`layer_state`). The metadata hold the format, the model's fingerprint and, as JSON, the numbers
that stand in the states beside the arrays. `sealed_file` adds a digest of all bytes.
Entries of one chat share keys and values in memory (`lending`), and so they do in the file: the
metadata name each entry's lender, whose arrays it cuts, and it has one token of its own in their place.

Order of a save: encode all entries; refuse a path that holds anything but a cache of ours; write
and fsync a partial file beside the target; rename it over the target (`models.data_file`). A
reader sees the old file or the new one, never half of one.

Order of a load: refuse what is no regular file; read the header; compare format and fingerprint;
check every entry's dtypes, shapes and numbers against the model's own caches by the header alone;
choose the newest entries that fit the budget; read the content once, hash it and fill caches
that the model itself has created; store them. Any failure leaves the prompt cache as it was.

Invariants. The file never decides which class is created: the model creates its caches and the
file fills them. Nothing that was read is used before the digest of the whole file is verified.

Threads: the engine's thread only; the hashing threads belong to `sealed_file`.

What went wrong before: mlx-lm's own files name the classes to create and no model, so a file of
another model is accepted (docs/engine-notes.md §5). A flipped byte was accepted and answered in
wrong text. Arrays shorter than their tokens ended a later request with `internal`. A save
overwrote any file that its path named, and a link in place of the partial file led it out of the
data root. Opening a FIFO held the interpreter's lock, and the worker outlived its host.
"""

from __future__ import annotations

import hashlib
import json
from io import BufferedReader
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxwire_protocol import WireError, invalid_params

from ..adapters.keys import are_keys_with
from ..models.data_file import DataFile
from . import kv, layer_state, lending, sealed_file
from .policy import CachePolicy
from .prefix_tree import Entry
from .prompt_cache import PromptCache
from .sealed_file import SealedReader, Tensor

_FORMATS = "mlxwire-prompt-cache-"
FORMAT, FORMAT_WITH_LENDERS = f"{_FORMATS}2", f"{_FORMATS}3"
_TOKENS = "tokens"
_SAMPLES, _SAMPLE_BYTES = 1024, 1 << 12


def fingerprint(files: list[Path], *parts: str | None) -> str:
    """Return a digest of all that a cache depends on: weights, adapter, KV policy, template.

    Large files are sampled, not read whole: their size and about 1,024 blocks of 4 KiB at equal
    distances. Weights that were trained further differ in whole tensors, which may lie anywhere.
    """
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}:".encode())
        stride = max(size // _SAMPLES, _SAMPLE_BYTES)
        with file.open("rb") as stream:
            for start in range(0, size, stride):
                stream.seek(start)
                digest.update(stream.read(_SAMPLE_BYTES))
    for part in parts:
        digest.update(b"\0" + (part or "").encode())
    return digest.hexdigest()


def save(file: DataFile, cache: PromptCache, identity: str) -> int:
    """Write all entries, least recently used first, and return their number.

    Raises: WireError ``invalid_params`` for ``path``, or ``unavailable`` for a full disk.
    """
    arrays: dict[str, mx.array] = {}
    scalars: dict[str, Any] = {}
    entries = [entry for entry in cache.tree if are_keys_with(0, entry.tokens)]
    lenders = _lenders(entries)
    for number, entry in enumerate(entries):
        arrays[f"{number}.{_TOKENS}"] = mx.array(entry.tokens, dtype=mx.int32)
        layers = entry.value
        if number in lenders:
            layers = kv.snapshot(layers)
            lending.strip(layers)
        for place, layer in enumerate(layers):
            for name, value in layer_state.flatten(layer).items():
                kind = arrays if isinstance(value, mx.array) else scalars
                kind[f"{number}.{place}.{name}"] = value
    metadata = {"format": FORMAT, "fingerprint": identity, "scalars": json.dumps(scalars)}
    if lenders:
        metadata |= {"format": FORMAT_WITH_LENDERS, "lenders": json.dumps(lenders)}
    with file.replacing(_is_ours) as stream:
        sealed_file.write(stream, arrays, metadata)
    return len(entries)


def load(
    file: DataFile, cache: PromptCache, policy: CachePolicy, identity: str, vocabulary: int
) -> int:
    """Load a file's entries into the cache, all that fit or none; return how many were stored.

    Raises: WireError ``invalid_params`` for ``path`` if the file is missing, damaged or saved by
    another model; then ``data.reason`` is ``fingerprint``.
    """
    path = file.path
    try:
        with file.reading() as stream:
            sealed = SealedReader(stream)
            _check_identity(sealed.metadata, identity)
            entries = _read_entries(sealed, policy, vocabulary, cache.tree.budget)
    except (WireError, MemoryError):
        raise
    except FileNotFoundError:
        raise invalid_params(
            "path", f"there is no file {str(path)!r}; give a file that `cache` has saved"
        ) from None
    except Exception as error:  # a damaged file can make any part of the read fail
        raise invalid_params(
            "path",
            f"{str(path)!r} is not a prompt cache, or is damaged ({type(error).__name__}: "
            f"{str(error)[:200]}); save a new one",
        ) from None
    return sum(cache.store(tokens, layers) for tokens, layers in entries)


def _read_entries(
    sealed: SealedReader, policy: CachePolicy, vocabulary: int, budget: int
) -> list[tuple[list[int], kv.Layers]]:
    """Read the newest entries that fit into ``budget`` bytes, oldest first.

    All entries are checked by the header before any content is read. Raises: ValueError, or any
    other exception that a damaged file causes.
    """
    tensors = sealed.tensors()
    parts = _by_layer(tensors, json.loads(sealed.metadata["scalars"]))
    count = sum(place == _TOKENS for _, place in parts)
    example = policy.example()
    places = [_TOKENS, *map(str, range(len(example)))]
    if parts.keys() != {(str(number), place) for number in range(count) for place in places}:
        raise ValueError("its layers differ from the model's")
    lenders = _told_lenders(sealed.metadata, count)
    checked: dict[int, kv.Layers] = {}
    for number in sorted(range(count), key=lambda one: one in lenders):  # lenders first
        tokens = tensors[f"{number}.{_TOKENS}"]
        if tokens.dtype != mx.int32 or len(tokens.shape) != 1:
            raise ValueError("the tokens of an entry are not a list of int32 ids")
        layers = checked[number] = policy.make()
        for place, (layer, like) in enumerate(zip(layers, example, strict=True)):
            layer_state.fill_alike(layer, parts[str(number), str(place)], like)
        if number in lenders:
            lending.borrow(layers, checked[lenders[number]])
        for layer, like in zip(layers, example, strict=True):
            layer_state.check_length(layer, like, tokens.shape[0])
    taken: list[int] = []
    for number in reversed(range(count)):
        lender = lenders.get(number)
        size = kv.nbytes(checked[number])
        if lender is not None:
            size = lending.state_bytes(checked[number])
            size += kv.nbytes(checked[lender]) if lender not in taken else 0
        if number not in taken and size <= budget:
            budget -= size
            taken += [number] if lender is None or lender in taken else [number, lender]
    names = {str(number) for number in taken}
    read = sealed.read(lambda name: name.partition(".")[0] in names)
    entries: dict[int, tuple[list[int], kv.Layers]] = {}
    for number in sorted(taken, key=lambda one: one in lenders):
        lent = entries[lenders[number]] if number in lenders else None
        entries[number] = _entry(str(number), parts, read, policy, vocabulary, lent)
    return [entries[number] for number in reversed(taken)]


def _lenders(entries: list[Entry[kv.Layers]]) -> dict[int, int]:
    """Return the number of the entry from which each one has borrowed."""
    found: dict[int, int] = {}
    longest_first = sorted(range(len(entries)), key=lambda one: -len(entries[one].tokens))
    for place, number in enumerate(longest_first):
        for other in longest_first[:place]:
            if other not in found and lending.shares(
                entries[number].value, entries[other].value
            ):
                found[number] = other
                break
    return found


def _told_lenders(metadata: dict[str, str], count: int) -> dict[int, int]:
    """Return the lenders that a file names. Raises: ValueError if one lends what it has not."""
    told = json.loads(metadata.get("lenders", "{}"))
    lenders = {int(number): int(lender) for number, lender in told.items()}
    known = range(count)
    for number, lender in lenders.items():
        if number not in known or lender not in known or lender in lenders:
            raise ValueError("an entry borrows from one that has nothing to lend")
    return lenders


def _by_layer(
    tensors: dict[str, Tensor], scalars: dict[str, Any]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Group the header's arrays and scalars by (entry, layer).

    Each array is represented by lazy zeros of its shape and dtype; nothing is computed.
    """
    zeros = {name: mx.zeros(tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    if zeros.keys() & scalars.keys():
        raise ValueError("one name is used for an array and for a number")
    parts: dict[tuple[str, str], dict[str, Any]] = {}
    for key, value in [*zeros.items(), *scalars.items()]:
        number, place, name = (*key.split(".", 2), "")[:3]
        parts.setdefault((number, place), {})[name] = value
    return parts


def _entry(
    number: str,
    parts: dict[tuple[str, str], dict[str, Any]],
    read: dict[str, mx.array],
    policy: CachePolicy,
    vocabulary: int,
    lender: tuple[list[int], kv.Layers] | None,
) -> tuple[list[int], kv.Layers]:
    tokens: Any = read[f"{number}.{_TOKENS}"].tolist()
    if not 0 <= min(tokens) <= max(tokens) < vocabulary:
        raise ValueError(f"a token id is outside 0 to {vocabulary - 1}, the model's vocabulary")
    if lender is not None and lender[0][: len(tokens)] != tokens:
        raise ValueError("an entry borrows from one with other tokens")
    layers = policy.make()
    for place, layer in enumerate(layers):
        state = parts[number, str(place)]
        layer_state.fill(
            layer, {name: read.get(f"{number}.{place}.{name}", state[name]) for name in state}
        )
    if lender is not None:
        lending.borrow(layers, lender[1])
    mx.eval(kv.states(layers))
    return tokens, layers


def _is_ours(file: BufferedReader) -> bool:
    """Return True for a prompt cache, which a save may replace."""
    try:
        return SealedReader(file).metadata.get("format", "").startswith(_FORMATS)
    except (OSError, ValueError):
        return False


def _check_identity(metadata: dict[str, str], identity: str) -> None:
    told = metadata.get("format", "")
    if told not in (FORMAT, FORMAT_WITH_LENDERS):
        whose = "an older or newer mlxwire" if told.startswith(_FORMATS) else "another program"
        raise invalid_params(
            "path", f"the file was saved by {whose}, in another format; save a new cache"
        )
    if metadata.get("fingerprint") != identity:
        raise invalid_params(
            "path",
            "the cache was saved with another model, adapter, chat template or KV setting; load "
            "that model, or warm and save a new cache",
            reason="fingerprint",
        )
