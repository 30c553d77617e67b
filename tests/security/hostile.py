"""Ways to spoil a model folder, and what must hold of a worker that is told to load it."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.model_worker import ModelWorker
from support.processes import resident_bytes
from worker.mlx_engine.models.test_broken_models import assert_refused

SOON_SECONDS = 10.0
MOST_BYTES = 400 << 20
Harm = Callable[[Path], object]


def assert_harmless(worker: ModelWorker, path: Path, code: str, reason: str) -> None:
    """Refused, soon, without filling the memory; the model from before serves on."""
    before, started = resident_bytes(worker.process.pid), time.monotonic()

    assert_refused(worker, path, code, reason)

    assert time.monotonic() - started < SOON_SECONDS
    assert resident_bytes(worker.process.pid) - before < MOST_BYTES


def edit_json(path: Path, edit: Callable[[Any], object]) -> None:
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def edit_header(path: Path, edit: Callable[[str], str]) -> None:
    """Change the text of a safetensors header."""
    content = (path / "model.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = edit(content[8 : 8 + length].decode().rstrip()).encode()
    (path / "model.safetensors").write_bytes(
        struct.pack("<Q", len(header)) + header + content[8 + length :]
    )


def set_pattern(tokenizer: Any, pattern: str) -> None:
    tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": pattern}
