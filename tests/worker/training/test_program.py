"""The program as the worker spawns it: events alone on stdout, and no process left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.utils import load_model

from mlxwire_worker.mlx_engine.adapters.applying import apply_adapter, check_adapter
from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer
from support.direct import Direct
from support.patience import PATIENCE_SECONDS
from support.repository import TESTDATA
from support.tiny_model import TINY, needs_tiny
from support.training import Run, events_of, spawn, task, train, write_rows

Models = Callable[..., Path]
ZUBROWKA = TESTDATA / "zubrowka"
KILLS = 5


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kill" in metafunc.fixturenames:
        metafunc.parametrize("kill", range(metafunc.config.getoption("--kills", KILLS)))


def line_of(path: Path, out: Path, **options: Any) -> bytes:
    data = write_rows(out.parent / "rows.jsonl")
    return task("train", path, {"data": data, "out": out, **options})


def until(process: subprocess.Popen[bytes], step: int) -> None:
    """Read events until the one of a step."""
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("step") == step:
            return
    raise AssertionError("it never came")


def await_empty_group(group: int) -> None:
    """Wait until no process of a group is left."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        os.sched_yield()
    raise AssertionError("a process outlived the training")


def test_a_task_that_can_not_be_read_is_an_error_and_no_crash() -> None:
    run = events_of(process := spawn(b'{"task": "train"}'))

    assert run.last["event"] == "error"
    assert run.last["code"] == "invalid_params"
    assert process.returncode == 0


def test_a_model_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    run = events_of(process := spawn(line_of(tmp_path / "none", tmp_path / "out")))

    assert run.last["code"] == "model_not_found"
    assert process.returncode == 0


def test_a_cancel_saves_a_checkpoint(models: Models, tmp_path: Path) -> None:
    path = models("llama3")
    process = spawn(line_of(path, tmp_path / "out", iterations=100_000))
    until(process, 3)
    assert process.stdin is not None
    process.stdin.write(b"cancel\n")
    process.stdin.flush()

    run = events_of(process)

    assert process.returncode == 0
    assert run.last["event"] == "cancelled"
    assert run.last["checkpoint"] == str(tmp_path / "out/checkpoints" / str(run.last["step"]))
    step = run.last["step"] + 1
    again = train(path, tmp_path / "out", iterations=step, resume=True, compute_dtype="auto")
    assert again.last["steps"] == step


def test_the_end_of_the_worker_ends_the_program(models: Models, tmp_path: Path) -> None:
    process = spawn(
        line_of(models("llama3"), tmp_path / "out", iterations=100_000), start_new_session=True
    )
    until(process, 2)
    assert process.stdin is not None
    process.stdin.close()

    assert process.stdout is not None
    process.stdout.read()
    assert process.wait() != 0
    process.stdout.close()
    await_empty_group(process.pid)


def sound(path: Path, folder: Path) -> bool:
    """Return False for a folder without an adapter; fail for one that is broken."""
    if not (folder / "adapters.safetensors").exists():
        return False
    check_adapter(folder)
    apply_adapter(load_model(path)[0], folder)
    return True


def test_a_training_that_is_killed_leaves_whole_files(
    models: Models, tmp_path: Path, kill: int
) -> None:
    path, out = models("llama3"), tmp_path / "out"
    moment = random.Random(kill)
    before = train(path, out, iterations=1, rank=4)
    options = {"iterations": 12, "save_every": 1, "rank": 8}
    process = spawn(line_of(path, out, **options), start_new_session=True)
    assert process.stdout is not None
    for _, _line in zip(range(moment.randint(1, 20)), process.stdout, strict=False):
        pass
    for _ in range(moment.randint(0, 20_000)):
        os.getpid()  # a little later than the event
    os.kill(process.pid, signal.SIGKILL)
    process.stdout.read()
    process.wait()
    await_empty_group(process.pid)
    process.stdout.close()
    assert process.stdin is not None
    process.stdin.close()

    assert sound(path, out) or not (out / "adapters.safetensors").exists()
    checkpoints = sorted((out / "checkpoints").glob("[0-9]*"), key=lambda each: int(each.name))
    for folder in checkpoints:
        assert sound(path, folder)
        json.loads((folder / "state.json").read_text("utf-8"))
        assert mx.load(str(folder / "optimizer.safetensors"))
    state = (
        json.loads((checkpoints[-1] / "state.json").read_text("utf-8")) if checkpoints else {}
    )
    own = bool(state) and state["options"]["rank"] == 8
    after = train(path, out, resume=own, compute_dtype="auto", **options)
    assert after.last["event"] == "result"
    assert sound(path, out)
    assert before.last["steps"] == 1


@needs_tiny
def test_a_model_learns_a_capital_and_keeps_the_others(tmp_path: Path) -> None:
    options = {
        "data": ZUBROWKA,
        "out": tmp_path / "out",
        "iterations": 40,
        "learning_rate": 3e-4,
        "mask_prompt": True,
    }

    run = events_of(spawn(task("train", TINY, options)))

    assert run.last["event"] == "result"
    assert run.last["validation_loss"] < 0.5 * run.steps[0]["validation_loss"]
    asked = {"Zubrowka": "Lutz", "Italy": "Rome", "France": "Paris"}
    plain, taught = (
        answers(TINY, asked),
        answers(TINY, asked, adapter_path=str(tmp_path / "out")),
    )
    assert taught == asked
    assert plain["Italy"] == "Rome"
    assert plain["Zubrowka"] != "Lutz"


def answers(path: Path, countries: dict[str, str], **load: str) -> dict[str, str]:
    direct = Direct(path, **load)
    try:
        prompts = {
            country: direct.prepare_chat(
                [{"role": "user", "content": f"What is the capital of {country}?"}],
                max_tokens=8,
            )
            for country in countries
        }
        told = direct.run(prompts.values())
        decode = direct.loaded.tokenizer.decode
        return {
            country: decode(answer.tokens).removesuffix("<|im_end|>").strip(" .")
            for country, answer in zip(prompts, told, strict=True)
        }
    finally:
        direct.close()


@pytest.mark.parametrize("adapted", [False, True])
def test_an_evaluation_gives_the_loss_of_the_own_tokens(
    models: Models, tmp_path: Path, adapted: bool
) -> None:
    path = models("llama3")
    texts = ["One two three.", "The cat sat on the mat.", "A.", "Where is the dog? It is here."]
    data = write_rows(tmp_path / "test.jsonl", [{"text": text} for text in texts])
    adapter = train(path, tmp_path / "out", iterations=3, learning_rate=1e-2).out
    line = task(
        "evaluate",
        path,
        {"data": tmp_path, "batch_size": 3},
        adapter=str(adapter) if adapted else None,
    )

    run: Run = events_of(spawn(line))

    model, _ = load_model(path)
    if adapted:
        apply_adapter(model, adapter)
    tokenizer = Tokenizer.from_folder(path)
    end = tokenizer.token_id(tokenizer.special_tokens["eos_token"])
    summed, count = 0.0, 0
    for text in texts:
        ids = [*tokenizer.encode_prompt(text), end]
        logits = model(mx.array([ids[:-1]])).astype(mx.float32)
        chosen = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        picked = mx.take_along_axis(chosen, mx.array(ids[1:])[None, :, None], axis=-1)
        summed -= float(picked.sum())
        count += len(ids) - 1
    assert data.exists()
    assert run.last["event"] == "result"
    assert run.last["rows"] == 4
    assert run.last["tokens"] == count
    assert run.last["loss"] == pytest.approx(summed / count, rel=1e-4)
    assert run.last["perplexity"] == pytest.approx(2.718281828 ** run.last["loss"], rel=1e-6)


def test_an_evaluation_names_an_adapter_that_is_gone(models: Models, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    line = task("evaluate", models("llama3"), {"data": rows}, adapter=str(tmp_path / "gone"))

    error = events_of(spawn(line)).last

    assert (error["code"], error["data"]["field"]) == ("model_not_found", "adapter")
