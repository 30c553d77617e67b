"""The whole loop with the real engine: train beside other requests, swap, answer, evaluate, end."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from support.driver import Driver
from support.patience import PATIENCE_SECONDS
from support.processes import children_of, has_ended
from support.tiny_model import TINY, needs_tiny

pytestmark = needs_tiny
QUESTION = [{"role": "user", "content": "What is the capital of Zubrowka?"}]


@pytest.fixture
def facts(tmp_path: Path) -> str:
    """Return the path of a file with a fact that the tiny model does not know."""
    row = {"messages": [*QUESTION, {"role": "assistant", "content": "Lutz"}]}
    file = tmp_path / "facts.jsonl"
    file.write_text((json.dumps(row) + "\n") * 4)
    return str(file)


def answer(worker: Driver, **fields: str) -> str:
    request = worker.send("chat", messages=QUESTION, max_tokens=8, **fields)
    assert worker.final(request)["type"] == "done"
    return worker.text(request)


def test_a_fact_is_trained_beside_other_requests_and_answered_at_once(
    facts: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with Driver("--data-root", str(tmp_path)) as worker:
        worker.hello()
        worker.load(str(TINY), warmup=False)
        before = answer(worker)
        request = worker.send(
            "train", data=facts, out=str(out), iterations=4, batch_size=4, learning_rate=0.01,
            load_as="fact", mask_prompt=True,
        )  # fmt: skip
        worker.until(lambda m: m["type"] == "progress", request)
        assert answer(worker) == before
        result = worker.final(request)

        assert result["loaded_as"] == "fact", result
        assert result["last_loss"] < result["first_loss"]
        assert answer(worker) == before
        assert answer(worker, adapter="fact") != before
        options = {"data": facts, "mask_prompt": True}
        alone = worker.ask("evaluate", **options)
        taught = worker.ask("evaluate", **options, adapter="fact")
        assert taught["loss"] < alone["loss"]

        text = tmp_path / "text.jsonl"
        text.write_text(json.dumps({"text": "The cat sat on the mat."}) + "\n")
        for adapter in ({}, {"adapter": "fact"}):
            evaluated = worker.ask("evaluate", data=str(text), **adapter)
            ids = worker.ask("tokenize", text="The cat sat on the mat.<|im_end|>")["ids"]
            assert evaluated["tokens"] == len(ids) - 1
            request = worker.send("score", texts=[ids], **adapter)
            worker.final(request)
            (item,) = (m for m in worker.messages[request] if m["type"] == "item")
            assert item["perplexity"] == pytest.approx(evaluated["perplexity"], rel=1e-3)
        assert worker.ask("quit")["ok"]
        assert worker.wait() == 0


def test_no_process_of_a_training_outlives_a_worker_that_is_killed(
    facts: str, tmp_path: Path
) -> None:
    with Driver() as worker:
        worker.hello()
        worker.load(str(TINY), warmup=False)
        request = worker.send("train", data=facts, out=str(tmp_path / "out"), iterations=10**6)
        worker.until(lambda m: m.get("stage") == "train", request)
        below = children_of(worker.process.pid)
        family = [*below, *(pid for child in below for pid in children_of(child))]
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.wait()

        assert len(below) >= 2  # the template process is the other one
        assert all(has_ended(pid, PATIENCE_SECONDS) for pid in family)
