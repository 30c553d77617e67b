"""Folders a second of one `discover`, over reading their headers with the safetensors library.

    python -m bench.folders.discovery [--folders 1000] [--layers 32] [--rounds 3]

Writes folders in the shape of a 7B Llama (the data are holes), half of them below a folder and half in
a hub's cache, and reads them all in each round. The peers only open files: `safe_open` tells dtype and
shape of each tensor, `huggingface_hub.scan_cache_dir` lists the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.common.host import Host

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = (ROOT / "testdata" / "tiny" / "tokenizer_config.json").read_text("utf-8")


def write_tree(folder: Path, hub: Path, count: int, layers: int) -> None:
    """Write the models."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.skeletons import llama_shapes, write_model, write_snapshot

    shapes = llama_shapes(layers)
    tokens = [{"id": n, "content": f"<|token_{n}|>", "special": True} for n in range(256)]
    tokenizer = json.dumps(
        {"version": "1.0", "added_tokens": tokens, "model": {"pad": "x" * 200_000}}
    )
    for number in range(count):
        if number % 2:
            path = write_snapshot(hub, f"org/model-{number}", "abc", shapes=shapes)
        else:
            path = write_model(folder / f"group-{number % 10}" / f"model-{number}", shapes)
        (path / "tokenizer.json").write_text(tokenizer)
        (path / "tokenizer_config.json").write_text(TEMPLATE)


def discovered(host: Host, folder: Path, count: int) -> None:
    """Let the worker tell all models."""
    host.send("discover", paths=[str(folder)], hub_cache=True)
    told = 0
    while (message := host.read())["type"] == "item":
        assert "error" not in message, message
        told += 1
    assert (message["type"], told) == ("done", count)


def opened(files: list[Path]) -> None:
    """Read dtype and shape of each tensor with the safetensors library, and each config."""
    from safetensors import safe_open

    for file in files:
        json.loads(file.with_name("config.json").read_bytes())
        with safe_open(str(file), framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                part = tensors.get_slice(name)
                part.get_dtype(), part.get_shape()


def scanned(hub: Path) -> None:
    """List the cache with the hub's own library."""
    from huggingface_hub import scan_cache_dir

    scan_cache_dir(hub)


def seconds_of(work: Callable[[], object], rounds: int) -> float:
    """Return the median of the seconds of several rounds, after one that is not counted."""
    found = []
    for counted in range(rounds + 1):
        started = time.perf_counter()
        work()
        if counted:
            found.append(time.perf_counter() - started)
    return statistics.median(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folders", type=int, default=1000)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, hub = Path(scratch, "models"), Path(scratch, "hub")
        write_tree(folder, hub, given.folders, given.layers)
        files = [
            *folder.rglob("model.safetensors"),
            *hub.rglob("snapshots/*/model.safetensors"),
        ]
        assert len(files) == given.folders
        os.environ["HF_HUB_CACHE"] = str(hub)
        host = Host(None)
        ours = given.folders / seconds_of(
            lambda: discovered(host, folder, given.folders), given.rounds
        )
        host.ask("quit")
        headers = given.folders / seconds_of(lambda: opened(files), given.rounds)
        listed = given.folders / 2 / seconds_of(lambda: scanned(hub), given.rounds)
    print(f"{'':>38} {'folders/s':>10} {'ratio':>7}")
    print(f"{'discover':>38} {ours:10.0f}")
    print(f"{'safe_open and config.json alone':>38} {headers:10.0f} {ours / headers:7.2f}")
    print(f"{'scan_cache_dir (lists, reads nothing)':>38} {listed:10.0f} {ours / listed:7.2f}")


if __name__ == "__main__":
    main()
