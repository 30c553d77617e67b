"""A discovery imports nothing heavy, hears a cancel, and leaves no process behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.discovery import full_check
from mlxwire_worker.mlx_engine.discovery.full_check import FullCheck
from support.model_worker import ModelWorker
from support.skeletons import write_model, write_snapshot

HEAVY = ("mlx", "mlx_lm", "numpy", "transformers", "tokenizers", "safetensors", "jinja2")
PROGRAM = f"""
import sys
from mlxwire_worker.mlx_engine import MlxEngine
found = [each for each in MlxEngine().find_models(sys.argv[1:], hub_cache=True, full=False) if each]
print(len(found), [name for name in {HEAVY!r} if name in sys.modules])
"""


def test_headers_are_read_without_any_heavy_package(hub: Path, tmp_path: Path) -> None:
    write_snapshot(hub, "org/name", "abc")
    write_model(tmp_path / "models" / "whole")
    write_model(tmp_path / "models" / "quantized", quantization={"bits": 4, "group_size": 64})
    (write_model(tmp_path / "models" / "cut") / "config.json").write_text("{")

    told = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, str(tmp_path / "models")],
        capture_output=True,
        check=True,
        text=True,
    )

    assert told.stdout == "4 []\n"


def test_a_full_check_that_is_left_ends_its_process(tmp_path: Path) -> None:
    check = FullCheck()
    running = check.check(write_model(tmp_path / "model"))
    next(running)
    program = check._program
    assert program is not None
    assert program.exit_code is None

    check.close()

    assert program.exit_code is not None


def test_a_check_whose_process_dies_is_told_and_the_next_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, folder = FullCheck(), write_model(tmp_path / "model")
    real = full_check.tied_command

    def dies(_: str) -> tuple[str, ...]:
        return (sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")

    monkeypatch.setattr(full_check, "tied_command", dies)
    with pytest.raises(WireError) as died:
        list(check.check(folder))
    monkeypatch.setattr(full_check, "tied_command", real)
    with pytest.raises(WireError) as refused:
        list(check.check(folder))
    check.close()

    assert died.value.data["reason"] == "check_ended"
    assert "SIGSEGV" in died.value.message
    assert refused.value.data["reason"] == "tokenizer"  # that of a skeleton is empty


def test_a_discovery_ends_when_it_is_cancelled(worker: ModelWorker, tmp_path: Path) -> None:
    for number in range(20):
        write_model(tmp_path / f"{number:02}")
    request = worker.send("discover", paths=[str(tmp_path)], check="full", window=1)
    worker.until(lambda message: message["type"] == "item", request)
    worker.send("cancel", target=request)
    final = worker.final(request)

    assert (final["type"], final.get("finish_reason")) == ("done", "cancelled")
