"""`mlxwire models` lists whole and broken models, and `chat` takes the names that it lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.skeletons import write_model, write_snapshot
from support.tiny_model import TINY, needs_tiny

from ..conftest import MOCK, Run

MLX = MOCK.replace("mock", "mlx")
Invoke = Callable[..., Any]


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    return folder


def test_each_model_has_a_line_with_what_to_type_first(
    invoke: Invoke, hub: Path, tmp_path: Path
) -> None:
    write_snapshot(hub, "org/name", "abc")
    whole = write_model(tmp_path / "models" / "whole")
    broken = write_model(tmp_path / "models" / "broken")
    (broken / "model.safetensors").write_bytes(b"")

    shown = invoke("models", str(tmp_path / "models"), "--hub", worker=MLX)

    assert shown.exit_code == 0
    heading, first, second, third = shown.stdout.splitlines()
    assert heading.split()[:3] == ["MODEL", "TYPE", "PARAMETERS"]
    assert first.startswith(str(broken))
    assert "broken: model_load_failed: model.safetensors is empty" in first
    assert second.split()[:3] == [str(whole), "llama", "90.4k"]
    assert third.split()[:2] == ["org/name", "llama"]


def test_an_odd_name_stays_on_its_line_and_can_be_typed(invoke: Invoke, tmp_path: Path) -> None:
    for name in ("a b", "c\x1b[31m\nd"):
        write_model(tmp_path / name)

    _, spaced, odd = invoke("models", str(tmp_path), worker=MLX).stdout.splitlines()

    assert spaced.startswith(f"'{tmp_path / 'a b'}' ")
    assert odd.startswith(f"'{tmp_path}/c�[31m�d' ")


def test_a_name_stands_only_for_a_model_of_the_users_own_cache(
    invoke: Invoke, hub: Path, tmp_path: Path
) -> None:
    write_snapshot(hub, "org/own", "abc")
    other = tmp_path / "elsewhere"
    write_snapshot(other, "org/other", "abc")

    shown = invoke("models", str(hub), str(other), worker=MLX)

    first = [line.split()[0] for line in shown.stdout.splitlines()[1:]]
    assert first == ["org/own", str(other / "models--org--other" / "snapshots" / "abc")]


def test_json_has_the_fields_of_the_protocol(invoke: Invoke, tmp_path: Path) -> None:
    write_model(tmp_path / "a")
    (write_model(tmp_path / "b") / "config.json").write_text("[]")

    told = invoke("models", str(tmp_path), "--json", worker=MLX)
    whole, broken = map(json.loads, told.stdout.splitlines())

    assert told.exit_code == 0
    assert (whole["name"], whole["context_len"], whole["path"]) == (
        "a",
        512,
        str(tmp_path / "a"),
    )
    assert whole.keys() >= {"dtype_bytes", "capabilities", "adapters", "quant_mode"}
    assert whole.keys().isdisjoint({"id", "type", "final"})
    assert broken.keys() == {"index", "path", "name", "error"}
    assert broken["error"]["data"]["reason"] == "invalid_json"


def test_a_folder_that_is_not_there_is_a_failure(invoke: Invoke, tmp_path: Path) -> None:
    told = invoke("models", str(tmp_path / "no"), worker=MLX)

    assert told.exit_code == 1
    assert "model_not_found" in told.stdout


def test_a_full_check_fails_for_a_broken_model(invoke: Invoke, tmp_path: Path) -> None:
    write_model(tmp_path / "a")  # its tokenizer is empty, which headers do not tell
    arguments = ("models", str(tmp_path))

    assert invoke(*arguments, worker=MLX).exit_code == 0
    told = invoke(*arguments, "--check", "full", worker=MLX)
    assert told.exit_code == 1
    assert "the tokenizer can't be read" in told.stdout


def test_no_model_at_all_is_said_with_what_to_do(invoke: Invoke) -> None:
    told = invoke("models", worker=MLX)

    assert (told.exit_code, told.stdout) == (0, "")
    assert "mlxwire pull" in told.stderr


@needs_tiny
def test_chat_takes_a_hub_name_of_the_local_cache(run: Run, hub: Path) -> None:
    snapshot = hub / "models--org--tiny" / "snapshots" / "abc"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(TINY)

    answer = run("chat", "org/tiny", "Hi", "--max-tokens", "4", "--json", worker=MLX)
    missing = run("chat", "org/other", "Hi", worker=MLX)

    assert answer.returncode == 0, answer.stderr
    assert missing.returncode == 1
    assert "mlxwire pull org/other" in missing.stderr
