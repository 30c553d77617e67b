"""Reads and writes safetensors files that carry a digest of all their bytes.

Theory of operation. The layout is plain safetensors: 8 bytes of header size, the header as JSON,
the arrays' bytes. The header's first field is ``digest``, 64 hexadecimal digits at a fixed place.
It is SHA-256 over the header (with zeros in the digest's place) followed by the SHA-256 of each
chunk of 4 MiB of each array; so the chunk size is part of the format.

Order of a write: header with a blank digest, arrays one at a time, then seek back and fill in the
digest. A file that was cut anywhere therefore fails its digest. Order of a read: `SealedReader`
parses the header, `tensors` checks that offsets and sizes account for every byte of the file, and
`read` fills the arrays' own memory chunk by chunk. Each byte is read once: what was verified is
what is used, even if the file is changed meanwhile.

Threads. The calling thread reads and writes; up to 4 threads hash. hashlib releases the
interpreter's lock, so hashing overlaps the disk and the other threads of the worker run on. The
caller waits once 8 chunks are not hashed yet, which bounds the memory that they pin.

Invariants. No array of `read` reaches the caller before the digest is verified. The header is
bounded, and a name may not occur twice in it: two readers could take different values.

What went wrong before: MLX's own safetensors files have no digest, so a flipped byte was accepted
and later requests were answered in wrong text.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import BufferedReader
from typing import Any, BinaryIO, NamedTuple

import mlx.core as mx

from ..models.model_files import MAX_READ_BYTES
from ..models.safetensors_header import without_repeats

CHUNK_BYTES = 4 << 20
"""Bytes that are hashed on their own. The digest depends on this number: part of the format."""
HASHING_THREADS = 4
_OPENING = b'{"__metadata__":{"digest":"'
_BLANK = b"0" * 64
"""The digest's place in the header while the digest is computed."""
_DTYPES: dict[str, mx.Dtype] = {
    "BOOL": mx.bool_,
    "U8": mx.uint8,
    "I8": mx.int8,
    "U16": mx.uint16,
    "I16": mx.int16,
    "U32": mx.uint32,
    "I32": mx.int32,
    "U64": mx.uint64,
    "I64": mx.int64,
    "F16": mx.float16,
    "BF16": mx.bfloat16,
    "F32": mx.float32,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class Tensor(NamedTuple):
    """The dtype and shape that the header gives for one array."""

    dtype: mx.Dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Return the array's size in the file, in bytes."""
        return math.prod(self.shape) * self.dtype.size


def write(file: BinaryIO, arrays: dict[str, mx.array], metadata: dict[str, str]) -> None:
    """Write arrays and text metadata, evaluating one array at a time. Raises: OSError."""
    header = _header(arrays, metadata)
    file.write(len(header).to_bytes(8, "little") + header)
    with _hashing() as digest:
        for array in arrays.values():
            content = _content(mx.contiguous(array).view(mx.uint8))
            for chunk in _chunks(content):
                digest.add(chunk)
                file.write(chunk)
        sealed = digest.over(header)
    file.seek(8 + len(_OPENING))
    file.write(sealed)


class SealedReader:
    """Reads one open file; the constructor reads its header.

    Raises: ValueError if the header is missing, damaged or too large; OSError.
    """

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        size = int.from_bytes(file.read(8), "little")
        if size > MAX_READ_BYTES:
            raise ValueError(
                f"its header has {size} bytes; the largest accepted size is {MAX_READ_BYTES}"
            )
        self._header = file.read(size)
        try:
            fields = json.loads(self._header, object_pairs_hook=without_repeats)
        except RecursionError:
            raise ValueError("its header is nested too deeply") from None
        if len(self._header) < size or not isinstance(fields, dict):
            raise ValueError("its header is cut or is not a JSON object")
        self.metadata = _texts(fields.pop("__metadata__", {}))
        self._fields = fields

    def tensors(self) -> dict[str, Tensor]:
        """Return the header's arrays by name, in the file's order.

        Raises: ValueError if offsets and sizes do not account for every byte of the file.
        """
        found: dict[str, Tensor] = {}
        end = 0
        for name, field in self._fields.items():
            found[name] = tensor = _tensor(name, field)
            begin, end = end, end + tensor.nbytes
            if field["data_offsets"] != [begin, end]:
                raise ValueError(f"{name!r} does not begin where the array before it ends")
        size = os.fstat(self._file.fileno()).st_size
        if size != 8 + len(self._header) + end:
            expected = 8 + len(self._header) + end
            raise ValueError(f"it has {size} bytes, but its header describes {expected}")
        return found

    def read(self, wanted: Callable[[str], bool]) -> dict[str, mx.array]:
        """Read the file and return the arrays whose names ``wanted`` accepts.

        All arrays are hashed. Raises: ValueError if any byte differs from what was written.
        """
        arrays: dict[str, mx.array] = {}
        with _hashing() as digest:
            for name, tensor in self.tensors().items():
                *outer, last = tensor.shape
                array = mx.zeros((*outer, last * tensor.dtype.size), mx.uint8)
                self._fill(_content(array), digest)
                if wanted(name):
                    arrays[name] = array.view(tensor.dtype)
            place = len(_OPENING)
            told = self._header[place : place + len(_BLANK)]
            blank = self._header[:place] + _BLANK + self._header[place + len(_BLANK) :]
            if digest.over(blank) != told:
                raise ValueError("its content differs from what was saved")
        return arrays

    def _fill(self, content: memoryview, digest: _Digest) -> None:
        """Read the next bytes into an array's own memory. Raises: ValueError."""
        for chunk in _chunks(content):
            if self._file.readinto(chunk) < len(chunk):
                raise ValueError("it was cut while it was read")
            digest.add(chunk)


class _Digest:
    """Computes SHA-256 over the header and the digests of the chunks."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._pending: deque[Future[bytes]] = deque()
        self._known: list[bytes] = []

    def add(self, chunk: memoryview) -> None:
        """Hash the next chunk in another thread; wait if too many chunks are not hashed yet."""
        self._pending.append(self._pool.submit(_sha256, chunk))
        if len(self._pending) > 2 * HASHING_THREADS:
            self._known.append(self._pending.popleft().result())

    def over(self, header: bytes) -> bytes:
        """Return the digest in hexadecimal; ``header`` has zeros in the digest's place."""
        self._known += [future.result() for future in self._pending]
        return _sha256(header + b"".join(self._known)).hex().encode()


@contextmanager
def _hashing() -> Iterator[_Digest]:
    with ThreadPoolExecutor(min(HASHING_THREADS, os.cpu_count() or 1), "hash") as pool:
        yield _Digest(pool)


def _content(array: mx.array) -> memoryview:
    """Return the memory of a uint8 array; MLX exports no buffer for some other dtypes."""
    mx.eval(array)
    return memoryview(array).cast("B")  # type: ignore[arg-type]


def _chunks(content: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]


def _sha256(content: bytes | memoryview) -> bytes:
    return hashlib.sha256(content).digest()


def _header(arrays: dict[str, mx.array], metadata: dict[str, str]) -> bytes:
    fields: dict[str, Any] = {"__metadata__": {"digest": _BLANK.decode(), **metadata}}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        fields[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    header = json.dumps(fields, separators=(",", ":")).encode()
    return header + b" " * (-len(header) % 8)


def _texts(fields: Any) -> dict[str, str]:
    if not isinstance(fields, dict) or not all(isinstance(v, str) for v in fields.values()):
        raise ValueError("its metadata are not strings")
    return fields


def _tensor(name: str, field: Any) -> Tensor:
    if not isinstance(field, dict) or field.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r} does not have the fields dtype, shape and data_offsets")
    dtype, shape = _DTYPES.get(str(field["dtype"])), field["shape"]
    if dtype is None or not isinstance(shape, list) or not shape:
        raise ValueError(f"{name!r} has an unknown dtype, or no shape")
    if not all(type(size) is int and 0 < size < 1 << 31 for size in shape):
        raise ValueError(f"{name!r} has a shape with a size outside 1 to 2147483647")
    return Tensor(dtype, tuple(shape))
