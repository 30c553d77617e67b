"""A saved prompt cache of which anything was changed is refused, and changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.cache import sealed_file
from mlxwire_worker.mlx_engine.cache.sealed_file import SealedReader
from support.direct import Direct
from support.tiny_model import TINY

PROMPTS = ["Tell me a story about a cat. " * 3, "What is 2 + 3?"]


@pytest.fixture(scope="module")
def tiny() -> Iterator[Direct]:
    direct = Direct(TINY)
    yield direct
    direct.close()


@pytest.fixture
def saved(tiny: Direct, tmp_path: Path) -> Path:
    """Return a file with two entries; the cache is empty."""
    tiny.forget()
    tiny.run([tiny.prepare(prompt, max_tokens=2) for prompt in PROMPTS])
    path = tmp_path / "cache.safetensors"
    assert tiny.engine.save_cache(str(path)) == 2
    tiny.forget()
    return path


def load(tiny: Direct, path: Path) -> Any:
    return tiny.engine.load_cache(str(path))


def refusal(tiny: Direct, path: Path) -> str:
    with pytest.raises(WireError) as raised:
        load(tiny, path)
    error = raised.value
    assert (error.code, error.field) == ("invalid_params", "path")
    assert len(tiny.loaded.cache.tree) == 0
    assert "save a new" in error.message or "warm a new" in error.message
    return error.message


def test_what_was_saved_is_loaded_and_reused(tiny: Direct, saved: Path) -> None:
    assert load(tiny, saved) == 2
    for prompt in PROMPTS:
        again = tiny.prepare(prompt, max_tokens=2)
        tiny.run([again])
        assert again.cached_tokens == len(again.ids) - 1


def test_any_byte_that_was_changed_is_found(tiny: Direct, saved: Path) -> None:
    raw = saved.read_bytes()
    places = {*range(0, len(raw), len(raw) // 150), *range(0, 1600, 37), len(raw) - 1}
    for place in places:
        changed = bytearray(raw)
        changed[place] ^= 1 << place % 8
        saved.write_bytes(changed)
        refusal(tiny, saved)
    saved.write_bytes(raw)
    assert load(tiny, saved) == 2


@pytest.mark.parametrize("change", [-1, -1000, 1], ids=["cut", "cut more", "longer"])
def test_a_file_of_another_length_is_refused(tiny: Direct, saved: Path, change: int) -> None:
    os.truncate(saved, saved.stat().st_size + change)
    assert "bytes" in refusal(tiny, saved)


@pytest.mark.parametrize("how", ["cut", "overwritten"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tiny: Direct, saved: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = SealedReader.read

    def changed(reader: SealedReader, wanted: Callable[[str], bool]) -> dict[str, mx.array]:
        half = saved.stat().st_size // 2
        with saved.open("r+b") as file:
            if how == "cut":
                file.truncate(half)
            else:
                file.seek(half)
                file.write(bytes(5000))
        return read(reader, wanted)

    monkeypatch.setattr(SealedReader, "read", changed)
    refusal(tiny, saved)


# -- files that are whole, but hold what the model could not have made -----------------

Arrays = dict[str, mx.array]
Forgery = Callable[[Arrays, dict[str, Any]], object]


def forge(path: Path, change: Forgery) -> None:
    """Change a saved cache's parts, and seal them anew."""
    with path.open("rb") as file:
        reader = SealedReader(file)
        arrays, metadata = reader.read(lambda _: True), dict(reader.metadata)
    del metadata["digest"]
    scalars = json.loads(metadata["scalars"])
    change(arrays, scalars)
    with path.open("wb") as file:
        sealed_file.write(file, arrays, {**metadata, "scalars": json.dumps(scalars)})


def cut(arrays: Arrays, *names: str) -> None:
    for name in names:
        arrays[name] = arrays[name][..., :-1, :]


def renumber(arrays: Arrays, scalars: dict[str, Any], number: str) -> None:
    for parts in (arrays, scalars):
        for name in [name for name in parts if name.startswith("1.")]:
            parts[number + name[1:]] = parts.pop(name)  # type: ignore[index, arg-type]


FORGERIES: dict[str, Forgery] = {
    "shorter keys": lambda a, _: cut(a, "0.3.0"),
    "shorter keys and values": lambda a, _: cut(a, "0.3.0", "0.3.1"),
    "fewer tokens": lambda a, _: a.update({"0.tokens": a["0.tokens"][:-1]}),
    "more tokens": lambda a, _: a.update({"0.tokens": mx.concatenate([a["0.tokens"]] * 2)}),
    "a token past the vocabulary": lambda a, _: a.update({"0.tokens": a["0.tokens"] + 955}),
    "a negative token": lambda a, _: a.update({"0.tokens": -a["0.tokens"]}),
    "tokens of another type": lambda a, _: a.update(
        {"0.tokens": a["0.tokens"].astype(mx.float32)}
    ),
    "tokens in rows": lambda a, _: a.update({"0.tokens": a["0.tokens"][None]}),
    "another dtype": lambda a, _: a.update({"0.0.0": a["0.0.0"].astype(mx.float16)}),
    "fewer heads": lambda a, _: a.update({"0.0.0": a["0.0.0"][:, :2]}),
    "two rows": lambda a, _: a.update({"0.0.0": mx.concatenate([a["0.0.0"]] * 2)}),
    "narrower heads": lambda a, _: a.update({"0.0.0": a["0.0.0"][..., :16]}),
    "one axis": lambda a, _: a.update({"0.0.0": a["0.0.0"].reshape(-1)}),
    "no values": lambda a, _: a.pop("1.2.1"),
    "values that are a number": lambda a, s: s.update({"1.2.1": int(a.pop("1.2.1").size)}),
    "an array for a number": lambda a, s: a.update({"1.2.2": mx.array([s.pop("1.2.2")])}),
    "a name for both": lambda a, _: a.update({"1.2.2": mx.array([1])}),
    "one layer more": lambda a, _: a.update({"0.6.0": a["0.0.0"]}),
    "a layer without an entry": lambda a, _: a.pop("1.tokens"),
    "a name without a place": lambda a, _: a.update({"other": mx.array([1])}),
    "a gap in the numbers": lambda a, s: renumber(a, s, "7"),
    "a negative number": lambda a, s: renumber(a, s, "-1"),
    "a huge number": lambda a, s: renumber(a, s, "9" * 30),
    "another spelling of a number": lambda a, s: renumber(a, s, "01"),
    **{
        f"offset {offset!r}": lambda _, s, offset=offset: s.update({"0.1.2": offset})  # type: ignore[misc]
        for offset in (0, -1, 1, 10**30, 2**31, True, 1.5, None, "9", [9], {})
    },
    "no offset": lambda _, s: s.pop("0.1.2"),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_what_the_model_could_not_have_made_is_refused(
    tiny: Direct, saved: Path, kind: str
) -> None:
    forge(saved, lambda *_: None)
    load(tiny, saved)
    tiny.forget()
    forge(saved, FORGERIES[kind])
    refusal(tiny, saved)


def test_a_file_of_an_older_format_says_to_save_a_new_one(tiny: Direct, tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    metadata = {"format": "mlxwire-prompt-cache-1", "entries": "1", "scalars": "{}"}
    mx.save_safetensors(str(path), {"0.tokens": mx.array([1])}, metadata)

    assert "another format" in refusal(tiny, path)
    tiny.engine.save_cache(str(path))
    assert load(tiny, path) == 0


def test_a_cache_with_less_room_takes_the_last_used(tiny: Direct, saved: Path) -> None:
    load(tiny, saved)
    last = list(tiny.loaded.cache.tree)[-1]
    tokens, size = list(last.tokens), tiny.loaded.cache.tree.nbytes
    tiny.forget()
    tree = tiny.loaded.cache.tree
    before, tree.budget = tree.budget, size - 1
    try:
        assert load(tiny, saved) == 1
        assert [entry.tokens for entry in tree] == [tokens]
        tiny.forget()
        tree.budget = 0
        assert load(tiny, saved) == 0
    finally:
        tree.budget = before


def test_chunks_of_an_array_that_change_places_are_found(
    tiny: Direct, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tiny, saved)
    monkeypatch.setattr(sealed_file, "CHUNK_BYTES", 1000)
    path = tmp_path / "chunks.safetensors"
    tiny.engine.save_cache(str(path))
    tiny.forget()
    assert load(tiny, path) == 2
    tiny.forget()
    raw = bytearray(path.read_bytes())
    first = raw_offsets(path)[-1]
    second = first + 1000
    assert raw[first:second] != raw[second : second + 1000]
    raw[first : second + 1000] = raw[second : second + 1000] + raw[first:second]
    path.write_bytes(raw)
    refusal(tiny, path)


def raw_offsets(path: Path) -> list[int]:
    """Return where each array of at least two chunks of 1,000 bytes begins in a file."""
    with path.open("rb") as file:
        tensors = SealedReader(file).tensors()
        place = file.tell()
    found = []
    for tensor in tensors.values():
        if tensor.nbytes >= 2000:
            found.append(place)
        place += tensor.nbytes
    return found
