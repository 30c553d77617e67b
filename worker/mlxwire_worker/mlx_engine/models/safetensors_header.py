"""Reads the header of a safetensors file and checks it as the safetensors library does.

No tensor is read. The library itself can't be used for that here: opening a file with it imports
numpy, and a discovery of models imports nothing heavy. A test compares the two.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct, field

MAX_HEADER_BYTES = 32 << 20
MAX_HEADER_PARTS = 1 << 20
"""The most objects, lists and commas in a header: about ten per tensor, a hundred thousand tensors.

The files of the largest models have some thousand tensors. Parsing more would take seconds, in
part with the interpreter's lock held.
"""
BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(
        ("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8
    ),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
"""The bits of one number of each dtype, as safetensors names dtypes."""
NOT_OF_MLX = frozenset(
    {"F4", "F6_E2M3", "F6_E3M2", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F64"}
)
"""Dtypes of safetensors that MLX reads no file with."""
_METADATA = "__metadata__"
_Count = Annotated[int, Meta(ge=0)]


class StoredTensor(NamedTuple):
    """A tensor as a file stores it: the name of its dtype, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """Return how many numbers the tensor has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Return the size of the tensor in the file, in bytes."""
        return self.numbers * BITS[self.dtype] // 8


def read_header(file: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a safetensors file by name, without reading one.

    Two readers may take different values for a repeated name, so a name that occurs twice is
    refused. Raises: ValueError, with a message that goes on after "it is damaged", or OSError.
    """
    with file.open("rb") as opened:
        start = opened.read(8)
        if len(start) < 8:
            raise ValueError("it ends within the size of its header")
        size = int.from_bytes(start, "little")
        if size > MAX_HEADER_BYTES:
            raise ValueError(
                f"its header has {size} bytes; the largest accepted size is {MAX_HEADER_BYTES}"
            )
        header = opened.read(size)
        end = opened.seek(0, 2)
    if len(header) < size:
        raise ValueError(f"its header has {size} bytes, but the file has {end}")
    return _tensors(_parsed(header), end - 8 - size)


class _Entry(Struct, gc=False):
    """A member of a header; ``__metadata__`` is another kind, so each field has a default."""

    dtype: str = ""
    shape: tuple[_Count, ...] | None = None
    data_offsets: tuple[_Count, _Count] | None = None


class _Metadata(Struct):
    metadata: dict[str, str] | None = field(name=_METADATA, default=None)


_entries = msgspec.json.Decoder(dict[str, _Entry | None]).decode
_metadata = msgspec.json.Decoder(_Metadata).decode


def _parsed(header: bytes) -> dict[str, _Entry | None]:
    if sum(map(header.count, (b"{", b"[", b","))) > MAX_HEADER_PARTS:
        raise ValueError("its header names too many tensors")
    try:
        entries = _entries(header)
        known = _METADATA in entries and bool(_metadata(header))
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("its header is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise ValueError(f"its header is no list of tensors: {error}") from None
    entries.pop(_METADATA, None)
    # The decoder takes the last of several members with one name. Only then, or with a tensor that is
    # named like a field, or with an escape, can these numbers differ or be wrong.
    fields = set(map(header.count, (b'"dtype"', b'"shape"', b'"data_offsets"')))
    doubtful = fields != {len(entries)} or header.count(_METADATA.encode()) > known
    if doubtful or b"\\" in header:
        json.loads(header, object_pairs_hook=without_repeats)
    return entries


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of a JSON object's pairs, for `json.loads`.

    Raises: ValueError if a name occurs twice.
    """
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("its header has a name twice")
    return fields


def _tensors(entries: dict[str, _Entry | None], data_bytes: int) -> dict[str, StoredTensor]:
    """Check that the tensors fill the data one after the other, without gap or overlap."""
    tensors: dict[str, StoredTensor] = {}
    places: list[tuple[int, int, str]] = []
    for name, entry in entries.items():
        if (
            entry is None
            or (bits := BITS.get(entry.dtype)) is None
            or (shape := entry.shape) is None
            or entry.data_offsets is None
        ):
            raise ValueError(f"its header does not describe the tensor {name!r}")
        begin, end = entry.data_offsets
        if math.prod(shape) * bits != (end - begin) * 8:
            raise ValueError(
                f"the tensor {name!r} has {end - begin} bytes, which is not the size of its shape"
            )
        tensors[name] = StoredTensor(entry.dtype, shape)
        places.append((begin, end, name))
    places.sort()
    reached = 0
    for begin, end, name in places:
        if begin != reached:
            raise ValueError(
                f"the tensor {name!r} begins at byte {begin} of the data, and the one before it "
                f"ends at byte {reached}"
            )
        reached = end
    if reached != data_bytes:
        raise ValueError(f"its tensors take {reached} bytes, and the file has {data_bytes}")
    return tensors
