"""The reader of headers accepts and refuses the files that the safetensors library does."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError, safe_open

from mlxwire_worker.mlx_engine.models.safetensors_header import read_header


def tensor(dtype: Any, shape: Any, begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def framed(header: bytes, data: int) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(data)


def written(header: Any, data: int) -> bytes:
    return framed(json.dumps(header).encode(), data)


SOUND = {"a": tensor("F32", [2, 3], 0, 24), "b": tensor("BF16", [4], 24, 32)}
FILES: dict[str, bytes] = {
    "sound": written(SOUND, 32),
    "no tensors": written({}, 0),
    "metadata": written({"__metadata__": {"format": "pt"}, **SOUND}, 32),
    "padded": framed(json.dumps(SOUND).encode() + b"    ", 32),
    "a number without dimensions": written({"a": tensor("F32", [], 0, 4)}, 4),
    "an empty tensor": written({"a": tensor("F32", [0, 5], 0, 0)}, 0),
    "four bits": written({"a": tensor("F4", [2, 4], 0, 4)}, 4),
    "three numbers of four bits": written({"a": tensor("F4", [3], 0, 1)}, 1),
    "six bits": written({"a": tensor("F6_E2M3", [4], 0, 3)}, 3),
    "empty": b"",
    "five bytes": b"\x05\x00\x00\x00\x00",
    "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
    "cut header": written(SOUND, 0)[:40],
    "cut data": written(SOUND, 31),
    "more data": written(SOUND, 33),
    "a hole": written({"a": tensor("F32", [1], 0, 4), "b": tensor("F32", [1], 8, 12)}, 12),
    "an overlap": written({"a": tensor("F32", [1], 0, 4), "b": tensor("F32", [1], 2, 6)}, 6),
    "a late begin": written({"a": tensor("F32", [1], 4, 8)}, 8),
    "a wrong size": written({"a": tensor("F32", [2], 0, 4)}, 4),
    "an end before the begin": written({"a": tensor("F32", [1], 4, 0)}, 4),
    "a negative begin": written({"a": tensor("F32", [3], -8, 4)}, 4),
    "a negative dimension": written({"a": tensor("F32", [-1], 0, 4)}, 4),
    "a huge dimension": written({"a": tensor("F32", [1 << 62, 8], 0, 0)}, 0),
    "a fraction": written({"a": tensor("F32", [1.0], 0, 4)}, 4),
    "a truth as dimension": written({"a": tensor("F32", [True], 0, 4)}, 4),
    "an unknown dtype": written({"a": tensor("F7", [8], 0, 7)}, 7),
    "a dtype that is no text": written({"a": tensor(3, [1], 0, 4)}, 4),
    "no shape": written({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, 4),
    "a tensor that is a list": written({"a": [1]}, 0),
    "three offsets": written({"a": {**tensor("F32", [1], 0, 4), "data_offsets": [0, 4, 4]}}, 4),
    "metadata with a number": written({"__metadata__": {"format": 1}, **SOUND}, 32),
    "metadata that is a list": written({"__metadata__": [], **SOUND}, 32),
    "a list": framed(b"[]", 0),
    "no JSON": framed(b"{'a': 1}", 0),
    "no UTF-8": framed(b'{"\xff": {}}', 0),
    "white space first": framed(b" " + json.dumps(SOUND).encode(), 32),
    "deep": framed(b'{"a":' * 20_000 + b"1" + b"}" * 20_000, 0),
    "half a character": framed(
        b'{"\\ud800": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', 4
    ),
    "a tensor named like a field": written({"shape": tensor("F32", [1], 0, 4)}, 4),
    "an escaped name": framed(
        b'{"\\u0061": {"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1
    ),
    "metadata without a value": written({"__metadata__": None, **SOUND}, 32),
    "a further field": written({"a": {**tensor("F32", [1], 0, 4), "more": [1, {}]}}, 4),
    "NaN": framed(b'{"a": NaN}', 0),
}


def accepted(file: Path) -> dict[str, tuple[str, tuple[int, ...]]] | None:
    """Return what the library reads; None if it refuses the file."""
    try:
        with safe_open(str(file), framework="numpy") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            return {n: (s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}
    except (SafetensorError, OSError, ValueError):
        return None


def read(file: Path) -> dict[str, tuple[str, tuple[int, ...]]] | None:
    try:
        return {name: (t.dtype, t.shape) for name, t in read_header(file).items()}
    except ValueError:
        return None


@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_read_as_the_library_reads_it(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(FILES[kind])

    assert read(file) == accepted(file)


def test_every_dtype_of_the_library_is_known(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    names = ("BOOL", "F4", "F6_E2M3", "F6_E3M2", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0")
    names += ("F8_E4M3FNUZ", "F8_E5M2FNUZ", "I16", "U16", "F16", "BF16", "I32", "U32", "F32")
    for name in (*names, "C64", "F64", "I64", "U64", "F128", "Q4"):
        for count in (4, 8):
            file.write_bytes(written({"a": tensor(name, [8], 0, 8 * count // 4)}, 2 * count))
            assert read(file) == accepted(file), name


def test_bytes_changed_at_random_lead_to_the_same_verdict(tmp_path: Path) -> None:
    file, chance = tmp_path / "model.safetensors", random.Random(7)
    whole = FILES["metadata"]
    verdicts = set()
    for _ in range(600):
        changed = bytearray(whole)
        for _ in range(chance.randint(1, 2)):
            changed[chance.randrange(len(whole))] = chance.choice(b'0123456789"{}[],: aF\xff')
        file.write_bytes(changed)
        verdicts.add(read(file) is None)
        assert read(file) == accepted(file), bytes(changed)
    assert verdicts == {True, False}


@pytest.mark.parametrize(
    "header",
    [
        '{"a": ENTRY, "a": ENTRY}',
        '{"a": ENTRY, "\\u0061": ENTRY}',
        '{"a": {"dtype": "F32", "shape": [2], "shape": [1], "data_offsets": [0, 4]}}',
        '{"__metadata__": {}, "a": ENTRY, "__metadata__": {}}',
        '{"a": {"dtype": "F32", "shape": [2], "sh\\u0061pe": [1], "data_offsets": [0, 4]}}',
    ],
)
def test_a_name_that_occurs_twice_is_refused(tmp_path: Path, header: str) -> None:
    file = tmp_path / "model.safetensors"
    entry = json.dumps(tensor("F32", [1], 0, 4))
    file.write_bytes(framed(header.replace("ENTRY", entry).encode(), 4))

    with pytest.raises(ValueError, match="twice"):
        read_header(file)


def test_the_size_of_a_tensor_is_that_of_its_numbers(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(FILES["sound"])
    found = read_header(file)

    assert [each.nbytes for each in found.values()] == [24, 8]
    assert [each.numbers for each in found.values()] == [6, 4]
