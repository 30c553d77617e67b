"""A safetensors file with a digest of all its bytes, written and read in one pass.

Whatever is changed or cut, also while it is read, is found before any array is used. Chunks are
hashed by threads of their own while the next ones are on their way from or to the disk: hashlib
lets go of the interpreter's lock meanwhile.
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
from ..models.weight_files import without_repeats

CHUNK_BYTES = 4 << 20
"""What is hashed by itself: a part of the format."""
HASHING_THREADS = 4
_OPENING = b'{"__metadata__":{"digest":"'
_BLANK = b"0" * 64
"""Where the digest will stand, while it is computed."""
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
    """What the header says of an array."""

    dtype: mx.Dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Its size in the file."""
        return math.prod(self.shape) * self.dtype.size


def write(file: BinaryIO, arrays: dict[str, mx.array], metadata: dict[str, str]) -> None:
    """Write arrays, evaluating one at a time. Raises: OSError."""
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
    """A file that was opened for reading, with its header read.

    Raises: ValueError where it is none, or damaged; OSError.
    """

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        size = int.from_bytes(file.read(8), "little")
        if size > MAX_READ_BYTES:
            raise ValueError(f"its header has {size} bytes")
        self._header = file.read(size)
        try:
            fields = json.loads(self._header, object_pairs_hook=without_repeats)
        except RecursionError:
            raise ValueError("its header is nested too deeply") from None
        if len(self._header) < size or not isinstance(fields, dict):
            raise ValueError("it has no header")
        self.metadata = _texts(fields.pop("__metadata__", {}))
        self._fields = fields

    def tensors(self) -> dict[str, Tensor]:
        """What the file holds, in its order. Raises: ValueError."""
        found: dict[str, Tensor] = {}
        end = 0
        for name, field in self._fields.items():
            found[name] = tensor = _tensor(name, field)
            begin, end = end, end + tensor.nbytes
            if field["data_offsets"] != [begin, end]:
                raise ValueError(f"{name!r} does not lie where it should")
        size = os.fstat(self._file.fileno()).st_size
        if size != 8 + len(self._header) + end:
            raise ValueError(f"it has {size} bytes, other than its header says")
        return found

    def read(self, wanted: Callable[[str], bool]) -> dict[str, mx.array]:
        """The arrays that are wanted; those that are not are hashed all the same.

        Raises: ValueError where anything in the file is not as it was written.
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
                raise ValueError("its content is not what was saved")
        return arrays

    def _fill(self, content: memoryview, digest: _Digest) -> None:
        """Read straight into an array's memory."""
        for chunk in _chunks(content):
            if self._file.readinto(chunk) < len(chunk):
                raise ValueError("it was cut while it was read")
            digest.add(chunk)


class _Digest:
    """SHA-256 over the header and the chunks' own."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._pending: deque[Future[bytes]] = deque()
        self._known: list[bytes] = []

    def add(self, chunk: memoryview) -> None:
        """Have the next chunk hashed; waits where many are not done yet."""
        self._pending.append(self._pool.submit(_sha256, chunk))
        if len(self._pending) > 2 * HASHING_THREADS:
            self._known.append(self._pending.popleft().result())

    def over(self, header: bytes) -> bytes:
        """The digest in hexadecimal digits; the header's own place for it is blank."""
        self._known += [future.result() for future in self._pending]
        return _sha256(header + b"".join(self._known)).hex().encode()


@contextmanager
def _hashing() -> Iterator[_Digest]:
    with ThreadPoolExecutor(min(HASHING_THREADS, os.cpu_count() or 1), "hash") as pool:
        yield _Digest(pool)


def _content(array: mx.array) -> memoryview:
    """An array's own memory; of uint8, since MLX lends no other type of every dtype."""
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
        raise ValueError("its metadata are no texts")
    return fields


def _tensor(name: str, field: Any) -> Tensor:
    if not isinstance(field, dict) or field.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r} is described by other fields")
    dtype, shape = _DTYPES.get(str(field["dtype"])), field["shape"]
    if dtype is None or not isinstance(shape, list) or not shape:
        raise ValueError(f"{name!r} is of no known type and shape")
    if not all(type(size) is int and 0 < size < 1 << 31 for size in shape):
        raise ValueError(f"{name!r} has an impossible shape")
    return Tensor(dtype, tuple(shape))
